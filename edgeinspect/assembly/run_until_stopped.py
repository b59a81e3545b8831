"""Runs a station in the foreground until it is stopped, and stops it in an orderly way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edgeinspect.faults import FaultName
from edgeinspect.runtime.fault_board import FaultBoard
from edgeinspect.terminal.signals import stop_on_signals


class Runs(Protocol):
    """A station that can be run, such as ``edgeinspect.runtime.station.Station``."""

    @property
    def faults(self) -> FaultBoard:
        """Where faults are counted."""

    def request_stop(self, *, immediate: bool = False) -> None:
        """Stop when the belt is empty, or at once if ``immediate``."""

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until a stop was requested; return whether it was."""


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
        station: the station that serves the line.
        start: starts the station and everything that belongs to it.
        stop: stops it again and returns the exit code.
        on_ready: called once the station inspects. An error in it is counted as
            ``reporting_failed``, and the station continues.
        on_stopping: called when the station begins to stop; likewise.
        watch: called again and again while it runs; likewise.
        watch_period_s: how often the watch function runs, in seconds.

    Raises:
        HardwareError, StorageFault, StationBusy: it could not start; everything is closed.
    """

    def report(how: Callable[[], None]) -> None:
        try:
            how()
        except Exception as error:  # noqa: BLE001  no report may stop the station
            station.faults.count(FaultName.REPORTING_FAILED, f"{type(error).__name__}: {error}")

    with stop_on_signals(station.request_stop):
        start()
        try:
            report(on_ready)
            while not station.wait(watch_period_s):
                report(watch)
            report(on_stopping)
        finally:
            code = stop()
    return code
