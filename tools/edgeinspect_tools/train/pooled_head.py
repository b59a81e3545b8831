"""A second opinion on a tile as a whole: a logit of its pooled frozen features.

The map looks at places, and a tile whose every place looks a little odd scores as one with a
defect. The mean, maximum and spread of the features recognise many of those tiles, with far fewer
weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeinspect_tools.train.head import Logit, fit_logit

FOLDS = 4
"""The strength and the scale of the logit are chosen on groups that it was not fitted on."""

_ENOUGH_OF_A_DEFECT = 0.3
"""A tile that holds less of its picture's defect is taken neither for sound nor for defective."""


class WholeTile(NamedTuple):
    """A tile as the station cuts it.

    Attributes:
        levels: its frozen features, (side, side, channels) each.
        defect_share: how much of its picture's defect it holds, [0, 1].
        group: pictures of one group show the same part.
    """

    levels: Sequence[NDArray[np.floating]]
    defect_share: float
    group: str


def pooled(levels: Sequence[NDArray[np.floating]]) -> NDArray[np.float32]:
    """Mean, maximum and spread of every feature of every level, in the network's order: (f,).

    The spread is the mean of what lies above the mean, see ``networks``.
    """
    parts = []
    for level in levels:
        values = level.reshape(-1, level.shape[-1]).astype(np.float32)
        mean = values.mean(axis=0)
        parts += [mean, values.max(axis=0), np.maximum(values - mean, 0).mean(axis=0)]
    return np.concatenate(parts)


def fit_pooled_head(tiles: Iterable[WholeTile], *, seed: int) -> Logit | None:
    """Fit it on the tiles of training pictures; None where it has nothing to say: ``fit_logit``."""
    features, shares, groups = [], [], []
    for tile in tiles:
        features.append(pooled(tile.levels))
        shares.append(tile.defect_share)
        groups.append(tile.group)
    share = np.array(shares)
    clear = (share == 0) | (share >= _ENOUGH_OF_A_DEFECT)
    names = [group for group, kept in zip(groups, clear, strict=True) if kept]
    defective = share[clear] > 0
    folds = grouped_folds(names, defective, seed=seed)
    return fit_logit(np.stack(features)[clear], defective, folds)


def grouped_folds(
    groups: Sequence[str], defective: NDArray[np.bool_], *, seed: int
) -> NDArray[np.int64]:
    """A fold for each tile, from 0 to ``FOLDS`` - 1; no group straddles two.

    Groups with a defective tile are shared out first and evenly, then the others.
    """
    rng = np.random.default_rng(seed)
    bad = sorted({group for group, found in zip(groups, defective, strict=True) if found})
    good = sorted(set(groups) - set(bad))
    order = [*rng.permutation(bad), *rng.permutation(good)]
    fold = {group: number % FOLDS for number, group in enumerate(order)}
    return np.array([fold[group] for group in groups], np.int64)
