"""The machine's own clocks."""

from __future__ import annotations

import ctypes
import datetime
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from edgeinspect.clocks import read_beside_mono
from edgeinspect.errors import CameraFault
from edgeinspect.ports import Clock

_TIMESYNCD_MARK = Path("/run/systemd/timesync/synchronized")
_STA_UNSYNC = 0x0040  # <sys/timex.h>: the clock is not disciplined by anything
_TIME_ERROR = 5  # adjtimex(2): "the clock is not synchronized to a reliable server"
_TIMEX_STATUS_OFFSET = 5 * ctypes.sizeof(ctypes.c_long)  # after modes (padded) and four longs
LARGEST_ERROR_NS = 1_000_000
"""A stamp with a larger conversion error cannot be matched to a part."""
_TIMEX_BYTES = 512  # struct timex is 208 bytes on 64-bit Linux and 128 on 32-bit; room to spare


class SystemClock(Clock):
    """CLOCK_MONOTONIC and the wall clock of this machine."""

    @override
    def now_mono_ns(self) -> int:
        return time.monotonic_ns()

    @override
    def now_wall(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC)

    def is_synchronized(self) -> bool:
        """Whether the kernel or systemd-timesyncd says that the wall clock follows a server.

        A machine that cannot say counts as not synchronized.
        """
        return kernel_clock_synchronized() or _TIMESYNCD_MARK.exists()


def kernel_clock_synchronized() -> bool:
    """The kernel's own word, by a read-only adjtimex(2); False where it cannot be asked."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (AttributeError, OSError):
        return False
    # `modes` comes first in struct timex and 0 means: change nothing.
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    state = adjtimex(ctypes.byref(timex))
    if state < 0:
        return False
    status = ctypes.c_int.from_buffer(timex, _TIMEX_STATUS_OFFSET).value
    return state != _TIME_ERROR and not status & _STA_UNSYNC


@dataclass(frozen=True, slots=True)
class MonoStamp:
    """A moment on CLOCK_MONOTONIC, within ``error_ns`` of ``mono_ns``."""

    mono_ns: int
    error_ns: int


class BootToMono:
    """Converts CLOCK_BOOTTIME stamps (libcamera's sensor timestamp) to CLOCK_MONOTONIC.

    The two clocks differ by the time that the machine has spent suspended. The difference is read
    again for every stamp, so it is never outdated.
    """

    def __init__(
        self,
        *,
        now_mono_ns: Callable[[], int] = time.monotonic_ns,
        now_boot_ns: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
    ) -> None:
        self._now_mono_ns = now_mono_ns
        self._now_boot_ns = now_boot_ns
        self._difference: tuple[int, int] | None = None
        self._not_before_boot_ns = 0

    def convert(self, boot_ns: int) -> MonoStamp | None:
        """Return the same moment on CLOCK_MONOTONIC; None if it cannot be determined.

        That is so if the reading was disturbed again and again, and if the machine was suspended
        after the moment: the difference at that time is lost.
        """
        pair = read_beside_mono(self._now_boot_ns, self._now_mono_ns)
        if pair.error_ns > LARGEST_ERROR_NS:
            return None
        difference_ns = pair.other - pair.mono_ns
        if self._difference is not None:
            before_ns, error_ns = self._difference
            if abs(difference_ns - before_ns) > error_ns + pair.error_ns:
                self._not_before_boot_ns = pair.other
        self._difference = (difference_ns, pair.error_ns)
        if boot_ns < self._not_before_boot_ns:
            return None
        return MonoStamp(boot_ns - difference_ns, pair.error_ns)


def boot_to_mono_ns(boot_ns: int) -> int:
    """Convert one CLOCK_BOOTTIME stamp to CLOCK_MONOTONIC, within ``LARGEST_ERROR_NS``.

    A camera's driver uses ``BootToMono``: it also reports the error of each stamp, and it notices
    that the machine was suspended.

    Raises:
        CameraFault: the machine is too busy to bound the error.
    """
    stamp = BootToMono().convert(boot_ns)
    if stamp is None:
        raise CameraFault(
            "The machine is too busy to determine the time of an exposure.",
            next_action="Find the programs that keep the processors busy: top -H",
        )
    return stamp.mono_ns


def boot_id() -> str:
    """Return the kernel's random id of this boot; "" if the kernel has none."""
    try:
        return os.fsdecode(Path("/proc/sys/kernel/random/boot_id").read_bytes()).strip()
    except OSError:
        return ""
