"""The acceptance's report, to keep with the machine: one JSON file and one page."""

from __future__ import annotations

import dataclasses
import datetime
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeinspect.cli.check.hardware_steps import Step
from edgeinspect.errors import StorageFault
from edgeinspect.files.atomic_file import make_folder, replace_file

_COLORS = {"ok": "#176f2c", "warn": "#8a5a00", "fail": "#b3261e", "not tried": "#5f6368"}
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 62em; color: #202124 }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .35em .8em .35em 0;
  border-bottom: 1px solid #dadce0 }
small { color: #5f6368 } .emulated { background: #fff4ce; padding: .1em .4em }
@media print { body { margin: 0 } }
"""


def report_fields(
    station_file: Path, station_id: str, steps: Sequence[Step], *, author: str, when: str
) -> dict[str, Any]:
    """The report as one JSON object."""
    code = next((step.exit_code for step in steps if step.state == "fail"), 0)
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
    """Write both files, whole or not at all; returns their paths. Raises StorageFault."""
    stamp = fields["when"].replace(":", "").replace("-", "")[:15]
    base = f"acceptance-{fields['station'] or 'station'}-{stamp}"
    data, page = folder / f"{base}.json", folder / f"{base}.html"
    try:
        make_folder(folder)
        replace_file(data, (json.dumps(fields, indent=1, default=str) + "\n").encode())
        replace_file(page, report_page(fields).encode())
    except OSError as error:
        if isinstance(error, StorageFault):
            raise
        raise StorageFault(f"{folder} cannot be written: {error.strerror or error}.") from error
    return data, page


def report_page(fields: dict[str, Any]) -> str:
    """The same as one HTML page that needs nothing else."""
    rows = "\n".join(_row(step) for step in fields["steps"])
    verdict = "Accepted." if fields["accepted"] else _why_not(fields)
    emulated = ""
    if fields["emulated"]:
        emulated = (
            '<p class="emulated">Part of this ran on emulated hardware, as marked; it says '
            "nothing about a real board.</p>"
        )
    title = html.escape(f"Acceptance of {fields['station'] or fields['station_file']}")
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>
<h1>{title}</h1>
<p><b>{html.escape(verdict)}</b> {html.escape(fields["when"])}, {html.escape(fields["author"])},
station file {html.escape(fields["station_file"])}.</p>
{emulated}
<table><tr><th></th><th>what</th><th>outcome</th></tr>
{rows}
</table>
<p>Signature: ______________________</p>
</html>
"""


def _why_not(fields: dict[str, Any]) -> str:
    failed = [step["name"] for step in fields["steps"] if step["state"] == "fail"]
    if failed:
        return f"Not accepted: {', '.join(failed)}."
    if fields["not_tried"]:
        return f"Not complete: {', '.join(fields['not_tried'])} not tried."
    return "Nothing failed, but not all of it is real hardware: this accepts no machine."


def _row(step: dict[str, Any]) -> str:
    color = _COLORS[step["state"]]
    action = f" <b>{html.escape(step['next_action'])}</b>" if step["next_action"] else ""
    mark = ""
    if step["emulated"]:
        mark = f' <span class="emulated">emulated: {html.escape(step["emulated"])}</span>'
    figures = ", ".join(f"{key} {_short(value)}" for key, value in step["figures"].items())
    small = f"<br><small>{html.escape(figures)}</small>" if figures else ""
    return (
        f'<tr><td style="color:{color}">{step["state"]}</td><td>{html.escape(step["name"])}</td>'
        f"<td>{html.escape(step['detail'])}{action}{mark}{small}</td></tr>"
    )


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def now_utc() -> str:
    """For people."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
