"""Exact intervals and ranking quality for the tools' reports."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def clopper_pearson(
    successes: int, trials: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """The exact two-sided interval of a proportion (Clopper and Pearson 1934).

    Returns (0, 1) where nothing was tried.
    """
    from scipy.stats import beta

    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(beta.ppf(tail, successes, trials - successes + 1))
    high = (
        1.0 if successes == trials else float(beta.ppf(1 - tail, successes + 1, trials - successes))
    )
    return low, high


def auroc(bad: Sequence[float], good: Sequence[float]) -> float:
    """Probability that a bad part scores above a good one; ties count half. NaN if one is empty."""
    if not bad or not good:
        return float("nan")
    ordered = np.sort(np.asarray(good, dtype=np.float64))
    values = np.asarray(bad, dtype=np.float64)
    below = np.searchsorted(ordered, values, side="left")
    not_above = np.searchsorted(ordered, values, side="right")
    return float((below + not_above).mean() / (2 * len(ordered)))
