"""What several suites ask of the core on both kinds of gate."""

from __future__ import annotations

import pytest

from edgeinspect.line.config import (
    GateKind,
)
from tests.helpers.line_bench import (
    MS,
    Bench,
)

BOTH_GATES = pytest.mark.parametrize("kind", list(GateKind))


T = 2_000 * MS


def was_rejected(bench: Bench, trigger: int) -> bool:
    """Whether the gate really diverted what passed it in the part's window."""
    start, end = trigger + 860 * MS, trigger + 940 * MS
    active = bench.gate_was_active(start, end)
    return not active if bench.opens_to_pass else active
