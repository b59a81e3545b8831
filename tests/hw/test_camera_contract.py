"""The camera contract on the fake, the folder, V4L2 in memory, and a V4L2 camera of this machine.

The last one runs where EDGEINSPECT_V4L2_DEVICE names a capture device that nobody else uses, e.g.
the kernel's vivid in the virtual machine. The real picamera2 runs the same cases in
``tests/camera_bench``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeinspect.errors import CameraFault, CameraLost
from edgeinspect.hw.fake_camera import CaptureCall, FakeCamera
from edgeinspect.hw.folder_camera import FolderCamera
from edgeinspect.hw.v4l2 import V4l2Camera
from edgeinspect.hw.v4l2_device import V4l2Device
from edgeinspect.part import CameraControls, Frame
from edgeinspect.ports import Camera
from edgeinspect.settings.station_file import Camera as CameraWiring
from tests.helpers.camera_contract import CameraContract
from tests.helpers.fake_v4l2 import MS, FakeV4l2Device
from tests.helpers.runtime_rig import make_frame

DEVICE = os.environ.get("EDGEINSPECT_V4L2_DEVICE", "")
VIVID_DISCONNECT = 0x00F0F041


def wiring(device: str, **keys: object) -> CameraWiring:
    return CameraWiring(driver="v4l2", device=device, **keys)  # type: ignore[arg-type]


class TestFakeCamera(CameraContract):
    why_not = "the fake raises whatever its script says"

    def make(self) -> FakeCamera:
        numbers = iter(range(1000))

        def answer(call: CaptureCall) -> Frame:
            if call.not_before_mono_ns > call.deadline_mono_ns:
                raise CameraFault("too late")
            return make_frame(
                sequence=next(numbers),
                exposure_mono_ns=max(call.not_before_mono_ns, time.monotonic_ns()),
            )

        return FakeCamera(otherwise=answer)

    def test_frames_are_fresh_numbered_and_read_only(self, camera: Camera) -> None:
        pytest.skip("the fake's frames are the test's own")

    def test_a_request_whose_time_is_over_is_refused(self, camera: Camera) -> None:
        pytest.skip("the fake refuses such a request as misuse")

    def make_missing(self) -> FakeCamera:
        return FakeCamera(open_errors=[CameraFault("There is no x.", next_action="Connect it.")])

    def unplug(self, camera: Camera) -> bool:
        assert isinstance(camera, FakeCamera)
        camera.lost = CameraLost("unplugged")
        camera.otherwise = camera.lost
        return True


class TestFolderCamera(CameraContract):
    why_not = "a folder has no such fault"

    @pytest.fixture(autouse=True)
    def _pictures(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        for number in range(3):
            cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((6, 8), number, np.uint8))

    def make(self) -> FolderCamera:
        return FolderCamera(sorted(self.folder.iterdir()), repeat=True)


class FreeRunning(FakeV4l2Device):
    """Exposes by itself, 500 times a second, from ``start`` to ``close``."""

    def start(self, buffers: int) -> None:
        super().start(buffers)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.002):
            if self._queued:
                self.expose(time.monotonic_ns(), grey=self._sequence % 256)

    def close(self) -> None:
        super().close()
        if hasattr(self, "_ended"):
            self._ended.set()
            self._thread.join()


class TestV4l2InMemory(CameraContract):
    why_not = "only a real device can be forbidden or held by another program"

    def make(self) -> V4l2Camera:
        def open_device(path: str) -> FreeRunning:
            self.device = FreeRunning(path)
            return self.device

        return V4l2Camera(wiring("/dev/video9"), open_device=open_device)

    def make_missing(self) -> V4l2Camera:
        return V4l2Camera(wiring("/dev/video99"))

    def make_wrong_format(self) -> V4l2Camera:
        section = wiring("/dev/video9", width_px=640, height_px=480)
        return V4l2Camera(section, open_device=FreeRunning)

    def unplug(self, camera: Camera) -> bool:
        self.device.unplug(CameraLost("/dev/video9 was unplugged"))
        return True

    def test_buffers_are_given_back(self, camera: Camera) -> None:
        camera.open(CameraControls())
        for _ in range(20):
            self.capture(camera)
        assert self.device.buffers_lent <= 4


def _second_program(device: str) -> Callable[[], None]:
    """Another process that streams from the device; returns what ends it."""
    program = (
        "import sys; from edgeinspect.hw.v4l2_device import V4l2Device, fourcc\n"
        f"device = V4l2Device({device!r}); device.set_format(fourcc('YUYV'), 640, 360)\n"
        "device.start(3); print('streams', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None and other.stdout.readline() == b"streams\n"

    def end() -> None:
        other.communicate(timeout=30)

    return end


@pytest.mark.skipif(not DEVICE, reason="EDGEINSPECT_V4L2_DEVICE names no V4L2 camera")
class TestV4l2Device(CameraContract):
    """Emulated where the device is vivid."""

    patience_s = 30.0
    why_not = "needs root to take a device away from a user"

    def make(self) -> V4l2Camera:
        return V4l2Camera(wiring(DEVICE, width_px=640, height_px=360))

    def make_missing(self) -> V4l2Camera:
        return V4l2Camera(wiring("/dev/video99"))

    def make_wrong_format(self) -> V4l2Camera:
        return V4l2Camera(wiring(DEVICE, width_px=642, height_px=362))

    def test_held_by_another_program(self) -> None:
        end = _second_program(DEVICE)
        try:
            with pytest.raises(CameraFault, match="used by another program"):
                self.make().open(CameraControls())
        finally:
            end()
        camera = self.make()
        camera.open(CameraControls())
        camera.close()

    def test_opened_and_closed_200_times_without_a_leak(self) -> None:
        camera = self.make()
        for count in range(200):
            camera.open(CameraControls())
            camera.close()
            if count == 10:
                before = len(list(Path("/proc/self/fd").iterdir()))
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        assert threading.active_count() == 1

    def test_zz_unplugged_for_good(self) -> None:
        """Last, for vivid comes back only when its module is loaded again."""
        try:
            probe = V4l2Device(DEVICE)
            is_vivid = probe.control_range(VIVID_DISCONNECT) is not None
            probe.close()
        except CameraFault:
            pytest.skip("the camera is gone already")
        if not is_vivid:
            pytest.skip("only vivid can be unplugged by a program")
        camera = self.make()
        camera.open(CameraControls())
        self.capture(camera)
        other = V4l2Device(DEVICE)
        other.set_control(VIVID_DISCONNECT, 1)
        now = time.monotonic_ns()
        with pytest.raises(CameraFault, match=r"unplugged|failed|stopped"):
            camera.capture(not_before_mono_ns=now + 1000 * MS, deadline_mono_ns=now + 30_000 * MS)
        with pytest.raises(CameraFault):
            camera.check()
        camera.close()
        other.close()
