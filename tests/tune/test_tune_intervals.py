"""Exact bounds: against scipy's own distributions, and against what they promise."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgeinspect.intervals import (
    allowed_exceedances,
    clopper_pearson,
    lower_bound,
    parts_needed,
    rule_of_three,
    upper_bound,
)

COUNTS = st.integers(0, 5000)
RATES = st.sampled_from([0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.3, 0.5])
CONFIDENCES = st.sampled_from([0.8, 0.9, 0.95, 0.99, 0.999])


@given(hits=COUNTS, misses=COUNTS, confidence=CONFIDENCES)
def test_intervals_agree_with_scipy(hits: int, misses: int, confidence: float) -> None:
    trials = hits + misses
    if trials == 0:
        assert clopper_pearson(0, 0, confidence=confidence) == (0.0, 1.0)
        return
    exact = stats.binomtest(hits, trials).proportion_ci(confidence_level=confidence, method="exact")
    found = clopper_pearson(hits, trials, confidence=confidence)
    assert found == pytest.approx((exact.low, exact.high), abs=1e-9)


@given(hits=COUNTS, misses=COUNTS, confidence=CONFIDENCES)
def test_one_sided_bounds_agree_with_scipy(hits: int, misses: int, confidence: float) -> None:
    trials = hits + misses
    if trials == 0:
        return
    test = stats.binomtest(hits, trials, alternative="less")
    high = test.proportion_ci(confidence_level=confidence, method="exact").high
    test = stats.binomtest(hits, trials, alternative="greater")
    low = test.proportion_ci(confidence_level=confidence, method="exact").low
    assert upper_bound(hits, trials, confidence=confidence) == pytest.approx(high, abs=1e-9)
    assert lower_bound(hits, trials, confidence=confidence) == pytest.approx(low, abs=1e-9)


@given(parts=st.integers(0, 20_000), rate=RATES, confidence=CONFIDENCES)
def test_allowed_exceedances_is_the_largest_rank_that_holds(
    parts: int, rate: float, confidence: float
) -> None:
    allowed = allowed_exceedances(parts, rate=rate, confidence=confidence)
    doubt = 1 - confidence
    if allowed is None:
        assert stats.binom.cdf(0, parts, rate) > doubt * (1 - 1e-9)
        return
    assert stats.binom.cdf(allowed, parts, rate) <= doubt * (1 + 1e-9)
    assert stats.binom.cdf(allowed + 1, parts, rate) > doubt * (1 - 1e-9)
    assert upper_bound(allowed, parts, confidence=confidence) <= rate * (1 + 1e-9)


@given(rate=RATES, confidence=CONFIDENCES, failures=st.integers(0, 40))
def test_parts_needed_is_the_fewest(rate: float, confidence: float, failures: int) -> None:
    parts = parts_needed(rate=rate, confidence=confidence, failures=failures)
    doubt = 1 - confidence
    assert stats.binom.cdf(failures, parts, rate) <= doubt * (1 + 1e-9)
    if parts > failures + 1:
        assert stats.binom.cdf(failures, parts - 1, rate) > doubt * (1 - 1e-9)


def test_known_numbers() -> None:
    assert parts_needed(rate=0.01, confidence=0.95) == 299
    assert parts_needed(rate=0.001, confidence=0.95) == 2995
    assert parts_needed(rate=0.05, confidence=0.95) == 59  # the familiar 95/95 of Wilks
    assert parts_needed(rate=0.05, confidence=0.95, failures=1) == 93
    assert parts_needed(rate=0.5, confidence=0.5) == 1
    assert rule_of_three(0.01) == 300
    assert rule_of_three(0.001) == 3000
    assert allowed_exceedances(298, rate=0.01, confidence=0.95) is None
    assert allowed_exceedances(299, rate=0.01, confidence=0.95) == 0


@pytest.mark.parametrize("hits, trials, confidence", [(3, 2, 0.9), (-1, 2, 0.9), (1, 2, 1.0)])
def test_impossible_counts_are_refused(hits: int, trials: int, confidence: float) -> None:
    with pytest.raises(ValueError):
        upper_bound(hits, trials, confidence=confidence)
    with pytest.raises(ValueError):
        lower_bound(hits, trials, confidence=confidence)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, math.nan])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(ValueError):
        parts_needed(rate=rate, confidence=0.95)
    with pytest.raises(ValueError):
        allowed_exceedances(100, rate=rate, confidence=0.95)
