"""Exact confidence bounds for proportions and order statistics.

All results are exact for independent draws; none is an approximation. Only ``scipy.special`` is
used, and it is imported only when a function is called.
"""

from __future__ import annotations

import math


def clopper_pearson(
    successes: int, trials: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the exact two-sided interval of a proportion (Clopper and Pearson 1934).

    Returns (0, 1) for zero trials. Raises ValueError for impossible counts.
    """
    tail = (1 - confidence) / 2
    return (
        lower_bound(successes, trials, confidence=1 - tail),
        upper_bound(successes, trials, confidence=1 - tail),
    )


def upper_bound(successes: int, trials: int, *, confidence: float = 0.95) -> float:
    """Return the exact one-sided upper bound of a proportion; 1 for zero trials.

    This is a beta quantile (Clopper and Pearson 1934). Raises ValueError for impossible counts.
    """
    _check(successes, trials, confidence)
    if successes == trials:
        return 1.0
    from scipy.special import betaincinv

    return float(betaincinv(successes + 1, trials - successes, confidence))


def lower_bound(successes: int, trials: int, *, confidence: float = 0.95) -> float:
    """Return the exact one-sided lower bound of a proportion; 0 for zero trials.

    Raises ValueError for impossible counts.
    """
    _check(successes, trials, confidence)
    if successes == 0:
        return 0.0
    from scipy.special import betaincinv

    return float(betaincinv(successes, trials - successes + 1, 1 - confidence))


def allowed_exceedances(parts: int, *, rate: float, confidence: float) -> int | None:
    """Return how many of ``parts`` good parts may lie at or above a threshold chosen by rank.

    A threshold just above the (r + 1)-th largest of n scores has a true rate above ``rate`` with
    probability at most P[Binomial(n, rate) <= r] (distribution-free tolerance limit, Wilks 1941).
    Returns the largest r whose probability is at most ``1 - confidence``; None if even r = 0
    exceeds it, because there are too few parts to prove the bound.
    """
    _check_shares(rate, confidence)
    if parts < parts_needed(rate=rate, confidence=confidence):
        return None
    from scipy.special import bdtr

    low, high = 0, parts
    while low < high:  # the probability rises with r
        middle = (low + high + 1) // 2
        if float(bdtr(middle, parts, rate)) <= 1 - confidence:
            low = middle
        else:
            high = middle - 1
    return low


def parts_needed(*, rate: float, confidence: float, failures: int = 0) -> int:
    """Return the fewest parts that can show ``rate`` with ``confidence``.

    ``failures`` of the parts may fail. Without failures this is ln(1 - confidence) / ln(1 - rate),
    rounded up; with failures, the smallest n with P[Binomial(n, rate) <= failures] <= 1 -
    confidence.
    """
    _check_shares(rate, confidence)
    if failures < 0:
        raise ValueError(f"{failures} failures")
    doubt = 1 - confidence
    if failures == 0:
        # Rounding must neither ask for a part too many nor for one too few.
        parts = max(1, math.floor(math.log(doubt) / math.log1p(-rate)))
        while (1 - rate) ** parts > doubt:
            parts += 1
        return parts
    from scipy.special import bdtr

    low, high = failures + 1, 2 * (failures + 1)
    while float(bdtr(failures, high, rate)) > doubt:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        if float(bdtr(failures, middle, rate)) <= doubt:
            high = middle
        else:
            low = middle + 1
    return low


def rule_of_three(rate: float) -> int:
    """Return the rule of thumb for 95 %: 3 / rate parts without a failure."""
    _check_shares(rate, 0.95)
    return math.ceil(3 / rate - 1e-9)


def _check(successes: int, trials: int, confidence: float) -> None:
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence of {confidence}")


def _check_shares(rate: float, confidence: float) -> None:
    if not (0 < rate < 1 and 0 < confidence < 1):
        raise ValueError(f"a rate of {rate} with a confidence of {confidence}")
