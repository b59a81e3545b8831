"""Drift: real when it is there, next to never when it is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.health.drift import CHANCE_LIMIT, compare, ks_chance, stability_index
from tests.evidence.drift_rate import LAX_LIMIT, detected_share, draw, false_alarms


def test_the_same_parts_have_not_moved() -> None:
    scores = draw(np.random.default_rng(1), 500)
    shift = compare(scores, scores)
    assert (shift.distance, shift.chance, shift.psi, shift.change) == (0.0, 1.0, 0.0, 0.0)
    assert not shift.is_real


def test_a_large_move_is_real_and_says_which_way() -> None:
    generator = np.random.default_rng(2)
    shift = compare(generator.normal(10, 1, 2048), generator.normal(8, 1, 512))
    assert shift.is_real
    assert shift.psi > 0.25
    assert shift.change == pytest.approx(-0.2, abs=0.02)


def test_a_median_that_leaves_zero_changed_without_limit() -> None:
    shift = compare(np.zeros(10), np.ones(10))
    assert shift.change == math.inf
    assert compare(np.zeros(10), np.zeros(10)).change == 0.0


@pytest.mark.parametrize("sizes", [(2048, 512), (600, 600), (3000, 130)])
def test_distance_and_chance_agree_with_scipy(sizes: tuple[int, int]) -> None:
    from scipy.stats import ks_2samp, kstwobign

    generator = np.random.default_rng(3)
    for mean in (0.0, 0.05, 0.2, 0.6):
        before = generator.normal(0, 1, sizes[0]).round(1)
        now = generator.normal(mean, 1, sizes[1]).round(1)
        shift = compare(before, now)
        assert shift.distance == pytest.approx(ks_2samp(before, now).statistic, abs=1e-12)
        root = math.sqrt(sizes[0] * sizes[1] / sum(sizes))
        expected = float(kstwobign.sf(shift.distance * root))
        assert shift.chance == pytest.approx(expected, rel=1e-9, abs=1e-300)


@given(
    distance=st.floats(0, 1),
    sizes=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
)
def test_chance_is_a_probability_and_falls_with_distance(
    distance: float, sizes: tuple[int, int]
) -> None:
    chance = ks_chance(distance, *sizes)
    assert 0 <= chance <= 1
    assert ks_chance(min(1.0, distance + 0.1), *sizes) <= chance + 1e-12


@given(
    st.lists(st.sampled_from([0.0, 0.004, 0.02, 0.5, 1.0]), min_size=1, max_size=60),
    st.lists(st.sampled_from([0.0, 0.004, 0.02, 0.5, 1.0]), min_size=1, max_size=60),
)
def test_the_index_is_finite_and_not_negative(before: list[float], now: list[float]) -> None:
    index = stability_index(np.array(before), np.array(now))
    assert math.isfinite(index)
    assert index >= 0


def test_empty_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        compare(np.array([]), np.array([1.0]))


def test_false_alarms_keep_to_the_limit() -> None:
    """At the lax limit the rate can be measured; the strict one follows by the same formula."""
    blocks = 2000
    alarms = false_alarms(blocks=blocks, limit=LAX_LIMIT, seed=4)
    # Ties make the test conservative: above the limit would be a defect, 5 deviations are slack.
    assert alarms <= LAX_LIMIT * blocks + 5 * math.sqrt(LAX_LIMIT * blocks)
    assert false_alarms(blocks=300, limit=CHANCE_LIMIT, seed=5) == 0


def test_a_shift_of_one_deviation_is_always_seen() -> None:
    assert detected_share(shift=0.8, repeats=40, seed=6) == 1.0
    assert detected_share(shift=0.0, repeats=40, seed=7) == 0.0
