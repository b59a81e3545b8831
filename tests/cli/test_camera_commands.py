"""``edgeinspect camera``, on a camera in memory that sees light as a linear sensor does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.cli.application import run_command_line
from edgeinspect.cli.camera.expose import Goal, Light, next_step
from edgeinspect.cli.camera.opened_camera import off_controls, preview
from edgeinspect.cli.camera.stream import stream_fields
from edgeinspect.cli.main import application
from edgeinspect.errors import CameraFault
from edgeinspect.hw import registry as hw_open
from edgeinspect.hw.fake_chip import FakeChip
from edgeinspect.part import CameraControls, Frame, FrameMeta, FrameQuality
from edgeinspect.records.records_lock import DataDirectoryLock
from edgeinspect.settings.recipe import RoiBox, default_recipe
from edgeinspect.settings.recipe_store import RecipeStore
from tests.helpers.io_station import LABEL, write_station
from tests.helpers.linear_camera import LinearCamera

PERSON = ("--author", "mia", "--reason", "new lamp")


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> LinearCamera:
    made = LinearCamera()
    monkeypatch.setattr(hw_open, "resolve_driver", lambda name, drivers, kind: made)
    return made


@pytest.fixture
def station(tmp_path: Path) -> Path:
    return write_station(tmp_path)


def store_recipe(station: Path, **changes: Any) -> RecipeStore:
    store = RecipeStore(station.parent / "data/recipes")
    draft = default_recipe(
        product="cover", bundle_name="b", bundle_digest="0" * 64, thresholds={"pit": (0.4, 0.5)}
    ).model_copy(update=changes)
    made = store.create(draft)
    store.activate("cover", made.revision, author="mia", reason="first")
    return store


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any], str]:
    words = [str(argument) for argument in arguments]
    code = run_command_line(application, program="edgeinspect", arguments=["camera", *words])
    shown = capsys.readouterr()
    last = shown.out.strip().splitlines()[-1:] if "--json" in words else []
    return code, json.loads(last[0]) if last else {}, shown.out + shown.err


def test_snap_writes_the_whole_picture_and_judges_the_region(
    camera: LinearCamera, station: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    camera.highlight = 3.0
    store_recipe(station, roi=RoiBox(x=10, y=10, width=60, height=40))
    file = tmp_path / "part.png"
    code, fields, _ = run(capsys, "snap", file, "--config", station, "--json")
    assert code == 0 and not camera.is_open
    picture = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    assert picture.shape == (60, 80) and picture[3, 3] > 2 * picture[30, 30]
    assert fields["quality"]["mean"] == pytest.approx(50, abs=1)  # the highlight is outside
    assert run(capsys, "snap", tmp_path / "part.jpg", "--config", station)[0] == 2
    code, _, said = run(capsys, "snap", "--config", station)
    assert code == 0 and "80 x 60" in said and "focus" in said


def test_a_region_outside_the_picture_is_named(
    camera: LinearCamera, station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_recipe(station, roi=RoiBox(x=30, y=10, width=60, height=40))
    code, _, said = run(capsys, "snap", "--config", station)
    assert code == 3 and "inside the camera's 80 x 60 pixels" in said


def test_refused_while_the_station_runs_unless_forced(
    camera: LinearCamera, station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (station.parent / "data").mkdir()
    lock = DataDirectoryLock(station.parent / "data")
    try:
        code, _, said = run(capsys, "snap", "--config", station)
        assert code == 6 and "Stop it first" in said and not camera.is_open
        assert run(capsys, "snap", "--config", station, "--force")[0] == 0
    finally:
        lock.release()
    assert run(capsys, "snap")[0] == 2


def test_a_wired_lamp_lights_for_the_picture_and_is_off_afterwards(
    camera: LinearCamera,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chip = FakeChip(LABEL)
    monkeypatch.setattr(
        hw_open, "resolve_driver", lambda name, drivers, kind: chip if kind == "io" else camera
    )
    lines = {"trigger": {"line": 17}, "reject": {"line": 5}, "strobe": {"line": 12}}
    station = write_station(tmp_path, lines=lines, confirm=None)
    assert run(capsys, "snap", "--config", station)[0] == 0
    assert chip.history(12)[:3] == [False, True, False] and True not in chip.history(12)[3:]
    assert chip.history(5) == []


def test_focus_ends_after_its_frames_and_tells_the_best(
    camera: LinearCamera, station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, fields, _ = run(capsys, "focus", "--config", station, "--frames", 5, "--json")
    assert code == 0 and fields["frames"] == 5
    assert fields["best"] >= fields["focus"] > 0


@pytest.mark.parametrize("brightness", [0.002, 0.05, 0.9])
def test_expose_finds_the_mean_and_stores_a_revision_that_is_not_active(
    camera: LinearCamera,
    station: Path,
    capsys: pytest.CaptureFixture[str],
    brightness: float,
) -> None:
    camera.brightness = brightness
    store = store_recipe(station)
    options = ("--config", station, "--max-gain", 16, "--json")
    code, fields, _ = run(capsys, "expose", *options, "--write", *PERSON)
    assert (code, fields["verdict"], fields["revision"]) == (0, "good", 2)
    assert fields["quality"]["mean"] == pytest.approx(110, rel=0.04)
    stored = store.load("cover", 2)
    assert (stored.camera.exposure_us, stored.camera.gain, stored.parent, stored.author) == (
        fields["exposure_us"],
        fields["gain"],
        1,
        "mia",
    )
    assert store.active("cover").revision == 1


def test_expose_leaves_the_gain_of_a_usb_camera_alone_and_counts_in_its_steps(
    camera: LinearCamera, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    station = write_station(tmp_path, camera={"driver": "v4l2", "device": "/dev/video0"})
    store = store_recipe(station)
    camera.brightness = 0.0131
    options = ("--config", station, "--max-gain", 16, "--json", "--write", *PERSON)
    code, fields, _ = run(capsys, "expose", *options)
    assert (code, fields["exposure_us"] % 100) == (0, 0)
    assert (store.load("cover", 2).camera.gain, fields["gain"]) == (None, None)


@pytest.mark.parametrize(
    ("brightness", "highlight", "options", "words"),
    [
        (0.0001, 1.0, (), "too dark even at the longest exposure"),
        (0.05, 40.0, (), "white before the mean grey level is reached"),
    ],
)
def test_light_that_cannot_be_had_is_reported(
    camera: LinearCamera,
    station: Path,
    capsys: pytest.CaptureFixture[str],
    brightness: float,
    highlight: float,
    options: tuple[str, ...],
    words: str,
) -> None:
    camera.brightness, camera.highlight = brightness, highlight
    store = store_recipe(station)
    code, _, said = run(capsys, "expose", "--config", station, *options, "--write", *PERSON)
    assert code == 1 and words in said
    assert store.revisions("cover") == [1]


def test_a_camera_that_does_not_follow_is_reported(
    camera: LinearCamera, station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_recipe(station)
    camera.stuck = True
    camera.coming_controls = [CameraControls(exposure_us=50.0, gain=1.0)]
    camera.open = lambda controls: None  # type: ignore[method-assign]
    code, _, said = run(capsys, "expose", "--config", station)
    assert (
        code == 4
        and "did not apply its settings within 40 frames: exposure_us is 50 instead of 1000" in said
    )
    assert run(capsys, "expose", "--config", station, "--write")[0] == 2


def test_stream_check_judges_repetition_and_settings(
    camera: LinearCamera, station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("stream-check", "--config", station, "--frames", 20, "--json")
    code, fields, _ = run(capsys, *options)
    assert (code, fields["good"], fields["frames"], fields["dropped"]) == (0, True, 20, 0)
    assert fields["age_ms_median"] == pytest.approx(2.0)
    camera.repeats = True
    code, fields, _ = run(capsys, *options)
    assert (code, fields["good"], fields["repeated"]) == (1, False, 19)


def test_stream_figures() -> None:
    ms = 1_000_000
    metas = [
        FrameMeta(number, at * ms, at * ms + 8 * ms, CameraControls(exposure_us=500.0))
        for number, at in ((1, 0), (2, 10), (4, 30), (5, 40))
    ]
    fields = stream_fields(metas, CameraControls(exposure_us=700.0))
    assert (fields["interval_ms_median"], fields["interval_ms_max"]) == (10.0, 20.0)
    assert (fields["frames_per_s"], fields["dropped"], fields["off_recipe"]) == (100.0, 1, 4)
    assert fields["off_recipe_detail"] == "exposure_us is 500 instead of 700"


def test_what_a_camera_does_not_say_is_believed_here() -> None:
    meta = FrameMeta(1, 0, 0, CameraControls(lens_position=0.02))
    asked = CameraControls(exposure_us=500.0, lens_position=0.0)
    assert off_controls(meta, asked) == ""
    assert "does not report exposure_us" in off_controls(meta, asked, must_report=True)
    assert "lens_position" in off_controls(meta, CameraControls(lens_position=1.0))


@given(
    light=st.tuples(st.floats(1, 20_000), st.floats(1, 8)),
    mean=st.floats(0, 255),
    clipped=st.floats(0, 1),
    ceiling=st.one_of(st.none(), st.floats(1, 1e5)),
)
def test_a_step_stays_within_its_limits_and_below_what_clipped(
    light: tuple[float, float], mean: float, clipped: float, ceiling: float | None
) -> None:
    goal = Goal(mean=110, clipped_max=0.005, max_exposure_us=20_000, max_gain=8)
    seen = FrameQuality(mean=mean, clipped_low=0, clipped_high=clipped, focus=1)
    step = next_step(Light(*light), seen, goal, ceiling=ceiling)
    if step.light is None:
        assert step.verdict in ("good", "too_dark", "clips")
        return
    assert 1 <= step.light.exposure_us <= 20_000 and 1 <= step.light.gain <= 8
    if ceiling is not None:
        assert step.light.amount < max(ceiling, 1.001)


def test_preview_is_small_and_keeps_its_shape() -> None:
    text = preview(np.zeros((600, 800), np.uint8), columns=40)
    lines = text.plain.split("\n")
    assert (len(lines), len(lines[0])) == (15, 40)


def test_the_camera_is_closed_after_a_fault(
    camera: LinearCamera,
    station: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(**_: object) -> Frame:
        raise CameraFault("no frame")

    monkeypatch.setattr(camera, "capture", fail)
    code, _, said = run(capsys, "snap", "--config", station)
    assert code == 4 and "no frame" in said and not camera.is_open
