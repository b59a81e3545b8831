"""From a quantized score map to the one defect score per class, without float work per cell.

A quantized value has 256 possible levels, so dequantization and activation are a table of 256
scores, and every reducer follows exactly from a histogram of the levels. A *level* is the
quantized value counted from the lowest of its dtype: 0 to 255 for int8 and uint8 alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ORDER_STATISTIC_RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""The k of the k-th largest map values that are kept with every part. A rank beyond the number
of cells gives the smallest value."""

_RANKS = np.array(ORDER_STATISTIC_RANKS, np.float64)

WORST_REGION_FLOOR = 0.05
"""No worst region is reported below this score: nothing stands out."""


class Activation(StrEnum):
    NONE = "none"
    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"


class ReducerKind(StrEnum):
    MAX = "max"
    KTH_LARGEST = "kth_largest"
    MEAN_TOP_K = "mean_top_k"


class CellBox(NamedTuple):
    """A box of map cells: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Quantization:
    """real = (quantized - zero_point) * scale; ``dtype`` is "int8" or "uint8"."""

    dtype: str
    scale: float
    zero_point: int


PROBABILITY = Quantization(dtype="uint8", scale=1 / 255, zero_point=0)
"""What ``SoftmaxTable`` gives."""


@dataclass(frozen=True, slots=True)
class MapScores:
    """What a score map says of each defect class.

    Attributes:
        scores: by the declared reducer, [0, 1], in the order of the channels.
        order_statistics: per class the values of ``ORDER_STATISTIC_RANKS``.
        top: index of the class with the highest score; the first of equals.
        worst_box: connected cells around the highest value of the top class that reach at least
            half of it; None below ``WORST_REGION_FLOOR``.
    """

    scores: tuple[float, ...]
    order_statistics: tuple[tuple[float, ...], ...]
    top: int
    worst_box: CellBox | None


def score_table(quantization: Quantization, activation: Activation) -> NDArray[np.float64]:
    """The score of each of the 256 levels, clipped to [0, 1]; non-decreasing, shape (256,).

    Sigmoid is 1 / (1 + exp(-real)). Softmax mixes channels and has no table of its own: use
    ``SoftmaxTable`` first and the table of ``PROBABILITY`` after it.

    Raises:
        ValueError: for softmax.
    """
    if activation is Activation.SOFTMAX:
        raise ValueError("softmax is not a function of one value")
    lowest = int(np.iinfo(quantization.dtype).min)
    real = (np.arange(256) + lowest - quantization.zero_point) * quantization.scale
    if activation is Activation.SIGMOID:
        real = 1.0 / (1.0 + np.exp(-np.clip(real, -700.0, 700.0)))
    return np.clip(real, 0.0, 1.0)


class SoftmaxTable:
    """Softmax over the last axis by a table of exponents; gives uint8 of ``PROBABILITY``.

    A probability is rounded to the nearest 1/255, as fine as TFLite's own int8 softmax (1/256).
    """

    def __init__(self, quantization: Quantization) -> None:
        lowest = int(np.iinfo(quantization.dtype).min)
        # Only differences count in a softmax; the highest level is 0 so that nothing overflows.
        exponent = np.maximum((np.arange(256) - 255) * quantization.scale, -700.0)
        self._by_byte = _from_level_order(np.exp(exponent), lowest)

    def apply(self, quantized: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Any shape; the classes are the last axis."""
        exponentials = self._by_byte[quantized.view(np.uint8)]
        exponentials /= exponentials.sum(axis=-1, keepdims=True)
        return np.asarray(np.rint(exponentials * 255.0), np.uint8)


@dataclass(frozen=True, slots=True)
class ClassScores:
    """What a classifier says of the tiles of a picture.

    Attributes:
        scores: per defect class the highest value over the tiles, [0, 1].
        top_channel: the channel with the highest value over all tiles, whatever its role.
        top_value: that value, [0, 1].
        worst_tile: index of the tile that gave the highest defect score.
    """

    scores: tuple[float, ...]
    top_channel: int
    top_value: float
    worst_tile: int


class ClassScorer:
    """Scores a classifier's outputs; the arguments are those of ``MapScorer``."""

    def __init__(
        self, *, channels: Sequence[int], quantization: Quantization, activation: Activation
    ) -> None:
        self._channels = np.asarray(channels, np.intp)
        self._softmax: SoftmaxTable | None = None
        if activation is Activation.SOFTMAX:
            self._softmax = SoftmaxTable(quantization)
            quantization, activation = PROBABILITY, Activation.NONE
        self._quantization = quantization
        lowest = int(np.iinfo(quantization.dtype).min)
        self._by_byte = _from_level_order(score_table(quantization, activation), lowest)

    def values(self, outputs: Sequence[NDArray[np.generic]]) -> NDArray[np.float64]:
        """The defect classes' value in each tile, [0, 1], shape (tiles, defect classes)."""
        return self._by_byte[self._stack(outputs)[:, self._channels].view(np.uint8)]

    def score(self, outputs: Sequence[NDArray[np.generic]]) -> ClassScores:
        """Score one output per tile, each with one value per class, in any shape."""
        stacked = self._stack(outputs)
        highest = stacked.max(axis=0) if len(stacked) > 1 else stacked[0]
        values = self._by_byte[highest.view(np.uint8)]
        scores = values[self._channels]
        top = int(highest.argmax())
        worst_channel = self._channels[scores.argmax()]
        return ClassScores(
            scores=tuple(scores.tolist()),
            top_channel=top,
            top_value=float(values[top]),
            worst_tile=int(stacked[:, worst_channel].argmax()),
        )

    def _stack(self, outputs: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
        stacked = np.stack([output.ravel() for output in outputs])
        return self._softmax.apply(stacked) if self._softmax is not None else stacked


class MapScorer:
    """Scores stitched maps of one layout.

    Args:
        channels: the defect classes among the map's channels, in order.
        quantization: of the map's values.
        activation: ``none`` or ``sigmoid``; for softmax see ``SoftmaxTable``.
        reducer: how a class's values become its score.
        k: of ``kth_largest`` and ``mean_top_k``; ``min(k, cells)`` is used.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int],
        quantization: Quantization,
        activation: Activation = Activation.NONE,
        reducer: ReducerKind = ReducerKind.MAX,
        k: int = 1,
    ) -> None:
        if k < 1 or not channels:
            raise ValueError("k and the number of channels must be at least 1")
        self._channels = tuple(channels)
        self._table = score_table(quantization, activation)
        self._signed = quantization.dtype == "int8"
        self._reducer = reducer
        self._k = k if reducer is not ReducerKind.MAX else 1

    @property
    def table(self) -> NDArray[np.float64]:
        """The score of each level, shape (256,)."""
        return self._table

    def score(self, stitched: NDArray[np.generic]) -> MapScores:
        """Score a map of shape (height, width, channels) in the declared quantization."""
        levels = [self._levels(stitched, channel) for channel in self._channels]
        histograms = [Histogram(plane) for plane in levels]
        scores = [self._reduce(histogram) for histogram in histograms]
        top = max(range(len(scores)), key=scores.__getitem__)
        return MapScores(
            scores=tuple(scores),
            order_statistics=tuple(h.order_statistics(self._table) for h in histograms),
            top=top,
            worst_box=worst_box(levels[top], self._table),
        )

    def _levels(self, stitched: NDArray[np.generic], channel: int) -> NDArray[np.uint8]:
        plane = np.ascontiguousarray(stitched[:, :, channel]).view(np.uint8)
        return plane ^ np.uint8(0x80) if self._signed else plane

    def _reduce(self, histogram: Histogram) -> float:
        if self._reducer is ReducerKind.MEAN_TOP_K:
            return histogram.mean_top_k(self._table, self._k)
        return histogram.kth_largest(self._table, self._k)

    def to_scores(self, stitched: NDArray[np.generic]) -> NDArray[np.float32]:
        """The defect classes' map as float32 scores, shape (height, width, defect classes)."""
        by_byte = _from_level_order(self._table, -128 if self._signed else 0)
        chosen = np.ascontiguousarray(stitched[:, :, self._channels]).view(np.uint8)
        return by_byte.astype(np.float32)[chosen]


class Histogram:
    """Counts of the levels of one contiguous plane, from the highest level down."""

    __slots__ = ("_cells", "_from_top")

    def __init__(self, levels: NDArray[np.uint8]) -> None:
        import cv2

        counts = cv2.calcHist([levels], [0], None, [256], [0, 256])  # float32, exact to 2**24
        self._cells = levels.size
        # OpenCV 4 gives a column, OpenCV 5 a vector.
        self._from_top = counts.reshape(-1)[::-1].cumsum(dtype=np.float64)

    def kth_largest(self, table: NDArray[np.float64], k: int) -> float:
        """Score of the k-th largest value, counted from 1; of the smallest if there are fewer."""
        return float(table[255 - int(self._from_top.searchsorted(min(k, self._cells)))])

    def mean_top_k(self, table: NDArray[np.float64], k: int) -> float:
        """Mean score of the ``min(k, cells)`` largest values."""
        count = min(k, self._cells)
        taken = np.diff(np.minimum(self._from_top, count), prepend=0)
        return min(1.0, float((taken * table[::-1]).sum()) / count)

    def order_statistics(self, table: NDArray[np.float64]) -> tuple[float, ...]:
        """The scores at ``ORDER_STATISTIC_RANKS``."""
        ranks = np.minimum(_RANKS, self._cells)
        return tuple(table[255 - self._from_top.searchsorted(ranks)].tolist())


def worst_box(levels: NDArray[np.uint8], table: NDArray[np.float64]) -> CellBox | None:
    """Box of the connected cells around the highest value that reach half its score."""
    import cv2

    row, column = divmod(int(levels.argmax()), levels.shape[1])
    peak = float(table[levels[row, column]])
    if peak < WORST_REGION_FLOOR:
        return None
    half = int(table.searchsorted(peak / 2))
    reached = (levels >= half).view(np.uint8)
    _, _, _, box = cv2.floodFill(reached, None, (column, row), 2, flags=8)
    return CellBox(*box)


def _from_level_order(table: NDArray[np.float64], lowest: int) -> NDArray[np.float64]:
    """Reorder a table of levels so that the value's raw byte indexes it."""
    return np.roll(table, lowest)
