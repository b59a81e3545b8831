"""The real picamera2 and libcamera, on libcamera's virtual pipeline: ``make test-camera``.

What runs here is emulated: no sensor, no exposure, no controls; only what libcamera, picamera2 and
the driver do with requests, buffers, time stamps and pictures.
"""

from __future__ import annotations

import gc
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

libcamera = pytest.importorskip(
    "libcamera", reason="the camera bench is not built: tests/camera_bench/build.sh"
)
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "stubs")]
pytest.importorskip("picamera2", reason="picamera2 is not installed in this environment")

from edgeinspect.errors import CameraFault  # noqa: E402
from edgeinspect.hw.picamera2 import Picamera2Camera  # noqa: E402
from edgeinspect.part import CameraControls  # noqa: E402
from edgeinspect.ports import Camera  # noqa: E402
from edgeinspect.settings.station_file import Camera as CameraWiring  # noqa: E402
from tests.camera_bench import shims  # noqa: E402
from tests.helpers.camera_contract import NO_CONTROLS, CameraContract, S  # noqa: E402

# NullPreview sets its thread up the old way.
pytestmark = pytest.mark.filterwarnings("ignore:setDaemon:DeprecationWarning")
REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = (640, 480)
PICTURES = 6


def grey_of(number: int) -> int:
    return 40 + 30 * number


def stored(file: Path, how: int) -> NDArray[np.uint8]:
    picture = cv2.imread(str(file), how)
    assert picture is not None, file
    return np.asarray(picture, np.uint8)


def real_boards() -> list[Path]:
    """Published pictures of circuit boards with real defects, where a developer has them."""
    shared = Path(os.environ.get("EDGEINSPECT_SHARED", REPOSITORY.parent / "shared"))
    return sorted(shared.glob("data/deeppcb/*/*/*_test.jpg"))[::300][:4]


@pytest.fixture(scope="session", autouse=True)
def virtual_cameras(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Cameras that replay JPEG files, and one with a test pattern."""
    prefix = Path(libcamera.__file__).parents[4]
    config = prefix / "share/libcamera/pipeline/virtual/virtual.yaml"
    if not config.parent.is_dir():
        pytest.skip(f"libcamera in {prefix} has no virtual pipeline")
    frames = tmp_path_factory.mktemp("frames")
    for number in range(PICTURES):
        picture = np.full((SIZE[1], SIZE[0], 3), grey_of(number), np.uint8)
        cv2.rectangle(picture, (100, 60), (140, 90), (255, 255, 255), -1)  # a planted defect
        cv2.imwrite(str(frames / f"{number}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    boards = tmp_path_factory.mktemp("boards")
    for number, file in enumerate(real_boards()):
        picture = stored(file, cv2.IMREAD_COLOR)
        cv2.imwrite(str(boards / f"{number}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    replayed = f"""
"Boards":
  supported_formats:
  - width: 640
    height: 640
    frame_rates: [30]
  frames:
    path: "{boards}/"
  location: "CameraLocationExternal"
  model: "Boards"
"""
    config.write_text(
        f"""
"Replay":
  supported_formats:
  - width: {SIZE[0]}
    height: {SIZE[1]}
    frame_rates: [30]
  frames:
    path: "{frames}/"
  location: "CameraLocationBack"
  model: "Replay"
"Pattern":
  supported_formats:
  - width: 320
    height: 240
    frame_rates: [30]
  test_pattern: "bars"
  location: "CameraLocationFront"
  model: "Pattern"
"""
        + (replayed if real_boards() else "")
    )
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:ERROR")
    shims.install()
    yield
    config.unlink()


def camera_of(device: str | None = "Replay", **keys: object) -> Picamera2Camera:
    return Picamera2Camera(
        CameraWiring(driver="picamera2", device=device, **keys)  # type: ignore[arg-type]
    )


class TestPicamera2(CameraContract):
    why_not = "the virtual pipeline has no device node to forbid, hold or unplug"

    def make(self) -> Camera:
        return camera_of()

    def make_missing(self) -> Camera:
        return camera_of("IMX999")

    def make_wrong_format(self) -> Camera:
        return camera_of(width_px=1920, height_px=1080)

    def make_busy(self) -> Camera | None:
        return None


class TestPicamera2InColour(TestPicamera2):
    color_channels = 3

    def make(self) -> Camera:
        return camera_of(color="rgb")


def capture_now(camera: Camera) -> np.ndarray:
    now = time.monotonic_ns()
    return camera.capture(not_before_mono_ns=now, deadline_mono_ns=now + 10 * S).pixels


def test_held_by_another_user_of_the_same_libcamera() -> None:
    first, second = camera_of(), camera_of()
    first.open(NO_CONTROLS)
    descriptors = []
    for _ in range(3):
        with pytest.raises(CameraFault, match="another program uses it"):
            second.open(NO_CONTROLS)
        gc.collect()
        descriptors.append(len(list(Path("/proc/self/fd").iterdir())))
    assert len(set(descriptors)) == 1
    capture_now(first)
    first.close()
    second.open(NO_CONTROLS)
    second.close()


def test_two_cameras_need_a_name() -> None:
    with pytest.raises(CameraFault, match=r"[23] cameras are connected: .*Replay") as caught:
        camera_of(None).open(NO_CONTROLS)
    assert "camera.device" in caught.value.next_action


def test_pictures_come_through_as_they_are_on_disk() -> None:
    camera = camera_of()
    camera.open(NO_CONTROLS)
    seen = set()
    for _ in range(400):
        pixels = capture_now(camera)
        assert pixels.shape == (SIZE[1], SIZE[0])
        level = float(np.median(pixels))
        nearest = min(range(PICTURES), key=lambda n: abs(grey_of(n) - level))
        assert abs(level - grey_of(nearest)) <= 3
        assert pixels[62:88, 102:138].min() > 230  # the defect, to the pixel
        assert abs(float(pixels[50, 120]) - level) <= 6
        seen.add(nearest)
        if len(seen) == PICTURES:
            break
    camera.close()
    assert seen == set(range(PICTURES))


def test_real_defects_arrive_as_they_were_photographed() -> None:
    boards = real_boards()
    if not boards:
        pytest.skip("no published board pictures beside this checkout; set EDGEINSPECT_SHARED")
    originals = [stored(file, cv2.IMREAD_GRAYSCALE).astype(int) for file in boards]
    camera = camera_of("Boards")
    camera.open(NO_CONTROLS)
    seen: dict[int, float] = {}
    for _ in range(100):
        pixels = capture_now(camera).astype(int)
        errors = [float(np.abs(pixels - original).mean()) for original in originals]
        seen[int(np.argmin(errors))] = min(errors)
        if len(seen) == len(boards):
            break
    camera.close()
    assert sorted(seen) == list(range(len(boards)))
    assert max(seen.values()) < 2.5  # grey levels, of JPEG and of nothing else


def test_colour_keeps_its_channels_apart() -> None:
    camera = camera_of("Pattern", color="rgb")
    camera.open(NO_CONTROLS)
    pixels = capture_now(camera)
    camera.close()
    assert pixels.shape == (240, 320, 3)
    assert np.ptp(pixels.astype(int), axis=2).max() > 100  # colour bars are no grey


@pytest.mark.parametrize(
    ("controls", "name"),
    [
        (CameraControls(exposure_us=500), "ExposureTime"),
        (CameraControls(lens_position=2.0), "LensPosition"),
        (CameraControls(red_gain=1.5, blue_gain=1.5), "ColourGains"),
    ],
)
def test_a_control_that_the_camera_lacks_is_refused_and_nothing_stays_open(
    controls: CameraControls, name: str
) -> None:
    camera = camera_of()
    with pytest.raises(CameraFault, match=f"no control {name}"):
        camera.open(controls)
    camera.open(NO_CONTROLS)
    camera.close()


def test_the_loop_that_triggers_parts_loses_none() -> None:
    camera = camera_of()
    camera.open(NO_CONTROLS)
    begins = []
    for _ in range(500):
        now = time.monotonic_ns()
        frame = camera.capture(not_before_mono_ns=now, deadline_mono_ns=now + 10 * S)
        assert frame.meta.exposure_mono_ns >= now
        begins.append(frame.meta.exposure_mono_ns)
    camera.close()
    assert begins == sorted(set(begins))


def test_opened_and_closed_200_times_without_a_leak() -> None:
    def held() -> tuple[int, int, int]:
        gc.collect()
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        return descriptors, threading.active_count(), shims.MemfdAllocator.live

    camera = camera_of()
    for count in range(200):
        camera.open(NO_CONTROLS)
        capture_now(camera)
        camera.close()
        if count == 20:
            before, memory = held(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert held() == before
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    assert grown_kib < 50 * 1024, f"{grown_kib} KiB more after 180 openings"
