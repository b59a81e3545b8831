"""The settings of a training run; immutable, and written into ``run.json`` as used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from edgeinspect.errors import UsageError


class Network(StrEnum):
    """Networks that can be trained.

    ``tiny``, ``small`` and ``medium`` start from random weights; the others have an encoder whose
    published weights can be loaded.
    """

    TINY = "tiny"
    SMALL = "small"
    MEDIUM = "medium"
    MOBILENET_V2 = "mobilenet_v2"
    EFFICIENTNET_LITE0 = "efficientnet_lite0"
    EFFICIENTNET_LITE1 = "efficientnet_lite1"
    EFFICIENTNET_LITE2 = "efficientnet_lite2"

    @property
    def has_encoder(self) -> bool:
        """Whether published weights can be loaded."""
        return self not in (Network.TINY, Network.SMALL, Network.MEDIUM)


NETWORK_NAMES = tuple(network.value for network in Network)

AUTO = "auto"
"""Segmentation, also where pictures carry only a label: then the map is learned through the
picture's score."""

SEGMENTATION = "segmentation"
CLASSIFICATION = "classification"
LINEAR_HEAD = "linear-head"


class EncoderChoice(StrEnum):
    """How a classifier's encoder is trained.

    It stays frozen under a regularised head, or is fine-tuned, or validation decides.
    """

    AUTO = "auto"
    FROZEN = "frozen"
    FINE_TUNED = "fine-tuned"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """Options of ``train``. Sizes are pixels of the picture.

    Attributes:
        network: see ``Network``.
        method: ``auto``, or a name in ``training_methods.METHODS``.
        weights: ``none``, ``imagenet``, or a .keras or .tflite file; ``imagenet`` is installed
            for EfficientNet-Lite and fetched for MobileNetV2. A run is always reproducible from
            its settings, seed and data.
        alpha: width of the encoder, relative to the published network of that name; MobileNetV2
            is published with 0.35, 0.5, 0.75, 1.0, 1.3 and 1.4.
        encoder_stride_px: the encoder's blocks up to this stride are used: 16, or 32, which takes
            in a whole tile where a defect shows only beside its surroundings.
        contrast: loaded weights are made to see the pictures with so many times their contrast,
        brightness: around this grey level; for pictures darker or flatter than photographs.
        gray: train on grey pictures even where they have colours.
        reference: the picture of the same place on a faultless product is the last input channel.
        tile_px: side of the square that the model looks at on the station.
        tile_overlap_px: by how much neighbouring tiles overlap there.
        crop_px: side of the squares it is trained on; at most a tile where the whole encoder is
            frozen, since they are then cut from tiles.
        stride_px: frame pixels per cell of the score map: 2, 4 or 8.
        resize_px: of a classifier: pictures are scaled to this height first, and to
        resize_width_px: this width; 0 for a square.
        box_fill: share of a box's sides that counts as defect, around its centre, where boxes are
            all that is known; below 1 neighbours stay apart.
        freeze_stride_px: MobileNetV2 blocks up to this stride keep their loaded weights. With
            all of them frozen, features are kept and used again: training is several times
            faster, and pictures are mirrored and turned by quarters only.
        encoder: see ``EncoderChoice``; of a map, ``freeze_stride_px`` says it.
        turns: also learn from pictures turned by quarters and upside down; off where the product
            always lies the same way and that matters.
        grain: the surface has a direction (ground, rolled, woven): turned pictures are mirrored
            or stand on their heads, but never lie on their side.
        good_share: of the crops of a step that come from good pictures.
        coverage_gain: a cell is taught the share of it that is defective, times this, at most 1.
            1 gives outlines that are true; more keeps defects that fill no cell.
        picture_loss: weight of a loss on each crop's highest scores, besides that on its cells.
        pooled_head: with a frozen encoder: weight of a second opinion on the tile as a whole. So
            many times the log odds that it is sound, by a regularised head on pooled features,
            are taken off every cell of a tile that looks sound; 0 for none.
        paste: share of sound crops that get a defect cut from another training picture.
        strength: of light, gain, noise and blur in training, 0 for none, 1 as usual.
        batch: crops a step.
        steps: at most this many, and
        minutes: at most this long; the learning rate runs out with what ends first.
        rate: peak learning rate.
        patience: validations without progress after which training ends; 0 never.
        check_every: steps between two validations.
        max_validation: at most this many pictures are looked at each time.
        seed: of everything random.
        threads: of TensorFlow; 0 leaves it the choice.
    """

    network: Network = Network.SMALL
    method: str = AUTO
    weights: str = "none"
    alpha: float = 1.0
    encoder_stride_px: int = 16
    contrast: float = 1.0
    brightness: float = 127.5
    gray: bool = False
    reference: bool = False
    tile_px: int = 256
    tile_overlap_px: int = 64
    crop_px: int = 192
    stride_px: int = 4
    resize_px: int = 224
    resize_width_px: int = 0
    box_fill: float = 1.0
    freeze_stride_px: int = 0
    encoder: EncoderChoice = EncoderChoice.AUTO
    turns: bool = True
    grain: bool = False
    good_share: float = 0.35
    coverage_gain: float = 1.5
    picture_loss: float = 0.0
    pooled_head: float = 0.0
    paste: float = 0.2
    strength: float = 1.0
    batch: int = 8
    steps: int = 4000
    minutes: float = 30.0
    rate: float = 2e-3
    patience: int = 8
    check_every: int = 200
    max_validation: int = 120
    seed: int = 1
    threads: int = 0

    def __post_init__(self) -> None:
        _require("stride_px", self.stride_px, self.stride_px in (2, 4, 8), "2, 4 or 8")
        deepest = self.encoder_stride_px
        _require("encoder_stride_px", deepest, deepest in (16, 32), "16 or 32")
        frozen = self.freeze_stride_px
        strides = [stride for stride in (0, 2, 4, 8, 16, 32) if stride <= deepest]
        _require("freeze_stride_px", frozen, frozen in strides, f"one of {strides}")
        for name in ("tile_px", "crop_px"):
            value = getattr(self, name)
            _require(name, value, value >= 64 and value % 32 == 0, "a multiple of 32 from 64 on")
        for name, side in zip(("resize_px", "resize_width_px"), self.resize_shape, strict=True):
            _require(name, side, side >= 32 and side % 32 == 0, "a multiple of 32")
        _require(
            "tile_overlap_px",
            self.tile_overlap_px,
            0 <= self.tile_overlap_px <= self.tile_px - self.stride_px,
            f"0 to {self.tile_px - self.stride_px}",
        )
        for name, low, high in (
            ("alpha", 0.1, 2.0),
            ("contrast", 0.1, 10.0),
            ("brightness", 0.0, 255.0),
            ("box_fill", 0.1, 1.0),
            ("good_share", 0.0, 1.0),
            ("coverage_gain", 1.0, 4.0),
            ("picture_loss", 0.0, 10.0),
            ("pooled_head", 0.0, 2.0),
            ("paste", 0.0, 1.0),
            ("strength", 0.0, 3.0),
            ("minutes", 0.01, 60_000.0),
            ("rate", 1e-6, 1.0),
            ("batch", 1, 512),
            ("steps", 1, 10_000_000),
            ("check_every", 1, 10_000_000),
            ("max_validation", 2, 1_000_000),
            ("patience", 0, 1_000_000),
            ("threads", 0, 256),
        ):
            value = getattr(self, name)
            fits = math.isfinite(value) and low <= value <= high
            _require(name, value, fits, f"a number from {low} to {high}")
        head = self.pooled_head
        _require("pooled_head", head, not head or self.frozen_encoder, "0 without a frozen encoder")

    @property
    def resize_shape(self) -> tuple[int, int]:
        """Height and width, px, that a classifier scales pictures to."""
        return self.resize_px, self.resize_width_px or self.resize_px

    @property
    def frozen_encoder(self) -> bool:
        """Whether nothing of the encoder is trained."""
        return (
            self.network.has_encoder
            and self.freeze_stride_px == self.encoder_stride_px
            and self.method in (AUTO, SEGMENTATION)
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON takes them."""
        return {
            key: value.value if isinstance(value, StrEnum) else value
            for key, value in asdict(self).items()
        }


FROZEN_ENCODER: Mapping[str, Any] = MappingProxyType(
    {
        "network": Network.MOBILENET_V2,
        "encoder_stride_px": 32,
        "freeze_stride_px": 32,
        "tile_px": 384,
        "tile_overlap_px": 128,
        "crop_px": 192,
        "good_share": 0.5,
        "coverage_gain": 1.0,
        "picture_loss": 0.5,
        "pooled_head": 1.0,
    }
)
"""Settings that go with loaded weights of which nothing is trained: for few defective parts."""


def _require(name: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise UsageError(f"{name} is {value}; expected {expected}.")
