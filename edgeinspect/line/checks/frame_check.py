"""What one check is: a number measured on the picture, a limit, and the doubt that it raises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from edgeinspect.part import Doubt


class Bound(Enum):
    """Which side of its limit a measured value must stay on; the limit itself is still good."""

    AT_LEAST = auto()
    AT_MOST = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A number that describes a picture.

    Attributes:
        name: of the value in the records, e.g. "focus".
        words: for a person, e.g. "mean grey level".
        measure: from the pixels of the region of interest as grey levels: uint8, shape
            (height, width), contiguous, at least one pixel. It must not change them.
    """

    name: str
    words: str
    measure: Callable[[NDArray[np.uint8]], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCheck:
    """A limit on a measurement.

    Attributes:
        limit: name of the limit, a key of the recipe's section ``checks``.
        default: the limit where the recipe does not say; None leaves the check out.
        lowest: a recipe's limit must be at least this.
        highest: a recipe's limit must be at most this.
        doubt: why a picture beyond the limit cannot be inspected.
    """

    limit: str
    measurement: Measurement
    bound: Bound
    doubt: Doubt
    lowest: float
    highest: float
    default: float | None = None

    def is_good(self, value: float, limit: float) -> bool:
        """Whether a measured value keeps to the limit; NaN never does."""
        return value >= limit if self.bound is Bound.AT_LEAST else value <= limit

    def describe(self, value: float, limit: float) -> str:
        """A value beyond the limit, in a sentence for a person."""
        side = "below" if self.bound is Bound.AT_LEAST else "above"
        return f"{self.measurement.words} {value:.4g} is {side} {limit:g}"
