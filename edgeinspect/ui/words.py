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
    return Text(kind.value.replace("_", " "), VERDICT_STYLE[kind])
