"""Signals that end a command end it in an orderly way: whatever is open is closed.

``handling`` is the only place that installs signal handlers.

Left alone, SIGTERM and the SIGHUP of a lost SSH session end a process where it stands, with an
output of the line still driven.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
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
    first_s: list[float] = []

    def unwind(number: int, frame: FrameType | None) -> None:
        del frame
        if first_s and now_s() - first_s[-1] < DELIBERATE_S:
            return
        first_s.append(now_s())
        _raise(number)

    with handling(unwind, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, unless=_taken):
        yield


def stop_on_signals(request_stop: Callable[..., None]) -> AbstractContextManager[None]:
    """Call ``request_stop``, with ``immediate`` when somebody insists.

    Two of SIGTERM and SIGINT mean "at once". A terminal that is lost sends SIGHUP more than once
    by itself; it counts only once, and not at all where it was ignored before (``nohup``).
    """
    insisted = 0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal insisted
        del frame
        insisted += number != signal.SIGHUP
        request_stop(immediate=insisted > 1)

    def is_nohup(number: int) -> bool:
        return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN

    return handling(stop, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, unless=is_nohup)


@contextlib.contextmanager
def handling(
    handler: Callable[[int, FrameType | None], None],
    *numbers: int,
    unless: Callable[[int], bool],
) -> Iterator[None]:
    """Handle these signals in the block; nothing outside the main thread, where Python has none.

    Args:
        handler: called with the signal and the frame.
        numbers: the signals to handle.
        unless: says of a signal that it keeps the handler that it has.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers if not unless(number)}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _taken(number: int) -> bool:
    """It was ignored before, or somebody else handles it."""
    return signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler)


def _raise(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
