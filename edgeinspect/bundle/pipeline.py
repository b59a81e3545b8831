"""From the pixels of one region to its scores: everything but the engine, precomputed.

One pipeline serves regions of one size, one picture at a time; it owns its buffers. The inspector,
the golden check and the tools all go through here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.card import Card, Fit, InputCard, OutputCard, ReducerCard, Task
from edgeinspect.bundle.preprocess import Preprocessor
from edgeinspect.errors import InferenceFailed
from edgeinspect.line.scores import (
    PROBABILITY,
    Activation,
    ClassScorer,
    MapScorer,
    Quantization,
    SoftmaxTable,
)
from edgeinspect.line.tiles import MapStitcher, TileCutter, TileLayout, lay_tiles
from edgeinspect.part import Region

Array = NDArray[np.generic]

_CLASSIFIER_CELL_PX = 16
"""Cell size of the map that shows which tiles a classifier found defective."""


@dataclass(frozen=True, slots=True)
class PictureScores:
    """The model's result for one region; ``worst`` is in pixels of the region.

    The other attributes are those of ``edgeinspect.part.Inspection``.
    """

    scores: tuple[float, ...]
    order_statistics: tuple[tuple[float, ...], ...]
    top_class: str
    top_score: float
    worst: Region | None


class Pipeline:
    """Cuts regions into quantized tiles and turns the engine's outputs into scores.

    Args:
        card: of the bundle.
        width, height: of the region, in pixels.
        reducer: instead of the card's, for a segmentation model.
    """

    def __init__(
        self, card: Card, *, width: int, height: int, reducer: ReducerCard | None = None
    ) -> None:
        self._card = card
        self._width, self._height = width, height
        self._preprocessor = Preprocessor(card.input)
        self._layout = tile_layout(card, width, height)
        gray = len(card.input.shape) == 3 or card.input.channels == 1
        channels = None if gray else card.input.channels
        self._add_channel_axis = channels is None and len(card.input.shape) == 4
        self._cutter = TileCutter(self._layout, dtype=card.input.dtype, channels=channels)
        self._post: _MapPost | _ClassPost
        if card.task is Task.SEGMENTATION:
            self._post = _MapPost(card, self._layout, (width, height), reducer or card.reducer)
        else:
            self._post = _ClassPost(card, self._layout, (width, height))

    @property
    def tile_count(self) -> int:
        """Number of tiles per picture."""
        return len(self._layout.origins)

    def tiles(self, pixels: NDArray[np.uint8]) -> list[Array]:
        """Quantized tiles for the engine; views that the next call overwrites.

        Args:
            pixels: uint8, (height, width) or (height, width, 3) in RGB order; for a card with a
                reference (height, width, 2), see ``preprocess.with_reference``.
        """
        tiles = self._cutter.cut(self._preprocessor.prepare(pixels))
        return [tile[..., None] for tile in tiles] if self._add_channel_axis else tiles

    def score(self, outputs: Sequence[Array]) -> PictureScores:
        """Scores from the engine's outputs, in the order of the tiles."""
        return self._post.score(outputs)

    def score_map(self, outputs: Sequence[Array]) -> tuple[NDArray[np.float32], float]:
        """The stitched map, float32 (rows, columns, defect classes), and its stride in pixels."""
        return self._post.score_map(outputs)


def tile_layout(card: Card, width: int, height: int) -> TileLayout:
    """The tiles' layout; with ``fit: resize`` one tile in the pixels of the model's input.

    Raises:
        InferenceFailed: too many tiles.
    """
    tile: InputCard = card.input
    stride = card.output.stride_px or 1
    if tile.fit is Fit.RESIZE:
        width, height = tile.width, tile.height
    try:
        return lay_tiles(
            roi_width_px=width,
            roi_height_px=height,
            tile_width_px=tile.width,
            tile_height_px=tile.height,
            overlap_px=tile.tile_overlap_px,
            stride_px=stride if card.task is Task.SEGMENTATION else 1,
        )
    except ValueError as error:
        raise InferenceFailed(
            f"A region of {width} x {height} px cannot be cut into the tiles of {card.name}: "
            f"{error}.",
            next_action="Use a smaller region, or a model with less overlap.",
        ) from error


def _quantization(output: OutputCard) -> Quantization:
    return Quantization(dtype=output.dtype, scale=output.scale, zero_point=output.zero_point)


class _MapPost:
    """A segmentation model's outputs."""

    def __init__(
        self, card: Card, layout: TileLayout, roi_size: tuple[int, int], reducer: ReducerCard
    ) -> None:
        quantization, activation = _quantization(card.output), card.output.activation
        self._softmax: SoftmaxTable | None = None
        if activation is Activation.SOFTMAX:
            self._softmax = SoftmaxTable(quantization)
            quantization, activation = PROBABILITY, Activation.NONE
        self._classes = card.defect_classes
        self._stitcher = MapStitcher(layout, channels=card.output.classes, dtype=quantization.dtype)
        self._scorer = MapScorer(
            channels=card.defect_channels,
            quantization=quantization,
            activation=activation,
            reducer=reducer.kind,
            k=reducer.k,
        )
        self._roi_size = roi_size
        # Region pixels per map cell along x and y: the stride, scaled where the region is resized.
        self._cell = (
            layout.stride_px * roi_size[0] / layout.roi_width_px,
            layout.stride_px * roi_size[1] / layout.roi_height_px,
        )

    def _stitch(self, outputs: Sequence[Array]) -> Array:
        if self._softmax is not None:
            outputs = [self._softmax.apply(output) for output in outputs]
        return self._stitcher.stitch(outputs)

    def score(self, outputs: Sequence[Array]) -> PictureScores:
        found = self._scorer.score(self._stitch(outputs))
        worst = None
        if found.worst_box is not None:
            (left, right), (top, bottom) = (
                self._span(start, extent, axis)
                for axis, (start, extent) in enumerate(
                    (
                        (found.worst_box.x, found.worst_box.width),
                        (found.worst_box.y, found.worst_box.height),
                    )
                )
            )
            worst = Region(left, top, right - left, bottom - top)
        return PictureScores(
            scores=found.scores,
            order_statistics=found.order_statistics,
            top_class=self._classes[found.top],
            top_score=found.scores[found.top],
            worst=worst,
        )

    def _span(self, start: int, extent: int, axis: int) -> tuple[int, int]:
        """First pixel and end of a run of cells, inside the region."""
        cell = self._cell[axis]
        return math.floor(start * cell), min(
            self._roi_size[axis], math.ceil((start + extent) * cell)
        )

    def score_map(self, outputs: Sequence[Array]) -> tuple[NDArray[np.float32], float]:
        scores = self._scorer.to_scores(self._stitch(outputs))
        stride = min(self._cell)
        if self._cell[0] == self._cell[1]:
            return scores, stride
        rows, columns = (
            np.minimum((np.arange(math.ceil(size / stride)) * stride / cell).astype(np.intp), last)
            for size, cell, last in zip(
                reversed(self._roi_size),
                reversed(self._cell),
                (scores.shape[0] - 1, scores.shape[1] - 1),
                strict=True,
            )
        )
        return scores[rows][:, columns], stride


class _ClassPost:
    """A classifier's outputs: one vector per tile."""

    def __init__(self, card: Card, layout: TileLayout, roi_size: tuple[int, int]) -> None:
        self._names = tuple(entry.name for entry in card.classes)
        self._scorer = ClassScorer(
            channels=card.defect_channels,
            quantization=_quantization(card.output),
            activation=card.output.activation,
        )
        self._roi_size = width, height = roi_size
        size = (layout.tile_width_px, layout.tile_height_px)
        self._boxes = [Region(0, 0, width, height)]
        if len(layout.origins) > 1:
            self._boxes = [
                Region(x, y, min(size[0], width - x), min(size[1], height - y))
                for x, y in layout.origins
            ]

    def score(self, outputs: Sequence[Array]) -> PictureScores:
        found = self._scorer.score(outputs)
        # The box of an only tile would be the whole region, which is not useful.
        return PictureScores(
            scores=found.scores,
            order_statistics=(),
            top_class=self._names[found.top_channel],
            top_score=found.top_value,
            worst=self._boxes[found.worst_tile] if len(self._boxes) > 1 else None,
        )

    def score_map(self, outputs: Sequence[Array]) -> tuple[NDArray[np.float32], float]:
        values = self._scorer.values(outputs).astype(np.float32)
        stride = _CLASSIFIER_CELL_PX
        width, height = self._roi_size
        cells = np.zeros((-(-height // stride), -(-width // stride), values.shape[1]), np.float32)
        for box, value in zip(self._boxes, values, strict=True):
            rows = slice(box.y // stride, -(-(box.y + box.height) // stride))
            columns = slice(box.x // stride, -(-(box.x + box.width) // stride))
            np.maximum(cells[rows, columns], value, out=cells[rows, columns])
        return cells, float(stride)
