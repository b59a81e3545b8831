"""A challenge's record as one HTML page that prints on paper."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from edgeinspect.challenge.master_pictures import Pictures, master_picture
from edgeinspect.files.html_report import render

_KINDS = {"passed": "good", "failed": "bad", "aborted": "bad"}


def report_html(record: Mapping[str, Any], pictures: Pictures | None = None) -> bytes:
    """Make the page of a record as ``ChallengeStore.read`` returns it."""
    kept = pictures or {}
    results = record["results"]
    seen = [(result, kept.get(int(result["part_id"]))) for result in results]
    return render(
        "edgeinspect/challenge/challenge_report.html",
        record=record,
        kind=_KINDS.get(str(record["outcome"]), ""),
        facts=_facts(record),
        findings=[(result["master"], text) for result in results for text in result["findings"]],
        pictures=[master_picture(result, pixels) for result, pixels in seen if pixels is not None],
        score=_score,
    )


def _facts(record: Mapping[str, Any]) -> list[tuple[str, object]]:
    demanded = record["demanded_by"]
    reasons = [text for key, text in demanded.items() if key != "unfinished"]
    return [
        ("began", _time(record["began"])),
        ("ended", _time(record["ended"])),
        ("author", record["author"]),
        ("reason", record["reason"]),
        ("required by", "; ".join(reasons) or "none: it was run voluntarily"),
        ("product", f"{record['product']}, recipe revision {record['recipe_revision']}"),
        ("recipe digest", record["recipe_digest"]),
        ("bundle", record["bundle"]),
        ("masters", f"{record['masters_file']}, SHA-256 {record['masters_sha256']}"),
    ]


def _time(moment: Mapping[str, Any]) -> str:
    wall = datetime.datetime.fromisoformat(str(moment["wall"]))
    return f"{wall:%Y-%m-%d %H:%M:%S} UTC"


def _score(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float | int) else ""
