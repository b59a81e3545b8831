"""The report of an acceptance, to keep with the machine: one JSON file and one page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeinspect.assembly.finding import Finding, exit_code
from edgeinspect.files.atomic_file import make_folder, replace_file
from edgeinspect.files.html_report import render

_KINDS = {"ok": "good", "warn": "warn", "fail": "bad", "not tried": "quiet"}


def report_fields(
    station_file: Path, station_id: str, steps: Sequence[Finding], *, author: str, when: str
) -> dict[str, Any]:
    """Put the report together as one JSON object."""
    code = exit_code(steps)
    good = code == 0 and all(step.state != "not tried" for step in steps)
    return {
        "format": 1,
        "station": station_id,
        "station_file": str(station_file),
        "author": author,
        "when": when,
        "good": good,
        "accepted": good and not any(step.emulated for step in steps),
        "exit_code": code,
        "not_tried": [step.name for step in steps if step.state == "not tried"],
        "emulated": {step.name: step.emulated for step in steps if step.emulated},
        "steps": [dataclasses.asdict(step) for step in steps],
    }


def write_report(folder: Path, fields: dict[str, Any]) -> tuple[Path, Path]:
    """Write both files and return their paths; each is written whole or not at all.

    Raises:
        StorageFault: the folder cannot be written.
    """
    stamp = fields["when"].replace(":", "").replace("-", "")[:15]
    base = f"acceptance-{fields['station'] or 'station'}-{stamp}"
    data, page = folder / f"{base}.json", folder / f"{base}.html"
    make_folder(folder)
    replace_file(data, (json.dumps(fields, indent=1, default=str) + "\n").encode())
    replace_file(page, report_html(fields))
    return data, page


def report_html(fields: dict[str, Any]) -> bytes:
    """Make the same report as one HTML page."""
    return render(
        "edgeinspect/cli/check/hardware_report.html",
        fields=fields,
        verdict="Accepted." if fields["accepted"] else _why_not(fields),
        kinds=_KINDS,
        figure=_figure,
    )


def _why_not(fields: dict[str, Any]) -> str:
    failed = [step["name"] for step in fields["steps"] if step["state"] == "fail"]
    if failed:
        return f"Not accepted: {', '.join(failed)}."
    if fields["not_tried"]:
        return f"Not complete: {', '.join(fields['not_tried'])} not tried."
    return "Nothing failed, but some of the hardware is emulated, so the machine is not accepted."


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
