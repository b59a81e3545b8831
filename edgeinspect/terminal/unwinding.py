"""Signals that end a command end it in an orderly way: whatever is open is closed.

Left alone, SIGTERM and the SIGHUP of a lost SSH session end a process where it stands, with an
output of the line still driven.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

DELIBERATE_S = 3.0
"""A further signal this soon after the first one does not interrupt the closing."""


@contextlib.contextmanager
def unwinding_on_signals(now_s: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """SIGTERM and SIGHUP raise SystemExit in the block, SIGINT raises KeyboardInterrupt.

    Signals often come in pairs: a person presses Ctrl-C twice, a lost terminal sends SIGHUP from
    the kernel and from the shell. Only the first of a pair is raised. What was ignored before
    (``nohup``) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first_s: list[float] = []

    def unwind(number: int, frame: FrameType | None) -> None:
        del frame
        if first_s and now_s() - first_s[-1] < DELIBERATE_S:
            return
        first_s.append(now_s())
        _raise(number)

    replaced = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        before = signal.getsignal(number)
        if before in (signal.SIG_DFL, signal.default_int_handler):
            replaced[number] = before
            signal.signal(number, unwind)
    try:
        yield
    finally:
        for number, before in replaced.items():
            signal.signal(number, before)


def _raise(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
