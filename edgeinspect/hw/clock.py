"""The machine's own clocks."""

from __future__ import annotations

import ctypes
import datetime
import os
import time
from pathlib import Path

_TIMESYNCD_MARK = Path("/run/systemd/timesync/synchronized")
_STA_UNSYNC = 0x0040  # <sys/timex.h>: the clock is not disciplined by anything
_TIME_ERROR = 5  # adjtimex(2): "the clock is not synchronized to a reliable server"
_TIMEX_STATUS_OFFSET = 5 * ctypes.sizeof(ctypes.c_long)  # after modes (padded) and four longs
_TIMEX_BYTES = 512  # struct timex is 208 bytes on 64-bit Linux and 128 on 32-bit; room to spare


class SystemClock:
    """CLOCK_MONOTONIC and the wall clock of this machine."""

    def now_mono_ns(self) -> int:
        return time.monotonic_ns()

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


def boot_to_mono_ns(boot_ns: int) -> int:
    """Convert a CLOCK_BOOTTIME stamp (libcamera's sensor timestamp) to CLOCK_MONOTONIC.

    The two differ by the time spent suspended, which a running station never is, so the
    difference taken now holds for the stamp as well.
    """
    before = time.monotonic_ns()
    boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    after = time.monotonic_ns()
    return boot_ns - (boot - (before + after) // 2)


def boot_id() -> str:
    """The kernel's random id of this boot, "" where it is not told."""
    try:
        return os.fsdecode(Path("/proc/sys/kernel/random/boot_id").read_bytes()).strip()
    except OSError:
        return ""
