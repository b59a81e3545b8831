"""requirements.lock covers what the package asks for, and who is blamed for a newer library."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import edgeinspect
from tests import newest

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = (REPOSITORY / "requirements.lock").read_text()
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
TOOLS = tomllib.loads((REPOSITORY / "tools" / "pyproject.toml").read_text())["project"]
NOT_LOCKED = ("legacy",)
"""Extras whose versions pyproject.toml pins itself."""


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return found[0].lower().replace("_", "-").replace(".", "-")


def _wanted() -> set[str]:
    project = PROJECT["project"]
    wanted = [
        *project["dependencies"], *TOOLS["dependencies"], *PROJECT["dependency-groups"]["install"]
    ]  # fmt: skip
    for extra, requirements in project["optional-dependencies"].items():
        if extra not in NOT_LOCKED:
            wanted += requirements
    return {_name(requirement) for requirement in wanted} - {"edgeinspect"}


def _entries() -> list[str]:
    return [entry for entry in re.split(r"\n(?=[^ \n#])", LOCK) if not entry.startswith("#")]


def test_everything_that_is_asked_for_is_locked() -> None:
    assert _wanted() <= {_name(entry) for entry in _entries()}


def test_station_and_tools_have_one_version() -> None:
    assert TOOLS["version"] == edgeinspect.__version__
    assert f"edgeinspect=={edgeinspect.__version__}" in TOOLS["dependencies"]
    assert TOOLS["requires-python"] == PROJECT["project"]["requires-python"]


def test_a_station_installs_none_of_the_tools() -> None:
    project = PROJECT["project"]
    for requirements in (project["dependencies"], *project["optional-dependencies"].values()):
        heavy = {"tensorflow", "tensorflow-cpu", "edgeinspect-tools", "scikit-learn"}
        assert not {_name(requirement) for requirement in requirements} & heavy


def test_every_version_is_exact_and_has_hashes() -> None:
    for entry in _entries():
        assert re.match(r"[a-z0-9.-]+==[^ ]+", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_it_covers_both_machines_and_all_pythons() -> None:
    for entry in _entries():
        conditions = entry.splitlines()[0].partition(";")[2]
        assert "aarch64" in conditions or "x86_64" in conditions, entry.splitlines()[0]
    numpys = [entry.splitlines()[0] for entry in _entries() if entry.startswith("numpy==")]
    assert all("'3.14'" in line or "'3.12'" in line for line in numpys) and numpys
    assert PROJECT["project"]["requires-python"] == ">=3.11,<3.14"


def test_the_lock_names_no_server() -> None:
    assert "://" not in LOCK and "--index-url" not in LOCK


def test_only_libraries_that_differ_are_listed() -> None:
    lines = newest.newer_versions({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "2.1", "d": "4"})
    assert lines == ["b: 2 -> 2.1"]


REPORT = """<testsuites><testsuite>
<testcase classname="tests.test_a" name="test_fine"/>
<testcase classname="tests.test_a" name="test_bad[x]"><failure message="m">t</failure></testcase>
<testcase classname="tests.test_b" name="test_broken"><error message="m">t</error></testcase>
<testcase classname="tests.test_b" name="test_skipped"><skipped/></testcase>
</testsuite></testsuites>"""


@pytest.mark.parametrize(
    ("locked_report", "code", "words"),
    [
        ("<testsuites/>", newest.ONLY_WITH_THE_NEWEST, "One of the newer libraries"),
        (REPORT, newest.OURS, "OURS: tests/test_a.py::test_bad[x]"),
    ],
)
def test_a_failure_is_distinguished(
    locked_report: str,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def failing(python: str, chosen: list[str]) -> list[str]:
        asked.append((python, tuple(chosen)))
        return newest.failed_tests(REPORT if python == "newest" else locked_report)

    versions = {"newest": {"pyyaml": "7"}}
    monkeypatch.setattr(newest, "_failing", failing)
    monkeypatch.setattr(newest, "_versions", lambda p: versions.get(p, {"pyyaml": "6"}))
    assert newest.main(["newest"]) == code
    printed = capsys.readouterr().out
    assert "pyyaml: 6 -> 7" in printed and words in printed
    assert asked[1][1] == ("tests/test_a.py::test_bad[x]", "tests/test_b.py::test_broken")


def test_nothing_newer_needs_no_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(newest, "_versions", lambda python: {"pyyaml": "6"})
    monkeypatch.setattr(newest, "_failing", lambda *_: pytest.fail("it ran the tests"))
    assert newest.main(["newest"]) == newest.NOTHING_FAILED
    assert "as new as pyproject.toml allows" in capsys.readouterr().out
