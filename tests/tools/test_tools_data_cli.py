"""``edgeinspect-tools`` as it is typed: overview, exit codes, JSON, what ``data`` writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgeinspect.cli.application import run_command_line
from edgeinspect_tools.cli import COMMANDS, application
from tests.helpers.data_folders import make_folders


def run(*arguments: str) -> int:
    return run_command_line(application, program="edgeinspect-tools", arguments=arguments)


def test_the_overview_loads_nothing_heavy() -> None:
    heavy = ("numpy", "cv2", "pydantic", "tensorflow", "ai_edge_litert", "scipy", "rich")
    code = (
        "import sys; from edgeinspect.cli.application import run_command_line as r; "
        "from edgeinspect_tools.cli import application as a; "
        "code = r(a, program='edgeinspect-tools', arguments=['--help']); "
        f"sys.exit(code or any(name in sys.modules for name in {heavy}))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    for name in COMMANDS:
        assert f"  {name}  " in ended.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    assert f"edgeinspect-tools {name}" in capsys.readouterr().out


def test_data_writes_its_three_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folders(tmp_path / "set", good=10, pit=8)
    out = tmp_path / "out"
    assert run("data", str(tmp_path / "set"), "--out", str(out), "--json") == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["pictures"] == 18
    assert summary["groups"] == 18
    assert summary["classes"] == ["good", "pit"]
    assert sorted(file.name for file in out.iterdir()) == [
        "contact_sheet.png",
        "manifest.json",
        "report.html",
    ]


def test_data_tells_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folders(tmp_path, good=10, pit=8)
    assert run("data", str(tmp_path), "--split", "50,10,20,20", "--seed", "4") == 0
    assert "18 different parts" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["data", "nowhere"], 2, "nowhere does not exist"),
        (["data", ".", "--split", "1,2"], 2, "four numbers"),
        (["data"], 2, "Missing argument"),
        (["dta"], 2, "Did you mean 'data'"),
    ],
)
def test_errors_are_one_sentence(
    arguments: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_folders(tmp_path, good=10, pit=8)
    monkeypatch.chdir(tmp_path)
    assert run(*arguments, "--json") == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert json.loads(captured.out.splitlines()[-1])["exit_code"] == code


def test_a_data_set_that_is_not_good_leaves_nothing(tmp_path: Path) -> None:
    make_folders(tmp_path / "set", good=3)
    assert run("data", str(tmp_path / "set"), "--out", str(tmp_path / "out")) == 1
    assert not (tmp_path / "out").exists()
