"""The bundle's card: the model's identity, its input and the meaning of its outputs.

The tools write ``card.yaml`` and the station reads it. This file and the recipe determine
everything that the station does with a picture; the digests in it cover every other file.
"""

from __future__ import annotations

import math
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from edgeinspect.files.atomic_file import replace_file
from edgeinspect.files.yaml_expected import MISSING, Rule
from edgeinspect.files.yaml_file import dump_yaml, load_model
from edgeinspect.line.scores import Activation, ReducerKind
from edgeinspect.ports import TensorSpec

__all__ = [
    "CARD_FILE",
    "CERTIFICATE_FILE",
    "DEFAULT_THRESHOLD",
    "DTYPE_RANGE",
    "GOLDEN_FILE",
    "MODEL_FILE",
    "Activation",
    "Card",
    "CardPart",
    "ClassCard",
    "ColorOrder",
    "Fit",
    "InputCard",
    "Interpolation",
    "OutputCard",
    "ReducerCard",
    "ReducerKind",
    "Role",
    "Task",
    "TensorCard",
    "ThresholdCard",
    "load_card",
    "save_card",
]

CARD_FILE = "card.yaml"
MODEL_FILE = "model.tflite"
GOLDEN_FILE = "golden.npz"
CERTIFICATE_FILE = "certificate.json"

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveScale = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Extent = Annotated[int, Field(ge=1, le=16384)]

DTYPE_RANGE = {"int8": (-128, 127), "uint8": (0, 255)}
"""Smallest and largest quantized value of each supported dtype."""


class CardPart(BaseModel):
    """Base of every part of the card: immutable, unknown keys fail."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Task(StrEnum):
    """What kind of output the model has: a score map, or one value per class."""

    SEGMENTATION = "segmentation"
    CLASSIFICATION = "classification"


class ColorOrder(StrEnum):
    """The order of the colour channels that the model expects."""

    GRAY = "gray"
    RGB = "rgb"
    BGR = "bgr"


class Fit(StrEnum):
    """How a region of interest meets the model's input size."""

    TILES = "tiles"
    RESIZE = "resize"


class Interpolation(StrEnum):
    """How a picture is resized."""

    LINEAR = "linear"
    AREA = "area"
    NEAREST = "nearest"


class Role(StrEnum):
    """What a high value of a class means for the part; ``ignore`` never decides anything."""

    GOOD = "good"
    DEFECT = "defect"
    IGNORE = "ignore"


class TensorCard(CardPart):
    """Shape (batch of 1 first), dtype and affine quantization of one tensor.

    ``real = (quantized - zero_point) * scale``.
    """

    shape: tuple[Extent, ...] = Field(min_length=2, max_length=4)
    dtype: Literal["int8", "uint8"]
    scale: PositiveScale
    zero_point: int

    @model_validator(mode="after")
    def _check_tensor(self) -> Self:
        low, high = DTYPE_RANGE[self.dtype]
        if not low <= self.zero_point <= high:
            raise Rule(
                "zero_point",
                value=self.zero_point,
                expected=f"a number from {low} to {high} for dtype {self.dtype}",
            )
        if self.shape[0] != 1:
            raise Rule(
                "shape", value=self.shape, expected="a shape whose first number (batch) is 1"
            )
        return self

    def spec(self, name: str) -> TensorSpec:
        """The same as the engine states it."""
        return TensorSpec(
            name=name,
            shape=self.shape,
            dtype=self.dtype,
            scale=self.scale,
            zero_point=self.zero_point,
        )


class InputCard(TensorCard):
    """The model's input and the exact preprocessing: real = (pixel - mean) / std per channel.

    ``mean`` and ``std`` have one entry per channel, in the order of ``color``, in grey levels.
    ``shape`` is (1, height, width, channels), or (1, height, width) for a grey model.

    With ``reference`` the same region of a faultless part is the last channel, prepared like the
    first; only for grey models that look at tiles. It is taken to be aligned already, unless
    ``reference_search_px`` says how far it may lie off: then it is shifted to where it agrees
    best, and a part that agrees less than ``reference_agreement`` is not inspected.
    """

    color: ColorOrder
    fit: Fit = Fit.TILES
    tile_overlap_px: int = Field(default=0, ge=0)
    interpolation: Interpolation = Interpolation.LINEAR
    reference: bool = False
    reference_search_px: int = Field(default=0, ge=0, le=256)
    reference_agreement: Share = 0.0
    mean: tuple[Finite, ...]
    std: tuple[PositiveScale, ...]

    @model_validator(mode="after")
    def _check_input(self) -> Self:
        if len(self.shape) < 3:
            raise Rule(
                "shape",
                value=self.shape,
                expected="(1, height, width, channels) or (1, height, width)",
            )
        expected = 1 if self.color is ColorOrder.GRAY else 3
        if self.reference and (self.color is not ColorOrder.GRAY or self.fit is not Fit.TILES):
            raise Rule("reference", value=True, expected="false unless color: gray and fit: tiles")
        for key in ("reference_search_px", "reference_agreement"):
            if getattr(self, key) and not self.reference:
                raise Rule(key, value=getattr(self, key), expected="0 without a reference")
        if self.channels != expected + self.reference:
            and_reference = " and a reference" if self.reference else ""
            raise Rule(
                "shape",
                value=self.shape,
                expected=f"{expected + self.reference} channel(s) for color {self.color.value}"
                f"{and_reference}",
            )
        for key, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != expected:
                raise Rule(key, value=values, expected=f"{expected} number(s), one per channel")
        if self.tile_overlap_px >= min(self.height, self.width):
            raise Rule(
                "tile_overlap_px", value=self.tile_overlap_px, expected="less than the tile's size"
            )
        return self

    @property
    def height(self) -> int:
        """Height of the model's input in pixels."""
        return self.shape[1]

    @property
    def width(self) -> int:
        """Width of the model's input in pixels."""
        return self.shape[2]

    @property
    def channels(self) -> int:
        """Number of colour channels of the model's input."""
        return self.shape[3] if len(self.shape) == 4 else 1


class OutputCard(TensorCard):
    """The model's output.

    Segmentation: (1, map height, map width, classes), with ``stride_px`` frame pixels per map
    cell. Classification: (1, classes), or (1, 1, 1, classes).
    """

    activation: Activation = Activation.NONE
    stride_px: int | None = Field(default=None, ge=1, le=1024)

    @property
    def classes(self) -> int:
        """Number of classes in the model's output."""
        return self.shape[-1]


class ClassCard(CardPart):
    """One output channel."""

    name: str = Field(min_length=1, max_length=200)
    role: Role


def check_reducer(kind: str, k: int) -> None:
    """Check the reducer of a card or a recipe. Raises Rule."""
    if kind == ReducerKind.MAX and k != 1:
        raise Rule("k", value=k, expected="1 for the reducer max")


def check_thresholds(review: float, reject: float) -> None:
    """Check the thresholds of a card or a recipe. Raises Rule."""
    if review > reject:
        raise Rule("review", value=review, expected=f"at most reject ({reject:g})")


class ReducerCard(CardPart):
    """How the values of one class over the score map become its defect score.

    ``kth_largest`` and ``mean_top_k`` use ``min(k, number of map cells)``.
    """

    kind: ReducerKind = ReducerKind.MAX
    k: int = Field(default=1, ge=1, le=65536)

    @model_validator(mode="after")
    def _check_k(self) -> Self:
        check_reducer(self.kind, self.k)
        return self


class ThresholdCard(CardPart):
    """Default thresholds of a defect class: REVIEW from ``review``, REJECT from ``reject``."""

    review: Share
    reject: Share

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        check_thresholds(self.review, self.reject)
        return self


DEFAULT_THRESHOLD = "default"
"""The key of ``Card.thresholds`` that applies to every defect class without its own key."""


class Card(CardPart):
    """The whole card. See docs/reference/bundle.md for every key with an example."""

    format: Literal[1] = 1
    name: Name
    version: Name
    task: Task
    model: FileName = MODEL_FILE
    input: InputCard
    output: OutputCard
    classes: tuple[ClassCard, ...] = Field(min_length=1, max_length=65536)
    reducer: ReducerCard = ReducerCard()
    thresholds: dict[str, ThresholdCard]
    provenance: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)
    licence: str = Field(min_length=1)
    attribution: str = ""
    digests: dict[FileName, Sha256] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_output(self) -> Self:
        shape = self.output.shape
        if self.output.classes != len(self.classes):
            raise Rule(
                "classes",
                value=f"{len(self.classes)} classes",
                expected=f"one class per output channel ({self.output.classes})",
            )
        if self.task is Task.CLASSIFICATION:
            if math.prod(shape) != len(self.classes):
                raise Rule("output", "shape", value=shape, expected="one value per class")
            if self.reducer.kind is not ReducerKind.MAX:
                raise Rule(
                    "reducer",
                    "kind",
                    value=self.reducer.kind.value,
                    expected="max for a classifier",
                )
            return self
        stride = self.output.stride_px
        if stride is None:
            raise Rule("output", "stride_px", value=None, expected="frame pixels per map cell")
        cells = (-(-self.input.height // stride), -(-self.input.width // stride))
        if len(shape) != 4 or shape[1:3] != cells:
            expected = f"(1, {cells[0]}, {cells[1]}, classes) for stride_px {stride}"
            raise Rule("output", "shape", value=shape, expected=expected)
        return self

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        seen: set[str] = set()
        for index, entry in enumerate(self.classes):
            if entry.name in seen or entry.name == DEFAULT_THRESHOLD:
                expected = f"names that differ, none of them {DEFAULT_THRESHOLD!r}"
                raise Rule("classes", index, "name", value=entry.name, expected=expected)
            seen.add(entry.name)
        if not self.defect_classes:
            raise Rule("classes", value="no defect class", expected="at least one role: defect")
        return self

    @model_validator(mode="after")
    def _check_thresholds(self) -> Self:
        defects = set(self.defect_classes)
        for key in self.thresholds:
            if key not in defects and key != DEFAULT_THRESHOLD:
                raise Rule("thresholds", key, value=key, expected="a defect class, or default")
        without = sorted(defects - set(self.thresholds))
        if without and DEFAULT_THRESHOLD not in self.thresholds:
            raise Rule("thresholds", without[0], value=MISSING, expected="review and reject")
        return self

    @property
    def title(self) -> str:
        """Name and version, for people."""
        return f"{self.name} {self.version}"

    @cached_property
    def defect_classes(self) -> tuple[str, ...]:
        """Names of the defect classes, in the order of the output channels."""
        return tuple(entry.name for entry in self.classes if entry.role is Role.DEFECT)

    @cached_property
    def defect_channels(self) -> list[int]:
        """Output channels of the defect classes."""
        return [at for at, entry in enumerate(self.classes) if entry.role is Role.DEFECT]

    def threshold(self, defect_class: str) -> ThresholdCard:
        """Default thresholds of one defect class. Raises KeyError for another name."""
        if defect_class not in self.defect_classes:
            raise KeyError(defect_class)
        own = self.thresholds.get(defect_class)
        return own if own is not None else self.thresholds[DEFAULT_THRESHOLD]


def load_card(path: Path) -> Card:
    """Read and validate a card.

    Raises:
        ConfigError: a value is wrong; the error names file, line, key, value and expectation.
    """
    return load_model(path, Card)


def save_card(card: Card, path: Path) -> None:
    """Write the card atomically, keys in the order of this module."""
    replace_file(path, dump_yaml(card.model_dump(mode="json")).encode())
