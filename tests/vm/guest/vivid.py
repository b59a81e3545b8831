"""A V4L2 camera of the kernel's vivid, and what it shows. Runs in the virtual machine only.

See Documentation/admin-guide/media/vivid.rst of the kernel.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path

_VIDIOC_S_CTRL = 0xC008561C
_TEST_PATTERN = 0x00F0F000


class Pattern(IntEnum):
    """What the shipped model thinks of them was looked at: a smooth ramp is good, noise is not."""

    CHECKERS_1X1 = 12
    GRAY_RAMP = 20
    NOISE = 21


class Vivid:
    """The loaded camera's capture node."""

    def __init__(self, device: str) -> None:
        self.device = device

    def show(self, pattern: Pattern) -> None:
        """Frames whose exposure begins after this returned show this pattern."""
        descriptor = os.open(self.device, os.O_RDWR | os.O_NONBLOCK)
        try:
            fcntl.ioctl(descriptor, _VIDIOC_S_CTRL, struct.pack("Ii", _TEST_PATTERN, pattern))
        finally:
            os.close(descriptor)


def video_device(driver_name: str) -> str:
    """The first capture node whose name in sysfs begins so."""
    for folder in sorted(Path("/sys/class/video4linux").glob("video*")):
        if (folder / "name").read_text().startswith(driver_name):
            return f"/dev/{folder.name}"
    raise AssertionError(f"no {driver_name} camera in this machine")


@contextlib.contextmanager
def vivid_camera() -> Iterator[Vivid]:
    # Video capture only, one device, so that the first node is the one.
    subprocess.run(["modprobe", "vivid", "n_devs=1", "node_types=0x1"], check=True)
    subprocess.run(["udevadm", "settle"], check=True)
    device = video_device("vivid")
    # Its times at the end of a frame are ideal ones, which a slow machine has not reached yet.
    subprocess.run(["v4l2-ctl", "-d", device, "-c", "timestamp_source=1"], check=True)
    yield Vivid(device)
    subprocess.run(["modprobe", "-r", "vivid"], check=False)
