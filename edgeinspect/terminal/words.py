"""The words and colours of verdicts, the same in every table and screen."""

from __future__ import annotations

from rich.text import Text

from edgeinspect.part import VerdictKind

VERDICT_STYLE = {
    VerdictKind.PASS: "green",
    VerdictKind.REJECT: "bold red",
    VerdictKind.REVIEW: "yellow",
    VerdictKind.CANNOT_INSPECT: "magenta",
}


def verdict_text(kind: VerdictKind) -> Text:
    """Return the verdict as coloured text."""
    return Text(kind.value.replace("_", " "), VERDICT_STYLE[kind])


LATE_ADVICE = {
    "frame": "The camera delivered the picture too late. Check frame rate and exposure with: "
    "edgeinspect camera stream-check",
    "inference": "The model did not finish in time. See queue_and_hops and invoke in: edgeinspect "
    "status. Use a smaller region, fewer tiles or more distance between parts.",
    "release": "The verdict was in time but reached the gate too late, because the machine is too "
    "busy. Raise gate.decision_margin_ms, or give the pulse thread its own core (gate.pulse_core).",
}
"""What to do about a late part, by the first word of its detail."""


def late_advice(detail: str) -> str:
    """Return advice for the technician; empty if the record does not name the delay."""
    return LATE_ADVICE.get(detail.partition(":")[0], "")
