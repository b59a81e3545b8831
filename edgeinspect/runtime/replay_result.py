"""What a replay finds: the result for each picture, and the counts of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeinspect.part import PartRecord, ScoreMap


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The station's result for one picture.

    Attributes:
        file: relative to the folder, with forward slashes.
        top_class: of the inspection; "" if there was none.
        top_score: of the inspection; 0 if there was none.
        score_map: the score map, if maps were requested.
    """

    file: str
    record: PartRecord
    top_class: str
    top_score: float
    score_map: ScoreMap | None = None

    @property
    def class_name(self) -> str:
        """The class that decided, else the one that the model sees first."""
        return self.record.verdict.defect_class or self.top_class

    @property
    def score(self) -> float:
        """The score of ``class_name``."""
        verdict = self.record.verdict
        return verdict.score if verdict.defect_class else self.top_score


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySummary:
    """The counts of a whole replay.

    Attributes:
        reasons: CANNOT_INSPECT by doubt, REJECT and REVIEW by class.
        elapsed_s: wall time from the first picture to the last verdict.
    """

    pictures: int
    verdicts: Mapping[str, int]
    reasons: Mapping[str, int]
    gate_outcomes: Mapping[str, int]
    elapsed_s: float

    @property
    def parts_per_min(self) -> float:
        """Parts per minute of wall time."""
        return 60 * self.pictures / self.elapsed_s if self.elapsed_s else 0.0
