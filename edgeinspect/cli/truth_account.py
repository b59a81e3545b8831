"""The truth account for people: what was put on the belt, set against what the station did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgeinspect.terminal.output import table

_LINES = (
    ("parts", "put on the belt", False),
    ("defective", "of them with a defect", False),
    ("escapes", "defective parts that left the line", True),
    ("wrongly_passed", "left without a verdict that allows it", True),
    ("judged_unsteady", "judged although the belt did not have its speed", True),
    ("false_rejects", "good parts rejected for what was seen", False),
    ("review", "between the two thresholds", False),
    ("cannot_inspect", "could not be inspected, so rejected", False),
    ("late", "of them too late", False),
    ("lost", "triggers or parts that the station lost", True),
    ("swapped", "judged by another part's picture, or an old one", True),
    ("out_of_view", "judged by a picture taken before or after the view", True),
    ("duplicated", "recorded or judged twice", True),
    ("mislocated", "judged at another encoder count", True),
    ("unaccounted", "without a record and without a reason", True),
    ("acknowledged_lost", "called durable, and in no file", True),
    ("untriggered_passed", "never seen by the trigger, and passed", False),
    ("recalled", "taken off the outfeed by the operator", False),
)
"""Field, what it means, and whether anything but 0 is bad."""


def account_table(account: Mapping[str, Any], *, title: str = "Truth account") -> RenderableType:
    """The counts that matter, in words; bad ones in red, good zeros in green."""
    rows = []
    for name, meaning, must_be_zero in _LINES:
        value = account.get(name)
        if value is None or (not value and name in ("untriggered_passed", "recalled")):
            continue
        style = ("green" if not value else "bold red") if must_be_zero else ""
        rows.append((Text(f"{value:,}", style), Text(name.replace("_", " "), style), meaning))
    shown = table(("parts", "count", "meaning"), rows, title=title, right=("parts",))
    counted = [
        f"{title}: " + ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in counts.items())
        for title, counts in (
            ("Could not inspect", account.get("doubts")),
            ("Injected faults", account.get("faults")),
            ("Alarms", account.get("alarms")),
            ("Line stops", account.get("line_stops")),
        )
        if counts
    ]
    findings = [Text(f"! {finding}", "red") for finding in account.get("findings", ())]
    return Group(shown, *(Text(line, "dim") for line in counted), *findings)
