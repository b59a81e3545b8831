"""The float model on pictures, cut, stitched and reduced as the station does it for int8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import special

from edgeinspect.bundle.card import Card, InputCard, ReducerCard, Task
from edgeinspect.bundle.pipeline import tile_layout
from edgeinspect.bundle.preprocess import Preprocessor
from edgeinspect.errors import ModelRefused
from edgeinspect.line.scores import Activation, ReducerKind
from edgeinspect.line.tiles import TileCutter, TileLayout
from edgeinspect_tools.quantize.int8 import open_model

Pixels = NDArray[np.uint8]
FloatT = TypeVar("FloatT", np.float32, np.float64)


@dataclass(frozen=True, slots=True)
class RealLook:
    """Scores of the float model for one picture.

    Attributes:
        scores: one per defect class, reduced, [0, 1].
        score_map: (rows, columns, defect classes) in [0, 1]; for a classifier (tiles, 1, classes).
    """

    scores: tuple[float, ...]
    score_map: NDArray[np.float64] = field(repr=False)


class FloatModel:
    """A float TFLite model under a card that says how it is used.

    Args:
        card: of the int8 model, or a draft; dtypes and scales in it are not used.

    Raises:
        ModelRefused: it is not a float model of the card's shapes.
    """

    def __init__(self, model: bytes, card: Card) -> None:
        self._card = card
        self._preprocessor = Preprocessor(_raw_pixels(card.input))
        self._interpreter = open_model(model)
        source, sink = (
            self._interpreter.get_input_details()[0],
            self._interpreter.get_output_details()[0],
        )
        for details, wanted in ((source, card.input.shape), (sink, card.output.shape)):
            found = tuple(int(extent) for extent in details["shape"])
            if details["dtype"] is not np.float32 or found != tuple(wanted):
                raise ModelRefused(
                    f"The float model's {details['name']} is {details['dtype'].__name__} {found}; "
                    f"float32 {tuple(wanted)} is expected."
                )
        self._input, self._output = source["index"], sink["index"]
        self._mean = np.asarray(card.input.mean, np.float32)
        self._std = np.asarray(card.input.std, np.float32)
        self._channels = card.defect_channels

    def samples(self, pixels: Pixels) -> list[NDArray[np.float32]]:
        """The tiles of a picture as the model takes them, each with the batch axis.

        Args:
            pixels: uint8 (height, width), (height, width, 3) in RGB order, or (height, width, 2)
                for a model that compares with a reference.
        """
        prepared = np.asarray(self._preprocessor.prepare(pixels), np.uint8)
        layout = self._layout(pixels)
        channels = None if prepared.ndim == 2 else prepared.shape[2]
        tiles = TileCutter(layout, dtype="uint8", channels=channels).cut(prepared)
        return [self._real(np.asarray(tile, np.uint8)) for tile in tiles]

    def outputs(self, samples: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float64]]:
        """The model's activated outputs, one per sample, without the batch axis."""
        return [self._activated(self._infer(sample)) for sample in samples]

    def look(self, pixels: Pixels) -> RealLook:
        """Scores and score map of one picture."""
        outputs = self.outputs(self.samples(pixels))
        if self._card.task is Task.CLASSIFICATION:
            stacked = np.stack([output.ravel() for output in outputs])[:, self._channels]
            return RealLook(tuple(stacked.max(axis=0).tolist()), stacked[:, None, :])
        score_map = stitched(self._layout(pixels), outputs)[:, :, self._channels]
        return RealLook(reduced(score_map, self._card.reducer), score_map)

    def _layout(self, pixels: Pixels) -> TileLayout:
        return tile_layout(self._card, pixels.shape[1], pixels.shape[0])

    def _real(self, tile: Pixels) -> NDArray[np.float32]:
        values = tile.astype(np.float32)
        if values.ndim == 2:
            values = values[..., None]
        real = (values - self._mean) / self._std
        return np.ascontiguousarray(real.reshape(self._card.input.shape), np.float32)

    def _infer(self, sample: NDArray[np.float32]) -> NDArray[np.float64]:
        self._interpreter.set_tensor(self._input, sample)
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self._output)[0], np.float64)

    def _activated(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        activation = self._card.output.activation
        if activation is Activation.SIGMOID:
            return np.asarray(special.expit(values))
        if activation is Activation.SOFTMAX:
            return np.asarray(special.softmax(values, axis=-1))
        return np.clip(values, 0.0, 1.0)


def reduced(score_map: NDArray[np.floating], reducer: ReducerCard) -> tuple[float, ...]:
    """The defect score of each class of a map (rows, columns, classes)."""
    flat = np.asarray(score_map, np.float64).reshape(-1, score_map.shape[-1])
    k = min(reducer.k, len(flat))
    top = np.partition(flat, len(flat) - k, axis=0)[len(flat) - k :]
    if reducer.kind is ReducerKind.MAX:
        values = flat.max(axis=0)
    else:
        is_mean = reducer.kind is ReducerKind.MEAN_TOP_K
        values = top.mean(axis=0) if is_mean else top.min(axis=0)
    return tuple(float(value) for value in values)


def _raw_pixels(card: InputCard) -> InputCard:
    """The same preprocessing up to the pixels, which then stay as they are."""
    count = len(card.mean)
    raw = {"dtype": "uint8", "scale": 1.0, "zero_point": 0}
    return InputCard.model_validate(
        {**card.model_dump(), **raw, "mean": (0.0,) * count, "std": (1.0,) * count}
    )


def stitched(layout: TileLayout, outputs: Sequence[NDArray[FloatT]]) -> NDArray[FloatT]:
    """The map (rows, columns, classes) of the tiles' outputs; the maximum where they overlap."""
    rows, columns = layout.map_shape
    canvas = np.full((rows, columns, outputs[0].shape[-1]), -np.inf, outputs[0].dtype)
    for (x, y), output in zip(layout.origins, outputs, strict=True):
        top, left = y // layout.stride_px, x // layout.stride_px
        place = canvas[top : top + output.shape[0], left : left + output.shape[1]]
        np.maximum(place, output[: place.shape[0], : place.shape[1]], out=place)
    return canvas
