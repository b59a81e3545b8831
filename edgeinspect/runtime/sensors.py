"""Connects the drivers' sensors to the line thread, and their faults to the station."""

from __future__ import annotations

from collections.abc import Callable

from edgeinspect.errors import LineFault
from edgeinspect.hw.input_faults import ReportsFaults
from edgeinspect.hw.opened import Drivers
from edgeinspect.line import messages as m
from edgeinspect.ports import Clock
from edgeinspect.runtime.line_thread import LineShell


class InputFaults:
    """Passes on the faults that one input's driver reports, with the input's name."""

    def __init__(
        self,
        name: str,
        on_lost: Callable[[str, int], None],
        on_failed: Callable[[str, LineFault], None],
    ) -> None:
        self._name = name
        self._on_lost = on_lost
        self._on_failed = on_failed

    def edges_lost(self, count: int) -> None:
        """Take the number of edges that the driver could not deliver."""
        self._on_lost(self._name, count)

    def failed(self, error: LineFault) -> None:
        """Take the error that ended the input."""
        self._on_failed(self._name, error)


def listen_to_sensors(
    drivers: Drivers,
    line: LineShell,
    clock: Clock,
    *,
    on_lost: Callable[[str, int], None],
    on_failed: Callable[[str, LineFault], None],
) -> None:
    """Start every input; the trigger is the last one.

    Args:
        drivers: The opened inputs.
        line: Receives the edges and levels.
        clock: The station's clock.
        on_lost: Called in a driver's thread with an input's name and the number of lost edges.
        on_failed: Called in a driver's thread with an input's name and what ended it.

    Raises:
        HardwareError: An input cannot be started.
    """

    def post(event: m.Event) -> None:
        line.post(event)

    for name, driver in drivers.inputs().items():
        if isinstance(driver, ReportsFaults):
            driver.report_faults_to(InputFaults(name, on_lost, on_failed))
    if drivers.encoder is not None:
        drivers.encoder.start(line.post_encoder)
    if drivers.line_stopped is not None:
        before_mono_ns = clock.now_mono_ns()  # so that no later change is undone by it
        stopped = drivers.line_stopped.start(line.post_line_stopped)
        line.post_line_stopped(stopped, before_mono_ns)
    if drivers.confirm is not None:
        drivers.confirm.start(lambda edge: post(m.ConfirmEdge(edge)))
    if drivers.guard is not None:
        drivers.guard.start(lambda edge: post(m.GuardEdge(edge)))
    drivers.trigger.start(lambda edge: post(m.TriggerEdge(edge)))
