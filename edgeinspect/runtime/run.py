"""Running a station in the foreground until it is told to stop."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from edgeinspect.runtime.control import ControlServer
from edgeinspect.runtime.station import Station

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_station(
    station: Station,
    *,
    control: ControlServer | None = None,
    on_ready: Callable[[], None] = lambda: None,
    on_stopping: Callable[[], None] = lambda: None,
    watch: Callable[[], None] | None = None,
    watch_period_s: float = 0.125,
) -> int:
    """Start, wait for SIGTERM, SIGINT or the control socket's ``stop``, stop; from the main thread.

    The first signal lets the belt empty and flushes the records. A second one stops at once:
    everything is rejected, and outputs go to their safe level.

    Args:
        on_ready: called once the station inspects.
        on_stopping: called when the stop begins.
        watch: called periodically meanwhile, e.g. to draw the live view.

    Returns:
        the exit code: 0; 1 if a thread has died; 6 if records were lost.

    Raises:
        HardwareError, StorageFault, StationBusy: it could not start; everything is closed.
    """
    with _stop_on_signals(station):
        try:
            if control is not None:
                control.start()
            station.start()
            on_ready()
            while not station.wait(watch_period_s if watch is not None else None):
                if watch is not None:
                    watch()
            on_stopping()
        finally:
            station.stop()
            if control is not None:
                control.stop()
    return station.exit_code


@contextlib.contextmanager
def _stop_on_signals(station: Station) -> Iterator[None]:
    signals_seen = 0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal signals_seen
        signals_seen += 1
        station.request_stop(immediate=signals_seen > 1)

    before = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
