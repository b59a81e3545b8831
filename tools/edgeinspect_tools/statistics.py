"""Ranking quality for the tools' reports; exact intervals are in ``edgeinspect.intervals``.

AUROC is the mean of the places that its standard error needs anyway, so it is computed from them;
scikit-learn's ``roc_auc_score`` gives the same number in a hundred times the time, and takes
seconds to import. A test compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def auroc(bad: Sequence[float], good: Sequence[float]) -> float:
    """Probability that a bad part scores above a good one; ties count half. NaN if one is empty."""
    if not len(bad) or not len(good):
        return float("nan")
    return float(_places(bad, good).mean())


def auroc_loss_error(
    bad: tuple[Sequence[float], Sequence[float]], good: tuple[Sequence[float], Sequence[float]]
) -> float | None:
    """Standard error of the difference between two AUROCs on the same parts.

    Paired, after DeLong, DeLong and Clarke-Pearson 1988: the spread over the bad parts of each
    one's place among the good parts, before less after, and the same over the good parts.

    Args:
        bad: scores of the defective parts before and after, each in the same order of parts.
        good: scores of the good parts before and after.

    Returns:
        None with fewer than two parts of a kind: the spread is unknown then.
    """
    if min(len(bad[0]), len(good[0])) < 2:
        return None
    of_bad = _places(bad[0], good[0]) - _places(bad[1], good[1])
    of_good = _places(good[1], bad[1]) - _places(good[0], bad[0])
    variance = of_bad.var(ddof=1) / len(of_bad) + of_good.var(ddof=1) / len(of_good)
    return float(np.sqrt(variance))


def _places(values: Sequence[float], others: Sequence[float]) -> NDArray[np.float64]:
    """Of each value the share of the others that lie below it; ties count half."""
    ordered = np.sort(np.asarray(others, dtype=np.float64))
    wanted = np.asarray(values, dtype=np.float64)
    below = np.searchsorted(ordered, wanted, side="left")
    not_above = np.searchsorted(ordered, wanted, side="right")
    return np.asarray((below + not_above) / (2 * len(ordered)), np.float64)
