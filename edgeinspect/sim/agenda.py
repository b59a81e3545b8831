"""What happens next on the simulated line, in time and along the belt."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

Callback = Callable[[int], None]
"""Called with the time at which it runs."""


class Belt:
    """A belt that is at full speed, stands, or changes evenly from one speed to the other.

    Speeds are shares of the full one; travel is nanoseconds at full speed.
    """

    def __init__(self) -> None:
        self._begins_ns = self._begins_at_ns = 0
        self._begins_with = 1.0
        self._settles_ns = self._settles_at_ns = 0
        self._settles_with = 1

    @property
    def moving(self) -> bool:
        """Whether it is to move, whatever speed it has reached."""
        return self._settles_with == 1

    def change(self, speed: int, now_ns: int, *, within_ns: int) -> None:
        """Change to this speed, 0 or 1, evenly within this time."""
        begins_with = self.speed(now_ns)
        self._begins_ns, self._begins_at_ns = now_ns, self.travel_ns(now_ns)
        self._begins_with, self._settles_with = begins_with, speed
        self._settles_ns = now_ns + within_ns
        self._settles_at_ns = self._begins_at_ns + int((begins_with + speed) / 2 * within_ns)

    def speed(self, now_ns: int) -> float:
        """Return the speed at this time, which must not be before the last change."""
        if now_ns >= self._settles_ns:
            return float(self._settles_with)
        return self._begins_with + self._gain_per_ns() * (now_ns - self._begins_ns)

    def travel_ns(self, now_ns: int) -> int:
        """Return the distance at this time, which must not be before the last change."""
        if now_ns >= self._settles_ns:
            return self._settles_at_ns + self._settles_with * (now_ns - self._settles_ns)
        since_ns = now_ns - self._begins_ns
        gained = self._gain_per_ns() * since_ns * since_ns / 2
        return self._begins_at_ns + int(self._begins_with * since_ns + gained)

    def time_of(self, travel_ns: int) -> int | None:
        """When it will have come this far; None: not unless it is started again."""
        if travel_ns > self._settles_at_ns:
            return self._settles_ns + travel_ns - self._settles_at_ns if self.moving else None
        to_go = travel_ns - self._begins_at_ns
        if to_go <= 0:
            return self._begins_ns
        start = self._begins_with
        end = math.sqrt(max(0.0, start * start + 2 * self._gain_per_ns() * to_go))
        return min(self._begins_ns + math.ceil(2 * to_go / (start + end)), self._settles_ns)

    def _gain_per_ns(self) -> float:
        within_ns = self._settles_ns - self._begins_ns
        return (self._settles_with - self._begins_with) / within_ns if within_ns else 0.0


class Agenda:
    """What happens next, in time and along the belt; one order for everything, replayable."""

    def __init__(self, *, now_ns: int = 0) -> None:
        self.now_ns = now_ns
        self._count = 0
        self._timed: list[tuple[int, int, Callback]] = []
        self._along: list[tuple[int, int, Callback]] = []
        self.belt = Belt()

    @property
    def moving(self) -> bool:
        """Whether the belt moves."""
        return self.belt.moving

    def travel_ns(self, now_ns: int) -> int:
        """How far the belt has come, in nanoseconds of travel at full speed."""
        return self.belt.travel_ns(now_ns)

    def at(self, time_ns: int, callback: Callback) -> None:
        """Call back at this time, or now if it is past."""
        self._count += 1
        heapq.heappush(self._timed, (time_ns, self._count, callback))

    def at_travel(self, travel_ns: int, callback: Callback) -> None:
        """Call back when the belt has come this far."""
        self._count += 1
        heapq.heappush(self._along, (travel_ns, self._count, callback))

    def halt_belt(self, now_ns: int, *, within_ns: int = 0) -> None:
        """Stop the belt, evenly within this time."""
        if self.belt.moving:
            self.belt.change(0, now_ns, within_ns=within_ns)

    def move_belt(self, now_ns: int, *, within_ns: int = 0) -> None:
        """Start the belt; it reaches its speed evenly within this time."""
        if not self.belt.moving:
            self.belt.change(1, now_ns, within_ns=within_ns)

    def next_ns(self) -> int | None:
        """When the next callback is due; None if nothing is planned while the belt stands."""
        timed = self._timed[0][0] if self._timed else None
        along = self._next_along_ns()
        if along is None or timed is None:
            return along if timed is None else timed
        return min(along, timed)

    def run_next(self) -> bool:
        """Run the one callback that is due next. False if there is none."""
        timed, along_ns = self._timed, self._next_along_ns()
        if along_ns is not None and (not timed or along_ns < timed[0][0]):
            due_ns, callback = along_ns, heapq.heappop(self._along)[2]
        elif timed:
            due_ns, _, callback = heapq.heappop(timed)
        else:
            return False
        self.now_ns = max(due_ns, self.now_ns)
        callback(self.now_ns)
        return True

    def run_until(self, time_ns: int) -> None:
        """Run everything that is due up to and including this time, then stand at it."""
        while (due_ns := self.next_ns()) is not None and due_ns <= time_ns:
            self.run_next()
        self.now_ns = max(self.now_ns, time_ns)

    def _next_along_ns(self) -> int | None:
        return self.belt.time_of(self._along[0][0]) if self._along else None
