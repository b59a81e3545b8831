"""The benchmark measures what it says: the same bundle, the same tiles, both ways."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeinspect.bundle.directory import load_bundle
from edgeinspect.bundle.shipped import SIM_BUNDLE, shipped_bundle
from edgeinspect.settings.station_file import EngineSettings
from edgeinspect.sim.defects import draw_defect
from edgeinspect.sim.renderer import PART_ROI, render_part
from edgeinspect_tools.bench.figures import Spread
from edgeinspect_tools.bench.overhead import measure_overhead
from edgeinspect_tools.bench.process import measure_process
from edgeinspect_tools.bench.station_bench import render_pictures
from edgeinspect_tools.bench.throughput import naive_loop, parts_per_min


def test_percentiles_are_those_of_numpy_in_microseconds() -> None:
    values_ns = [1_000 * value for value in (5, 1, 4, 2, 3)]
    assert Spread.of_ns(values_ns) == Spread(p50_us=3.0, p90_us=4.6, p99_us=4.96, samples=5)


def test_overhead_times_every_part_on_a_real_station() -> None:
    bundle = load_bundle(shipped_bundle(SIM_BUNDLE))
    pictures = render_pictures(2)
    found = measure_overhead(bundle, pictures, PART_ROI, parts=3, engine=EngineSettings(threads=1))
    assert found.bare_invoke.samples == found.frame_to_verdict.samples == 3
    assert found.bare_invoke.p50_us > 0
    assert found.stages["invoke"]["samples"] >= 3
    assert found.stages["invoke"]["p50"] < found.frame_to_verdict.p99_us
    assert "1 interpreter, 1 thread" in found.engine


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number, pixels in enumerate(render_pictures(4)):
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), pixels)
    return tmp_path


def test_the_naive_loop_finds_what_is_there(tmp_path: Path) -> None:
    """It is a fair baseline only if it does the whole work."""
    bundle = load_bundle(shipped_bundle(SIM_BUNDLE))
    big = replace(draw_defect(np.random.default_rng(3)), kind="stain", size_px=40.0)
    for name, defects in (("good", ()), ("bad", (big,))):
        part = render_part(seed=7, part_number=1, defects=defects)
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), part.pixels)
    assert naive_loop(bundle, [tmp_path / "good.png"], PART_ROI, threads=1) == 0
    assert naive_loop(bundle, [tmp_path / "bad.png"], PART_ROI, threads=1) == 1


@pytest.mark.parametrize("what", ["naive", "replay"])
def test_throughput_is_measured_in_a_process_of_its_own(what: str, pictures: Path) -> None:
    directory = shipped_bundle(SIM_BUNDLE)
    assert parts_per_min(what, directory, pictures, PART_ROI, cores=[0]) > 0


def test_station_process_gets_ready_and_says_so() -> None:
    found = measure_process(parts=3)
    assert 0 < found.start_to_ready_s < 120
    assert 20 < found.rss_mib < 4096
