"""How far AUROC may differ by chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect_tools.statistics import auroc, auroc_loss_error

scores = st.lists(st.integers(0, 6).map(float), min_size=2, max_size=12)


@given(scores, scores, st.randoms(use_true_random=False))
def test_the_places_are_those_of_the_definition(
    bad: list[float], good: list[float], random: object
) -> None:
    pairs = [1.0 if b > g else 0.5 if b == g else 0.0 for b in bad for g in good]
    assert auroc(bad, good) == pytest.approx(np.mean(pairs))
    shuffled = sorted(bad, key=lambda _: random.random())  # type: ignore[attr-defined]
    before = np.reshape(pairs, (len(bad), len(good)))
    after = np.array([[(b > g) + (b == g) / 2 for g in good] for b in shuffled])
    lost = before - after
    by_bad, by_good = lost.mean(axis=1), lost.mean(axis=0)
    expected = by_bad.var(ddof=1) / len(bad) + by_good.var(ddof=1) / len(good)
    found = auroc_loss_error((bad, shuffled), (good, good))
    assert found == pytest.approx(np.sqrt(expected), abs=1e-12)


@given(scores, scores)
def test_auroc_is_scikit_learns(bad: list[float], good: list[float]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    truth = [1] * len(bad) + [0] * len(good)
    assert auroc(bad, good) == pytest.approx(metrics.roc_auc_score(truth, bad + good), abs=1e-12)


def test_the_error_is_the_spread_over_many_samples() -> None:
    rng = np.random.default_rng(1)
    losses, errors = [], []
    for _ in range(600):
        before = rng.normal(1.2, 1, 60), rng.normal(0, 1, 45)
        bad, good = (scores.tolist() for scores in before)
        after = (scores + rng.normal(0, 0.6, scores.size) for scores in before)
        bad_after, good_after = (scores.tolist() for scores in after)
        losses.append(auroc(bad, good) - auroc(bad_after, good_after))
        error = auroc_loss_error((bad, bad_after), (good, good_after))
        assert error is not None
        errors.append(error)
    assert np.mean(errors) == pytest.approx(np.std(losses), rel=0.1)


def test_nothing_is_known_of_the_spread_of_one_part() -> None:
    assert auroc_loss_error(([0.5], [0.4]), ([0.1, 0.2], [0.1, 0.2])) is None
    assert auroc_loss_error(([0.5, 0.6], [0.5, 0.6]), ([0.1, 0.2], [0.1, 0.2])) == 0.0
