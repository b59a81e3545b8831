"""A program in a real pseudo-terminal, and its screen as a terminal would show it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence

import pyte

DEADLINE_S = 90.0
"""How long something that must appear is waited for; reached only if it never does."""

_ASKS_FOR_WHOLE_FRAMES = b"\x1b[?2026$p"
_DOES_WHOLE_FRAMES = b"\x1b[?2026;2$y"
_FRAME_BEGINS = b"\x1b[?2026h"
_FRAME_ENDS = b"\x1b[?2026l"
_CUT_SHORT = re.compile(rb"\x1b(\[(\?[0-9]*\$?)?)?\Z")


class Terminal:
    """Starts a program in a pseudo-terminal; use it in one thread.

    It draws whole frames (synchronized output, mode 2026), as terminals of today do: a screen is
    never read while a program that keeps to the mode is in the midst of drawing it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        columns: int = 80,
        lines: int = 24,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._deadline_s = deadline_s
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._unshown = b""
        self.frames = 0
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], list(command), dict(environment))
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)
        os.kill(self.pid, signal.SIGWINCH)

    @property
    def lines(self) -> list[str]:
        return list(self.screen.display)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait_for(
        self, what: str | Callable[[str], bool], *, deadline_s: float | None = None
    ) -> str:
        """The screen's text once it holds ``what``. Raises AssertionError, showing the screen."""
        holds = what if callable(what) else lambda text: what in text
        deadline = time.monotonic() + (deadline_s or self._deadline_s)
        while not holds(self.text):
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"{what!r} did not appear:\n{self.text}"
            self._read(left_s)
        return self.text

    def hang_up(self) -> None:
        """The connection breaks: the kernel sends SIGHUP, and nobody reads any more."""
        os.close(self._master)
        self._master = -1

    def wait(self) -> int:
        """The exit code, negative for a signal."""
        deadline = time.monotonic() + self._deadline_s
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, f"it does not end:\n{self.text}"
            self._read(0.05)

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0
        if self._master >= 0:
            self.hang_up()

    def _read(self, timeout_s: float) -> None:
        if self._master < 0:
            time.sleep(timeout_s)
            return
        if not select.select([self._master], [], [], min(timeout_s, 1.0))[0]:
            return
        try:
            self._take(os.read(self._master, 65_536))
        except OSError:  # EIO: the program has ended
            time.sleep(min(timeout_s, 0.05))

    def _take(self, data: bytes) -> None:
        self._unshown += data
        if _ASKS_FOR_WHOLE_FRAMES in self._unshown:
            self._unshown = self._unshown.replace(_ASKS_FOR_WHOLE_FRAMES, b"")
            os.write(self._master, _DOES_WHOLE_FRAMES)
        end = self._unshown.rfind(_FRAME_ENDS)
        begin = self._unshown.find(_FRAME_BEGINS, max(end, 0))
        if begin < 0:
            cut_short = _CUT_SHORT.search(self._unshown)
            begin = cut_short.start() if cut_short else len(self._unshown)
        self.frames += self._unshown.count(_FRAME_ENDS)
        self._stream.feed(self._unshown[:begin])
        self._unshown = self._unshown[begin:]
