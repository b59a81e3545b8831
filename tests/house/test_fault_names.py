"""Every fault has one name, one documented meaning, and a place that reports it."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import edgeinspect
from edgeinspect.faults import FaultName

STATION = Path(edgeinspect.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "faults.md"
READERS = ("faults.py", "runtime/station_status.py", "runtime/watchdog.py", "cli")
"""They name faults without reporting them."""


def test_every_fault_is_documented_with_its_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", PAGE.read_text(), re.MULTILINE)
    assert dict(rows) == {str(fault): fault.meaning for fault in FaultName}
    assert len(rows) == len(FaultName)


def test_a_meaning_is_one_sentence() -> None:
    for fault in FaultName:
        assert fault.meaning[0] in "`ABCDEFGHIJKLMNOPQRSTUVWXYZ" and fault.meaning.endswith("."), (
            fault
        )
        assert fault.meaning.count(". ") == 0, fault


def test_every_fault_is_reported_somewhere() -> None:
    named = Counter[str]()
    for path in STATION.rglob("*.py"):
        if path.relative_to(STATION).as_posix().startswith(READERS):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                named[node.attr] += node.value.id == "FaultName"
    assert {name for name, times in named.items() if times} == set(FaultName.__members__)


def test_no_name_is_spelled_out_beside_the_enumeration() -> None:
    names = {str(fault) for fault in FaultName if "_" in fault}
    # A doubt, an alarm and a key of the status happen to have the same word.
    shared = {"camera_failed", "challenge_due", "nothing_passes"}
    for path in STATION.rglob("*.py"):
        if path.name == "faults.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in names - shared, f"{path}:{node.lineno}"
