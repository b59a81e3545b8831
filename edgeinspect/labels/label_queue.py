"""Which recorded parts are the most useful to label next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeinspect.labels.label_store import Label, LabelKind
from edgeinspect.line.config import ClassThresholds
from edgeinspect.records.judge_many import judge_many
from edgeinspect.records.score_table import PASS, VERDICTS, ScoreColumns

NEAR, DISAGREES, RARE = "near a threshold", "verdict and label disagree", "rare class"
_REASONS = (NEAR, DISAGREES, RARE)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A part to label.

    Attributes:
        reason: why its label is useful.
        verdict: the recorded verdict.
        defect_class: the class that decided, or the one with the highest score.
        score: score of that class.
        distance: how far that score is from its nearest threshold.
    """

    part_id: int
    reason: str
    verdict: str
    defect_class: str
    score: float
    distance: float


def label_queue(
    columns: ScoreColumns,
    thresholds: Sequence[ClassThresholds],
    labels: Mapping[int, Label],
    *,
    pictured: Collection[int],
    limit: int,
) -> list[Wanted]:
    """Choose the parts whose labels are the most useful, among those with a picture.

    Three kinds take turns: the unlabelled part nearest to a threshold; the labelled part whose
    verdict and label disagree most clearly, which is a wrong label or a blind spot, unless somebody
    has labelled it unsure; and an unlabelled reject of the class with the fewest rejects.

    Args:
        columns: the recorded scores.
        thresholds: the thresholds, in the order of the columns' classes.
        labels: the newest label of each labelled part.
        pictured: ids of the parts whose picture is kept.
        limit: how many parts to choose at most.
    """
    seen = np.isin(columns.part_ids, list(pictured))
    scores = np.nan_to_num(columns.scores[seen], nan=1.0)
    ids, verdicts = columns.part_ids[seen], columns.verdicts[seen]
    if not len(ids):
        return []
    limits = np.array([[limit_.review, limit_.reject] for limit_ in thresholds]).T
    distance = np.abs(scores[:, :, None] - limits.T[None]).min(axis=2)
    nearest = distance.argmin(axis=1)
    near = distance.min(axis=1)
    _, deciding = judge_many(scores, thresholds)
    deciding = np.where(deciding >= 0, deciding, scores.argmax(axis=1))
    unlabelled = ~np.isin(ids, list(labels))
    queues = {
        NEAR: [int(i) for i in np.argsort(near, kind="stable") if unlabelled[i]],
        DISAGREES: _disagreeing(ids, verdicts, near, labels),
        RARE: _rare(verdicts, deciding, unlabelled),
    }
    taken: dict[int, str] = {}
    while len(taken) < limit and any(queues.values()):
        for reason in _REASONS:
            queue = queues[reason]
            while queue and queue[0] in taken:
                queue.pop(0)
            if queue and len(taken) < limit:
                taken[queue.pop(0)] = reason
    return [
        Wanted(
            part_id=int(ids[i]),
            reason=reason,
            verdict=VERDICTS[verdicts[i]].value,
            defect_class=columns.classes[
                column := int(nearest[i] if reason == NEAR else deciding[i])
            ],
            score=float(scores[i, column]),
            distance=float(distance[i, column]),
        )
        for i, reason in taken.items()
    ]


def _disagreeing(
    ids: np.ndarray, verdicts: np.ndarray, near: np.ndarray, labels: Mapping[int, Label]
) -> list[int]:
    """Parts whose verdict contradicts their label, the clearest first."""
    found = []
    for i, part_id in enumerate(ids.tolist()):
        label = labels.get(part_id)
        if label is not None:
            passed = verdicts[i] == PASS
            wrong = {LabelKind.GOOD: not passed, LabelKind.DEFECTIVE: passed}
            if wrong.get(label.kind, False):
                found.append(i)
    return sorted(found, key=lambda i: -near[i])


def _rare(verdicts: np.ndarray, deciding: np.ndarray, unlabelled: np.ndarray) -> list[int]:
    """Unlabelled parts that did not pass, those of the rarest class first."""
    diverted = [int(i) for i in np.flatnonzero(verdicts != PASS)]
    counts = Counter(int(deciding[i]) for i in diverted)
    return sorted(
        (i for i in diverted if unlabelled[i]), key=lambda i: (counts[int(deciding[i])], i)
    )
