"""Batches for a frozen encoder: the features of parts of tiles.

The features of a tile never change, so they are computed once, by the station's own kernels, and
kept while there is room. Tiles are cut as the station cuts them, from the picture as it is and as
it looks turned or mirrored. There is no other variation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeinspect.line.tiles import TileCutter, TileLayout, TileOrigin, lay_tiles
from edgeinspect_tools.data.pick import evenly
from edgeinspect_tools.train.augment import orientations, oriented
from edgeinspect_tools.train.crops import Arrays, learned, numbers_by_class
from edgeinspect_tools.train.maps import real_input
from edgeinspect_tools.train.pooled_head import WholeTile
from edgeinspect_tools.train.samples import UNKNOWN, Pictures, spread
from edgeinspect_tools.train.training_settings import TrainSettings

Encode = Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]
"""Real tiles (n, tile, tile, channels) to their features, the finest first."""

_AT_A_DEFECT = 0.85
_MAX_BYTES = 5 << 30


class Features:
    """Features of tiles by one frozen encoder, kept as float16 while there is room.

    They may serve several runs, as of a cross-validation, whose encoder and tiles are the same.
    """

    def __init__(self, *, max_bytes: int = _MAX_BYTES) -> None:
        self._most = max_bytes
        self._bytes = 0
        self._kept: dict[tuple[object, ...], list[NDArray[np.float16]]] = {}

    def of(
        self, key: tuple[object, ...], compute: Callable[[], list[NDArray[np.float32]]]
    ) -> list[NDArray[np.float16]]:
        """The features under ``key``, computed unless they are there."""
        known = self._kept.get(key)
        if known is None:
            known = [level.astype(np.float16) for level in compute()]
            size = sum(level.nbytes for level in known)
            if self._bytes + size <= self._most:
                self._kept[key] = known
                self._bytes += size
        return known


class _Window(NamedTuple):
    """A square of a tile, in pixels of the picture as it lies; ``x``, ``y`` of its top left."""

    tile_x: int
    tile_y: int
    x: int
    y: int


class TileSource:
    """Batches by number: the same number and seed give the same batch.

    Args:
        pictures: of the training split.
        classes: number of defect classes.
        encode: the frozen encoder.
        features: those known already, and those to come.
    """

    def __init__(
        self,
        pictures: Pictures,
        *,
        classes: int,
        settings: TrainSettings,
        encode: Encode,
        features: Features,
    ) -> None:
        self._pictures = pictures
        self._classes = classes
        self._settings = settings
        self._encode = encode
        self._features = features
        self._orientations = orientations(turns=settings.turns, grain=settings.grain)
        self._side = min(settings.crop_px, settings.tile_px)
        self._grid = settings.encoder_stride_px
        self._good = [n for n, sample in enumerate(pictures.samples) if sample.index is None]
        self._by_class = [numbers for numbers in numbers_by_class(pictures, classes) if numbers]
        counts = np.sqrt([len(numbers) for numbers in self._by_class])
        self._shares = counts / counts.sum()

    def batch(self, number: int) -> Arrays:
        """Features, and the targets of the loss."""
        rng = np.random.default_rng((self._settings.seed, number))
        drawn = [self._drawn(rng) for _ in range(self._settings.batch)]
        by_level = zip(*(levels for levels, _, _, _ in drawn), strict=True)
        inputs = [np.stack(level).astype(np.float32) for level in by_level]
        labels = np.stack([marks for _, marks, _, _ in drawn])
        indices = [index for _, _, _, index in drawn]
        targets, weights, bags = learned(labels, indices, self._classes, self._settings)
        stride = self._settings.stride_px
        for row, (_, _, (height, width), _) in enumerate(drawn):
            weights[row, -(-height // stride) :] = weights[row, :, -(-width // stride) :] = 0
        return inputs, [targets, weights, bags]

    def whole_tiles(self, most: int) -> Iterator[WholeTile]:
        """Tiles of the pictures as they lie, with how much of the defect each holds.

        Args:
            most: of more tiles, so many are taken, half of them with defects if there are as
                many, evenly from the pictures.
        """
        tile = self._settings.tile_px
        sound: list[tuple[int, TileOrigin, float]] = []
        marked: list[tuple[int, TileOrigin, float]] = []
        for number in spread(self._pictures.samples, most):
            defect = self._pictures[number].labels > 0
            for origin in self._layout(defect.shape).origins:
                x, y = origin
                inside = float(defect[y : y + tile, x : x + tile].sum() / max(1, defect.sum()))
                (marked if inside else sound).append((number, origin, inside))
        of_marked = min(len(marked), max(most // 2, most - len(sound)))
        chosen = [*evenly(marked, of_marked), *evenly(sound, most - of_marked)]
        for number, origin, inside in chosen:
            sample = self._pictures.samples[number]
            layout = self._layout(self._pictures[number].labels.shape)
            levels = self._levels(number, 0, layout, origin)
            yield WholeTile(levels, inside, sample.group or str(sample.path))

    def _drawn(
        self, rng: np.random.Generator
    ) -> tuple[list[NDArray[np.float16]], NDArray[np.uint8], tuple[int, int], int | None]:
        """Features and labels of a window, how much of it the picture fills, and its class."""
        number, defective = self._number(rng)
        orientation = self._orientations[int(rng.integers(len(self._orientations)))]
        labels = oriented(self._pictures[number].labels, orientation)
        layout = self._layout(labels.shape)
        spot = _marked_spot(labels, rng) if defective else None
        window = self._window(layout, spot, rng)
        levels = self._levels(number, orientation, layout, TileOrigin(window.tile_x, window.tile_y))
        tile = self._settings.tile_px
        left, top = window.x - window.tile_x, window.y - window.tile_y
        cut = []
        for level in levels:
            stride = tile // level.shape[0]
            rows = slice(top // stride, (top + self._side) // stride)
            columns = slice(left // stride, (left + self._side) // stride)
            cut.append(level[rows, columns])
        inside = labels[window.y : window.y + self._side, window.x : window.x + self._side]
        marks = np.zeros((self._side, self._side), np.uint8)
        marks[: inside.shape[0], : inside.shape[1]] = inside
        return cut, marks, inside.shape, self._pictures.samples[number].index

    def _levels(
        self, number: int, orientation: int, layout: TileLayout, origin: TileOrigin
    ) -> list[NDArray[np.float16]]:
        """Features of one tile of a picture in one orientation."""

        def compute() -> list[NDArray[np.float32]]:
            pixels = oriented(self._pictures[number].pixels, orientation)
            cutter = TileCutter(layout, dtype="uint8", channels=pixels.shape[2])
            chosen = cutter.cut(pixels)[layout.origins.index(origin)]
            return [level[0] for level in self._encode(real_input(np.array(chosen)[None]))]

        path = self._pictures.samples[number].path
        return self._features.of((path, orientation, *origin), compute)

    def _number(self, rng: np.random.Generator) -> tuple[int, bool]:
        """A picture, and whether a defect in it is wanted."""
        if self._good and (not self._by_class or rng.random() < self._settings.good_share):
            return self._good[int(rng.integers(len(self._good)))], False
        numbers = self._by_class[int(rng.choice(len(self._by_class), p=self._shares))]
        return numbers[int(rng.integers(len(numbers)))], rng.random() < _AT_A_DEFECT

    def _layout(self, shape: tuple[int, ...]) -> TileLayout:
        settings = self._settings
        return lay_tiles(
            roi_width_px=shape[1],
            roi_height_px=shape[0],
            tile_width_px=settings.tile_px,
            tile_height_px=settings.tile_px,
            overlap_px=settings.tile_overlap_px,
            stride_px=settings.stride_px,
        )

    def _window(
        self, layout: TileLayout, spot: tuple[int, int] | None, rng: np.random.Generator
    ) -> _Window:
        """A window of a tile on the encoder's grid, around ``spot`` (x, y) if there is one."""
        tile = self._settings.tile_px
        origins = layout.origins
        if spot is not None:
            origins = tuple(
                o for o in origins if o.x <= spot[0] < o.x + tile and o.y <= spot[1] < o.y + tile
            )
        origin = origins[int(rng.integers(len(origins)))]
        x, y = (
            start + self._along(min(tile, extent - start), None if at is None else at - start, rng)
            for start, extent, at in zip(
                origin,
                (layout.roi_width_px, layout.roi_height_px),
                spot or (None, None),
                strict=True,
            )
        )
        return _Window(origin.x, origin.y, x, y)

    def _along(self, extent: int, at: int | None, rng: np.random.Generator) -> int:
        """Where a window begins along one side of a tile that a picture fills up to ``extent``."""
        last = max(0, -(-(extent - self._side) // self._grid))
        first = 0
        if at is not None:
            first = max(0, -(-(at + 1 - self._side) // self._grid))
            last = max(first, min(last, at // self._grid))
        return self._grid * int(rng.integers(first, last + 1))


def _marked_spot(labels: NDArray[np.uint8], rng: np.random.Generator) -> tuple[int, int] | None:
    """A defective pixel (x, y); None where no pixel is known to be."""
    marked = np.flatnonzero((labels > 0) & (labels != UNKNOWN))
    if not marked.size:
        return None
    row, column = divmod(int(marked[int(rng.integers(marked.size))]), labels.shape[1])
    return column, row


def run_split(encode: Encode, decoder: Any) -> Callable[[NDArray[np.float32]], Any]:
    """Tiles through a frozen encoder and a Keras decoder as it is at each call."""
    import tensorflow as tf

    step = tf.function(lambda levels: decoder(levels, training=False), autograph=False)

    def run(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs = []
        for tile in tiles:
            levels = [tf.constant(level) for level in encode(tile[None])]
            outputs.append(np.asarray(step(levels if len(levels) > 1 else levels[0]), np.float32))
        return np.concatenate(outputs)

    return run
