"""Standard streams that cannot stop a station, whatever happens to the program that reads them.

The reader of a log may have ended, be asleep, or write to a full disk. Lines are then lost and
counted; writing neither raises nor waits.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, cast

_STANDARD = (0, 1, 2)
_ATOMIC_BYTES = 4096  # PIPE_BUF: a pipe takes this much whole or not at all, see pipe(7)


def open_closed_streams() -> None:
    """Open the standard streams that are closed, on the null device.

    A program may be started with its standard streams closed. The next file that it opens, such as
    a database, would get the number of stderr, and libraries would write their messages into it.
    """
    for descriptor in _STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


class Journal(io.TextIOBase):
    """A text stream on a descriptor that never raises and never waits."""

    def __init__(self, descriptor: int) -> None:
        """Write to an open descriptor, which stays the caller's."""
        self._descriptor = descriptor
        self._lost = 0

    def write_line(self, sentence: str) -> None:
        """Write one line at once; it is lost if it cannot be written now."""
        lost = self._lost
        note = f"({lost} lines could not be written and are lost.)\n" if lost else ""
        self.write(f"{note}{sentence}\n")
        if self._lost == lost:
            self._lost = 0

    def write(self, text: str, /) -> int:
        """Write the text, or count it as lost; return its length."""
        data = text.encode(errors="replace")
        pieces = range(0, len(data), _ATOMIC_BYTES)
        if not all(self._put(data[start : start + _ATOMIC_BYTES]) for start in pieces):
            self._lost += 1
        return len(text)

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether the journal is a terminal."""
        return os.isatty(self._descriptor)

    def _put(self, data: bytes) -> bool:
        try:
            return _has_room(self._descriptor, 0) and os.write(self._descriptor, data) == len(data)
        except OSError:
            return False


@contextlib.contextmanager
def journal_on_stderr() -> Iterator[Journal]:
    """Make stderr a ``Journal`` for everything in this process that writes there.

    Libraries in C write to the descriptor by its number. So the descriptor is reopened and set
    not to wait: the file description that was inherited is shared with other programs.
    """
    text, number = sys.stderr, 2
    kept = os.dup(number)
    with contextlib.suppress(OSError):
        _stop_waiting(number)
    journal = Journal(number)
    sys.stderr = cast(TextIO, journal)
    try:
        yield journal
    finally:
        sys.stderr = text
        with contextlib.suppress(OSError):
            os.dup2(kept, number)
        os.close(kept)


def write_within(descriptor: int, data: bytes, timeout_s: float) -> bool:
    """Write all of the data, or give up after a time; never raises."""
    deadline_s = time.monotonic() + timeout_s
    with contextlib.suppress(OSError):
        while data:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not _has_room(descriptor, left_s):
                return False
            data = data[os.write(descriptor, data[:_ATOMIC_BYTES]) :]
        return True
    return False


def _has_room(descriptor: int, timeout_s: float) -> bool:
    asked = select.poll()
    asked.register(descriptor, select.POLLOUT)
    return bool(asked.poll(timeout_s * 1000))


def _stop_waiting(descriptor: int) -> None:
    """Make writing not wait; raises OSError if that is not possible."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        os.set_blocking(descriptor, False)
    elif stat.S_ISFIFO(mode) or os.isatty(descriptor):
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        opened = os.open(f"/proc/self/fd/{descriptor}", flags)
        os.dup2(opened, descriptor)
        os.close(opened)
