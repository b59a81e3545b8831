"""The real picamera2 and libcamera on the kernel's vimc camera: the contract, with few frames.

vimc gives about one frame per second under emulation. It has no exposure time and no Y plane: the
driver makes grey of its RGB.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeinspect.errors import CameraFault
from edgeinspect.hw import camera_ring
from edgeinspect.hw import picamera2 as driver
from edgeinspect.part import CameraControls
from edgeinspect.ports import Camera
from edgeinspect.settings.station_file import Camera as CameraWiring

TESTS = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TESTS / "camera_bench/stubs"))

from tests.helpers.camera_contract import CameraContract  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:setDaemon:DeprecationWarning")
SIZE = (640, 480)
S = 1_000_000_000
HOLD = """
import sys
sys.path.insert(0, sys.argv[1])
from picamera2 import Picamera2
camera = Picamera2(0)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module", autouse=True)
def vimc() -> Iterator[None]:
    subprocess.run(["modprobe", "vimc"], check=True)
    subprocess.run(["udevadm", "settle"], check=True)
    link = Path("/dev/dma_heap/linux,cma")
    if not link.exists():
        link.symlink_to("system")
    yield
    subprocess.run(["modprobe", "-r", "vimc"], check=False)


@pytest.fixture(autouse=True)
def _a_slow_camera_is_no_lost_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_FIRST_FRAME_NS", 240 * S)
    monkeypatch.setattr(camera_ring, "LEAST_SILENCE_NS", 240 * S)


def camera_of(*, device: str | None = None, size: tuple[int, int] = SIZE) -> driver.Picamera2Camera:
    return driver.Picamera2Camera(
        CameraWiring(driver="picamera2", device=device, width_px=size[0], height_px=size[1])
    )


class TestPicamera2OnVimc(CameraContract):
    why_not = "root may open every device, and vimc cannot be taken away while it streams"
    patience_s = 240.0

    def make(self) -> Camera:
        return camera_of()

    def make_missing(self) -> Camera:
        return camera_of(device="IMX999")

    def make_wrong_format(self) -> Camera:
        return camera_of(size=(10_000, 8_000))


def test_another_process_holds_it() -> None:
    command = [sys.executable, "-c", HOLD, str(TESTS / "camera_bench/stubs")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(CameraFault, match="another program uses it"):
            camera_of().open(CameraControls())
        other.stdin.close()


def test_frames_per_second(report: Callable[[str], None]) -> None:
    camera = camera_of()
    camera.open(CameraControls())
    began_s = time.monotonic()
    for _ in range(5):
        now = time.monotonic_ns()
        frame = camera.capture(not_before_mono_ns=now, deadline_mono_ns=now + 240 * S)
        assert frame.pixels.shape == (SIZE[1], SIZE[0])
    report(f"picamera2 on vimc: {5 / (time.monotonic() - began_s):.1f} fresh frames/s (emulated)")
    camera.close()
