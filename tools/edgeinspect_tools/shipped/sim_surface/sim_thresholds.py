"""Reducer and default thresholds from validation parts, never from the held-out ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeinspect_tools.shipped.sim_surface.sim_metrics import CLAIMED_SIZE_PX, SeenPart

RANKS = (1, 2, 4)
"""Candidates: the k-th largest cell decides; 1 is the maximum."""

_LOGITS = np.arange(-96, 97) / 16.0
_MISS_WORTH = 1 / 0.01
_SMALL_MISS_WORTH = 1 / 0.30
_FALSE_REJECT_WORTH = 1 / 0.003
_REJECT_ABOVE_REVIEW = 1.0
"""In logits: between the two a person should look."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What validation chose.

    Attributes:
        rank: k of the k-th largest.
        review, reject: scores, the same for every class.
        cost: what the choice minimizes; see ``choose``.
    """

    rank: int
    review: float
    reject: float
    cost: float


def choose(seen: Sequence[SeenPart]) -> Choice:
    """The rank and review threshold of least cost; the middle of the range where several are.

    cost = missed share of defects of 4 px or more / 0.01 + of smaller ones / 0.30
         + share of good parts not passed / 0.003
    """
    best: tuple[float, int, float] | None = None
    for rank in RANKS:
        costs = np.array([cost(seen, rank, _sigmoid(logit)) for logit in _LOGITS])
        lowest = float(costs.min())
        flat = _LOGITS[costs <= lowest + 1e-9]
        if best is None or lowest < best[0] - 1e-9:
            best = (lowest, rank, float(np.median(flat)))
    assert best is not None
    lowest, rank, logit = best
    return Choice(
        rank=rank,
        review=round(_sigmoid(logit), 4),
        reject=round(_sigmoid(logit + _REJECT_ABOVE_REVIEW), 4),
        cost=round(lowest, 3),
    )


def cost(seen: Sequence[SeenPart], rank: int, threshold: float) -> float:
    """See ``choose``."""
    good, large, small = _views(seen, rank)
    return (
        _MISS_WORTH * _share(large < threshold)
        + _SMALL_MISS_WORTH * _share(small < threshold)
        + _FALSE_REJECT_WORTH * _share(good >= threshold)
    )


def with_rank(seen: Sequence[SeenPart], rank: int) -> list[SeenPart]:
    """The same parts as the k-th largest reducer would score them."""
    return [
        replace(part, scores=tuple(ranks[rank] for ranks in part.scores_by_rank)) for part in seen
    ]


def _views(
    seen: Sequence[SeenPart], rank: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Deciding scores: of good parts; of large and of small defects, capped by their part's."""
    good: list[float] = []
    large: list[float] = []
    small: list[float] = []
    for part in seen:
        top = max(ranks[rank] for ranks in part.scores_by_rank)
        if not part.defects:
            good.append(top)
        for defect in part.defects:
            chosen = large if defect.size_px >= CLAIMED_SIZE_PX else small
            chosen.append(min(top, max(defect.local_scores)))
    return np.array(good), np.array(large), np.array(small)


def _share(where: NDArray[np.bool_]) -> float:
    return float(where.mean()) if where.size else 0.0


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
