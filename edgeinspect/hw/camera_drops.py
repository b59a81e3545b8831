"""Frames that a driver drops because they cannot be trusted; each is counted by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from edgeinspect.faults import FaultName

DropListener = Callable[[FaultName, str], None]
"""Called with a drop's name and one sentence in the camera's own thread; must return at once."""


def ignore_drop(name: FaultName, detail: str) -> None:
    """Ignore drops, for a camera that is used outside a station."""
    del name, detail


@runtime_checkable
class ReportsDrops(Protocol):
    """A camera whose driver drops frames that cannot be trusted."""

    def report_drops_to(self, listener: DropListener) -> None:
        """Set the listener; call it before ``open``."""


class FrameOrder:
    """Do the frames of a camera come in order? Numbers them on, over any number of openings.

    The driver's counter and the sensor's stamp must both rise strictly: a buffer that comes a
    second time has the old ones, whatever else is true of it.
    """

    def __init__(self) -> None:
        self._number = -1
        self._counter: int | None = None
        self._stamp_ns: int | None = None

    def reopened(self) -> None:
        """The driver's counter begins again; stamps do not."""
        self._counter = None

    def number(self, stamp_ns: int, counter: int | None = None) -> int | None:
        """Return the frame's sequence number; None if this frame, or a later one, came before.

        Args:
            stamp_ns: the sensor's stamp, in any time base.
            counter: the driver's own 32-bit count, which may wrap; a gap is kept, because it means
                a dropped frame. None: the driver does not count.
        """
        if self._stamp_ns is not None and stamp_ns <= self._stamp_ns:
            return None
        step = 1
        if counter is not None and self._counter is not None:
            step = (counter - self._counter) % 2**32
            if not 0 < step < 2**31:
                return None
        self._counter, self._stamp_ns = counter, stamp_ns
        self._number += step
        return self._number
