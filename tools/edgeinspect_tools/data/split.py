"""Which group goes into which split: stratified by class, never parted, the same for one seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from edgeinspect.errors import UsageError
from edgeinspect_tools.data.dataset import Split

PartT = TypeVar("PartT", bound=Hashable)

FRACTIONS: Mapping[Split, float] = {
    Split.TRAIN: 0.60,
    Split.CALIBRATION: 0.10,
    Split.VALIDATION: 0.15,
    Split.TEST: 0.15,
}
_FIRST_SERVED = (Split.TRAIN, Split.TEST, Split.VALIDATION, Split.CALIBRATION)


def checked_fractions(fractions: Mapping[Split, float]) -> dict[Split, float]:
    """The positive shares, scaled to a sum of 1, in the order in which splits are served.

    Raises:
        UsageError: a negative share, or none that is positive.
    """
    total = sum(fractions.values())
    if any(not 0 <= share < float("inf") for share in fractions.values()) or total <= 0:
        raise UsageError("The shares of the splits must not be negative, and one must be above 0.")
    return {
        split: fractions[split] / total for split in _FIRST_SERVED if fractions.get(split, 0.0) > 0
    }


def assign(
    groups: Sequence[Sequence[str]], shares: Mapping[PartT, float], *, seed: int
) -> list[PartT]:
    """Give every group to one of the parts.

    Each goes where its classes are furthest below their share, relative to that share: so every
    part gets a group of a class before any gets many. Rare classes and large groups go first.

    Args:
        groups: the labels of each group's pictures.
        shares: of the parts; sums to 1.

    Returns:
        The part of each group, in the order given.
    """
    counts = [Counter(labels) for labels in groups]
    totals: Counter[str] = sum(counts, Counter())
    order = np.random.default_rng(seed).permutation(len(groups)).tolist()
    order.sort(key=lambda at: (min(totals[label] for label in counts[at]), -len(groups[at])))
    have: dict[PartT, Counter[str]] = {part: Counter() for part in shares}
    result: dict[int, PartT] = {}
    for at in order:

        def shortfall(part: PartT, count: Counter[str] = counts[at]) -> float:
            return sum(
                number / totals[label] * (1 - have[part][label] / (shares[part] * totals[label]))
                for label, number in count.items()
            )

        result[at] = max(shares, key=shortfall)
        have[result[at]] += counts[at]
    return [result[at] for at in range(len(groups))]
