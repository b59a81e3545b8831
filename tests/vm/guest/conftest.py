"""The suites in this folder need the virtual machine's devices: ``make test-vm`` runs them."""

from __future__ import annotations

import os
import sys
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


_ended: list[int] = []


def pytest_sessionfinish(exitstatus: int) -> None:
    _ended.append(int(exitstatus))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """rpi-lgpio's thread of edges outlives its chip and may crash a process that ends tidily;
    what pytest found would be lost with it."""
    if "RPi.GPIO" in sys.modules and _ended:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_ended[-1])
