"""Verdicts of very many parts at once: ``edgeinspect.line.verdict.judge_scores`` over arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import UsageError
from edgeinspect.line.config import ClassThresholds
from edgeinspect.line.scores import ORDER_STATISTIC_RANKS, ReducerKind
from edgeinspect.records.score_table import CANNOT_INSPECT, PASS, REJECT, REVIEW

_RANKS = np.array(ORDER_STATISTIC_RANKS)


def judge_many(
    scores: NDArray[np.float64], thresholds: Sequence[ClassThresholds]
) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Judge many parts by their scores.

    Args:
        scores: shape (parts, classes), [0, 1], columns in the order of ``thresholds``.
        thresholds: the thresholds of each class.

    Returns:
        The verdicts as codes of ``score_table.VERDICTS``, uint8, shape (parts,), and the columns
        that decided them, -1 for PASS and CANNOT_INSPECT. Scores that are not numbers in [0, 1]
        give CANNOT_INSPECT, as on the line.
    """
    if scores.ndim != 2 or scores.shape[1] != len(thresholds) or not thresholds:
        raise ValueError(f"scores of shape {scores.shape} for {len(thresholds)} classes")
    codes = np.full(len(scores), PASS, np.uint8)
    deciding = np.full(len(scores), -1, np.intp)
    for code, limits in (
        (REVIEW, [limit.review for limit in thresholds]),
        (REJECT, [limit.reject for limit in thresholds]),
    ):
        over = scores >= np.array(limits)
        hit = over.any(axis=1)
        codes[hit] = code
        deciding[hit] = np.where(over[hit], scores[hit], -np.inf).argmax(axis=1)
    with np.errstate(invalid="ignore"):
        sound = ((scores >= 0.0) & (scores <= 1.0)).all(axis=1)
    codes[~sound] = CANNOT_INSPECT
    deciding[~sound] = -1
    return codes, deciding


def reduce_again(
    order_statistics: NDArray[np.float32], kind: ReducerKind, k: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds of the scores that another reducer would have made of the score maps.

    The recorded ranks are exact to float32. A rank between two of them is bounded by both.

    Args:
        order_statistics: shape (parts, classes, ranks), see ``ORDER_STATISTIC_RANKS``. Maps have
            at least ``k`` cells.
        kind: the kind of the other reducer.
        k: its rank or number of cells.

    Returns:
        The lower and the upper bounds, each of shape (parts, classes); NaN where nothing was
        recorded.

    Raises:
        UsageError: no ranks were recorded, or not up to this k.
    """
    if order_statistics.shape[2] != len(_RANKS):
        raise UsageError(
            "These parts were recorded without order statistics of the score map, so another "
            "reducer cannot be tried.",
            next_action="Inspect their pictures again with --pictures.",
        )
    if not 1 <= k <= _RANKS[-1]:
        raise UsageError(
            f"The reducer's k is {k}, but order statistics are recorded only up to rank "
            f"{_RANKS[-1]}.",
            next_action="Use a smaller k, or inspect the pictures again with --pictures.",
        )
    low = np.nextafter(order_statistics, np.float32(-1)).astype(np.float64).clip(0, 1)
    high = np.nextafter(order_statistics, np.float32(2)).astype(np.float64).clip(0, 1)
    if kind is ReducerKind.MEAN_TOP_K:
        below, above = _weights(k)
        return low @ below, high @ above
    rank = 1 if kind is ReducerKind.MAX else k
    return low[:, :, _RANKS.searchsorted(rank)], high[:, :, _RANKS.searchsorted(rank, "right") - 1]


def _weights(k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight of each recorded rank in the lower and upper bound of the mean of the k largest."""
    places = np.arange(1, k + 1)
    below = np.bincount(_RANKS.searchsorted(places), minlength=len(_RANKS))
    above = np.bincount(_RANKS.searchsorted(places, "right") - 1, minlength=len(_RANKS))
    return below / k, above / k
