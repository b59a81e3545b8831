"""Clocks, pictures from files that nobody vouches for, drivers by name, and the strict fakes."""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeinspect.errors import CameraFault, DriverMissing, EdgeInspectError, LineFault, UsageError
from edgeinspect.hw import clock
from edgeinspect.hw import registry as hw_open
from edgeinspect.hw.fake_camera import FakeCamera
from edgeinspect.hw.fake_io import FakeEdgeInput, FakeEncoder, FakeLevelInput, FakeOutput
from edgeinspect.hw.folder_camera import FolderCamera, list_pictures
from edgeinspect.hw.picture_file import read_picture
from edgeinspect.part import CameraControls
from edgeinspect.settings.driver_tables import CAMERA_DRIVERS, IO_DRIVERS, DriverEntry
from tests.helpers.runtime_rig import make_frame

NO_CONTROLS = CameraControls()
GREY = (np.arange(12 * 17, dtype=np.uint8) % 251).reshape(12, 17)
RGB = np.dstack([GREY, 255 - GREY, GREY // 2])


def encoded(extension: str, pixels: np.ndarray = GREY) -> bytes:
    bgr = pixels if pixels.ndim == 2 else pixels[..., ::-1]
    ok, data = cv2.imencode(extension, bgr)
    assert ok
    return bytes(data)


@pytest.mark.parametrize("extension", [".png", ".bmp", ".pgm"])
def test_grey_pictures_come_back_as_they_were(extension: str, tmp_path: Path) -> None:
    file = tmp_path / f"a{extension}"
    file.write_bytes(encoded(extension))
    picture = read_picture(file)
    assert np.array_equal(picture, GREY)
    assert not picture.flags.writeable


@pytest.mark.parametrize("extension", [".png", ".bmp", ".ppm"])
def test_colours_come_in_rgb_order(extension: str, tmp_path: Path) -> None:
    file = tmp_path / f"a{extension}"
    file.write_bytes(encoded(extension, RGB))
    assert np.array_equal(read_picture(file), RGB)


def test_jpeg_and_transparency(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(".jpg", np.full((8, 9, 3), 77, np.uint8)))
    assert np.allclose(read_picture(tmp_path / "a.jpg"), 77, atol=2)
    rgba = np.dstack([RGB[..., ::-1], np.full(GREY.shape, 9, np.uint8)])
    cv2.imwrite(str(tmp_path / "a.png"), rgba)
    assert np.array_equal(read_picture(tmp_path / "a.png"), RGB)


def png_header(width: int, height: int, depth: int = 8) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    body = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + body + b"\0\0\0\0IEND\xaeB`\x82"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"hello, I am a text", "is not a PNG"),
        (b"GIF89a" + bytes(40), "is not a PNG"),
        (b"\x89PNG\r\n\x1a\n", "truncated PNG"),
        (png_header(60_000, 60_000), "more than 50000000 pixels"),
        (png_header(0, 5), "has no pixels"),
        (png_header(5, 5, depth=16), "16 bits"),
        (b"\xff\xd8\xff\xd9", "without a frame header"),
        (b"BM", "truncated BMP"),
        (b"P5 x y 255\n", "damaged PGM"),
        (b"P5 4 4 65535\n" + bytes(32), "16 bits"),
        (b"P5 4000 4000 255\n" + bytes(32), "truncated PGM"),
        (png_header(5, 5), "cannot be decoded"),
    ],
)
def test_bad_files_are_named_with_their_fault(content: bytes, why: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.png"
    file.write_bytes(content)
    with pytest.raises(CameraFault, match=why) as error:
        read_picture(file)
    assert str(error.value).startswith("broken.png ")


def test_places_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for name, why in [
        ("pipe.png", "not a regular file"),
        ("missing.png", "No such file"),
        ("", "Is a directory"),
    ]:
        with pytest.raises(CameraFault, match=why):
            read_picture(tmp_path / name)


def test_huge_files_are_refused_before_they_are_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.png"
    with file.open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(CameraFault, match="the limit is"):
        read_picture(file)


@settings(max_examples=60)
@given(st.sampled_from([".png", ".jpg", ".bmp", ".ppm"]), st.floats(0, 0.99), st.booleans())
def test_a_cut_off_or_garbled_picture_never_escapes_as_anything_else(
    tmp_path_factory: pytest.TempPathFactory, extension: str, share: float, cut: bool
) -> None:
    data = bytearray(encoded(extension, RGB))
    at = int(share * len(data))
    if cut:
        del data[at:]
    else:
        data[at] ^= 0xFF
    file = tmp_path_factory.mktemp("cut") / f"a{extension}"
    file.write_bytes(data)
    try:
        picture = read_picture(file)
    except CameraFault:
        return
    assert not cut
    assert picture.dtype == np.uint8 and picture.size <= 50_000_000 * 3


def test_folder_lists_everything_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/10.png", "a.jpg", "notes.txt", ".hidden", ".git/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [p.relative_to(tmp_path).as_posix() for p in list_pictures(tmp_path)]
    assert names == ["a.jpg", "b/10.png", "b/2.png", "notes.txt"]
    assert [p.name for p in list_pictures(tmp_path, pattern="*.jpg")] == ["a.jpg"]
    with pytest.raises(UsageError, match="no file that matches"):
        list_pictures(tmp_path, pattern="*.tif")
    with pytest.raises(UsageError, match="is not a folder"):
        list_pictures(tmp_path / "a.jpg")


def test_folder_camera_shows_one_file_a_capture_and_names_bad_ones(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(encoded(".png"))
    (tmp_path / "2.png").write_bytes(b"broken")
    (tmp_path / "3.png").write_bytes(encoded(".png", 255 - GREY))
    waits: list[int] = []
    camera = FolderCamera(
        list_pictures(tmp_path), now_mono_ns=lambda: 500, sleep_until_mono_ns=waits.append
    )
    with pytest.raises(CameraFault, match="not open"):
        camera.capture(not_before_mono_ns=1, deadline_mono_ns=2)
    camera.open(NO_CONTROLS)
    first = camera.capture(not_before_mono_ns=1000, deadline_mono_ns=2000)
    with pytest.raises(CameraFault, match=r"^2\.png is not a PNG"):
        camera.capture(not_before_mono_ns=1100, deadline_mono_ns=2000)
    third = camera.capture(not_before_mono_ns=100, deadline_mono_ns=2000)
    with pytest.raises(CameraFault, match="All 3 pictures"):
        camera.capture(not_before_mono_ns=1200, deadline_mono_ns=2000)
    assert (first.meta.exposure_mono_ns, third.meta.exposure_mono_ns) == (1000, 500)
    assert (first.meta.sequence, third.meta.sequence) == (0, 2)
    assert first.meta.source.endswith("1.png")
    assert np.array_equal(third.pixels, 255 - GREY)
    assert waits == [1000, 1100, 500]


def test_folder_camera_can_repeat_and_keeps_its_place_over_a_reopening(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.png").write_bytes(encoded(".png", np.full((2, 2), number, np.uint8)))
    camera = FolderCamera(
        list_pictures(tmp_path),
        repeat=True,
        now_mono_ns=lambda: 0,
        sleep_until_mono_ns=lambda target: None,
    )
    shown = []
    for _ in range(3):
        camera.open(NO_CONTROLS)
        with pytest.raises(CameraFault, match="already open"):
            camera.open(NO_CONTROLS)
        frame = camera.capture(not_before_mono_ns=0, deadline_mono_ns=9)
        shown.append(int(frame.pixels[0, 0]))
        camera.close()
        camera.close()
    assert shown == [1, 2, 1]


def test_system_clock_reads_the_kernels_clocks() -> None:
    system = clock.SystemClock()
    before = time.monotonic_ns()
    assert before <= system.now_mono_ns() <= time.monotonic_ns()
    assert system.now_wall().utcoffset() is not None
    assert isinstance(system.is_synchronized(), bool)


def test_boot_time_is_converted_by_the_present_difference() -> None:
    converter = clock.BootToMono(now_mono_ns=lambda: 1_000, now_boot_ns=lambda: 6_000)
    assert converter.convert(6_500) == clock.MonoStamp(1_500, error_ns=0)


def test_drivers_are_never_replaced_by_others() -> None:
    with pytest.raises(UsageError, match="known drivers: gpiod, rpi-gpio"):
        hw_open.resolve_driver("auto", IO_DRIVERS, kind="io")
    with pytest.raises(DriverMissing, match="Run: sudo apt install python3-picamera2"):
        hw_open.resolve_driver("picamera2", CAMERA_DRIVERS, kind="camera")
    entry = {"x": DriverEntry(module="edgeinspect.hw.nothing", library="json")}
    with pytest.raises(DriverMissing, match="has no io driver x"):
        hw_open.resolve_driver("x", entry, kind="io")
    entry = {"x": DriverEntry(module="edgeinspect.hw.clock")}
    assert hw_open.resolve_driver("x", entry, kind="io") is clock


def test_fake_camera_refuses_misuse() -> None:
    frame = make_frame(sequence=0, exposure_mono_ns=0)
    camera = FakeCamera([frame, CameraFault("cable"), lambda call: frame])
    calls: tuple[Callable[[], object], ...] = (
        lambda: camera.apply(NO_CONTROLS),
        lambda: _capture(camera),
    )
    for call in calls:
        with pytest.raises(UsageError, match="not open"):
            call()
    camera.open(NO_CONTROLS)
    with pytest.raises(UsageError, match="already open"):
        camera.open(NO_CONTROLS)
    with pytest.raises(UsageError, match="deadline is before"):
        camera.capture(not_before_mono_ns=2, deadline_mono_ns=1)
    assert _capture(camera) is frame
    with pytest.raises(CameraFault, match="cable"):
        _capture(camera)
    assert _capture(camera) is frame
    with pytest.raises(CameraFault, match="script has ended"):
        _capture(camera)


def _capture(camera: FakeCamera) -> object:
    return camera.capture(not_before_mono_ns=0, deadline_mono_ns=1)


def test_fake_inputs_refuse_misuse() -> None:
    heard: list[object] = []
    edge, level, encoder = FakeEdgeInput(), FakeLevelInput(active=True), FakeEncoder()
    too_early: tuple[Callable[[], object], ...] = (
        lambda: edge.edge(1),
        lambda: level.set(False, 1),
        lambda: encoder.move_to(1, 1),
    )
    for early in too_early:
        with pytest.raises(UsageError):
            early()
    edge.start(heard.append)
    assert level.start(lambda active, at: heard.append((active, at)))
    encoder.start(lambda count, at: heard.append((count, at)))
    edge.edge(5)
    level.set(False, 6)
    encoder.move_to(3, 7)
    assert heard == [5, (False, 6), (3, 7)]
    misuse: tuple[Callable[[], object], ...] = (
        lambda: edge.edge(4),
        lambda: level.set(False, 8),
        lambda: encoder.move_to(2, 9),
        lambda: edge.start(heard.append),
    )
    for wrong in misuse:
        with pytest.raises(UsageError):
            wrong()
    edge.close()
    with pytest.raises(UsageError, match="after it was closed"):
        edge.start(heard.append)


def test_fake_output_goes_safe_and_refuses_to_be_driven_after() -> None:
    output = FakeOutput(errors=[None, LineFault("wire")])
    output.drive(True)
    with pytest.raises(LineFault, match="wire"):
        output.drive(False)
    assert output.active and output.levels == [True]
    output.close()
    output.close()
    assert not output.active
    with pytest.raises(EdgeInspectError, match="closed output"):
        output.drive(True)
