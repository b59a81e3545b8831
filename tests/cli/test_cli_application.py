"""The command line's promises that hold for every command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from edgeinspect.cli.application import LazyCommand, LazyGroup, run_command_line
from edgeinspect.cli.main import COMMANDS, application
from edgeinspect.cli.options import parse_time
from edgeinspect.errors import (
    ConfigError,
    DriverMissing,
    ModelRefused,
    NotGood,
    StationBusy,
    UsageError,
)
from edgeinspect.terminal.output import print_json

HEAVY = ("numpy", "cv2", "pydantic", "yaml", "ai_edge_litert", "rich", "scipy", "tensorflow")


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["parts", "list"]])
def test_help_loads_no_heavy_library(command: list[str]) -> None:
    loaded = run_python(
        "import sys\n"
        "from edgeinspect.cli.application import run_command_line\n"
        "from edgeinspect.cli.main import application\n"
        f"code = run_command_line(application, program='e', arguments={[*command, '--help']!r})\n"
        "assert code == 0\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert "Usage:" in loaded
    assert "Examples:" in loaded
    assert loaded.splitlines()[-1] == "LOADED []"


def test_start_loads_its_command_line_library_and_little_of_its_own() -> None:
    loaded = run_python(
        "import sys\n"
        "from edgeinspect.cli.application import run_command_line\n"
        "from edgeinspect.cli.main import application\n"
        "code = run_command_line(application, program='e', arguments=['--help'])\n"
        "assert code == 0\n"
        "print(*sys.modules)"
    ).splitlines()[-1]
    modules = loaded.split()
    at_first = set(run_python("import sys; print(*sys.modules)").split())
    foreign = {name.partition(".")[0] for name in set(modules) - at_first}
    foreign -= sys.stdlib_module_names
    assert foreign == {"click", "edgeinspect"}
    own = {name for name in modules if name.startswith("edgeinspect.")}
    command_line = {
        *("edgeinspect.cli", "edgeinspect.cli.application", "edgeinspect.cli.main"),
        *("edgeinspect.terminal", "edgeinspect.terminal.output"),
        *("edgeinspect.terminal.streams", "edgeinspect.terminal.signals"),
        *("edgeinspect.files", "edgeinspect.files.json_text", "edgeinspect.files.one_line"),
    }
    assert own == command_line | {"edgeinspect.errors"}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotGood("It is not good."), 1),
        (UsageError("That is no number."), 2),
        (ConfigError(file="s.yaml", line=3, key="gate.kind", value="x", expected="a kind"), 3),
        (DriverMissing("No camera library.", next_action="Run: install it"), 4),
        (ModelRefused("The model is float."), 5),
        (StationBusy("Process 7 owns the data directory."), 6),
    ],
)
def test_errors_are_one_sentence_and_their_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def command(as_json: bool) -> None:
        raise error

    assert run_command_line(_group(command), program="prog", arguments=["it", "--json"]) == code
    printed = capsys.readouterr()
    assert printed.err == f"prog: {error}\n"
    last = json.loads(printed.out.splitlines()[-1])
    assert last["exit_code"] == code
    assert last["error"]["type"] == type(error).__name__
    if isinstance(error, ConfigError):
        assert (last["error"]["file"], last["error"]["line"]) == ("s.yaml", 3)
        assert (last["error"]["key"], last["error"]["expected"]) == ("gate.kind", "a kind")


def test_an_unexpected_error_is_one_sentence_and_its_details_are_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("EDGEINSPECT_DEBUG", raising=False)

    @click.command()
    def command() -> None:
        raise ZeroDivisionError("the\nmiddle of it")

    assert run_command_line(_group(command), program="prog", arguments=["it"]) == 1
    printed = capsys.readouterr()
    (kept,) = tmp_path.iterdir()
    assert "Traceback" not in printed.err
    assert printed.err.count("\n") == 1
    assert "ZeroDivisionError: the" in printed.err
    assert str(kept) in printed.err
    assert "middle of it" in kept.read_text()


def test_debugging_shows_the_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEINSPECT_DEBUG", "1")

    @click.command()
    def command() -> None:
        raise NotGood("no")

    assert run_command_line(_group(command), program="prog", arguments=["it"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_control_characters_in_a_message_stay_on_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    @click.command()
    def command() -> None:
        raise UsageError("no file \x1b[31m\nred")

    run_command_line(_group(command), program="prog", arguments=["it"])
    assert capsys.readouterr().err == "prog: no file  [31m red\n"


def test_ctrl_c_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def command(as_json: bool) -> None:
        raise KeyboardInterrupt

    assert run_command_line(_group(command), program="prog", arguments=["it", "--json"]) == 130
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert json.loads(printed.out.splitlines()[-1])["exit_code"] == 130


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = (
        "import sys, click\n"
        "from edgeinspect.cli.application import run_command_line, LazyGroup, LazyCommand\n"
        "@click.command()\n"
        "def command():\n"
        "    for n in range(100000): print('line', n)\n"
        "class G(LazyGroup):\n"
        "    def get_command(self, ctx, name): return command\n"
        "g = G(commands={'it': LazyCommand('x:y', '')})\n"
        "sys.exit(run_command_line(g, program='p', arguments=['it']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    complaint = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 141
    assert complaint == b""


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["chekc"], "Did you mean 'check'?"),
        (["zzz"], "Choose from: demo, run"),
        (["sim", "--parts", "0"], "sim --help"),
        (["check"], "BUNDLE|STATION_FILE"),
        (["parts", "list"], "--data-dir"),
        (["status"], "--config"),
        (["run"], "--config"),
    ],
)
def test_wrong_usage_is_2_and_says_what_helps(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(application, program="edgeinspect", arguments=arguments) == 2
    assert hint in capsys.readouterr().err


def test_numbers_that_json_does_not_know_become_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": 2}})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1.5, None], "c": {"d": 2}}


def test_times_are_ago_or_iso_and_utc_by_default() -> None:
    import datetime

    now = datetime.datetime(2026, 5, 2, tzinfo=datetime.UTC)
    assert parse_time("6h", "--since", now=now) == now - datetime.timedelta(hours=6)
    assert parse_time("2026-05-02", "--since") == now
    assert parse_time("2026-05-02T02:00+02:00", "--since") == now
    assert parse_time(None, "--since") is None
    for wrong in ("yesterday", "6 weeks", "99999999999999d"):
        with pytest.raises(UsageError, match="--since"):
            parse_time(wrong, "--since", now=now)


def test_the_console_script_runs_this_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from edgeinspect.cli.main import main; main()", "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "EDGEINSPECT_DEBUG": ""},
    )
    assert done.stdout.startswith("edgeinspect, version ")


def _group(command: click.Command) -> click.Group:
    class OneCommand(LazyGroup):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            return command

    return OneCommand(commands={"it": LazyCommand("nowhere:nothing", "")})
