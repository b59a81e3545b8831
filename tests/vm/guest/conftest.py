"""The suites in this folder need the virtual machine's devices: ``make test-vm`` runs them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

IN_THE_MACHINE = "EDGEINSPECT_VM" in os.environ
collect_ignore_glob = [] if IN_THE_MACHINE else ["*.py"]
REPORT = Path("/root/report.md")


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Iterator[Callable[[str], None]]:
    """Adds a line to the report that the run ends with."""

    def add(line: str) -> None:
        with REPORT.open("a", encoding="utf-8") as file:
            file.write(f"- {request.node.name}: {line}\n")

    yield add
