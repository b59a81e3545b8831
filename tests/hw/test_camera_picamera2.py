"""The picamera2 driver without picamera2: controls, names, words, a library of plain objects.

The real library runs the driver's contract in ``tests/camera_bench``.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import types
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeinspect.errors import CameraFault, CameraLost, DriverMissing
from edgeinspect.hw import picamera2_timeout
from edgeinspect.hw.clock import LARGEST_ERROR_NS, BootToMono
from edgeinspect.hw.picamera2 import Picamera2Camera, _number, camera_ids, open_driver
from edgeinspect.hw.picamera2_controls import libcamera_controls, read_back
from edgeinspect.part import CameraControls
from edgeinspect.settings.station_file import Camera as CameraWiring

MS = 1_000_000
ADVERTISED: dict[str, tuple[Any, Any, Any]] = {
    "ExposureTime": (29, 694_422, 20_000),
    "AnalogueGain": (1.0, 16.0, None),
    "ColourGains": (0.0, 32.0, None),
    "AwbEnable": (False, True, None),
    "FrameDurationLimits": (16_562, 694_434, None),
    "AfMode": (0, 2, 0),
    "LensPosition": (0.0, 32.0, 1.0),
}


def test_settings_become_controls_with_their_automatics_off() -> None:
    asked = CameraControls(
        exposure_us=249.6, gain=1.5, red_gain=1.8, blue_gain=2.1, lens_position=0.0
    )
    assert libcamera_controls(asked, ADVERTISED, frames_per_s=60) == {
        "ExposureTime": 250,
        "AnalogueGain": 1.5,
        "ColourGains": (1.8, 2.1),
        "AwbEnable": False,
        "LensPosition": 0.0,
        "AfMode": 0,
        "FrameDurationLimits": (16_667, 16_667),
    }
    assert libcamera_controls(CameraControls(), ADVERTISED, frames_per_s=None) == {}


@pytest.mark.parametrize(
    ("controls", "frames_per_s", "words"),
    [
        (CameraControls(white_balance_k=4000), None, "no control ColourTemperature"),
        (
            CameraControls(exposure_us=5),
            None,
            "ExposureTime to 5, but this camera accepts 29 to 694422",
        ),
        (CameraControls(gain=20), None, "AnalogueGain to 20"),
        (CameraControls(red_gain=40, blue_gain=1), None, "camera.red_gain sets ColourGains to 40"),
        (CameraControls(), 200.0, "FrameDurationLimits to 5000"),
    ],
)
def test_what_the_camera_cannot_do_is_refused(
    controls: CameraControls, frames_per_s: float | None, words: str
) -> None:
    with pytest.raises(CameraFault, match=words) as caught:
        libcamera_controls(controls, ADVERTISED, frames_per_s=frames_per_s)
    assert caught.value.next_action


def test_metadata_is_read_back_in_the_recipes_words() -> None:
    assert read_back({"SensorTimestamp": 5}) == CameraControls()
    metadata = {
        "ExposureTime": 249,
        "AnalogueGain": 1.49,
        "ColourGains": (1.8, 2.1),
        "ColourTemperature": 4100,
        "LensPosition": 2.0,
    }
    assert read_back(metadata) == CameraControls(
        exposure_us=249.0,
        gain=1.49,
        red_gain=1.8,
        blue_gain=2.1,
        white_balance_k=4100.0,
        lens_position=2.0,
    )


CAMERAS: list[Mapping[str, Any]] = [
    {"Id": "/base/axi/pcie/i2c@88000/imx296@1a", "Model": "imx296"},
    {"Id": "/base/axi/pcie/i2c@80000/imx708@1a", "Model": "imx708"},
    {"Id": "/base/axi/pcie/usb@200000-1:1.0-046d", "Model": "C920"},
]


@pytest.mark.parametrize(
    ("device", "number"), [("0", 0), ("imx708", 1), ("usb", 2), (CAMERAS[0]["Id"], 0)]
)
def test_a_camera_is_named_by_number_model_or_part_of_its_id(device: str, number: int) -> None:
    assert _number(CAMERAS, device) == number


def test_names_that_do_not_say_which_camera() -> None:
    assert _number(CAMERAS[:1], None) == 0
    for device, words in (
        (None, "3 cameras are connected: 0 imx296, 1 imx708"),
        ("imx477", "No camera has the name 'imx477'"),
        ("/base", "More than one camera"),
        ("7", "No camera has the name '7'"),
    ):
        with pytest.raises(CameraFault, match=words):
            _number(CAMERAS, device)
    with pytest.raises(CameraFault, match="No camera is connected") as caught:
        _number([], None)
    assert caught.value.next_action


@pytest.mark.parametrize(
    ("compatible", "target"), [(b"raspberrypi,5\0brcm,bcm2712\0", "pisp"), (b"", "bcm2835")]
)
def test_a_sensor_with_its_own_trigger_gets_a_long_timeout(
    compatible: bytes, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(picamera2_timeout.VARIABLE, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tree = tmp_path / "compatible"
    tree.write_bytes(compatible)
    picamera2_timeout.ask_for_long_timeout(compatible=tree)
    named = Path(os.environ[picamera2_timeout.VARIABLE])
    content = json.loads(named.read_text())
    assert content["target"] == target and content["version"] == 1.0
    assert content["pipeline_handler"]["camera_timeout_value_ms"] >= 3_600_000
    picamera2_timeout.ask_for_long_timeout(compatible=tmp_path / "other")
    assert os.environ[picamera2_timeout.VARIABLE] == str(named)
    monkeypatch.delenv(picamera2_timeout.VARIABLE)


def test_a_library_that_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    for use in (lambda: open_driver(wiring()).open(CameraControls()), camera_ids):
        with pytest.raises(DriverMissing, match="picamera2 cannot be loaded") as caught:
            use()
        assert "apt install python3-picamera2" in caught.value.next_action


def wiring(**keys: Any) -> CameraWiring:
    return CameraWiring(driver="picamera2", **keys)


class Request:
    """A completed request: 8 x 4 NV12 pixels of one grey level."""

    def __init__(self, stamp_ns: int, grey: int, **metadata: Any) -> None:
        self.metadata = {"SensorTimestamp": stamp_ns, **metadata}
        self.buffer = np.full(8 * 6, grey, np.uint8)
        self.held = 1

    def get_metadata(self) -> dict[str, Any]:
        return self.metadata

    def acquire(self) -> None:
        self.held += 1

    def release(self) -> None:
        self.held -= 1


class Library:
    """What the driver uses of picamera2, strict about the order."""

    def __init__(self, *, stream: dict[str, Any] | None = None, fails: str = "") -> None:
        self.stream = {"size": (8, 4), "format": "NV12", "stride": 8} | (stream or {})
        self.fails = fails
        self.first: Callable[[Any], None] = lambda camera: None
        self.made: list[Any] = []
        library = self

        class Picamera2:
            sensor_resolution = (8, 4)
            camera_controls = ADVERTISED
            pre_callback: Any = None

            def __init__(self, number: int) -> None:
                library.made.append(self)
                self.calls: list[str] = []
                self.controls: dict[str, Any] = {}
                if library.fails:
                    raise RuntimeError("did not complete") from RuntimeError(library.fails)

            @staticmethod
            def global_camera_info() -> list[Mapping[str, Any]]:
                return CAMERAS[:1]

            def create_video_configuration(self, **keys: Any) -> dict[str, Any]:
                assert keys["queue"] is False and keys["buffer_count"] > 3
                return keys

            def configure(self, keys: dict[str, Any]) -> None:
                self.calls.append("configure")
                self.controls = keys["controls"]

            def camera_configuration(self) -> dict[str, Any]:
                return {"main": library.stream}

            def start(self, *, show_preview: bool) -> None:
                self.calls.append("start")
                library.first(self)

            def set_controls(self, controls: dict[str, Any]) -> None:
                self.controls = controls

            def close(self) -> None:
                self.calls.append("close")

        self.Picamera2 = Picamera2

    class MappedArray:
        def __init__(self, request: Request, name: str, *, reshape: bool, write: bool) -> None:
            assert (name, reshape, write) == ("main", False, False)
            self.array = request.buffer

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            pass


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Library], Library]:
    def put(library: Library) -> Library:
        monkeypatch.setitem(sys.modules, "picamera2", library)
        space = types.SimpleNamespace(ColorSpace=types.SimpleNamespace(Sycc=lambda: "sycc"))
        monkeypatch.setitem(sys.modules, "libcamera", space)
        return library

    return put


def boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def test_frames_carry_their_settings_and_their_buffers_go_back(
    install: Callable[[Library], Library],
) -> None:
    library = install(Library())
    requests = [Request(boot_ns() - 60 * MS, 3, ExposureTime=500)]
    library.first = lambda camera: camera.pre_callback(requests[0])
    camera = Picamera2Camera(wiring(frames_per_s=50))
    camera.open(CameraControls(exposure_us=500, gain=2.0))
    made = library.made[0]
    assert made.controls["ExposureTime"] == 500 and made.calls == ["configure", "start"]
    now = time.monotonic_ns() - 20 * MS
    early = Request(boot_ns() - 25 * MS, 4, ExposureTime=500)  # exposed before the request
    requests += [early, Request(boot_ns() - 5 * MS, 5, ExposureTime=500, AnalogueGain=1.5)]
    for request in requests[1:]:
        made.pre_callback(request)
    frame = camera.capture(not_before_mono_ns=now, deadline_mono_ns=now + 10_000 * MS)
    assert frame.pixels.shape == (4, 8) and (frame.pixels == 5).all()
    found = frame.meta.controls
    assert (found.exposure_us, found.gain) == (500.0, 1.5)
    assert 0 <= frame.meta.exposure_mono_ns - now < 1000 * MS
    assert 0 < frame.meta.exposure_error_ns <= LARGEST_ERROR_NS
    camera.apply(CameraControls(exposure_us=700))
    assert made.controls == {"ExposureTime": 700}
    made.pre_callback(Request(0, 0))  # without a stamp nobody knows what it shows
    camera.close()
    assert made.calls[-1] == "close" and [request.held for request in requests] == [1, 1, 1]


@pytest.mark.parametrize(
    ("library", "words"),
    [
        (
            Library(stream={"size": (16, 8)}),
            "cannot deliver 8 x 4 px; the nearest mode is 16 x 8 px",
        ),
        (Library(stream={"format": "SRGGB10"}), "delivers the format SRGGB10"),
        (Library(fails="Device or resource busy"), "another program uses it"),
        (Library(fails="pipeline is broken."), "cannot be opened: pipeline is broken"),
    ],
)
def test_cameras_that_cannot_be_opened_are_closed_again(
    install: Callable[[Library], Library], library: Library, words: str
) -> None:
    install(library)
    camera = Picamera2Camera(wiring())
    with pytest.raises(CameraFault, match=words):
        camera.open(CameraControls())
    if not library.fails:
        assert library.made[0].calls[-1] == "close"
    camera.close()


def test_a_camera_without_a_first_frame_is_refused_but_not_one_with_its_own_trigger(
    install: Callable[[Library], Library], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = install(Library())
    clock = iter(range(0, 10**15, 2_000 * MS))
    camera = Picamera2Camera(wiring(), now_mono_ns=lambda: next(clock))
    with pytest.raises(CameraFault, match="opens but delivers no frames"):
        camera.open(CameraControls())
    assert library.made[0].calls[-1] == "close"
    monkeypatch.setenv(picamera2_timeout.VARIABLE, "named by the operator")
    triggered = Picamera2Camera(wiring(external_trigger=True))
    triggered.open(CameraControls())
    triggered.check()
    triggered.close()


def test_frames_that_cannot_be_trusted_are_dropped_and_counted(
    install: Callable[[Library], Library],
) -> None:
    library, dropped = install(Library()), Counter[str]()
    reads = iter(range(0, 10**9, 200))
    clocks = {"now_mono_ns": lambda: next(reads), "now_boot_ns": lambda: next(reads)}
    camera = Picamera2Camera(
        wiring(stamp_error_ms=2), now_mono_ns=lambda: 100 * MS, to_mono=BootToMono(**clocks)
    )
    camera.report_drops_to(lambda name, detail: dropped.update([name]))
    library.first = lambda camera: camera.pre_callback(Request(5 * MS, 1, ExposureTime=500))
    camera.open(CameraControls())
    deliver = library.made[0].pre_callback
    for stamp_ns in (5 * MS, 4 * MS, 0, 101 * MS):
        deliver(Request(stamp_ns, 2, ExposureTime=500))
    reads = iter(range(0, 10**12, 2 * LARGEST_ERROR_NS))  # the reading is disturbed every time
    deliver(Request(6 * MS, 3, ExposureTime=500))
    assert dropped == {
        "frame_repeated_by_driver": 2,
        "frame_without_stamp": 1,
        "frame_from_future": 1,
        "frame_clock_unsure": 1,
    }
    reads = iter(range(0, 10**9, 200))
    last = Request(60 * MS, 4, ExposureTime=500)
    deliver(last)
    frame = camera.capture(not_before_mono_ns=7 * MS, deadline_mono_ns=0)
    assert (frame.pixels == 4).all()
    assert frame.meta.exposure_error_ns == 2 * MS + 200
    camera.close()
    assert last.held == 1


def test_a_camera_that_falls_silent_is_lost(install: Callable[[Library], Library]) -> None:
    library = install(Library())
    now = [time.monotonic_ns()]
    stamp_ns = boot_ns() - 1_000 * MS
    library.first = lambda camera: camera.pre_callback(Request(stamp_ns, 1, ExposureTime=100))
    camera = Picamera2Camera(wiring(), now_mono_ns=lambda: now[0])
    camera.open(CameraControls())
    camera.check()
    now[0] += 2_000 * MS
    with pytest.raises(CameraLost, match="has stopped"):
        camera.check()
    camera.close()
