"""``make test-newest``: the tests with the newest libraries, and whose fault a failure is.

python -m tests.newest PYTHON [PYTEST ARGUMENT...]

PYTHON is that of an environment with the newest versions that pyproject.toml allows. What fails
there runs once more with the versions of requirements.lock, which is this environment. What fails
with both is ours; what fails with the newest versions alone came with one of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

REPOSITORY = Path(__file__).resolve().parents[1]
REPORT = REPOSITORY / "build" / "newest.xml"
NOTHING_FAILED, ONLY_WITH_THE_NEWEST, OURS = 0, 1, 2
_LIST = """
import importlib.metadata, json
found = importlib.metadata.distributions()
print(json.dumps({d.metadata["Name"].lower().replace("_", "-"): d.version for d in found}))
"""


def main(arguments: Sequence[str]) -> int:
    if not arguments:
        sys.stdout.write(__doc__ or "")
        return 2
    newest, chosen = arguments[0], list(arguments[1:])
    newer = newer_versions(_versions(sys.executable), _versions(newest))
    if not newer:
        _print("Every library is as new as pyproject.toml allows; make test has tried them.")
        return NOTHING_FAILED
    _print("Newer than requirements.lock:", *(f"  {line}" for line in newer))
    failed = _failing(newest, chosen)
    if not failed:
        _print("All tests pass with the newest versions. Run make lock to take them.")
        return NOTHING_FAILED
    _print(f"{len(failed)} failed; these run again with the locked versions.")
    ours = set(_failing(sys.executable, failed))
    for test in failed:
        _print(f"  {'OURS' if test in ours else 'WITH THE NEWEST ALONE'}: {test}")
    if ours:
        return OURS
    _print("The locked versions pass. One of the newer libraries listed above broke these tests.")
    return ONLY_WITH_THE_NEWEST


def newer_versions(locked: Mapping[str, str], newest: Mapping[str, str]) -> list[str]:
    """One line for each library whose versions differ, sorted by name."""
    both = sorted(locked.keys() & newest.keys())
    return [f"{n}: {locked[n]} -> {newest[n]}" for n in both if locked[n] != newest[n]]


def failed_tests(report: str) -> list[str]:
    """The node ids of the tests that failed or broke, from pytest's JUnit report."""
    failed = []
    for case in ElementTree.fromstring(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            name = case.get("name", "")
            file = case.get("file")
            if file is None:
                file = case.get("classname", "").replace(".", "/") + ".py"
            failed.append(f"{file}::{name}" if name else file)
    return failed


def _failing(python: str, chosen: Sequence[str]) -> list[str]:
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.unlink(missing_ok=True)
    command = (python, "-m", "pytest", "-q", f"--junitxml={REPORT}", *chosen)
    subprocess.run(command, cwd=REPOSITORY, check=False)
    if not REPORT.exists():
        sys.exit(f"pytest did not run in {python}; its own words are above.")
    return failed_tests(REPORT.read_text())


def _versions(python: str) -> dict[str, str]:
    done = subprocess.run((python, "-c", _LIST), capture_output=True, text=True, check=True)
    versions: dict[str, str] = json.loads(done.stdout)
    for tool in ("pip", "setuptools", "uv", "wheel", "edgeinspect", "edgeinspect-tools"):
        versions.pop(tool, None)
    return versions


def _print(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
