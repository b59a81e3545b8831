"""A recipe revision: all settings of one product, written by the tool.

A stored revision never changes; ``edgeinspect.settings.recipe_store`` makes sure of that.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Literal, Self

from pydantic import AwareDatetime, Field, create_model, model_validator

from edgeinspect.bundle.card import check_reducer, check_thresholds
from edgeinspect.errors import ConfigError
from edgeinspect.files.yaml_expected import Rule
from edgeinspect.files.yaml_file import dump_yaml, load_model
from edgeinspect.line.checks.all_checks import CHECKS
from edgeinspect.line.checks.frame_check import Bound
from edgeinspect.part import Region
from edgeinspect.settings.base import (
    Counts,
    FormatOne,
    Label,
    Milliseconds,
    Name,
    PositiveCounts,
    PositiveMilliseconds,
    Section,
    Sha256,
    Share,
)


class BundleReference(Section):
    """The bundle that this revision was made for; another digest is another bundle."""

    name: Name
    digest: Sha256


class RoiBox(Section):
    """The region of interest in frame pixels."""

    x: int = Field(ge=0, le=16384)
    y: int = Field(ge=0, le=16384)
    width: int = Field(ge=1, le=16384)
    height: int = Field(ge=1, le=16384)

    @property
    def region(self) -> Region:
        """The box as a region of the frame."""
        return Region(self.x, self.y, self.width, self.height)


class CameraSettings(Section):
    """The camera controls of this product, checked on every frame; None leaves a control alone."""

    exposure_us: float | None = Field(default=None, gt=0, le=10_000_000)
    gain: float | None = Field(default=None, gt=0, le=1000)
    red_gain: float | None = Field(default=None, gt=0, le=64)
    blue_gain: float | None = Field(default=None, gt=0, le=64)
    white_balance_k: float | None = Field(default=None, ge=1000, le=40_000)
    lens_position: float | None = Field(default=None, ge=0, le=100_000)

    @model_validator(mode="after")
    def _check_white_balance(self) -> Self:
        if (self.red_gain is None) != (self.blue_gain is None):
            key = "red_gain" if self.red_gain is None else "blue_gain"
            raise Rule(key, value=None, expected="red_gain and blue_gain together")
        if self.white_balance_k is not None and self.red_gain is not None:
            expected = "either white_balance_k or the two gains"
            raise Rule("white_balance_k", value=self.white_balance_k, expected=expected)
        return self


if TYPE_CHECKING:
    _Limits = Section
else:
    _Limits = create_model(
        "_Limits",
        __base__=Section,
        **{
            check.limit: (
                float | None,
                Field(default=check.default, ge=check.lowest, le=check.highest),
            )
            for check in CHECKS
        },
    )


class Checks(_Limits):
    """Limits on a frame: one for each check of ``edgeinspect.line.checks``; None leaves it out.

    The defaults are generous: they catch a covered lens, a dead light and a blinded sensor.
    """

    exposure_tolerance: Share = 0.05
    gain_tolerance: Share = 0.05
    white_balance_tolerance: Share = 0.05
    lens_tolerance: float = Field(default=0.1, ge=0, le=100_000)
    reject_frozen: bool = True

    def limits(self) -> dict[str, float]:
        """The limits that are set, by name."""
        values = {check.limit: getattr(self, check.limit) for check in CHECKS}
        return {name: value for name, value in values.items() if value is not None}

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        limits = self.limits()
        for low, high in product(CHECKS, CHECKS):
            both = low.limit in limits and high.limit in limits
            if not both or low.measurement is not high.measurement:
                continue
            if (low.bound, high.bound) != (Bound.AT_LEAST, Bound.AT_MOST):
                continue
            if limits[low.limit] >= limits[high.limit]:
                expected = f"less than {high.limit} ({limits[high.limit]:g})"
                raise Rule(low.limit, value=limits[low.limit], expected=expected)
        return self


class Reducer(Section):
    """Replaces the bundle's reducer: how a score map becomes one defect score."""

    kind: Literal["max", "kth_largest", "mean_top_k"]
    k: int = Field(default=1, ge=1, le=65536)

    @model_validator(mode="after")
    def _check_k(self) -> Self:
        check_reducer(self.kind, self.k)
        return self


class Thresholds(Section):
    """Of one defect class: at or above ``reject`` REJECT, else at or above ``review`` REVIEW."""

    name: Label
    review: Share
    reject: Share

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        check_thresholds(self.review, self.reject)
        return self


class Timing(Section):
    """Distances that differ for this product; None keeps the station file's distance.

    Only the unit of the station's track may be used.
    """

    min_pitch_ms: PositiveMilliseconds | None = None
    sensor_to_lens_ms: Milliseconds | None = None
    exposure_window_ms: PositiveMilliseconds | None = None
    sensor_to_gate_ms: PositiveMilliseconds | None = None
    window_before_ms: PositiveMilliseconds | None = None
    window_after_ms: PositiveMilliseconds | None = None
    sensor_to_guard_ms: PositiveMilliseconds | None = None
    guard_tolerance_ms: PositiveMilliseconds | None = None
    min_pitch_counts: PositiveCounts | None = None
    sensor_to_lens_counts: Counts | None = None
    exposure_window_counts: PositiveCounts | None = None
    sensor_to_gate_counts: PositiveCounts | None = None
    window_before_counts: PositiveCounts | None = None
    window_after_counts: PositiveCounts | None = None
    sensor_to_guard_counts: PositiveCounts | None = None
    guard_tolerance_counts: PositiveCounts | None = None

    def given(self) -> dict[str, float]:
        """The overrides that are set, by key."""
        return self.model_dump(exclude_none=True)


class Recipe(Section):
    """One revision.

    Attributes:
        parent: the revision that this one was made from; None for the first.
        created: UTC, for people.
        audit: digest of the last entry of the audit trail when this revision was stored.
        roi: None inspects the whole frame.
        reducer: None uses the bundle's.
        thresholds: one entry for each defect class of the bundle.
    """

    format: FormatOne = 1
    product: Name
    revision: int = Field(ge=1, le=999_999)
    parent: int | None = Field(default=None, ge=1, le=999_999)
    author: Label
    reason: Label
    created: AwareDatetime
    audit: Sha256 | None = None
    bundle: BundleReference
    roi: RoiBox | None = None
    camera: CameraSettings = CameraSettings()
    checks: Checks = Checks()
    reducer: Reducer | None = None
    thresholds: tuple[Thresholds, ...] = Field(min_length=1, max_length=10_000)
    timing: Timing = Timing()

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        if self.parent is not None and self.parent >= self.revision:
            expected = f"less than revision ({self.revision})"
            raise Rule("parent", value=self.parent, expected=expected)
        seen: set[str] = set()
        for index, entry in enumerate(self.thresholds):
            if entry.name in seen:
                expected = "each class only once"
                raise Rule("thresholds", index, "name", value=entry.name, expected=expected)
            seen.add(entry.name)
        return self


def load_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read and validate one revision file. Raises ConfigError."""
    return load_model(path, Recipe)


def recipe_yaml(recipe: Recipe) -> str:
    """The revision as it is stored; ``load_recipe`` reads back an equal one."""
    return dump_yaml(recipe.model_dump(mode="json"))


def default_recipe(
    *,
    product: str,
    bundle_name: str,
    bundle_digest: str,
    thresholds: Mapping[str, tuple[float, float]],
    roi: Region | None = None,
    checks: Checks | None = None,
    created: datetime.datetime = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC),
    author: str = "edgeinspect",
    reason: str = "defaults of the bundle",
) -> Recipe:
    """Revision 1 with a bundle's own defaults, for a replay, the demo or a new product.

    Args:
        product: the product.
        bundle_name: the bundle's name.
        bundle_digest: the bundle's digest.
        thresholds: (review, reject) of each defect class, in the bundle's order.
        roi: the region of interest; None: the whole frame.
        checks: None takes the generous defaults.
        created: the time of creation.
        author: who creates it.
        reason: why it is created.
    """
    box = None
    if roi is not None:
        box = RoiBox(x=roi.x, y=roi.y, width=roi.width, height=roi.height)
    return Recipe(
        product=product,
        revision=1,
        author=author,
        reason=reason,
        created=created,
        bundle=BundleReference(name=bundle_name, digest=bundle_digest),
        roi=box,
        checks=checks or Checks(),
        thresholds=tuple(
            Thresholds(name=name, review=review, reject=reject)
            for name, (review, reject) in thresholds.items()
        ),
    )


def check_classes(recipe: Recipe, defect_classes: Sequence[str]) -> None:
    """The revision has thresholds for exactly the bundle's defect classes. Raises ConfigError."""
    named = [entry.name for entry in recipe.thresholds]
    if sorted(named) != sorted(defect_classes):
        raise ConfigError(
            file=f"{recipe.product}/{recipe.revision:06d}.yaml",
            key="thresholds",
            value=named,
            expected=f"one entry for each defect class of {recipe.bundle.name}:"
            f" {', '.join(defect_classes)}",
        )
