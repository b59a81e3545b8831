"""What happens next on the simulated line, in time and along the belt."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Callback = Callable[[int], None]
"""Called with the time at which it runs."""


class Agenda:
    """What happens next, in time and along the belt; one order for everything, replayable."""

    def __init__(self, *, now_ns: int = 0) -> None:
        self.now_ns = now_ns
        self._count = 0
        self._timed: list[tuple[int, int, Callback]] = []
        self._belt: list[tuple[int, int, Callback]] = []
        self._moving = True
        self._stood_ns = 0
        self._standing_since_ns = 0

    @property
    def moving(self) -> bool:
        return self._moving

    def travel_ns(self, now_ns: int) -> int:
        """How far the belt has come, in nanoseconds of travel at full speed."""
        return (now_ns if self._moving else self._standing_since_ns) - self._stood_ns

    def at(self, time_ns: int, callback: Callback) -> None:
        """Call back at this time, or now if it is past."""
        self._count += 1
        heapq.heappush(self._timed, (time_ns, self._count, callback))

    def at_travel(self, travel_ns: int, callback: Callback) -> None:
        """Call back when the belt has come this far."""
        self._count += 1
        heapq.heappush(self._belt, (travel_ns, self._count, callback))

    def halt_belt(self, now_ns: int) -> None:
        if self._moving:
            self._moving = False
            self._standing_since_ns = now_ns

    def move_belt(self, now_ns: int) -> None:
        if not self._moving:
            self._moving = True
            self._stood_ns += now_ns - self._standing_since_ns

    def next_ns(self) -> int | None:
        """When the next callback is due; None if nothing is planned while the belt stands."""
        timed = self._timed[0][0] if self._timed else None
        if not (self._moving and self._belt):
            return timed
        belt = self._belt[0][0] + self._stood_ns
        return belt if timed is None or belt < timed else timed

    def run_next(self) -> bool:
        """Run the one callback that is due next. False if there is none."""
        timed, belt = self._timed, self._belt
        if self._moving and belt:
            due_ns = belt[0][0] + self._stood_ns
            if not timed or due_ns < timed[0][0]:
                callback = heapq.heappop(belt)[2]
                self.now_ns = max(due_ns, self.now_ns)
                callback(self.now_ns)
                return True
        if not timed:
            return False
        due_ns, _, callback = heapq.heappop(timed)
        self.now_ns = max(due_ns, self.now_ns)
        callback(self.now_ns)
        return True

    def run_until(self, time_ns: int) -> None:
        """Run everything that is due up to and including this time, then stand at it."""
        while (due_ns := self.next_ns()) is not None and due_ns <= time_ns:
            self.run_next()
        self.now_ns = max(self.now_ns, time_ns)
