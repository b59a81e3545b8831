"""Takes the station's own decisions in an agreement study from its records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from edgeinspect.errors import UsageError
from edgeinspect.part import GateOutcome
from edgeinspect.records.reader import StoredPart
from edgeinspect.study.study import BAD, GOOD
from edgeinspect.study.study_file import Row


def decision_of(part: StoredPart) -> int:
    """Return what the station did with the part: GOOD if the gate let it pass, else BAD."""
    return GOOD if part.record.gate_outcome is GateOutcome.PASSED else BAD


def fill_in(rows: Sequence[Row], parts: Iterable[StoredPart], *, appraiser: str) -> list[Row]:
    """Fill the records, in the order of their part ids, into the appraiser's open lines.

    The parts must have passed the line in the order of the sheet, with one record each.

    Raises:
        UsageError: there are not exactly as many records as open lines, or more than one recipe
            was in force.
    """
    recorded = list(parts)
    open_at = [
        at for at, row in enumerate(rows) if row.appraiser == appraiser and row.decision is None
    ]
    if not open_at:
        raise UsageError(
            f"The sheet has no undecided lines for {appraiser}.",
            next_action="Give the station's appraiser name with --appraiser.",
        )
    if len(recorded) != len(open_at):
        raise UsageError(
            f"{len(open_at)} decisions of {appraiser} are missing, but {len(recorded)} parts were "
            "recorded in that range.",
            next_action="Give the first and the last part id with --from and --to. If a part was "
            "seen twice or not at all, run it and the parts after it again.",
        )
    if len({part.record.recipe_digest for part in recorded}) > 1:
        raise UsageError(
            "The recipe changed between these parts, so their verdicts cannot be compared.",
            next_action="Run the station's trials again with one recipe.",
        )
    filled = list(rows)
    for at, part in zip(open_at, recorded, strict=True):
        filled[at] = replace(filled[at], decision=decision_of(part))
    return filled
