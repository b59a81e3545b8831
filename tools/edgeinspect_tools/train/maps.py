"""A float model on whole pictures, tiled and stitched as on the station, and its value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from edgeinspect.line.tiles import TileCutter, lay_tiles
from edgeinspect_tools.quantize.int8 import Run
from edgeinspect_tools.quantize.real import stitched
from edgeinspect_tools.statistics import auroc
from edgeinspect_tools.train.crops import cell_targets
from edgeinspect_tools.train.samples import UNKNOWN, Picture, Pictures
from edgeinspect_tools.train.training_settings import TrainSettings

MEAN = 128.0
"""A whole grey level: then zero is one, and int8 holds every grey level as it is. In the middle, at
127.5, dark ones would be rounded down and light ones up, which doubles the step between."""

STD = 127.5
RANKS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Reducer ranks that are tried; a subset of the station's order statistics."""

_TILES_AT_ONCE = 4
_LARGE_TILE_PX = 512


def real_input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey levels as the network's input: (pixel - 128) / 127.5."""
    return (pixels.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)


def run_keras(model: Any) -> Run:
    """Run tiles through a Keras model as it is at each call.

    The batch is always the same, so that TensorFlow compiles one graph: four tiles, or one where a
    tile is a whole picture.
    """
    import tensorflow as tf

    step = tf.function(lambda tiles: model(tiles, training=False), autograph=False)

    def run(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        at_once = _TILES_AT_ONCE if tiles.shape[1] < _LARGE_TILE_PX else 1
        missing = -len(tiles) % at_once
        padded = np.concatenate([tiles, np.zeros((missing, *tiles.shape[1:]), np.float32)])
        parts = [
            np.asarray(step(tf.constant(padded[first : first + at_once])), np.float32)
            for first in range(0, len(padded), at_once)
        ]
        return np.concatenate(parts)[: len(tiles)]

    return run


class MapMaker:
    """Stitched logits of whole pictures.

    Args:
        run: real tiles (n, tile, tile, channels) to logits (n, cells, cells, classes).
    """

    def __init__(self, run: Run, settings: TrainSettings) -> None:
        self.settings = settings
        self._run = run

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32 (map height, map width, classes), the maximum where tiles overlap."""
        settings = self.settings
        height, width, channels = pixels.shape
        layout = lay_tiles(
            roi_width_px=width,
            roi_height_px=height,
            tile_width_px=settings.tile_px,
            tile_height_px=settings.tile_px,
            overlap_px=settings.tile_overlap_px,
            stride_px=settings.stride_px,
        )
        cut = TileCutter(layout, dtype="uint8", channels=channels).cut(pixels)
        tiles = np.stack([np.asarray(tile, np.uint8) for tile in cut])
        return stitched(layout, list(self._run(real_input(tiles))))


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model makes of one picture.

    Attributes:
        index: the picture's true class, None if good.
        ranked: the k-th largest scores for ``RANKS``, shape (classes, ranks).
        top_means: the mean of the k largest scores for ``RANKS``, same shape.
        hits, union: cells per class at a score of one half, for the IoU; empty without masks.
        hard_spot: (x, y) in pixels of the highest score.
    """

    index: int | None
    ranked: NDArray[np.float32] = field(repr=False)
    top_means: NDArray[np.float32] = field(repr=False)
    hits: NDArray[np.int64] = field(repr=False)
    union: NDArray[np.int64] = field(repr=False)
    hard_spot: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """Of a model, on validation pictures.

    Attributes:
        auroc: good against defective by the best rank; None where one kind is missing.
        iou: mean over the defect classes present; None where nothing is located.
        value: what early stopping maximises: the mean of those that are there.
    """

    auroc: float | None
    iou: float | None

    @property
    def value(self) -> float:
        """Mean of the figures that are known; 0 without any."""
        known = [value for value in (self.auroc, self.iou) if value is not None]
        return sum(known) / len(known) if known else 0.0

    def __str__(self) -> str:
        parts = (("AUROC", self.auroc), ("IoU", self.iou))
        return ", ".join(f"{name} {value:.4f}" for name, value in parts if value is not None)


def look(maker: MapMaker, picture: Picture, stride_px: int) -> Seen:
    """One picture through the model."""
    logits = maker.logits(picture.pixels)
    scores = special.expit(logits)
    flat = -np.sort(-scores.reshape(-1, scores.shape[-1]), axis=0)
    ranks = np.minimum(RANKS, len(flat)) - 1
    means = np.cumsum(flat, axis=0) / np.arange(1, len(flat) + 1)[:, None]
    hits, union = _overlap(picture, scores >= 0.5, stride_px, maker.settings.coverage_gain)
    row, column = divmod(int(scores.max(axis=2).argmax()), scores.shape[1])
    return Seen(
        picture.index,
        flat[ranks].T.astype(np.float32),
        means[ranks].T.astype(np.float32),
        hits,
        union,
        (column * stride_px + stride_px // 2, row * stride_px + stride_px // 2),
    )


def look_at_all(maker: MapMaker, pictures: Pictures, numbers: Sequence[int]) -> list[Seen]:
    """Several pictures through the model."""
    return [look(maker, pictures[number], maker.settings.stride_px) for number in numbers]


def worth(seen: Sequence[Seen]) -> Worth:
    """See ``Worth``."""
    good = np.array([one.ranked.max(axis=0) for one in seen if one.index is None])
    bad = np.array([one.ranked.max(axis=0) for one in seen if one.index is not None])
    area = None
    if len(good) and len(bad):
        area = max(auroc(bad[:, k].tolist(), good[:, k].tolist()) for k in range(len(RANKS)))
    located = [one for one in seen if one.union.size]
    union = np.sum([one.union for one in located], axis=0) if located else np.zeros(0)
    hits = np.sum([one.hits for one in located], axis=0) if located else np.zeros(0)
    there = union > 0
    iou = float((hits[there] / union[there]).mean()) if there.any() else None
    return Worth(auroc=area, iou=iou)


def _overlap(
    picture: Picture, found: NDArray[np.bool_], stride_px: int, gain: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if (picture.labels == UNKNOWN).any():
        nothing = np.zeros(0, np.int64)
        return nothing, nothing
    height, width = picture.labels.shape
    below, beside = -height % stride_px, -width % stride_px
    labels = np.pad(picture.labels, ((0, below), (0, beside)), mode="edge")
    wanted = cell_targets(labels[None], found.shape[2], stride_px, gain=gain)[0] >= 0.5
    return (found & wanted).sum((0, 1)), (found | wanted).sum((0, 1))
