"""Percentiles of measured times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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
        p50, p90, p99 = np.percentile(np.asarray(values_ns, float) / 1000, (50, 90, 99))
        return cls(float(p50), float(p90), float(p99), len(values_ns))
