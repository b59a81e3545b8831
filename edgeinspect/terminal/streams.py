"""Standard streams that cannot stop a station, whatever their reader does.

The reader of a log may have gone, sleep, or sit on a full disk. Writing then loses lines, counts
them, and neither raises nor waits.
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
_ATOMIC_BYTES = 4096  # PIPE_BUF: a pipe takes so much at once or not at all, see pipe(7)


def open_what_is_closed() -> None:
    """Let no file of ours become a standard stream that somebody writes to by its number.

    A program may be started with its standard streams closed. Then the next file that is opened,
    a database for one, would get the number of stderr, and a library's messages with it.
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
        self._descriptor = descriptor
        self._lost = 0

    def say(self, sentence: str) -> None:
        """One line, at once; lost if it cannot be written now."""
        lost = self._lost
        note = f"({lost} lines could not be written here.)\n" if lost else ""
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
    """Stderr as a ``Journal``, for everything in this process that writes there.

    Libraries in C write to the descriptor by its number, so that one gets a description of its
    own that does not wait: the one that was inherited belongs to other programs, too.
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
    """Write all of it, or give up; never raises."""
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
    """Raises OSError where that cannot be had."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        os.set_blocking(descriptor, False)
    elif stat.S_ISFIFO(mode) or os.isatty(descriptor):
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        opened = os.open(f"/proc/self/fd/{descriptor}", flags)
        os.dup2(opened, descriptor)
        os.close(opened)
