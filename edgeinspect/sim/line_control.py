"""The line's own control and its operator."""

from __future__ import annotations

from random import Random
from typing import Protocol

from edgeinspect.line.reject import FOREVER_NS
from edgeinspect.sim.agenda import Agenda
from edgeinspect.sim.presets import SECOND, LineGeometry


class ControlledStation(Protocol):
    """The signals that the control and the operator give to the station."""

    def set_line_stopped(self, stopped: bool, now_ns: int) -> None:
        """Report that the line-stopped contact changed."""

    def acknowledge(self, now_ns: int) -> None:
        """Acknowledge all alarms."""


class ControlledLine(Protocol):
    """What the control and the operator handle of the line."""

    agenda: Agenda
    rng: Random
    geometry: LineGeometry
    encoder_stalled: bool

    @property
    def station(self) -> ControlledStation:
        """The station on the line."""

    @property
    def empty(self) -> bool:
        """Whether no part is on the belt."""

    def clear_outfeed(self, now_ns: int) -> None:
        """Remove every part from the outfeed."""

    def stick_gate(self, open_: bool | None, now_ns: int) -> None:
        """Jam the gate open or closed; None repairs it."""


class LineControl:
    """The line's controller and its operator.

    The controller stops the belt when the station's heartbeat is lost, when the station requests
    it, and for its own reasons. After the first two, the operator clears the outfeed, repairs the
    cause, acknowledges the alarms and starts the belt after the station's heart beats again.

    The belt slows down and accelerates evenly. Its line-stopped contact opens with the start
    command. It closes with the stop command unless the next stop's signal is late, and it bounces
    on request.

    Attributes:
        stop_signal_late_ns: the next stop's signal comes this long after the command.
        signal_bounces: how many more times the contact opens and closes at its next change.
        stops: how often the belt was stopped, by reason.
        unsteady: spans in which the belt was not at its speed, in order; a span that has not ended
            yet ends at ``FOREVER_NS``.
    """

    def __init__(self, world: ControlledLine) -> None:
        self._world = world
        self._last_beat_ns = 0
        self._stopped = False
        self._must_clear = False
        self._repairing = False
        self._reported_stopped = False
        self.stop_signal_late_ns = 0
        self.signal_bounces = 0
        self.stops: dict[str, int] = {}
        self.unsteady: list[tuple[int, int]] = []

    @property
    def stopped(self) -> bool:
        """The level of the line-stopped signal."""
        return self._reported_stopped

    def start(self, now_ns: int) -> None:
        """Start to watch the station's heartbeat."""
        self._last_beat_ns = now_ns
        self._watch(now_ns)

    def beat(self, now_ns: int) -> None:
        """The station's heartbeat output has changed."""
        self._last_beat_ns = now_ns

    def request_stop(self, now_ns: int) -> None:
        """The station's line-stop output."""
        self._stop("requested by the station", now_ns, clear=True)

    def stop_for(self, duration_ns: int, now_ns: int, *, coast_ns: int | None = None) -> None:
        """Something upstream stops the belt for a while; nobody touches the outfeed."""
        if self._stopped:
            return
        self._stop("upstream", now_ns, clear=False, coast_ns=coast_ns)
        self._world.agenda.at(now_ns + duration_ns, self._start_again)

    def _healthy(self, now_ns: int) -> bool:
        return now_ns - self._last_beat_ns <= self._world.geometry.heartbeat_timeout_ns

    def _watch(self, now_ns: int) -> None:
        world = self._world
        if not self._healthy(now_ns):
            self._stop("heartbeat lost", now_ns, clear=True)
            again_ns = now_ns + world.geometry.heartbeat_timeout_ns
        else:
            again_ns = self._last_beat_ns + world.geometry.heartbeat_timeout_ns + 1
        if not world.empty:
            world.agenda.at(again_ns, self._watch)

    def _stop(self, reason: str, now_ns: int, *, clear: bool, coast_ns: int | None = None) -> None:
        world = self._world
        if clear:
            self._must_clear = True
        if not self._stopped:
            self._stopped = True
            self.stops[reason] = self.stops.get(reason, 0) + 1
            coast_ns = world.geometry.coast_ns if coast_ns is None else coast_ns
            world.agenda.halt_belt(now_ns, within_ns=coast_ns)
            self.unsteady.append((now_ns, FOREVER_NS))
            late_ns, self.stop_signal_late_ns = self.stop_signal_late_ns, 0
            if late_ns:
                world.agenda.at(now_ns + late_ns, self._signal)
            else:
                self._signal(now_ns)
        if self._must_clear and not self._repairing:
            self._repairing = True
            world.agenda.at(now_ns + world.rng.randint(3 * SECOND, 8 * SECOND), self._repair)

    def _signal(self, now_ns: int) -> None:
        """The line-stopped contact follows the command, perhaps not at once."""
        if self._reported_stopped == self._stopped:
            return
        self._report(self._stopped, now_ns)
        bounces, self.signal_bounces = self.signal_bounces, 0
        ends_ns = now_ns
        for _ in range(2 * bounces):
            ends_ns += self._world.rng.randint(1, self._world.geometry.stop_bounce_ns)
            self._world.agenda.at(ends_ns, self._bounce)
        if bounces:
            self._world.agenda.at(ends_ns, lambda t: self._report(self._stopped, t))

    def _bounce(self, now_ns: int) -> None:
        self._report(not self._reported_stopped, now_ns)

    def _report(self, stopped: bool, now_ns: int) -> None:
        if stopped != self._reported_stopped:
            self._reported_stopped = stopped
            self._world.station.set_line_stopped(stopped, now_ns)

    def _repair(self, now_ns: int) -> None:
        world = self._world
        if not self._healthy(now_ns):
            world.agenda.at(now_ns + SECOND // 2, self._repair)
            return
        world.clear_outfeed(now_ns)
        world.stick_gate(None, now_ns)
        world.encoder_stalled = False
        self._must_clear = self._repairing = False
        world.station.acknowledge(now_ns)
        world.agenda.at(now_ns + SECOND, self._start_again)

    def _start_again(self, now_ns: int) -> None:
        if self._must_clear or not self._stopped:
            return
        self._stopped = False
        restart_ns = self._world.geometry.restart_ns
        self._world.agenda.move_belt(now_ns, within_ns=restart_ns)
        self.unsteady[-1] = self.unsteady[-1][0], now_ns + restart_ns
        self._signal(now_ns)
