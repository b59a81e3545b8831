"""A recipe that no frame of this camera could be inspected under is refused before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeinspect.bundle.directory import load_bundle
from edgeinspect.bundle.shipped import SIM_BUNDLE, shipped_bundle
from edgeinspect.errors import ConfigError
from edgeinspect.part import Region
from edgeinspect.runtime.frame_fit import KnownFrame, check_fits, expected_frame, recorded_frame
from edgeinspect.runtime.plan import bundle_recipe, make_plan
from edgeinspect.settings.recipe import Recipe
from edgeinspect.settings.station_file import Camera, example_station

BUNDLE = load_bundle(shipped_bundle(SIM_BUNDLE))
FRAME = KnownFrame((360, 480), "of the test")


def recipe(*roi: int) -> Recipe:
    return bundle_recipe(BUNDLE, product=SIM_BUNDLE, roi=Region(*roi) if roi else None)


@pytest.mark.parametrize("roi", [(), (0, 0, 480, 360), (100, 40, 380, 320)])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_region_inside_the_frame_fits(roi: tuple[int, ...], channels: tuple[int, ...]) -> None:
    check_fits(recipe(*roi), BUNDLE, KnownFrame((*FRAME.shape, *channels), "of the test"))


@pytest.mark.parametrize(
    ("roi", "shape", "words"),
    [
        ((1, 0, 480, 360), (360, 480), "not inside the frame"),
        ((0, 0, 480, 361), (360, 480), "not inside the frame"),
        ((5000, 5000, 200, 200), (360, 480), "not inside the frame"),
        ((), (360, 480, 4), "grey or RGB"),
    ],
)
def test_what_cannot_be_inspected_is_refused_by_name(
    roi: tuple[int, ...], shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        check_fits(recipe(*roi), BUNDLE, KnownFrame(shape, "of the test"))
    assert refused.value.key == "roi"
    assert "(size of the test)" in refused.value.message


def test_the_station_file_says_what_frames_come(tmp_path: Path) -> None:
    def camera(**fields: Any) -> Camera:
        return Camera(**{"driver": "v4l2", "device": "/dev/video0", **fields})

    assert expected_frame(camera()) is None
    wide = expected_frame(camera(width_px=1280, height_px=720))
    assert wide is not None and (wide.shape, wide.size) == ((720, 1280), "1280 x 720 px, grey")
    colored = expected_frame(camera(width_px=1280, height_px=720, color="rgb"))
    assert colored is not None and colored.shape == (720, 1280, 3)
    simulated = expected_frame(Camera(driver="sim"))
    assert simulated is not None and simulated.shape == (360, 480)
    folder = Camera(driver="folder", device=str(tmp_path))
    assert expected_frame(folder) is None
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((50, 60), np.uint8))
    pictured = expected_frame(folder)
    assert pictured is not None and (pictured.shape, pictured.source) == ((50, 60), "of a.png")
    assert recorded_frame(tmp_path) is None


def test_a_plan_refuses_a_region_outside_the_frame(tmp_path: Path) -> None:
    station = example_station("normally-rejecting", data_dir=tmp_path)
    make_plan(station, recipe(0, 0, 480, 360), BUNDLE)
    with pytest.raises(ConfigError, match=r"480 x 360 px, grey \(size of the simulated line\)"):
        make_plan(station, recipe(0, 0, 481, 360), BUNDLE)
