"""The V4L2 driver on a camera of the kernel's vivid."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from edgeinspect.hw.v4l2 import V4l2Camera
from edgeinspect.part import CameraControls
from edgeinspect.settings.station_file import Camera as CameraWiring
from tests.vm.guest.vivid import vivid_camera

TESTS = Path(__file__).resolve().parents[2]
S = 1_000_000_000
Report = Callable[[str], None]


@pytest.fixture(scope="module")
def vivid() -> Iterator[str]:
    with vivid_camera() as camera:
        yield camera.device


def test_v4l2_frames_are_stamped_by_the_kernel(vivid: str, report: Report) -> None:
    wiring = CameraWiring(driver="v4l2", device=vivid, width_px=640, height_px=360)
    ages = []
    with closing(V4l2Camera(wiring)) as camera:
        camera.open(CameraControls())
        for _ in range(20):
            now = time.monotonic_ns()
            frame = camera.capture(not_before_mono_ns=now, deadline_mono_ns=now + 60 * S)
            assert now <= frame.meta.exposure_mono_ns <= time.monotonic_ns()
            assert frame.pixels.shape == (360, 640) and np.ptp(frame.pixels) > 100
            ages.append((frame.meta.arrived_mono_ns - frame.meta.exposure_mono_ns) / 1e6)
    report(f"vivid 640 x 360: exposure to frame {np.median(ages):.0f} ms median (emulated)")


def test_only_the_video_group_may_open_it(vivid: str) -> None:
    program = (
        "from edgeinspect.hw.v4l2_device import V4l2Device\n"
        f"try: V4l2Device({vivid!r})\n"
        "except OSError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        user="nobody",
        group="nogroup",
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert "cannot be used by this user" in done.stdout and "usermod -aG video" in done.stdout


def test_the_camera_contract_on_a_kernel_device(vivid: str, report: Report) -> None:
    """The suite that the fake and the in-memory device run, unplugging included."""
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "-k",
                "TestV4l2Device",
            ),
            str(TESTS / "test_camera_contract.py"),
        ],
        env={**os.environ, "EDGEINSPECT_V4L2_DEVICE": vivid},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    report(f"camera contract on vivid: {done.stdout.strip().splitlines()[-1]}")
