"""The line's own control and its operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeinspect.sim.presets import SECOND

if TYPE_CHECKING:
    from edgeinspect.sim.world import World


class LineControl:
    """The line's own control and its operator.

    The control stops the belt when the station's heartbeat is lost, when the station asks for it,
    and for reasons of its own. After the first two the operator clears the outfeed, repairs what
    is broken, acknowledges the alarms and starts the belt once the station's heart beats again.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._last_beat_ns = 0
        self._stopped = False
        self._must_clear = False
        self._repairing = False
        self.stops: dict[str, int] = {}

    @property
    def stopped(self) -> bool:
        """The level of the line-stopped signal."""
        return self._stopped

    def start(self, now_ns: int) -> None:
        self._last_beat_ns = now_ns
        self._watch(now_ns)

    def beat(self, now_ns: int) -> None:
        """The station's heartbeat output has changed."""
        self._last_beat_ns = now_ns

    def request_stop(self, now_ns: int) -> None:
        """The station's line-stop output."""
        self._stop("requested by the station", now_ns, clear=True)

    def stop_for(self, duration_ns: int, now_ns: int) -> None:
        """Something upstream stops the belt for a while; nobody touches the outfeed."""
        if self._stopped:
            return
        self._stop("upstream", now_ns, clear=False)
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

    def _stop(self, reason: str, now_ns: int, *, clear: bool) -> None:
        world = self._world
        if clear:
            self._must_clear = True
        if not self._stopped:
            self._stopped = True
            self.stops[reason] = self.stops.get(reason, 0) + 1
            world.agenda.at(now_ns + world.geometry.coast_ns, self._halt)
            world.station.set_line_stopped(True, now_ns)
        if self._must_clear and not self._repairing:
            self._repairing = True
            world.agenda.at(now_ns + world.rng.randint(3 * SECOND, 8 * SECOND), self._repair)

    def _halt(self, now_ns: int) -> None:
        if self._stopped:
            self._world.agenda.halt_belt(now_ns)

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
        self._world.agenda.move_belt(now_ns)
        self._world.station.set_line_stopped(False, now_ns)
