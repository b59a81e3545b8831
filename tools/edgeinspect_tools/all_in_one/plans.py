"""Training settings that suit a data set's pictures, its labels and the time limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.hw.picture_file import read_picture
from edgeinspect_tools.data.dataset import Dataset, Item, Split
from edgeinspect_tools.train import Network, TrainSettings
from edgeinspect_tools.train.training_settings import CLASSIFICATION, FROZEN_ENCODER, LINEAR_HEAD
from edgeinspect_tools.train.weights import width_of

BASELINE = "plain baseline"
"""A published encoder, frozen, under a regularised linear head: every other model must beat it."""

FINE_TUNING_SHARE = 0.25
"""Of the time for everything: the quantization-aware fine-tuning, where it is needed."""

_TRAINING_SHARE = 0.6
_STEPS_WITHOUT_END = 100_000
_MINUTES_WITHOUT_END = 60_000.0
_CHECKS = 8
"""Validations of a training that is counted in steps."""

_LARGEST_TILE_PX = 256
_LARGEST_FROZEN_TILE_PX = 384
_SHORT_SIDE_PX = 256
"""Whole pictures are scaled to about this; pooled features of larger ones ranked worse."""
_LONGEST_SIDE_PX = 1024
_ENOUGH_FOR_TWO_MINUTES = 20.0
_LOOKED_AT = 40

_PUBLISHED = Network.EFFICIENTNET_LITE0
"""Its weights are installed with the program."""

_PHOTOGRAPH_SPREAD = 57.0
"""Standard deviation of grey levels in the photographs that published encoders learned from:
0.22 to 0.23 of the range (ImageNet's usual normalisation)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The options that a person can change.

    Attributes:
        weights: see ``TrainSettings``. A data set with reference pictures learns from random
            weights unless a file is named: published weights know nothing of a reference.
        minutes: for everything; most of it is training.
        steps: of training, instead of the minutes: the same on every machine. None: by the clock.
        network: None: EfficientNet-Lite0 with its published weights, MobileNetV2 with those of a
            file; without weights ``small``, or ``tiny`` in less than ten minutes.
        resume: go on with the training that an interrupted run left in the run folder.
        good_only: learn from good pictures and drawn defects; real defects are only tested on.
    """

    weights: str = "imagenet"
    minutes: float = 30.0
    steps: int | None = None
    network: Network | None = None
    seed: int = 1
    accept_gap: bool = False
    replace: bool = False
    good: str = ""
    group_pattern: str = ""
    resume: bool = False
    good_only: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """Measurements of a sample of the training pictures.

    Attributes:
        short_px, long_px: medians of their sides.
        upright: most are higher than wide.
        gray: no picture has colour.
        brightness: mean grey level; ``spread`` is the mean standard deviation in a picture.
        grain: the surface has a direction.
    """

    short_px: int
    long_px: int
    upright: bool
    gray: bool
    brightness: float
    spread: float
    grain: bool

    @property
    def contrast(self) -> float:
        """By how much these pictures are flatter than photographs, at most three times."""
        return round(min(3.0, max(1.0, _PHOTOGRAPH_SPREAD / max(self.spread, 1.0))), 2)


def candidates(dataset: Dataset, wishes: Wishes) -> dict[str, TrainSettings]:
    """Settings worth training, by name; validation chooses if there are several.

    Without loaded weights, one network. With them the encoder stays as it is under a decoder,
    because few defective parts teach it nothing new. That is always compared with the plain
    baseline, a linear head on the pooled features of whole pictures. Where there is time, it is
    also compared with a tuned encoder where masks or boxes say which pixels are defective, and
    with a classifier of whole pictures where only their labels are known.
    """
    look = look_at(dataset.of(Split.TRAIN))
    reference = all(item.reference is not None for item in dataset.items)
    weights = wishes.weights
    if weights == "imagenet" and (reference or not (wishes.network or _PUBLISHED).has_encoder):
        weights = "none"
    shared: dict[str, Any] = {
        "weights": weights,
        "seed": wishes.seed,
        "reference": reference,
        "max_validation": 120 if wishes.minutes >= 10 else 40,
    }
    own = wishes.network or _network_for(weights, wishes.minutes)
    if weights == "none" or not own.has_encoder:
        gray = reference or (look.gray and weights == "none")
        shared |= {"network": own, "gray": gray}
        return {"map": TrainSettings(**shared, **_tiles(look), **budget(wishes))}
    shared |= {
        "network": own,
        "alpha": width_of(weights),
        "gray": reference or look.gray,
        "grain": look.grain,
        "contrast": look.contrast,
        "brightness": round(look.brightness),
    }
    if reference:  # loaded weights know of no reference, so every layer has to learn of it
        return {"map": TrainSettings(**shared, **_tiles(look), **budget(wishes))}
    both = wishes.minutes >= _ENOUGH_FOR_TWO_MINUTES and wishes.steps is None
    frozen = {**FROZEN_ENCODER, **shared, **_frozen_tiles(look), "rate": 3e-3}
    share = 0.5 if both else 1.0
    whole = shared | {"encoder_stride_px": 32, **_whole_picture(look)}
    found = {
        BASELINE: TrainSettings(**whole, method=LINEAR_HEAD, **budget(wishes, share)),
        "frozen encoder": TrainSettings(**frozen, **budget(wishes, share)),
    }
    if not both:
        return found
    if all(item.is_good or item.mask or item.boxes for item in dataset.items):
        tuned = shared | {"freeze_stride_px": 8, **_tiles(look)}
        found["tuned encoder"] = TrainSettings(**tuned, **budget(wishes, share))
        return found
    found["classifier"] = TrainSettings(
        **whole, method=CLASSIFICATION, rate=5e-4, **budget(wishes, share)
    )
    return found


def _network_for(weights: str, minutes: float) -> Network:
    if weights == "none":
        return Network.SMALL if minutes >= 10 else Network.TINY
    return _PUBLISHED if weights == "imagenet" else Network.MOBILENET_V2


def look_at(items: Sequence[Item]) -> Look:
    """Look at an even sample of pictures."""
    sample = items[:: max(1, len(items) // _LOOKED_AT)]
    shorts = [min(item.width, item.height) for item in items]
    longs = [max(item.width, item.height) for item in items]
    pictures = [read_picture(item.path) for item in sample]
    planes = [p.mean(axis=2) if p.ndim == 3 else p.astype(np.float64) for p in pictures]
    return Look(
        short_px=int(np.median(shorts)),
        long_px=int(np.median(longs)),
        upright=sum(item.height > item.width for item in items) * 2 > len(items),
        gray=not any(_has_colour(picture) for picture in pictures),
        brightness=float(np.mean([plane.mean() for plane in planes])),
        spread=float(np.mean([plane.std() for plane in planes])),
        grain=_have_grain(planes),
    )


def _has_colour(picture: NDArray[np.uint8]) -> bool:
    return picture.ndim == 3 and bool((picture.max(axis=2) != picture.min(axis=2)).any())


def _have_grain(planes: Sequence[NDArray[np.float64]]) -> bool:
    """Whether the surface has a direction, such as brushed metal.

    It has one if grey levels change twice as fast along one axis as along the other, and along the
    same axis in nine of ten pictures.
    """
    steep = []
    for plane in planes:
        along_y, along_x = np.gradient(plane)
        x, y = float((along_x**2).mean()), float((along_y**2).mean())
        steep.append(math.log((x + 1e-6) / (y + 1e-6)))
    low, middle, high = np.quantile(steep, (0.1, 0.5, 0.9))
    return bool(abs(middle) > math.log(2) and low * high > 0)


def _tiles(look: Look) -> dict[str, Any]:
    tile = min(_LARGEST_TILE_PX, max(64, look.short_px // 32 * 32))
    return {"tile_px": tile, "tile_overlap_px": min(64, tile // 4), "crop_px": min(tile, 192)}


def _frozen_tiles(look: Look) -> dict[str, Any]:
    """A tile that takes in a whole picture where it can: features stay the same anyway."""
    tile = min(_LARGEST_FROZEN_TILE_PX, max(64, _up(look.long_px)))
    return {"tile_px": tile, "tile_overlap_px": tile // 3 // 4 * 4, "crop_px": min(tile, 192)}


def _whole_picture(look: Look) -> dict[str, Any]:
    """The size that whole pictures are scaled to; never enlarged, and their shape is kept."""
    scale = min(1.0, _SHORT_SIDE_PX / look.short_px, _LONGEST_SIDE_PX / look.long_px)
    short, long = (max(32, round(side * scale / 32) * 32) for side in (look.short_px, look.long_px))
    height, width = (long, short) if look.upright else (short, long)
    return {"resize_px": height, "resize_width_px": width}


def _up(side_px: int) -> int:
    return -(-side_px // 32) * 32


def budget(wishes: Wishes, share: float = 1.0) -> dict[str, Any]:
    """The settings of a training's time limit: its share of the minutes, or its steps."""
    if wishes.steps is not None:
        return {
            "minutes": _MINUTES_WITHOUT_END,
            "steps": wishes.steps,
            "check_every": max(20, min(200, wishes.steps // _CHECKS)),
        }
    return {
        "minutes": max(0.05, wishes.minutes * _TRAINING_SHARE * share),
        "steps": _STEPS_WITHOUT_END,
        "check_every": 200 if wishes.minutes >= 10 else 50,
    }
