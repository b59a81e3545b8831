"""White balance and focus of the recipe: asked for, and checked on every frame."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pydantic import ValidationError

from edgeinspect.files.yaml_expected import Rule
from edgeinspect.line.config import FrameChecks
from edgeinspect.line.verdict import judge_controls
from edgeinspect.part import CameraControls, Doubt, FrameMeta
from edgeinspect.runtime.replay import replay_config
from edgeinspect.settings.compile import camera_controls, line_config
from edgeinspect.settings.recipe import CameraSettings, default_recipe
from edgeinspect.settings.station_file import example_station

FOUND = CameraControls(red_gain=1.8, blue_gain=2.2, white_balance_k=4000.0, lens_position=0.05)
GOOD = FrameChecks(
    controls=CameraControls(
        red_gain=1.75, blue_gain=2.25, white_balance_k=4100.0, lens_position=0.0
    )
)


def test_a_frame_as_the_recipe_says() -> None:
    assert judge_controls(FrameMeta(1, 0, 0, FOUND), GOOD) is None
    assert judge_controls(FrameMeta(1, 0, 0), FrameChecks()) is None


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("red_gain", 1.6, "red gain 1.6"),
        ("blue_gain", None, "blue gain None"),
        ("white_balance_k", 3000.0, "white balance 3000.0, recipe says 4100.0"),
        ("lens_position", 0.2, "lens position 0.2, recipe says 0.0"),
        ("lens_position", float("nan"), "lens position nan"),
        ("lens_position", None, "lens position None"),
    ],
)
def test_anything_else_is_off_the_recipe(key: str, value: float | None, words: str) -> None:
    found = dataclasses.replace(FOUND, **{key: value})
    verdict = judge_controls(FrameMeta(1, 0, 0, found), GOOD)
    assert verdict is not None and verdict.doubt is Doubt.EXPOSURE_OFF_RECIPE
    assert words in verdict.detail


def test_the_recipes_settings_reach_the_camera_and_the_checks(tmp_path: Path) -> None:
    settings = CameraSettings(exposure_us=250, gain=2, red_gain=1.5, blue_gain=2, lens_position=3)
    recipe = default_recipe(
        product="p", bundle_name="b", bundle_digest="0" * 64, thresholds={"pit": (0.4, 0.5)}
    ).model_copy(update={"camera": settings})
    assert camera_controls(recipe) == CameraControls(
        exposure_us=250, gain=2, red_gain=1.5, blue_gain=2, lens_position=3
    )
    config = line_config(
        example_station("normally-rejecting", data_dir=tmp_path), recipe, recipe_digest=""
    )
    asked = config.checks.controls
    assert (asked.red_gain, asked.blue_gain, asked.lens_position) == (1.5, 2.0, 3.0)
    # Files carry none of it.
    assert judge_controls(FrameMeta(1, 0, 0), replay_config(config, workers=1).checks) is None


@pytest.mark.parametrize(
    "keys",
    [
        {"red_gain": 1.5},
        {"blue_gain": 1.5},
        {"red_gain": 1, "blue_gain": 1, "white_balance_k": 4000},
    ],
)
def test_half_a_white_balance_or_two_are_refused(keys: dict[str, float]) -> None:
    with pytest.raises(ValidationError) as caught:
        CameraSettings(**keys)
    assert isinstance(caught.value.errors()[0]["ctx"]["error"], Rule)
