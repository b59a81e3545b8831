"""Notices that nothing passes: a station that inspects, and rejects every part for one reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass

from edgeinspect.part import Doubt, GateOutcome, PartRecord

PARTS_IN_A_ROW = 10
FOR_NS = 10_000_000_000
_ASKED_FOR = (Doubt.PAUSED, Doubt.LOCKED, Doubt.STOPPED)
"""Reasons with which parts are rejected on purpose, as the station's state already shows."""
_MAX_DETAIL_CHARACTERS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingPasses:
    """A run of parts that did not pass.

    Attributes:
        parts: number of parts in a row that did not pass.
        seconds: from the first of them to the last.
        reason: the most frequent reason; for good parts, the gate's outcome.
        share: share of the parts that have this reason.
        detail: of the last part with this reason.
    """

    parts: int
    seconds: float
    reason: str
    share: float
    detail: str

    @property
    def cause(self) -> str:
        """Why, as a sentence that stays the same while it lasts."""
        words = self.reason.replace("_", " ")
        return f"{words}: {self.detail}" if self.detail else words

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


class PassWatch:
    """Counts the parts since the last one that passed. For one thread."""

    def __init__(self) -> None:
        self._recipe_digest = ""
        self._begin()

    def _begin(self) -> None:
        self._reasons: Counter[str] = Counter()
        self._details: dict[str, str] = {}
        self._first_mono_ns = 0
        self._last_mono_ns = 0

    def note(self, record: PartRecord) -> None:
        """Count a finished part. A part that passes, or another recipe, restarts the count."""
        if record.recipe_digest != self._recipe_digest:
            self._recipe_digest = record.recipe_digest
            self._begin()
        if record.gate_outcome is GateOutcome.PASSED:
            self._begin()
            return
        if record.verdict.doubt in _ASKED_FOR:
            return
        if not self._reasons:
            self._first_mono_ns = record.trigger_mono_ns
        self._last_mono_ns = max(record.trigger_mono_ns, self._last_mono_ns)
        reason = record.verdict.reason or record.gate_outcome.value
        self._reasons[reason] += 1
        self._details[reason] = record.verdict.detail[:_MAX_DETAIL_CHARACTERS]

    @property
    def found(self) -> NothingPasses | None:
        """Return None while there are too few parts, or too little time, to judge."""
        parts = self._reasons.total()
        lasted_ns = self._last_mono_ns - self._first_mono_ns
        if parts < PARTS_IN_A_ROW or lasted_ns < FOR_NS:
            return None
        reason, count = self._reasons.most_common(1)[0]
        return NothingPasses(
            parts=parts,
            seconds=lasted_ns / 1e9,
            reason=reason,
            share=count / parts,
            detail=self._details[reason],
        )
