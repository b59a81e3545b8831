"""The truth account: compares the parts on the belt with what the station did to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgeinspect.terminal.output import table

_LINES = (
    ("parts", "put on the belt", False),
    ("defective", "of these, parts with a defect", False),
    ("escapes", "defective parts that passed", True),
    ("wrongly_passed", "passed without a verdict that allows it", True),
    ("judged_unsteady", "judged while the belt was not at its set speed", True),
    ("false_rejects", "good parts rejected because of their score", False),
    ("review", "scored between the two thresholds", False),
    ("cannot_inspect", "not inspected, so rejected", False),
    ("late", "of these, too late", False),
    ("lost", "triggers or parts that the station lost", True),
    ("swapped", "judged by a picture of another part, or by an old one", True),
    ("out_of_view", "judged by a picture taken before or after the part was in view", True),
    ("duplicated", "recorded or judged twice", True),
    ("mislocated", "judged at the wrong encoder count", True),
    ("unaccounted", "without a record or a reason", True),
    ("acknowledged_lost", "acknowledged as stored, but in no file", True),
    ("untriggered_passed", "never seen by the trigger, and passed", False),
    ("recalled", "removed from the outfeed by the operator", False),
)
"""Field, meaning, and whether any value except 0 is bad."""


def account_table(account: Mapping[str, Any], *, title: str = "Truth account") -> RenderableType:
    """Return the account as a table: bad counts in red, good zeros in green."""
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
