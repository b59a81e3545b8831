"""Suggested thresholds: their promise kept in simulation, and refused where it cannot be given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgeinspect.errors import NotGood, UsageError
from edgeinspect.intervals import allowed_exceedances, parts_needed, upper_bound
from edgeinspect.tune.suggest import (
    suggest_from_good,
    suggest_least_cost,
    suggest_under_escape_bound,
)
from edgeinspect_tools.bench.guarantee import check_guarantee

LEVELS = 1 / (1 + np.exp(-np.linspace(-6, 6, 256)))
RATES = st.sampled_from([0.01, 0.05, 0.1, 0.3])


@given(
    levels=st.lists(st.integers(0, 255), min_size=1, max_size=400),
    rate=RATES,
    confidence=st.sampled_from([0.8, 0.95]),
    table=st.sampled_from([LEVELS, np.arange(256) / 255]),
)
def test_good_parts_alone_never_reject_everything_or_nothing(
    levels: list[int], rate: float, confidence: float, table: np.ndarray
) -> None:
    good = table[levels]
    try:
        found = suggest_from_good(good, false_reject_rate=rate, confidence=confidence)
    except NotGood:
        # Only where so few parts cannot show it, or the good ones reach the highest score.
        few = len(good) < parts_needed(rate=rate, confidence=confidence)
        assert few or good.max() == 1.0
        return
    rejected = int((good >= found.threshold).sum())
    allowed = allowed_exceedances(len(good), rate=rate, confidence=confidence)
    assert allowed is not None
    assert rejected <= allowed < len(good)
    assert found.false_rejects.failures == rejected
    assert found.false_rejects.upper_bound <= rate * (1 + 1e-9)
    assert good.min() < found.threshold <= 1.0
    assert found.threshold not in good  # between two levels
    # One observed level lower would reject more than the bound allows.
    below = good[good < found.threshold].max()
    assert int((good >= below).sum()) > allowed


def test_the_lowest_threshold_that_holds() -> None:
    good = np.arange(1000) / 2000
    found = suggest_from_good(good, false_reject_rate=0.01, confidence=0.95)
    allowed = allowed_exceedances(1000, rate=0.01, confidence=0.95)
    assert allowed == 4
    assert good[995] < found.threshold < good[996]
    assert found.method == "good-only"
    assert any("share of defects found is unknown" in note for note in found.notes)


def test_equal_scores_are_named() -> None:
    good = np.array([0.1] * 990 + [0.7] * 10)
    found = suggest_from_good(good, false_reject_rate=0.01, confidence=0.95)
    assert 0.7 < found.threshold < 0.71
    assert any("4 would have been allowed" in note for note in found.notes)


@pytest.mark.parametrize("parts, more", [(0, 299), (1, 298), (298, 1)])
def test_too_few_good_parts_report_how_many_more(parts: int, more: int) -> None:
    with pytest.raises(
        NotGood, match=f"299 parts without a failure are needed .*300.*, {more} more"
    ):
        suggest_from_good([0.1] * parts, false_reject_rate=0.01, confidence=0.95)


def test_good_parts_at_the_highest_score_are_refused() -> None:
    with pytest.raises(NotGood, match="3 of 59 good parts have the highest possible score"):
        suggest_from_good([0.1] * 56 + [1.0] * 3, false_reject_rate=0.05, confidence=0.95)


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_scores_that_are_none_are_refused(score: float) -> None:
    with pytest.raises(UsageError, match="not a number from"):
        suggest_from_good([0.1, score], false_reject_rate=0.5, confidence=0.5)


@pytest.mark.parametrize("rate", [0.0, 1.0, float("nan")])
def test_rates_that_are_none_are_refused(rate: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        suggest_from_good([0.1], false_reject_rate=rate)
    with pytest.raises(UsageError, match="between 0 and 1"):
        suggest_under_escape_bound([0.1], [0.9], escape_rate=rate)


# --- with labelled defects --------------------------------------------------------------------


@given(
    good=st.lists(st.integers(0, 30), min_size=1, max_size=40),
    bad=st.lists(st.integers(0, 30), min_size=1, max_size=40),
    escape_cost=st.sampled_from([1.0, 10.0, 500.0]),
    defect_rate=st.sampled_from([0.001, 0.1, 0.5]),
)
def test_no_threshold_costs_less(
    good: list[int], bad: list[int], escape_cost: float, defect_rate: float
) -> None:
    good_scores, bad_scores = np.array(good) / 30, np.array(bad) / 30
    found = suggest_least_cost(
        good_scores,
        bad_scores,
        escape_cost=escape_cost,
        false_reject_cost=1.0,
        defect_rate=defect_rate,
    )

    def cost(threshold: float) -> float:
        missed = (bad_scores < threshold).mean()
        rejected = (good_scores >= threshold).mean()
        return float(defect_rate * escape_cost * missed + (1 - defect_rate) * rejected)

    assert found.expected_cost == pytest.approx(cost(found.threshold))
    least = min(cost(threshold) for threshold in np.arange(1, 61) / 60)
    assert found.expected_cost == pytest.approx(least)
    assert 0 <= found.threshold <= 1


@given(
    good=st.lists(st.integers(0, 255), min_size=1, max_size=200),
    bad=st.lists(st.integers(0, 255), min_size=1, max_size=200),
    rate=RATES,
)
def test_an_escape_bound_is_shown_or_refused(good: list[int], bad: list[int], rate: float) -> None:
    good_scores, bad_scores = LEVELS[good], LEVELS[bad]
    allowed = allowed_exceedances(len(bad), rate=rate, confidence=0.95)
    if allowed is None:
        with pytest.raises(NotGood, match="defective parts cannot show"):
            suggest_under_escape_bound(good_scores, bad_scores, escape_rate=rate)
        return
    found = suggest_under_escape_bound(good_scores, bad_scores, escape_rate=rate)
    assert found.escapes is not None
    missed = int((bad_scores < found.threshold).sum())
    assert found.escapes.failures == missed <= allowed
    assert found.escapes.upper_bound == upper_bound(missed, len(bad), confidence=0.95)
    assert found.escapes.upper_bound <= rate * (1 + 1e-9)
    higher = np.sort(bad_scores)[allowed]
    assert int((bad_scores <= higher).sum()) > allowed  # any higher threshold would miss too many
    assert found.threshold <= higher


def test_one_class_only_cannot_tell_the_two_apart() -> None:
    for good, bad, missing in (([0.1], [], "defective"), ([], [0.9], "good")):
        with pytest.raises(NotGood, match=f"no {missing} part"):
            suggest_least_cost(good, bad, escape_cost=1, false_reject_cost=1, defect_rate=0.1)
        with pytest.raises(NotGood, match=f"no {missing} part"):
            suggest_under_escape_bound(good, bad, escape_rate=0.1)


def test_a_model_that_tells_nothing_apart_is_named() -> None:
    same = [0.5] * 100
    found = suggest_under_escape_bound(same, same, escape_rate=0.05)
    assert any("Every good part would be rejected" in note for note in found.notes)
    cheap = suggest_least_cost(same, same, escape_cost=1, false_reject_cost=1000, defect_rate=0.001)
    assert any("defective part would pass" in note for note in cheap.notes)
    with pytest.raises(UsageError, match="escape cost"):
        suggest_least_cost(same, same, escape_cost=0, false_reject_cost=1, defect_rate=0.1)


def test_unseen_defects_are_refused() -> None:
    with pytest.raises(NotGood, match="score 0"):
        suggest_under_escape_bound([0.1], [0.0] * 100, escape_rate=0.05)


# --- the promise ------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [256, 12])
def test_the_guarantee_holds_over_a_thousand_draws(levels: int) -> None:
    found = check_guarantee(
        draws=1000, parts=400, false_reject_rate=0.02, confidence=0.9, levels=levels, seed=4
    )
    assert found.draws == 1000
    assert found.holds
    assert found.interval95[0] <= 1 - found.confidence
    exact = stats.binomtest(found.exceeded, 1000).proportion_ci(method="exact")
    assert found.interval95 == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert found.as_dict()["share"] == found.exceeded / 1000


def test_a_threshold_at_the_highest_good_score_would_be_caught() -> None:
    """The check itself must fail for a rule that promises too much."""
    found = check_guarantee(
        draws=1000,
        parts=100,
        false_reject_rate=0.02,
        confidence=0.95,
        seed=4,
        rule=lambda good: float(np.quantile(good, 0.98)),
    )
    assert not found.holds
