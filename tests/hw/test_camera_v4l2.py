"""The V4L2 driver on a device in memory; the kernel's interface as far as any machine has it."""

from __future__ import annotations

import ctypes
import time
from collections import Counter

import numpy as np
import pytest

from edgeinspect.errors import CameraFault, CameraLost
from edgeinspect.hw import v4l2_controls as c
from edgeinspect.hw import v4l2_device
from edgeinspect.hw.v4l2 import V4l2Camera
from edgeinspect.hw.v4l2_device import V4l2Device
from edgeinspect.part import CameraControls
from edgeinspect.settings.station_file import Camera as CameraWiring
from tests.helpers.fake_v4l2 import MS, FakeV4l2Device

NONE = CameraControls()


def camera_on(device: FakeV4l2Device, **wiring: object) -> V4l2Camera:
    section = CameraWiring(driver="v4l2", device="/dev/video9", **wiring)  # type: ignore[arg-type]
    return V4l2Camera(section, open_device=lambda path: device)


def opened(device: FakeV4l2Device, controls: CameraControls = NONE, **wiring: object) -> V4l2Camera:
    camera = camera_on(device, **wiring)
    start = device.start

    def start_and_expose(buffers: int) -> None:
        start(buffers)
        now = time.monotonic_ns()
        device.expose(now - 90 * MS)  # when it began is unknown
        device.expose(now - 60 * MS)

    device.start = start_and_expose  # type: ignore[method-assign]
    camera.open(controls)
    return camera


def test_structures_have_the_sizes_and_requests_the_numbers_of_the_kernel() -> None:
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        pytest.skip("the figures are those of 64-bit machines")
    assert ctypes.sizeof(v4l2_device.Buffer) == 88
    assert ctypes.sizeof(v4l2_device.Format) == 208
    # As strace prints them for VIDIOC_QUERYCAP, S_FMT, QBUF, DQBUF, STREAMON, S_PARM, QUERYCTRL.
    assert [
        v4l2_device.QUERYCAP,
        v4l2_device.S_FMT,
        v4l2_device.QBUF,
        v4l2_device.DQBUF,
        v4l2_device.STREAMON,
        v4l2_device.S_PARM,
        v4l2_device.QUERYCTRL,
    ] == [0x80685600, 0xC0D05605, 0xC058560F, 0xC0585611, 0x40045612, 0xC0CC5616, 0xC0445624]


def test_devices_that_are_none(tmp_path: object) -> None:
    for path, why in (
        ("/dev/video99", "/dev/video99 does not exist"),
        ("/dev/null", "is not a video device"),
        (str(tmp_path), "cannot be opened: Is a directory"),
    ):
        with pytest.raises(CameraFault, match=why):
            V4l2Device(path)


def test_grey_comes_from_the_y_of_yuyv_and_buffers_go_back() -> None:
    device = FakeV4l2Device()
    camera = opened(device)
    now = time.monotonic_ns()
    device.expose(now, grey=7)
    device.expose(now + 10, grey=9)
    frame = camera.capture(not_before_mono_ns=now, deadline_mono_ns=now + 5000 * MS)
    # Nobody knows the exposure time, so it began anywhere since the stamp of the frame before.
    assert (frame.meta.earliest_mono_ns, frame.meta.latest_mono_ns) == (now, now + 10)
    assert np.array_equal(frame.pixels, np.full((6, 8), 9, np.uint8))
    assert not frame.pixels.flags.writeable
    camera.close()
    camera.close()
    assert device.closed


def test_a_stamp_at_the_start_of_the_exposure_is_taken_as_it_is() -> None:
    device = FakeV4l2Device()
    camera = opened(device)
    now = time.monotonic_ns()
    device.expose(now + 1, at_start=True)
    frame = camera.capture(not_before_mono_ns=now, deadline_mono_ns=now + 5000 * MS)
    assert frame.meta.exposure_mono_ns == now + 1
    camera.close()


def test_a_known_exposure_time_is_taken_off_a_stamp_at_its_end() -> None:
    device = FakeV4l2Device()
    camera = opened(device, CameraControls(exposure_us=2000.0))
    now = time.monotonic_ns()
    now -= 10 * MS
    device.expose(now + 1 * MS)
    device.expose(now + 3 * MS)
    frame = camera.capture(not_before_mono_ns=now, deadline_mono_ns=now + 5000 * MS)
    assert frame.meta.exposure_mono_ns == now + 1 * MS
    assert frame.meta.controls.exposure_us == 2000.0
    assert device.controls[c.EXPOSURE_AUTO] == 1
    camera.close()


def test_what_the_stamps_may_be_off_goes_with_the_frame_and_keeps_early_frames_out() -> None:
    device = FakeV4l2Device()
    camera = opened(device, CameraControls(exposure_us=2000.0), stamp_error_ms=5)
    now = time.monotonic_ns() - 40 * MS
    device.expose(now + 6 * MS, grey=1)  # may have begun 1 ms before it was asked for
    device.expose(now + 8 * MS, grey=2)
    frame = camera.capture(not_before_mono_ns=now, deadline_mono_ns=now + 5000 * MS)
    assert frame.pixels[0, 0] == 2
    assert frame.meta.exposure_mono_ns == now + 6 * MS
    assert frame.meta.exposure_error_ns == 5 * MS
    camera.close()


@pytest.mark.parametrize(("stamp_ms", "counter"), [(10, 2), (10, 1), (5, 3), (4, 9)])
def test_a_frame_whose_counter_or_stamp_does_not_rise_is_dropped_and_counted(
    stamp_ms: int, counter: int
) -> None:
    device, dropped = FakeV4l2Device(), Counter[str]()
    camera = opened(device, CameraControls(exposure_us=1000.0))
    camera.report_drops_to(lambda name, detail: dropped.update([name]))
    now = time.monotonic_ns() - 50 * MS
    device.expose(now + 5 * MS, grey=1)  # number 2 since the opening
    device.expose(now + stamp_ms * MS, grey=2, sequence=counter)
    device.expose(now + 15 * MS, grey=3, sequence=10)
    frame = camera.capture(not_before_mono_ns=now + 6 * MS, deadline_mono_ns=now + 5000 * MS)
    assert frame.pixels[0, 0] == 3
    assert dropped == {"frame_repeated_by_driver": 1}
    camera.close()


def test_numbers_go_on_when_the_camera_is_opened_again() -> None:
    devices = [FakeV4l2Device(), FakeV4l2Device()]
    to_open = iter(devices)
    section = CameraWiring(driver="v4l2", device="/dev/video9", external_trigger=True)
    camera = V4l2Camera(section, open_device=lambda path: next(to_open))
    sequences = []
    for device in devices:
        camera.open(NONE)
        now = time.monotonic_ns()
        device.expose(now, at_start=True)
        frame = camera.capture(not_before_mono_ns=now, deadline_mono_ns=now + 5000 * MS)
        sequences.append(frame.meta.sequence)
        camera.close()
    assert sequences == [0, 1]


def test_times_of_the_future_are_not_believed() -> None:
    device = FakeV4l2Device()
    camera = opened(device)
    now = time.monotonic_ns()
    device.expose(now + 3_600_000 * MS, grey=1, at_start=True)
    device.expose(now + 1, grey=2, at_start=True)
    frame = camera.capture(not_before_mono_ns=now, deadline_mono_ns=now + 5000 * MS)
    assert frame.pixels[0, 0] == 2
    camera._in_future = 29
    device.expose(now + 3_600_000 * MS, at_start=True)
    with pytest.raises(CameraLost, match="time stamps in the future"):
        camera.capture(not_before_mono_ns=now + 2, deadline_mono_ns=now + 60_000 * MS)
    camera.close()


def test_a_damaged_frame_is_not_used() -> None:
    device = FakeV4l2Device()
    camera = opened(device, CameraControls(exposure_us=1000.0))
    now = time.monotonic_ns()
    now -= 10 * MS
    device.expose(now + 2 * MS, grey=1, damaged=True)
    device.expose(now + 4 * MS, grey=2)
    frame = camera.capture(not_before_mono_ns=now, deadline_mono_ns=now + 5000 * MS)
    assert frame.pixels[0, 0] == 2
    camera.close()


def test_a_control_that_does_not_hold_shows_in_every_frame() -> None:
    device = FakeV4l2Device()
    device.ignores.add(c.GAIN)
    camera = opened(device, CameraControls(gain=5, white_balance_k=4600, lens_position=120))
    now = time.monotonic_ns()
    device.expose(now + 1, at_start=True)
    meta = camera.capture(not_before_mono_ns=now, deadline_mono_ns=now + 5000 * MS).meta
    found = meta.controls
    assert (found.gain, found.white_balance_k, found.lens_position) == (0.0, 4600.0, 120.0)
    assert (device.controls[c.AUTO_WHITE_BALANCE], device.controls[c.FOCUS_AUTO]) == (0, 0)
    camera.close()


@pytest.mark.parametrize(
    ("controls", "why"),
    [
        (CameraControls(red_gain=1.5, blue_gain=2.0), "has no control for camera.red_gain"),
        (CameraControls(gain=20_000), "camera.gain asks for 20000"),
    ],
)
def test_controls_that_the_camera_lacks_are_refused(controls: CameraControls, why: str) -> None:
    device = FakeV4l2Device()
    with pytest.raises(CameraFault, match=why):
        camera_on(device).open(controls)
    assert device.closed


@pytest.mark.parametrize(
    ("device", "wiring", "why"),
    [
        (
            FakeV4l2Device(formats=("H264",)),
            {},
            "has no gray mode of any size; it offers H264",
        ),
        (FakeV4l2Device(), {"width_px": 640, "height_px": 480}, "offers YUYV 8 x 6"),
        (FakeV4l2Device(), {"frames_per_s": 60}, "runs at 30 frames/s instead of 60"),
        (FakeV4l2Device(formats=("GREY",)), {"color": "rgb"}, "has no rgb mode"),
    ],
)
def test_another_format_than_the_station_files_is_refused(
    device: FakeV4l2Device, wiring: dict[str, object], why: str
) -> None:
    with pytest.raises(CameraFault, match=why):
        camera_on(device, **wiring).open(NONE)
    assert device.closed


def test_unplugged_in_the_middle_is_reported_at_once_and_by_check() -> None:
    device = FakeV4l2Device()
    camera = opened(device)
    camera.check()
    device.unplug(CameraLost("/dev/video9 was unplugged"))
    now = time.monotonic_ns()
    with pytest.raises(CameraLost, match="unplugged"):
        camera.capture(not_before_mono_ns=now, deadline_mono_ns=now + 60_000 * MS)
    with pytest.raises(CameraLost, match="unplugged"):
        camera.check()
    camera.close()
