"""A V4L2 device in memory for the driver's tests: strict about the order of calls."""

from __future__ import annotations

import threading

import numpy as np

from edgeinspect.errors import CameraFault
from edgeinspect.hw import v4l2_controls as c
from edgeinspect.hw.v4l2_device import Picture, StreamFormat, fourcc

MS = 1_000_000


class FakeV4l2Device:
    """Gives the frames that ``expose`` is told of; ``unplug`` ends it."""

    def __init__(
        self,
        path: str = "/dev/video9",
        *,
        formats: tuple[str, ...] = ("YUYV",),
        size: tuple[int, int] = (8, 6),
        frames_per_s: float = 30.0,
    ) -> None:
        self.path = path
        self.name = "Fake camera"
        self._formats = formats
        self._size = size
        self._frames_per_s = frames_per_s
        self._given = ("", (0, 0))
        self.controls = {
            c.EXPOSURE_AUTO: 3,
            c.EXPOSURE_100_US: 156,
            c.GAIN: 0,
            c.AUTO_WHITE_BALANCE: 1,
            c.WHITE_BALANCE_K: 4000,
            c.FOCUS: 10,
            c.FOCUS_AUTO: 1,
        }
        self.ignores: set[int] = set()
        self._filled: list[Picture] = []
        self._queued: set[int] = set()
        self._changed = threading.Condition()
        self._error: CameraFault | None = None
        self._sequence = 0
        self.closed = False

    def set_format(self, wanted: int, width_px: int, height_px: int) -> StreamFormat:
        names = {fourcc(name): name for name in self._formats}
        name = names.get(wanted, self._formats[0])
        stride = self._size[0] * (2 if name == "YUYV" else 1)
        self._given = (name, self._size)
        return StreamFormat(fourcc(name), *self._size, stride)

    def set_frame_rate(self, frames_per_s: float) -> float:
        return self._frames_per_s

    def control_range(self, control: int) -> tuple[int, int] | None:
        return (0, 10_000) if control in self.controls else None

    def set_control(self, control: int, value: int) -> None:
        if control not in self.ignores:
            self.controls[control] = value

    def get_control(self, control: int) -> int:
        return self.controls[control]

    def start(self, buffers: int) -> None:
        assert self._given[0], "no format was set"
        self._queued = set(range(buffers))

    def wait(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._filled or self._error), timeout_s)

    def dequeue(self) -> Picture | None:
        with self._changed:
            if self._error is not None:
                raise self._error
            return self._filled.pop(0) if self._filled else None

    def give_back(self, index: int) -> None:
        with self._changed:
            assert index not in self._queued, f"buffer {index} was given back twice"
            self._queued.add(index)

    def close(self) -> None:
        self.closed = True

    @property
    def buffers_lent(self) -> int:
        with self._changed:
            return 5 - len(self._queued)

    def expose(
        self,
        stamp_mono_ns: int,
        *,
        grey: int = 0,
        at_start: bool = False,
        damaged: bool = False,
        sequence: int | None = None,
    ) -> None:
        """Fill a buffer with one frame of one grey level; its counter is the next unless given."""
        width, height = self._size
        with self._changed:
            index = self._queued.pop()
            data = np.full(width * height * 2, 128, np.uint8)
            data[0::2] = grey
            counter = self._sequence if sequence is None else sequence
            self._filled.append(Picture(index, counter, stamp_mono_ns, at_start, damaged, data))
            self._sequence = counter + 1
            self._changed.notify_all()

    def unplug(self, error: CameraFault) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()
