"""Watches the other threads' progress and shows the station's state on its lights."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgeinspect.faults import FaultName
from edgeinspect.ports import Clock, Output
from edgeinspect.runtime.fault_board import FaultBoard, drive_output

_PERIOD_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One thing that must keep making progress.

    Attributes:
        name: of the thread, for the fault's name.
        stuck_since_mono_ns: since when it has been at one thing; None while it is idle.
        limit_ns: how long that may last.
    """

    name: str
    stuck_since_mono_ns: Callable[[], int | None]
    limit_ns: int


class Supervisor:
    """Names what hangs; the core's deadlines and the gate's lease have rejected it by then."""

    def __init__(
        self,
        *,
        watches: tuple[Watch, ...],
        clock: Clock,
        faults: FaultBoard,
        lights: Mapping[str, Output],
        lights_now: Callable[[], Mapping[str, bool]],
    ) -> None:
        self._watches = watches
        self._clock = clock
        self._faults = faults
        self._lights = lights
        self._lights_now = lights_now
        self._shown: dict[str, bool] = {}
        self._stopping = threading.Event()

    def run(self) -> None:
        """Check all threads periodically until ``stop``."""
        while not self._stopping.wait(_PERIOD_S):
            self.step()

    def stop(self) -> None:
        """Ask ``run`` to return."""
        self._stopping.set()

    def step(self) -> None:
        """Check all threads once and report those that hang."""
        now_mono_ns = self._clock.now_mono_ns()
        for watch in self._watches:
            since = watch.stuck_since_mono_ns()
            if since is not None and now_mono_ns - since > watch.limit_ns:
                self._faults.begin(FaultName.HANGS, "no progress", subject=watch.name)
            else:
                self._faults.end(FaultName.HANGS, subject=watch.name)
        self._show(self._lights_now())

    def _show(self, wanted: Mapping[str, bool]) -> None:
        for name, output in self._lights.items():
            level = wanted.get(name, False)
            if self._shown.get(name, False) != level and drive_output(
                output, level, self._faults, FaultName.LIGHT_OUTPUT_FAILED
            ):
                self._shown[name] = level
