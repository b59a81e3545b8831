"""The stored parts that thresholds are tried on: their predicted verdicts and their labels.

Pure functions and arrays. A million parts of five classes take 60 MB, and moving a threshold
compares one class's scores again, not all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeinspect.labels.label_store import Label, label_codes
from edgeinspect.line.config import ClassThresholds
from edgeinspect.records.score_table import PASS, REJECT, REVIEW, VERDICTS
from edgeinspect.tune.whatif import Outcome, Share

MAX_PARTS = 1_000_000
_MAX_CELLS = 10_000_000
"""Scores that are kept at most, 8 bytes each: 80 MB."""

Codes = NDArray[np.uint8]
"""Verdicts by their place in ``edgeinspect.records.score_table.VERDICTS``, shape (parts,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Parts that got a verdict from their scores, ascending by id.

    Attributes:
        part_ids: int64, shape (parts,).
        scores: float64, (parts, classes), [0, 1].
        doubts: parts beside these that could not be inspected; no threshold changes them.
    """

    part_ids: NDArray[np.int64] = field(repr=False)
    scores: NDArray[np.float64] = field(repr=False)
    doubts: int = 0

    def __len__(self) -> int:
        return int(self.part_ids.size)

    @property
    def last_part_id(self) -> int:
        """0 if there are none."""
        return int(self.part_ids[-1]) if len(self) else 0


def no_parts(classes: int) -> Parts:
    """Return an empty set of parts for this number of classes."""
    return Parts(part_ids=np.zeros(0, np.int64), scores=np.zeros((0, classes)))


def room_for(classes: int) -> int:
    """How many parts are kept in memory."""
    return max(1, min(MAX_PARTS, _MAX_CELLS // max(1, classes)))


def sound(part_ids: NDArray[np.int64], scores: NDArray[np.float64], *, doubts: int) -> Parts:
    """The parts whose scores are numbers in [0, 1]; the others count as doubts."""
    with np.errstate(invalid="ignore"):
        good = ((scores >= 0) & (scores <= 1)).all(axis=1)
    return Parts(part_ids=part_ids[good], scores=scores[good], doubts=doubts + int((~good).sum()))


def joined(old: Parts, new: Parts) -> Parts:
    """With those of ``new`` that ``old`` lacks; beyond ``room_for`` parts the oldest are let go.

    The doubts are those of ``new``, which counts all there are.
    """
    fresh = ~np.isin(new.part_ids, old.part_ids[-4 * len(new) - 1000 :])
    room = room_for(old.scores.shape[1])
    ids = np.concatenate((old.part_ids, new.part_ids[fresh]))
    scores = np.concatenate((old.scores, new.scores[fresh]))
    if fresh.any() and new.part_ids[fresh][0] < old.last_part_id:
        order = np.argsort(ids, kind="stable")
        ids, scores = ids[order], scores[order]
    return Parts(part_ids=ids[-room:], scores=scores[-room:], doubts=new.doubts)


def class_codes(scores: NDArray[np.float64], limit: ClassThresholds) -> Codes:
    """What one class alone says of each part; ``scores`` of shape (parts,)."""
    codes = np.where(scores >= limit.reject, np.uint8(REJECT), np.uint8(PASS))
    codes[(codes == PASS) & (scores >= limit.review)] = REVIEW
    return np.asarray(codes, np.uint8)


def codes_of(
    parts: Parts, thresholds: Sequence[ClassThresholds], *, without: int | None = None
) -> Codes:
    """The verdict of each part: the worst that any class says of it.

    Equal to ``edgeinspect.records.judge_many`` on sound scores (a property test holds it), but in
    one pass a class, so that a class can be left out and added again.

    Args:
        parts: the parts with their scores.
        thresholds: the thresholds of each class.
        without: index of a class to leave out.
    """
    found = np.full(len(parts), PASS, np.uint8)
    for index, limit in enumerate(thresholds):
        if index != without:
            np.maximum(found, class_codes(parts.scores[:, index], limit), out=found)
    return found


def outcome(
    codes: Codes,
    good: NDArray[np.bool_],
    defective: NDArray[np.bool_],
    *,
    doubts: int,
    review_passes: bool,
) -> Outcome:
    """Count verdicts and, for labelled parts, mistakes; rejects are not split by class.

    Args:
        codes: the verdict of each part.
        good: whether each part is labelled good; bool, shape (parts,).
        defective: whether each part is labelled defective; likewise.
        doubts: the number of parts that could not be inspected.
        review_passes: the gate lets REVIEW through (the station file's ``review_action``).
    """
    tally = np.bincount(codes, minlength=len(VERDICTS))
    delivered = codes <= (REVIEW if review_passes else PASS)
    return Outcome(
        passed=int(tally[PASS]),
        reviews=int(tally[REVIEW]),
        rejects=int(tally[REJECT]),
        cannot_inspect=doubts,
        delivered=int(delivered.sum()),
        rejects_by_class={},
        escapes=Share(count=int((defective & delivered).sum()), of=int(defective.sum())),
        false_rejects=Share(count=int((good & ~delivered).sum()), of=int(good.sum())),
    )


def histogram(scores: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """How many parts have each score: int64, shape (bins,), over [0, 1]."""
    at = np.minimum((scores * bins).astype(np.int64), bins - 1)
    return np.bincount(at, minlength=bins)


class Evidence:
    """Parts and labels, and the verdicts under any thresholds.

    Attributes:
        parts: see ``Parts``.
        labels: the label that counts, by part id.
        good, defective: whether each part is labelled defective; likewise.
    """

    def __init__(self, parts: Parts, labels: Mapping[int, Label]) -> None:
        self.parts = parts
        self.labels = dict(labels)
        self.good, self.defective = label_codes(parts.part_ids, self.labels)
        self._rest: tuple[object, Codes] | None = None

    def add(self, new: Parts) -> int:
        """More parts; those that are there already are passed over. Returns how many came."""
        before = self.parts
        self.parts = joined(before, new)
        self.good, self.defective = label_codes(self.parts.part_ids, self.labels)
        self._rest = None
        return len(self.parts) - len(before)

    def put_label(self, label: Label) -> None:
        """A part was labelled, or labelled again."""
        self.labels[label.part_id] = label
        self.good, self.defective = label_codes(self.parts.part_ids, self.labels)

    def codes(self, thresholds: Sequence[ClassThresholds], moving: int) -> Codes:
        """The verdict of each part; only class ``moving`` is compared again if the rest stayed."""
        rest = tuple(limit for index, limit in enumerate(thresholds) if index != moving)
        key = (moving, rest)
        if self._rest is None or self._rest[0] != key:
            self._rest = (key, codes_of(self.parts, thresholds, without=moving))
        mine = class_codes(self.parts.scores[:, moving], thresholds[moving])
        return np.maximum(mine, self._rest[1])

    def outcome(self, codes: Codes, *, review_passes: bool) -> Outcome:
        """Count the outcome of these verdicts."""
        return outcome(
            codes,
            self.good,
            self.defective,
            doubts=self.parts.doubts,
            review_passes=review_passes,
        )
