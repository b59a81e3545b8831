"""Turns a quantized score map into one defect score per class, without float work per cell.

A quantized value has 256 possible levels. So dequantization and activation become a table of 256
scores, and every reducer is computed exactly from a histogram of the levels. A *level* is the
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
"""The ranks k of the k-th largest map values that every part's record keeps. A rank beyond the
number of cells gives the smallest value."""

_SIGN_BIT = np.uint8(0x80)
_RANKS = np.array(ORDER_STATISTIC_RANKS, np.float64)

WORST_REGION_FLOOR = 0.05
"""Below this score, no worst region is reported."""


class Activation(StrEnum):
    """The function between the model's output and a score."""

    NONE = "none"
    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"


class ReducerKind(StrEnum):
    """How the values of a score map become one score per class."""

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
    """A linear quantization: real = (quantized - zero_point) * scale.

    ``dtype`` is "int8" or "uint8".
    """

    dtype: str
    scale: float
    zero_point: int


PROBABILITY = Quantization(dtype="uint8", scale=1 / 255, zero_point=0)
"""The quantization of ``SoftmaxTable``'s result."""


@dataclass(frozen=True, slots=True)
class MapScores:
    """The scores of a map, for each defect class.

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
    """Return the score of each of the 256 levels, clipped to [0, 1]; non-decreasing, shape (256,).

    Sigmoid is 1 / (1 + exp(-real)). Softmax mixes channels, so it has no separate table: use
    ``SoftmaxTable`` first and the table of ``PROBABILITY`` after it.

    Raises:
        ValueError: the activation is softmax.
    """
    if activation is Activation.SOFTMAX:
        raise ValueError("softmax is not a function of one value")
    lowest = int(np.iinfo(quantization.dtype).min)
    real = (np.arange(256) + lowest - quantization.zero_point) * quantization.scale
    if activation is Activation.SIGMOID:
        real = 1.0 / (1.0 + np.exp(-np.clip(real, -700.0, 700.0)))
    return np.clip(real, 0.0, 1.0)


class SoftmaxTable:
    """Softmax over the last axis, from a table of exponentials.

    The result is uint8, as in ``PROBABILITY``. A probability is rounded to the nearest 1/255, as
    precise as TFLite's own int8 softmax (1/256).
    """

    def __init__(self, quantization: Quantization) -> None:
        self._by_difference = np.exp(-np.arange(256) * quantization.scale)

    def apply(self, quantized: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Return the softmax over the last axis of an int8 or uint8 array of any shape."""
        highest = quantized.max(axis=-1, keepdims=True)
        # Only differences count in a softmax; of 8-bit numbers they wrap to 0 to 255, as wanted.
        below = highest.view(np.uint8) - quantized.view(np.uint8)
        exponentials = self._by_difference[below]
        exponentials /= exponentials.sum(axis=-1, keepdims=True)
        return np.asarray(np.rint(exponentials * 255.0), np.uint8)


@dataclass(frozen=True, slots=True)
class ClassScores:
    """The scores of a classifier over the tiles of a picture.

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
        lowest = int(np.iinfo(quantization.dtype).min)
        self._by_byte = _from_level_order(score_table(quantization, activation), lowest)

    def values(self, outputs: Sequence[NDArray[np.generic]]) -> NDArray[np.float64]:
        """Return each defect class's value per tile, [0, 1], shape (tiles, defect classes)."""
        return self._by_byte[self._stack(outputs)[:, self._channels].view(np.uint8)]

    def score(self, outputs: Sequence[NDArray[np.generic]]) -> ClassScores:
        """Score one output per tile; each has one value per class, in any shape."""
        stacked = self._stack(outputs)
        highest = stacked.max(axis=0)
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
        quantization: quantization of the map's values.
        activation: ``none`` or ``sigmoid``; for softmax see ``SoftmaxTable``.
        reducer: how a class's values become its score.
        k: rank for ``kth_largest`` and ``mean_top_k``; ``min(k, cells)`` is used.
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
        self._channels = np.asarray(channels, np.intp)
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
        planes = self._planes(stitched)
        found = Histograms(planes)
        scores = found.reduce(self._reducer, self._k, self._table)
        top = int(scores.argmax())
        return MapScores(
            scores=tuple(scores.tolist()),
            order_statistics=tuple(map(tuple, found.kth_largest(_RANKS, self._table).tolist())),
            top=top,
            worst_box=worst_box(planes[top], self._table),
        )

    def _planes(self, stitched: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Return the levels of the defect classes, each class's map contiguous."""
        planes = np.ascontiguousarray(stitched[:, :, self._channels].transpose(2, 0, 1))
        levels = planes.view(np.uint8)
        return np.bitwise_xor(levels, _SIGN_BIT, out=levels) if self._signed else levels

    def to_scores(self, stitched: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return the map as float32 scores, shape (height, width, defect classes)."""
        by_byte = _from_level_order(self._table, -128 if self._signed else 0)
        chosen = np.ascontiguousarray(stitched[:, :, self._channels]).view(np.uint8)
        return by_byte.astype(np.float32)[chosen]


class Histograms:
    """Counts of the levels of several planes, from the highest level down.

    Args:
        planes: levels, shape (classes, height, width).
    """

    __slots__ = ("_cells", "_from_top")

    def __init__(self, planes: NDArray[np.uint8]) -> None:
        import cv2

        # Counts come as float32, which is exact up to 2**24 cells.
        counts = [cv2.calcHist([plane], [0], None, [256], [0, 256]).ravel() for plane in planes]
        self._cells = planes[0].size
        self._from_top = np.array(counts)[:, ::-1].cumsum(axis=1, dtype=np.float64)

    def kth_largest(
        self, ranks: NDArray[np.float64], table: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the scores of the k-th largest values, counted from 1, shape (classes, ranks).

        A rank beyond the number of cells gives the smallest value.
        """
        wanted = np.minimum(ranks, self._cells)[:, None]
        higher = (self._from_top[:, None] < wanted).sum(axis=2)
        return np.asarray(table[255 - higher], np.float64)

    def mean_top_k(self, k: int, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean score of the ``min(k, cells)`` largest values, shape (classes,)."""
        count = min(k, self._cells)
        taken = np.diff(np.minimum(self._from_top, count), axis=1, prepend=0)
        mean = (taken * table[::-1]).sum(axis=1) / count
        return np.asarray(np.minimum(1.0, mean), np.float64)

    def reduce(
        self, reducer: ReducerKind, k: int, table: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the defect score of each class, shape (classes,)."""
        if reducer is ReducerKind.MEAN_TOP_K:
            return self.mean_top_k(k, table)
        return np.asarray(self.kth_largest(np.array([k], np.float64), table)[:, 0], np.float64)


def worst_box(levels: NDArray[np.uint8], table: NDArray[np.float64]) -> CellBox | None:
    """Return the box of the connected cells around the highest value that reach half its score."""
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
