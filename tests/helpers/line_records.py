"""Records as the line thread gets them."""

from __future__ import annotations

from typing import Any

from edgeinspect.part import GateOutcome, PartRecord, Verdict, VerdictKind


def record(part_id: int, **fields: Any) -> PartRecord:
    return PartRecord(
        part_id=part_id,
        trigger_mono_ns=0,
        verdict=Verdict(VerdictKind.PASS),
        gate_outcome=GateOutcome.PASSED,
        recipe_digest="recipe-1",
        **fields,
    )
