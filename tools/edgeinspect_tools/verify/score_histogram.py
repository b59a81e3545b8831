"""Where the bars lie in a histogram of scores; ``score_histogram.html`` draws them.

All lengths are pixels of the drawing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from edgeinspect.bundle.card import Card
from edgeinspect_tools.verify.measure import Verification

_LEFT_PX, _WIDTH_PX, _TALLEST_PX, _BINS = 10, 740, 140, 50


class Bar(NamedTuple):
    """How many good or defective pictures have about the same score."""

    x: float
    height: float
    kind: str
    pictures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreHistogram:
    """Scores of good and defective pictures over [0, 1]; ``limits`` are named places on it."""

    bars: list[Bar]
    bar_width: float
    limits: list[tuple[str, float]]


def score_histogram(card: Card, found: Verification) -> ScoreHistogram:
    """Lay out the int8 scores, with the thresholds of the card's first defect.

    Heights are logarithmic, so that a single stray picture shows.
    """
    bad, good = found.scored.bad_and_good(found.scored.int8)
    counts = [np.histogram(scores, bins=_BINS, range=(0.0, 1.0))[0] for scores in (good, bad)]
    largest = max(1.0, float(np.log1p(np.max(counts))))
    step = _WIDTH_PX / _BINS
    bars = [
        Bar(
            x=round(_LEFT_PX + (at + offset) * step, 1),
            height=round(max(3.0, _TALLEST_PX * float(np.log1p(count)) / largest), 1),
            kind=kind,
            pictures=int(count),
        )
        for kind, offset, series in (("good", 0.0, counts[0]), ("bad", 0.5, counts[1]))
        for at, count in enumerate(series)
        if count
    ]
    thresholds = card.threshold(card.defect_classes[0])
    limits = (("review", thresholds.review), ("reject", thresholds.reject))
    return ScoreHistogram(
        bars=bars,
        bar_width=round(step / 2 - 0.5, 1),
        limits=[(name, round(_LEFT_PX + limit * _WIDTH_PX, 1)) for name, limit in limits],
    )
