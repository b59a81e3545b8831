"""``edgeinspect challenge``: prove with numbered masters that the station still rejects defects."""

from __future__ import annotations

import os
import select
import sys
import termios
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect import errors
from edgeinspect.cli.application import LazyGroup
from edgeinspect.cli.options import (
    ANY_PATH,
    FILE,
    FOLDER,
    FiniteRange,
    author_option,
    data_dir_options,
    option_group,
    station_option,
)
from edgeinspect.errors import EdgeInspectError, NotGood, UsageError
from edgeinspect.terminal.output import (
    examples,
    json_option,
    print_json,
    print_result,
    print_text,
    table,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeinspect.challenge.challenge_store import ChallengeStore
    from edgeinspect.settings.station_file import StationFile

_STILL_HERE_S = 5.0

control_options = option_group(
    station_option("Station file that names the control socket.", required=False),
    click.option("--socket", type=ANY_PATH, help="Path of the control socket."),
)


@click.group(
    cls=LazyGroup,
    epilog=examples(
        "edgeinspect challenge run --config station.yaml",
        "edgeinspect challenge status --config station.yaml --json",
        "edgeinspect challenge show 12 --config station.yaml --html challenge-12.html",
    ),
)
def command() -> None:
    """Use numbered master parts to prove that the station still detects and rejects defects."""


@command.command(
    "run",
    epilog=examples(
        "edgeinspect challenge run --config station.yaml",
        'edgeinspect challenge run --config station.yaml --reason "start of shift" --json',
        "edgeinspect challenge run --config station.yaml --masters masters/masters.yaml --yes",
    ),
)
@control_options
@click.option("--masters", type=FILE, help="Masters file, if the station file names none.")
@author_option
@click.option("--reason", default="challenge", help="Reason, for the audit trail.")
@click.option("--yes", is_flag=True, help="Do not ask: a machine puts the masters on the line.")
@click.option(
    "--part-timeout",
    "part_timeout_s",
    type=FiniteRange(1, 3600),
    default=120.0,
    help="Seconds to wait for each master.",
)
@json_option
def run(
    *,
    station: StationFile | None,
    socket: Path | None,
    masters: Path | None,
    author: str,
    reason: str,
    yes: bool,
    part_timeout_s: float,
    as_json: bool,
) -> int:
    """Run a challenge: the station asks for each master in turn and checks its verdict.

    Stop the infeed first. For each master, the station's own records show the verdict, the class
    and place of the defect, and what the gate did. During the challenge, the station rejects every
    part except the announced master. A simulated line supplies its own masters. The exit code is 1
    unless the challenge is passed.
    """
    from edgeinspect.challenge.run_challenge import ChallengeRun
    from edgeinspect.control.client import ControlClient
    from edgeinspect.errors import CommandRefused

    with ControlClient(_socket(station, socket)) as client:
        simulated = bool(client.call("challenge", action="state")["simulated"])
        prompter = _Terminal(ask=not yes and not simulated, quiet=as_json)
        challenge = ChallengeRun(client, prompter, part_timeout_s=part_timeout_s)
        try:
            state = challenge.run(
                author=author,
                reason=reason,
                masters=None if masters is None else str(masters.absolute()),
            )
        except CommandRefused as error:
            # What the station found wrong ends this command as it would have ended here.
            error.exit_code = getattr(getattr(errors, error.code, NotGood), "exit_code", 1)
            raise
    state["html"] = _write_report(state)
    state.pop("token", None)
    print_result(state, *_outcome(state), as_json=as_json)
    return 0 if state["outcome"] == "passed" else NotGood.exit_code


class _Terminal:
    """Asks on the terminal; reports to the station every few seconds that somebody is there."""

    def __init__(self, *, ask: bool, quiet: bool) -> None:
        self._ask = ask
        self._quiet = quiet
        if ask and not sys.stdin.isatty():
            raise UsageError(
                "The command cannot ask questions, because standard input is not a terminal.",
                next_action="Run it in a terminal, or give --yes if a machine feeds the masters.",
            )

    def ask(self, state: Mapping[str, Any], alive: Callable[[], None]) -> bool:
        master = state["next"]
        at, of = len(state["results"]) + 1, state["masters"]
        self._print(f"{at} of {of}: master {master['id']}  {master['description']}".rstrip())
        self._print(f"   expected: {master['expected']}")
        if not self._ask:
            return True
        keys = sys.stdin.fileno()
        termios.tcflush(keys, termios.TCIFLUSH)  # discard keys typed before the question
        self._print("   Empty the belt and take the master. Enter: ready, q: cancel. ", end="")
        while not select.select([keys], [], [], _STILL_HERE_S)[0]:
            alive()
        answer = os.read(keys, 1024)
        return bool(answer) and not answer.strip().lower().startswith(b"q")

    def ready(self, master: Mapping[str, Any]) -> None:
        self._print(f"   Put master {master['id']} on the line now.")

    def waiting(self, why: str) -> None:
        self._print(f"   Waiting: {why}")

    def result(self, result: Mapping[str, Any]) -> None:
        gate = str(result["gate_outcome"]).replace("_", " ")
        self._print(f"   {result['verdict']} {result['reason']}".rstrip() + f", gate: {gate}")
        words = [f"NOT as expected: {text}" for text in result["findings"]] or ["as expected"]
        for text in (*words, *result["remarks"]):
            self._print(f"   {text}")

    def _print(self, text: str, *, end: str = "\n") -> None:
        stream = sys.stderr if self._quiet else sys.stdout
        stream.write(text + end)
        stream.flush()


def _write_report(state: Mapping[str, Any]) -> str | None:
    """Write the printable page next to the record, if this user may write there."""
    if state.get("number") is None:
        return None
    from edgeinspect.challenge.challenge_store import ChallengeStore
    from edgeinspect.files.atomic_file import replace_file

    store = ChallengeStore(Path(str(state["data_dir"])))
    path = store.path(int(state["number"])).with_suffix(".html")
    try:
        replace_file(path, _page(store, store.read(int(state["number"]))))
    except EdgeInspectError as error:
        sys.stderr.write(f"The report page was not written: {error.message}\n")
        return None
    return str(path)


def _page(store: ChallengeStore, record: Mapping[str, Any]) -> bytes:
    from edgeinspect.challenge.challenge_report import report_html
    from edgeinspect.challenge.master_pictures import stored_pictures

    return report_html(record, stored_pictures(store.folder.parent, record))


def _outcome(state: Mapping[str, Any]) -> Iterator[RenderableType]:
    from rich.text import Text

    passed = state["outcome"] == "passed"
    number = state["number"]
    title = f"Challenge {number}" if number is not None else "Challenge (not recorded)"
    style = "bold green" if passed else "bold red"
    yield Text(f"{title} {state['outcome']}: {state['detail']}.", style)
    if state["html"]:
        yield f"Page to print: {state['html']}"
    for text in state["due"].values():
        yield f"Due: {text}."
    if state["locks"]:
        yield ("The station stays locked: it rejects every part until a challenge is passed.")


@command.command(
    "status", epilog=examples("edgeinspect challenge status --config station.yaml --json")
)
@control_options
@json_option
def status(*, station: StationFile | None, socket: Path | None, as_json: bool) -> int:
    """Show whether a challenge is due on a running station. The exit code is 1 if one is."""
    from edgeinspect.control.client import ControlClient

    with ControlClient(_socket(station, socket)) as client:
        state = dict(client.call("challenge", action="state"))
    print_result(state, *_status_words(state), as_json=as_json)
    return NotGood.exit_code if state["due"] else 0


def _status_words(state: Mapping[str, Any]) -> Iterator[str]:
    for text in state["due"].values():
        yield f"Due: {text}."
    if not state["due"] and state["demanded"]:
        yield "No challenge is due."
    elif not state["due"]:
        yield "The station file requires no challenges."
    if state["locks"]:
        yield "The station is locked: it rejects every part until a challenge is passed."
    if state["shift_clock_trusted"] is False:
        yield "The clock is not synchronized, so the start of a shift is uncertain."
    if state["last_passed"] is not None:
        yield f"Last passed: number {state['last_passed']}, {state['last_passed_wall']}."


@command.command("list", epilog=examples("edgeinspect challenge list --config station.yaml"))
@data_dir_options
@click.option("--limit", type=click.IntRange(1), default=20, help="Challenges to list.")
@json_option
def list_challenges(*, data_dir: Path, limit: int, as_json: bool) -> None:
    """List past challenges, newest first."""
    from edgeinspect.challenge.challenge_store import ChallengeStore

    store = ChallengeStore(data_dir)
    numbers = store.numbers()
    records = [store.read(number) for number in reversed(numbers[-limit:])]
    names = ("number", "began", "outcome", "detail", "author", "product")
    if as_json:
        rows = [{name: record[name] for name in names} for record in records]
        print_json({"challenges": rows, "total": len(numbers)})
        return
    if not records:
        print_text("No challenge has been run.")
        return
    lines = [
        (r["number"], str(r["began"]["wall"])[:16], r["outcome"], r["author"], r["detail"])
        for r in records
    ]
    print_text(table(("number", "began (UTC)", "outcome", "author", ""), lines, right=("number",)))


@command.command(
    "show",
    epilog=examples(
        "edgeinspect challenge show 12 --config station.yaml",
        "edgeinspect challenge show 12 --data-dir data --html challenge-12.html",
    ),
)
@click.argument("number", type=click.IntRange(1))
@data_dir_options
@click.option("--html", type=FILE, help="Write a page to print or to save as PDF.")
@json_option
def show(*, number: int, data_dir: Path, html: Path | None, as_json: bool) -> None:
    """Show the record of one challenge."""
    from edgeinspect.challenge.challenge_store import ChallengeStore

    store = ChallengeStore(data_dir)
    record = store.read(number)
    if html is not None:
        from edgeinspect.files.atomic_file import replace_file

        replace_file(html, _page(store, record))
    if as_json:
        print_json({**record, "html": None if html is None else str(html)})
        return
    print_text(f"Challenge {number} {record['outcome']}: {record['detail']}.")
    lines = [
        (
            r["master"],
            r["expected"],
            f"{r['verdict']} {r['reason']}".rstrip(),
            str(r["gate_outcome"]).replace("_", " "),
            "; ".join(r["findings"]) or "as expected",
        )
        for r in record["results"]
    ]
    print_text(table(("master", "expected", "found", "gate", ""), lines))
    if html is not None:
        print_text(f"Page to print: {html}")


@command.command("check", epilog=examples("edgeinspect challenge check masters/masters.yaml"))
@click.argument("masters", type=FILE)
@json_option
def check(*, masters: Path, as_json: bool) -> None:
    """Check a masters file without a station."""
    from edgeinspect.challenge.judgement import expected_words
    from edgeinspect.challenge.masters_file import load_masters

    loaded = load_masters(masters)
    content = loaded.content
    rows = [
        {"id": m.label, "expected": expected_words(m), "description": m.description or ""}
        for m in content.masters
    ]
    lines = [(m["id"], m["expected"], m["description"]) for m in rows]
    print_result(
        {"product": content.product, "masters": rows, "sha256": loaded.sha256},
        table(("master", "expected", ""), lines, title=f"Masters of {content.product}"),
        as_json=as_json,
    )


@command.command("sample", epilog=examples("edgeinspect challenge sample masters"))
@click.argument("folder", type=FOLDER)
@json_option
def sample(*, folder: Path, as_json: bool) -> None:
    """Write masters for the simulated line to FOLDER: rendered parts with known defects."""
    from edgeinspect.bundle.shipped import SIM_BUNDLE
    from edgeinspect.cli.challenge.sample_masters import write_sample_masters

    path = write_sample_masters(folder, product=SIM_BUNDLE)
    words = f"Wrote the masters of the simulated line to {path}."
    print_result({"file": str(path)}, words, as_json=as_json)


def _socket(station: StationFile | None, socket: Path | None) -> Path:
    if socket is not None:
        return socket
    if station is None:
        raise UsageError(
            "No station given.", next_action="Give --config STATION_FILE or --socket PATH."
        )
    return station.socket_path
