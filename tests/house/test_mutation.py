"""The tool that changes the code to see whether a test notices, on a module with known mutants."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.mutation.__main__ import read_equivalent
from tests.mutation.mutants import mutants_of
from tests.mutation.run import THE_PARTS_PATH

REPOSITORY = THE_PARTS_PATH.root
MODULE = """LIMIT = 10


def over(value, limit=LIMIT):
    \"\"\"Not a mutant: -> 7.\"\"\"
    return value > limit


class Counter:
    step = 1

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> None:
        del self.count
        self.count = self.step
"""
TESTS = """from tiny.over import Counter, over


def test_over():
    assert over(11)
    assert over(10) is False


def test_counter():
    counter = Counter()
    assert counter.count == 0
    counter.add()
    assert counter.count == 1
"""
ALL = [
    "over.py::<module> | 10 -> 11",
    "over.py::over | return value > limit -> return None",
    "over.py::over | value > limit -> value >= limit",
    "over.py::over | value > limit -> value <= limit",
    "over.py::Counter | 1 -> 2",
    "over.py::Counter.__init__ | self.count = 0 -> pass",
    "over.py::Counter.__init__ | 0 -> 1",
    "over.py::Counter.add | del self.count -> pass",
    "over.py::Counter.add | self.count = self.step -> pass",
]
UNNOTICED = "over.py::Counter.add | del self.count -> pass"
NOTICED = "over.py::over | value > limit -> value <= limit"
AT_THE_EDGE = "over.py::over | value > limit -> value >= limit"
RUN = """
import sys
from pathlib import Path
from tests.mutation.__main__ import main
from tests.mutation.run import Target
root = Path(sys.argv[1])
target = Target(root, "tiny", ("test_*.py",), root / "equivalent.txt")
sys.exit(main(["--jobs", "1", *sys.argv[2:]], target))
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    package = tmp_path / "tiny"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "over.py").write_text(MODULE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    (tmp_path / "test_over.py").write_text(TESTS)
    listed(tmp_path, f"unused: {UNNOTICED}")
    return tmp_path


def listed(root: Path, *lines: str) -> None:
    (root / "equivalent.txt").write_text("# why: which\n" + "".join(f"{n}\n" for n in lines))


def tried(root: Path, *options: str) -> tuple[int, Sequence[str]]:
    environment = {"PATH": "", "PYTHONPATH": f"{root}:{REPOSITORY}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", RUN, str(root), *options]
    done = subprocess.run(
        command, env=environment, cwd=root, capture_output=True, text=True, check=False
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_every_small_change_is_a_mutant_and_has_a_name(tiny: Path) -> None:
    assert [mutant.name for mutant in mutants_of(tiny / "tiny" / "over.py")] == ALL


def test_it_ends_well_when_the_tests_notice_every_mutant_that_is_not_listed(tiny: Path) -> None:
    code, said = tried(tiny)
    assert code == 0, said
    summary = next(line for line in said if line.startswith("9 mutants in "))
    assert summary.endswith(": 8 killed, 1 listed as equivalent (1 unused), 0 not listed and alive")


def test_it_names_what_no_test_notices_or_runs_and_what_is_listed_wrongly(tiny: Path) -> None:
    weaker = TESTS.replace("    assert over(10) is False\n", "")
    (tiny / "test_over.py").write_text(weaker.replace("    counter.add()\n", "    return\n"))
    listed(tiny, "same: over.py::gone | 1 -> 2", f"same: {NOTICED}")
    code, said = tried(tiny, "over.py", "--listed", "--list", "survivors.txt")
    assert code == 1
    survivors = (tiny / "survivors.txt").read_text().splitlines()
    assert f"survived: line 6: {AT_THE_EDGE}" in survivors
    assert f"not reached: line 16: {UNNOTICED}" in survivors
    assert set(survivors) <= set(said)
    assert "listed as equivalent, but not a mutant: over.py::gone | 1 -> 2" in said
    assert f"listed as equivalent, but a test notices it: {NOTICED}" in said


def test_the_list_of_the_parts_path_names_mutants_only_each_once() -> None:
    text = THE_PARTS_PATH.equivalent.read_text()
    entries = [line for line in text.splitlines() if line and not line.startswith("#")]
    listed_names = read_equivalent(text)
    assert len(entries) == len(listed_names)
    folder = REPOSITORY / THE_PARTS_PATH.modules
    names = {mutant.name for file in folder.rglob("*.py") for mutant in mutants_of(file)}
    assert sorted(listed_names.keys() - names) == []
    files = [name.split("::")[0] for name in listed_names]
    assert files == sorted(files)
