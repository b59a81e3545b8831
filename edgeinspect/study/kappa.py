"""Agreement beyond chance: Cohen's and Fleiss' kappa with intervals over parts.

A part is decided on several times, and decisions on the same part are not independent. So the
intervals treat parts, not decisions, as the sample: a delete-one-part jackknife (Efron 1982; for
kappa Fleiss and Davies 1982) with Student's t. If nobody ever disagreed, the jackknife has no
spread to work with; the lower end then comes from the exact bound of the share of parts on which
all agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kappa:
    """One agreement coefficient.

    Attributes:
        value: (observed - expected) / (1 - expected), at most 1; NaN if every decision was the
            same, so that chance alone explains the agreement.
        low: lower end of the interval; NaN if there are too few parts of one kind.
        high: upper end of the interval; NaN likewise.
        observed: observed agreement in [0, 1].
        expected: agreement expected by chance, in [0, 1].
    """

    value: float
    low: float
    high: float
    observed: float
    expected: float


def cohen_kappa(tables: Counts, *, confidence: float = 0.95) -> Kappa:
    """Compute Cohen's kappa (1960) of two appraisers who decided on the same parts.

    Args:
        tables: one cross table for each part, shape (parts, categories, categories): how often
            the first said i while the second said j.
        confidence: of the interval.

    Raises:
        ValueError: the shape is wrong, or there are no decisions.
    """
    if tables.ndim != 3 or tables.shape[1] != tables.shape[2] or tables.sum() == 0:
        raise ValueError(f"no cross tables: shape {tables.shape}, {tables.sum()} decisions")
    total = tables.sum(axis=0)
    rest = total[None] - tables
    observed, expected = _cohen_agreement(total[None])
    values = _beyond_chance(*_cohen_agreement(rest))
    agreed = int((np.trace(tables, axis1=1, axis2=2) == tables.sum(axis=(1, 2))).sum())
    return _with_interval(float(observed[0]), float(expected[0]), values, agreed, confidence)


def fleiss_kappa(counts: Counts, *, confidence: float = 0.95) -> Kappa:
    """Compute Fleiss' kappa (1971) of several decisions on each part.

    Args:
        counts: how often each category was chosen for each part, shape (parts, categories); all
            rows have the same sum, at least 2.
        confidence: of the interval.

    Raises:
        ValueError: the rows' sums differ or are too small.
    """
    sums = counts.sum(axis=1) if counts.ndim == 2 and len(counts) else np.zeros(1)
    if np.any(sums != sums[0]) or sums[0] < 2:
        raise ValueError("each part needs the same number of decisions, at least two")
    times = float(sums[0])
    pairs = ((counts**2).sum(axis=1) - times) / (times * (times - 1))
    parts, said = len(counts), counts.sum(axis=0)
    observed = float(pairs.mean())
    expected = float(((said / (parts * times)) ** 2).sum())
    if parts > 1:
        rest_observed = (pairs.sum() - pairs) / (parts - 1)
        rest_said = (said[None] - counts) / ((parts - 1) * times)
        values = _beyond_chance(rest_observed, (rest_said**2).sum(axis=1))
    else:
        values = np.full(1, math.nan)
    agreed = int((counts.max(axis=1) == times).sum())
    return _with_interval(observed, expected, values, agreed, confidence)


def _cohen_agreement(tables: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Observed and expected agreement of each table; shapes (tables,)."""
    total = tables.sum(axis=(1, 2)).astype(np.float64)
    total[total == 0] = math.nan
    observed = np.trace(tables, axis1=1, axis2=2) / total
    expected = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1) / total**2
    return observed, expected


def _beyond_chance(
    observed: NDArray[np.float64], expected: NDArray[np.float64]
) -> NDArray[np.float64]:
    room = 1 - expected
    room = np.where(room > 1e-12, room, math.nan)
    return np.asarray((observed - expected) / room)


def _with_interval(
    observed: float,
    expected: float,
    left_out: NDArray[np.float64],
    agreed_parts: int,
    confidence: float,
) -> Kappa:
    value = float(_beyond_chance(np.array(observed), np.array(expected)))
    low, high = _interval(value, expected, left_out, agreed_parts, confidence)
    return Kappa(value=value, low=low, high=high, observed=observed, expected=expected)


def _interval(
    value: float,
    expected: float,
    left_out: NDArray[np.float64],
    agreed_parts: int,
    confidence: float,
) -> tuple[float, float]:
    parts = len(left_out)
    if parts < 2 or math.isnan(value) or np.isnan(left_out).any():
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    if agreed_parts == parts:
        from edgeinspect.intervals import lower_bound

        least = lower_bound(parts, parts, confidence=1 - tail)
        return max(-1.0, (least - expected) / (1 - expected)), 1.0
    from scipy.special import stdtrit

    spread = math.sqrt((parts - 1) / parts * float(((left_out - left_out.mean()) ** 2).sum()))
    reach = float(stdtrit(parts - 1, 1 - tail)) * spread
    return max(-1.0, value - reach), min(1.0, value + reach)
