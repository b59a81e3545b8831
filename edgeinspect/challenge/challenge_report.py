"""A challenge's record as one HTML page that prints on paper."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from edgeinspect.challenge.master_pictures import Pictures, figure
from edgeinspect.files.html_report import heading, page, paragraph, rows, signatures, strip

_KINDS = {"passed": "good", "failed": "bad", "aborted": "bad"}


def report_html(record: Mapping[str, Any], pictures: Pictures | None = None) -> bytes:
    """The page of a record as ``ChallengeStore.read`` gives it; everything is escaped."""
    outcome = str(record["outcome"])
    results = record["results"]
    parts = [
        paragraph(f"{outcome.upper()}: {record['detail']}", kind=_KINDS.get(outcome, "")),
        rows(_head(record)),
        *_warnings(record),
        heading("Masters"),
        _masters(results) if results else paragraph("None was judged."),
        *_findings(results),
        *_pictures(results, pictures or {}),
        signatures("Operator, date", "Supervisor, date"),
    ]
    return page(f"Challenge {record['number']} of station {record['station']}", parts)


def _head(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    demanded = record["demanded_by"]
    reasons = [text for key, text in demanded.items() if key != "unfinished"]
    return [
        ("began", _time(record["began"])),
        ("ended", _time(record["ended"])),
        ("author", str(record["author"])),
        ("reason", str(record["reason"])),
        ("demanded by", "; ".join(reasons) or "nobody: it was run without being due"),
        ("product", f"{record['product']}, recipe revision {record['recipe_revision']}"),
        ("recipe digest", str(record["recipe_digest"])),
        ("bundle", str(record["bundle"])),
        ("masters", f"{record['masters_file']}, SHA-256 {record['masters_sha256']}"),
    ]


def _warnings(record: Mapping[str, Any]) -> list[str]:
    made = []
    if not record["confirm_wired"]:
        made.append(
            "No confirm sensor is wired: that the bad masters really fell into the reject chute "
            "was seen by nobody but the person who ran this challenge."
        )
    if record["simulated"]:
        made.append("This was a simulated line: nothing real has been proven.")
    if not record["began"]["synchronized"]:
        made.append("The station's clock did not follow a time server: the times may be wrong.")
    return [paragraph(text, kind="warn") for text in made]


def _masters(results: list[Mapping[str, Any]]) -> str:
    lines, marks = [], []
    for result in results:
        good = bool(result["good"])
        found = str(result["verdict"])
        found += f" ({result['reason']})" if result["reason"] else ""
        lines.append(
            (
                result["master"],
                result["description"],
                result["expected"],
                found,
                _score(result["score"]),
                _place(result["worst_region"] if result["verdict"] != "PASS" else None),
                str(result["gate_outcome"]).replace("_", " "),
                result["part_id"],
                "as expected" if good else "NOT as expected",
            )
        )
        marks.append([""] * 8 + ["g" if good else "b"])
    head = ("master", "", "expected", "found", "score", "worst spot", "gate", "part id", "")
    return rows(lines, head=head, numbers=(4, 7), marks=marks)


def _findings(results: list[Mapping[str, Any]]) -> list[str]:
    bad = [(result["master"], text) for result in results for text in result["findings"]]
    return [heading("Not as expected"), rows(bad, head=("master", ""))] if bad else []


def _pictures(results: list[Mapping[str, Any]], pictures: Pictures) -> list[str]:
    seen = [(result, pictures.get(int(result["part_id"]))) for result in results]
    figures = [figure(result, pixels) for result, pixels in seen if pixels is not None]
    if not figures:
        return []
    words = "Drawn through: the worst spot. Dashed: where the defect is known to be."
    if len(figures) < len(results):
        words += " Of parts that passed a sample is kept, so not every master is shown."
    return [heading("What the station saw"), strip(figures), paragraph(words, kind="quiet")]


def _time(moment: Mapping[str, Any]) -> str:
    wall = datetime.datetime.fromisoformat(str(moment["wall"]))
    return f"{wall:%Y-%m-%d %H:%M:%S} UTC"


def _score(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float | int) else ""


def _place(region: Mapping[str, int] | None) -> str:
    if region is None:
        return ""
    return f"x {region['x']}, y {region['y']}, {region['width']} × {region['height']} px"
