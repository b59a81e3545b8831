"""The linear heads against the plain formula that they minimise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeinspect_tools.train.head import STRENGTHS, fit_head, fit_logit

minimize = pytest.importorskip("scipy.optimize").minimize
pytest.importorskip("sklearn")

Exact = NDArray[np.float64]


def plain_head(
    features: Exact, labels: NDArray[np.int64], classes: int, strength: float
) -> tuple[Exact, Exact]:
    """Balanced mean cross-entropy plus ``strength`` times the squared weights, minimised as is.

    The weights are for standardised features, given back for the features as they come.
    """
    mean, scale = features.mean(axis=0), 1 / features.std(axis=0)
    known = (features - mean) * scale
    rows = np.arange(len(labels))
    share = 1.0 / (classes * np.bincount(labels, minlength=classes)[labels])

    def objective(flat: Exact) -> tuple[float, Exact]:
        weights = flat.reshape(known.shape[1] + 1, classes)
        logits = known @ weights[:-1] + weights[-1]
        logits -= logits.max(axis=1, keepdims=True)
        logarithms = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        apart = np.exp(logarithms)
        apart[rows, labels] -= 1
        apart *= share[:, None]
        gradient = np.concatenate([known.T @ apart, apart.sum(axis=0, keepdims=True)])
        gradient[:-1] += 2 * strength * weights[:-1]
        loss = -float((share * logarithms[rows, labels]).sum())
        return loss + strength * float((weights[:-1] ** 2).sum()), gradient.ravel()

    start = np.zeros((known.shape[1] + 1) * classes)
    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-10},
    ).x.reshape(-1, classes)
    weights = found[:-1] * scale[:, None]
    return weights, found[-1] - mean @ weights


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_head_minimises_the_plain_formula(
    classes: int, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeinspect_tools.train import head

    monkeypatch.setattr(head, "STRENGTHS", (strength,))
    rng = np.random.default_rng(7)
    labels = rng.integers(0, classes, 120) // rng.integers(1, 3, 120)  # the first is commoner
    features = (rng.normal(size=(120, 6)) * [1, 5, 0.1, 1, 1, 20]).astype(np.float32)
    features[:, :classes] += np.eye(classes, dtype=np.float32)[labels]
    weights, bias, _ = fit_head(features, labels, features, lambda _: 0.0, classes=classes)
    plain, plain_bias = plain_head(features.astype(np.float64), labels, classes, strength)
    ours, theirs = features @ weights + bias, features @ plain + plain_bias
    ours -= ours.mean(axis=1, keepdims=True)  # one constant for all classes changes nothing
    theirs -= theirs.mean(axis=1, keepdims=True)
    assert np.abs(theirs).max() > 0.1
    assert np.allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_a_logit_is_the_plain_one_up_to_its_scale() -> None:
    rng = np.random.default_rng(8)
    defective = np.arange(90) % 3 == 0
    features = rng.normal(size=(90, 5)).astype(np.float32)
    features[:, 0] += 2 * defective
    found = fit_logit(features, defective, np.arange(90) // 3 % 4)
    assert found is not None
    exact = features.astype(np.float64)
    plain, _ = plain_head(exact, defective.astype(np.int64), 2, found.strength)
    direction = plain[:, 1] - plain[:, 0]
    assert np.allclose(
        found.weights / np.linalg.norm(found.weights),
        direction / np.linalg.norm(direction),
        atol=1e-3,
    )


def test_a_class_without_a_picture_is_the_least_likely() -> None:
    rng = np.random.default_rng(9)
    labels = np.arange(60) % 2 * 2
    features = rng.normal(size=(60, 3)).astype(np.float32)
    features[:, 0] += labels
    weights, bias, _ = fit_head(features, labels, features, lambda _: 0.0, classes=3)
    assert not weights[:, 1].any()
    assert ((features @ weights + bias).argmin(axis=1) == 1).mean() > 0.9
