"""Runs a station in the foreground until it is stopped, and stops it in an orderly way."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol

from edgeinspect.faults import FaultName
from edgeinspect.runtime.fault_board import FaultBoard

_INSISTING = (signal.SIGTERM, signal.SIGINT)
"""Two of these mean "at once". A terminal that is lost sends SIGHUP more than once by itself."""


class Runs(Protocol):
    """A station that can be run, such as ``edgeinspect.runtime.station.Station``."""

    @property
    def faults(self) -> FaultBoard:
        """Where faults are counted."""
        ...

    def request_stop(self, *, immediate: bool = False) -> None:
        """Stop when the belt is empty, or at once if ``immediate``."""
        ...

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until a stop was requested; return whether it was."""
        ...


def run_until_stopped(
    station: Runs,
    *,
    start: Callable[[], None],
    stop: Callable[[], int],
    on_ready: Callable[[], None] = lambda: None,
    on_stopping: Callable[[], None] = lambda: None,
    watch: Callable[[], None] = lambda: None,
    watch_period_s: float = 0.125,
) -> int:
    """Start, wait for a signal or the control socket's ``stop``, stop; from the main thread.

    The first SIGTERM, SIGINT or SIGHUP lets the belt empty and flushes the records. A second
    SIGTERM or SIGINT does not wait for the belt: everything is rejected, and recorded.

    Args:
        start: starts the station and everything that belongs to it.
        stop: stops it again and returns the exit code.
        on_ready: called once the station inspects. An error in it is counted as
            ``reporting_failed``, and the station continues.
        on_stopping: called when the station begins to stop; likewise.
        watch: called again and again while it runs; likewise.

    Raises:
        HardwareError, StorageFault, StationBusy: it could not start; everything is closed.
    """

    def tell(what: Callable[[], None]) -> None:
        try:
            what()
        except Exception as error:  # noqa: BLE001  no listener may stop the station
            station.faults.count(FaultName.REPORTING_FAILED, f"{type(error).__name__}: {error}")

    with stop_on_signals(station.request_stop):
        start()
        try:
            tell(on_ready)
            while not station.wait(watch_period_s):
                tell(watch)
            tell(on_stopping)
        finally:
            code = stop()
    return code


@contextlib.contextmanager
def stop_on_signals(request_stop: Callable[..., None]) -> Iterator[None]:
    """Call ``request_stop``, with ``immediate`` when somebody insists; nothing in other threads."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    insisted = 0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal insisted
        del frame
        insisted += number in _INSISTING
        request_stop(immediate=insisted > 1)

    before = {number: signal.signal(number, stop) for number in _INSISTING}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
