"""``edgeinspect check``: check a bundle or a station file, or accept the hardware."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.options import ANY_PATH, FOLDER
from edgeinspect.errors import UsageError
from edgeinspect.terminal.output import examples, json_option, print_result

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeinspect.assembly.finding import Finding

_SIGNS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "bold red")}


@click.command(
    epilog=examples(
        "edgeinspect check station.yaml",
        "edgeinspect check models/sim-surface",
        "edgeinspect check station.yaml --json",
        "edgeinspect check station.yaml --hardware --author mia --report acceptance/",
    )
)
@click.argument("subject", type=ANY_PATH, metavar="BUNDLE|STATION_FILE")
@click.option("--hardware", is_flag=True, help="Also test every wire, the camera and the disk.")
@click.option(
    "--author",
    metavar="NAME",
    help="Person at the machine who confirms each test; without one, no output is driven.",
)
@click.option(
    "--report", type=FOLDER, help="Write the acceptance report (HTML and JSON) to this directory."
)
@json_option
def command(
    *, subject: Path, hardware: bool, author: str | None, report: Path | None, as_json: bool
) -> int:
    """Check a bundle directory or a station file.

    For a bundle, this checks the card, the digests, the thresholds, and the golden pictures on
    this machine's engine. For a station file, it also checks the data directory and the drivers,
    and lists the faults that this wiring cannot catch. The first failure sets the exit code:
    3 configuration, 4 hardware, 5 model, 6 storage. Warnings do not change it.

    --hardware runs the acceptance test of the machine: board, clock, disk, timing, accelerator,
    camera and every line. Stop the station first. Name the person at the machine with --author:
    the command asks that person to block sensors and to watch outputs move. Without --author,
    lines are opened but no output is driven.
    """
    if (author or report) and not hardware:
        raise UsageError("--author and --report need --hardware.")
    if hardware:
        from edgeinspect.cli.check.hardware_run import run_acceptance

        return run_acceptance(subject, author=author, report=report, as_json=as_json)
    from edgeinspect.assembly.finding import exit_code
    from edgeinspect.assembly.preflight import check_bundle, check_station_file

    if not subject.exists():
        raise UsageError(
            f"{subject} was not found.", next_action="Give a bundle or a station file."
        )
    findings = list(check_bundle(subject) if subject.is_dir() else check_station_file(subject))
    code = exit_code(findings)
    print_result(_fields(subject, findings, code), *_words(findings), as_json=as_json)
    return code


def _fields(subject: Path, findings: list[Finding], code: int) -> dict[str, Any]:
    return {
        "subject": str(subject),
        "kind": "bundle" if subject.is_dir() else "station",
        "good": code == 0,
        "exit_code": code,
        "checks": [
            {name: getattr(finding, name) for name in ("name", "state", "detail", "next_action")}
            for finding in findings
        ],
    }


def _words(findings: list[Finding]) -> tuple[RenderableType, str]:
    from rich.table import Table
    from rich.text import Text

    shown = Table.grid(padding=(0, 2, 0, 0))
    for finding in findings:
        sign, style = _SIGNS[finding.state]
        words = Text(finding.detail)
        if finding.next_action:
            words.append(f" {finding.next_action}", "bold")
        shown.add_row(Text(sign, style), Text(finding.name), words)
    failures = sum(finding.state == "fail" for finding in findings)
    warnings = sum(finding.state == "warn" for finding in findings)
    verdict = f"{failures} failed" if failures else "Good"
    plural = "" if warnings == 1 else "s"
    return shown, f"{verdict}; {len(findings)} checks, {warnings} warning{plural}."
