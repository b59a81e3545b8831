"""Guides a person through the acceptance test and writes its report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeinspect.assembly.finding import Finding
from edgeinspect.cli.check.hardware_report import report_fields, write_report
from edgeinspect.cli.check.hardware_steps import Person, acceptance
from edgeinspect.clocks import utc_now
from edgeinspect.errors import EdgeInspectError, UsageError
from edgeinspect.terminal.output import print_json, print_text

if TYPE_CHECKING:
    from edgeinspect.settings.station_file import StationFile

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red", "not tried": "dim"}


def run_acceptance(subject: Path, *, author: str | None, report: Path | None, as_json: bool) -> int:
    """Run every step, print each result, write the report, and return the exit code.

    Raises:
        UsageError: the subject is not a station file, or ``author`` is combined with ``as_json``.
        StorageFault: the report or the audit trail cannot be written.
    """
    if subject.is_dir() or not subject.exists():
        raise UsageError(
            f"--hardware needs a station file, and {subject} is not one.",
            next_action="Name a station file.",
        )
    if author and as_json:
        raise UsageError(
            "--author asks questions, so it cannot be combined with --json.",
            next_action="Leave out one of them.",
        )
    from edgeinspect.settings.station_file import load_station

    station_id = ""
    trying: Iterable[Finding]
    try:
        station = load_station(subject)
    except EdgeInspectError as error:
        trying = [Finding.failed("station file", error)]
    else:
        station_id = station.id
        if author:
            _note_driven_outputs(station, author)
        person = Person(ask=_ask, instruct=print_text) if author else None
        trying = acceptance(station, person=person)
    steps: list[Finding] = []
    for step in trying:
        steps.append(step)
        if not as_json:
            _say_step(step)
    fields = report_fields(
        subject,
        station_id,
        steps,
        author=author or "nobody present",
        when=utc_now().isoformat(timespec="seconds"),
    )
    files = write_report(report, fields) if report is not None else ()
    if as_json:
        print_json({**fields, "files": [str(file) for file in files]})
    else:
        for file in files:
            print_text(f"Wrote {file}")
        print_text(_verdict(fields))
    return int(fields["exit_code"])


def _verdict(fields: Mapping[str, object]) -> str:
    if fields["accepted"]:
        return "Accepted."
    if fields["good"]:
        return "Nothing failed, but some of the hardware is emulated: see above."
    return "Not accepted: some steps failed or were not tried; see above."


def _note_driven_outputs(station: StationFile, author: str) -> None:
    """Note in the audit trail which outputs will be driven."""
    from edgeinspect.cli.io.drive_output import record_manual_output
    from edgeinspect.cli.io.opened_lines import outputs_of

    record_manual_output(
        station,
        "output.acceptance",
        author=author,
        reason="acceptance of the hardware",
        details={"outputs": list(outputs_of(station))},
    )


def _ask(question: str) -> bool:
    return click.confirm(question, default=None)


def _say_step(step: Finding) -> None:
    from rich.text import Text

    words = Text(f"{step.state:9} ", _STYLES[step.state])
    words.append(f"{step.name}: ", "bold").append(step.detail, "default")
    if step.next_action:
        words.append(f" {step.next_action}", "bold")
    if step.emulated:
        words.append(f"  [emulated: {step.emulated}]", "yellow")
    print_text(words)
