"""A regularised linear head on features that do not change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgeinspect_tools.missing import need

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of the squared weights beside the mean cross-entropy, on standardised features."""

Real = NDArray[np.float32]
Labels = NDArray[np.int64]


def fit_head(
    features: Real,
    labels: Labels,
    held_out: Real,
    worth: Callable[[NDArray[np.float64]], float],
    *,
    classes: int,
) -> tuple[Real, Real, float]:
    """Multinomial logistic regression, its strength chosen on held-out features.

    Every class weighs the same, however few pictures it has. Features that never change get no
    weight. The strength is not chosen by the loss there: with a handful of parts of a class the
    loss asks for heads that are sure of nothing, and which rank pictures worse (seen on ground
    metal: AUROC 0.73 by the loss, 0.90 by rank).

    Args:
        features: (n, f); ``labels``: (n,) from 0.
        worth: of logits (m, classes) for ``held_out``; more is better.

    Returns:
        Weights (f, classes) and bias (classes,) for the features as they come, and the strength.
    """
    mean, spread = features.mean(axis=0), features.std(axis=0)
    scale = np.where(spread > 1e-6, 1.0 / np.maximum(spread, 1e-6), 0.0)

    def standard(values: Real) -> NDArray[np.float64]:
        return np.asarray((values - mean) * scale, np.float64)

    learned, checked = standard(features), standard(held_out)
    start = np.zeros((features.shape[1] + 1, classes))
    best: tuple[float, NDArray[np.float64], float] = (-np.inf, start, STRENGTHS[-1])
    for strength in reversed(STRENGTHS):  # each starts from the solution of a stronger one
        start = _minimised(learned, labels, classes, strength, start)
        value = worth(checked @ start[:-1] + start[-1])
        if value > best[0]:
            best = (value, start, strength)
    weights = best[1][:-1] * scale[:, None]
    bias = best[1][-1] - mean @ weights
    return weights.astype(np.float32), bias.astype(np.float32), best[2]


def _minimised(
    features: NDArray[np.float64],
    labels: Labels,
    classes: int,
    strength: float,
    start: NDArray[np.float64],
) -> NDArray[np.float64]:
    minimize = need("scipy.optimize").minimize

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(start.shape)
        loss, gradient = _loss(weights, features, labels, classes)
        gradient[:-1] += 2 * strength * weights[:-1]
        return loss + strength * float((weights[:-1] ** 2).sum()), gradient.ravel()

    found = minimize(
        objective, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 200}
    )
    return np.asarray(found.x, np.float64).reshape(start.shape)


def _loss(
    weights: NDArray[np.float64], features: NDArray[np.float64], labels: Labels, classes: int
) -> tuple[float, NDArray[np.float64]]:
    """Mean cross-entropy with every class weighing the same, and its gradient."""
    logits = features @ weights[:-1] + weights[-1]
    logits -= logits.max(axis=1, keepdims=True)
    logarithms = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    counts = np.bincount(labels, minlength=classes)
    there = int((counts > 0).sum())
    share = 1.0 / (there * counts[labels])
    rows = np.arange(len(labels))
    loss = -float((share * logarithms[rows, labels]).sum())
    apart = np.exp(logarithms)
    apart[rows, labels] -= 1
    apart *= share[:, None]
    return loss, np.concatenate([features.T @ apart, apart.sum(axis=0, keepdims=True)])
