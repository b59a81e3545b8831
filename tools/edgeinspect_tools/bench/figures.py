"""Percentiles of measured times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def percentiles_us(values_ns: Sequence[int], *shares: float) -> tuple[float, ...]:
    """Percentiles, in microseconds, of values in nanoseconds."""
    found = np.percentile(np.asarray(values_ns, float) / 1000, shares)
    return tuple(float(value) for value in found)


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of one quantity, in microseconds."""

    p50_us: float
    p90_us: float
    p99_us: float
    samples: int

    @classmethod
    def of_ns(cls, values_ns: Sequence[int]) -> Spread:
        """Percentiles of durations in nanoseconds."""
        p50, p90, p99 = percentiles_us(values_ns, 50, 90, 99)
        return cls(p50, p90, p99, len(values_ns))
