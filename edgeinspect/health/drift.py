"""Detecting that a quantity has moved away from its baseline, with almost no false alarms.

A station repeats this check for years, so chance must almost never cause an alarm. Two conditions
must hold together:

- The change is more than chance: the two-sample Kolmogorov-Smirnov test, at ``CHANCE_LIMIT`` for
  each check. Consecutive blocks of parts are checked, which never overlap, so looking at the screen
  more often adds no checks. By the union bound, the expected number of false alarms is at most the
  number of blocks times the limit, although all blocks share one baseline.
- The change matters: it exceeds the caller's limit on the population stability index, or on the
  change of the median.

``python -m tests.evidence.drift_rate`` simulates the rate of false alarms and prints it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHANCE_LIMIT = 1e-7
"""A difference counts as real if chance causes it with a lower probability than this."""
PSI_LARGE = 0.25
"""By convention an index below 0.1 means no change, above 0.25 a large one."""
_BINS = 10
_TERMS = 100

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How one sample differs from an earlier one.

    Attributes:
        before: number of earlier values.
        now: number of present values.
        median_before: median of the earlier values, in the quantity's unit.
        median_now: median of the present values.
        distance: the largest difference of the two distribution functions, [0, 1].
        chance: probability that chance causes this distance or a larger one, [0, 1].
        psi: population stability index over the deciles of the earlier sample, >= 0.
    """

    before: int
    now: int
    median_before: float
    median_now: float
    distance: float
    chance: float
    psi: float

    @property
    def is_real(self) -> bool:
        """Whether the change is more than chance, see ``CHANCE_LIMIT``."""
        return self.chance <= CHANCE_LIMIT

    @property
    def change(self) -> float:
        """Change of the median relative to the earlier one; 0.1 is ten percent more."""
        if self.median_before == 0:
            return 0.0 if self.median_now == 0 else math.copysign(math.inf, self.median_now)
        return (self.median_now - self.median_before) / abs(self.median_before)


def compare(before: Values, now: Values) -> Shift:
    """Compare two samples, each of shape (values,). Raises ValueError for an empty one."""
    if not (before.size and now.size):
        raise ValueError("an empty sample")
    distance = _ks_distance(before, now)
    return Shift(
        before=before.size,
        now=now.size,
        median_before=float(np.median(before)),
        median_now=float(np.median(now)),
        distance=distance,
        chance=ks_chance(distance, before.size, now.size),
        psi=stability_index(before, now),
    )


def ks_chance(distance: float, before: int, now: int) -> float:
    """Asymptotic p-value of the two-sided Kolmogorov-Smirnov test (Kolmogorov 1933, Smirnov 1948).

    2 * sum of (-1)^(k-1) exp(-2 k^2 x^2) over k >= 1 with x = distance * sqrt(nm / (n + m)). The
    scores of an int8 model have ties, which make the true probability even smaller.
    """
    x = distance * math.sqrt(before * now / (before + now))
    if x < 0.2:  # the series converges slowly there; the probability is 1 to 12 digits
        return 1.0
    terms = (math.exp(-2 * k * k * x * x) * (1 if k % 2 else -1) for k in range(1, _TERMS))
    return min(1.0, max(0.0, 2 * sum(terms)))


def stability_index(before: Values, now: Values) -> float:
    """Return the sum of (q - p) ln(q / p) over the deciles of ``before``.

    p and q are the shares in each decile. Equal values always fall into the same bin. Half a part
    is added to each bin, because an empty bin in a sample says little about the population.
    """
    edges = np.unique(np.quantile(before, np.linspace(0, 1, _BINS + 1)[1:-1]))
    shares = []
    for sample in (before, now):
        bins = np.searchsorted(edges, sample, side="left")
        counts = np.bincount(bins, minlength=edges.size + 1) + 0.5
        shares.append(counts / counts.sum())
    p, q = shares
    return float(((q - p) * np.log(q / p)).sum())


def _ks_distance(before: Values, now: Values) -> float:
    """The largest vertical distance between the two empirical distribution functions."""
    before, now = np.sort(before), np.sort(now)
    at = np.concatenate((before, now))
    difference = (
        np.searchsorted(before, at, side="right") / before.size
        - np.searchsorted(now, at, side="right") / now.size
    )
    return float(np.abs(difference).max())
