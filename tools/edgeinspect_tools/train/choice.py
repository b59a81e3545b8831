"""Reducer and thresholds, chosen on validation pictures and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgeinspect.line.scores import ReducerKind
from edgeinspect_tools.statistics import auroc, auroc_loss_error
from edgeinspect_tools.train.maps import RANKS, Seen

_ESCAPE_COST = 5.0
"""An escape costs as much as this many false rejects, where validation must choose."""

_NOTHING_TO_CHOOSE_ON = 0.5
_REVIEW_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Reducer and thresholds for the bundle's card.

    Attributes:
        kind, k: of the reducer.
        review, reject: thresholds on the reduced score, for every class.
        auroc: on validation; None where it has only good or only defective pictures.
        good, defective: how many pictures the choice rests on.
    """

    kind: ReducerKind
    k: int
    review: float
    reject: float
    auroc: float | None
    good: int
    defective: int


Reducer = tuple[ReducerKind, int]
"""What makes one score of a score map: its kind and its k."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A picture and its score by every reducer that a method can use.

    Attributes:
        index: of its true defect class; None if it is good.
        scores: in [0, 1], the highest over the defect classes. Every picture of a method has the
            same reducers in the same order, and the maximum comes first.
    """

    index: int | None
    scores: Mapping[Reducer, float]


def scored_map(seen: Seen) -> Scored:
    """A score map's picture: by its maximum, and by its k highest cells for every rank."""
    scores: dict[Reducer, float] = {(ReducerKind.MAX, 1): float(seen.ranked[:, 0].max())}
    for column, k in enumerate(RANKS[1:], start=1):
        scores[ReducerKind.KTH_LARGEST, k] = float(seen.ranked[:, column].max())
        scores[ReducerKind.MEAN_TOP_K, k] = float(seen.top_means[:, column].max())
    return Scored(seen.index, scores)


@dataclass(frozen=True, slots=True)
class _Ranking:
    """How well a reducer ranks: scores of the bad and the good pictures, and ``gap`` between."""

    kind: ReducerKind
    k: int
    bad: list[float]
    good: list[float]
    auroc: float
    gap: float

    @classmethod
    def of(
        cls, kind: ReducerKind, k: int, scores: NDArray[np.float64], *, bad: NDArray[np.bool_]
    ) -> Self:
        of_bad, of_good = scores[bad].tolist(), scores[~bad].tolist()
        return cls(
            kind=kind,
            k=k,
            bad=of_bad,
            good=of_good,
            auroc=round(auroc(of_bad, of_good), 6),
            gap=float(np.quantile(of_bad, 0.05) - np.quantile(of_good, 0.99)),
        )

    def leads_by_chance(self, other: Self) -> bool:
        """Whether its lead is within the standard error of the difference."""
        error = auroc_loss_error((self.bad, other.bad), (self.good, other.good)) or 0.0
        return self.auroc - other.auroc <= error


def choose(scored: Sequence[Scored]) -> Choice:
    """The reducer that ranks defective above good best, and thresholds for it.

    Of reducers that rank equally well, the one with the widest gap between the kinds is taken.
    The maximum is taken unless another leads it by more than the standard error of their
    difference: a lead within that is of these pictures, not of the product. Without both kinds
    nothing can be ranked: the maximum and a threshold of one half.
    """
    bad = np.array([one.index is not None for one in scored], np.bool_)
    good_count, bad_count = int((~bad).sum()), int(bad.sum())
    if not good_count or not bad_count:
        nothing = np.empty(0)
        review, reject = thresholds(nothing, nothing)
        return Choice(
            kind=ReducerKind.MAX,
            k=1,
            review=review,
            reject=reject,
            auroc=None,
            good=good_count,
            defective=bad_count,
        )
    tried = [
        _Ranking.of(*reducer, np.array([one.scores[reducer] for one in scored]), bad=bad)
        for reducer in scored[0].scores
    ]
    largest = tried[0]
    best = max(tried, key=lambda one: (one.auroc, one.gap))
    if best.auroc > largest.auroc and best.leads_by_chance(largest):
        best = largest
    review, reject = thresholds(np.array(best.good), np.array(best.bad))
    return Choice(
        kind=best.kind,
        k=best.k,
        review=review,
        reject=reject,
        auroc=best.auroc,
        good=good_count,
        defective=bad_count,
    )


def thresholds(good: NDArray[np.float64], bad: NDArray[np.float64]) -> tuple[float, float]:
    """Review and reject threshold for scores of good and defective pictures.

    Reject lies where five times the rate of escapes plus the rate of false rejects is lowest;
    among equals in the middle of the widest gap between scores. Review lies at the lowest
    defective score, but not below half of reject. With one kind missing: a half and a quarter.
    """
    if not len(good) or not len(bad):
        return _NOTHING_TO_CHOOSE_ON * _REVIEW_SHARE, _NOTHING_TO_CHOOSE_ON
    levels = np.unique(np.concatenate([[0.0], good, bad, [1.0]]))
    middles = (levels[1:] + levels[:-1]) / 2
    missed = np.searchsorted(np.sort(bad), middles) / len(bad)
    alarmed = 1 - np.searchsorted(np.sort(good), middles) / len(good)
    cost = _ESCAPE_COST * missed + alarmed
    cheapest = np.flatnonzero(cost <= cost.min() + 1e-9)
    widest = int(cheapest[np.diff(levels)[cheapest].argmax()])
    reject = float(middles[widest])
    review = min(reject, max(float(bad.min()), _REVIEW_SHARE * reject))
    return round(review, 4), round(max(reject, review), 4)
