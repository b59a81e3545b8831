"""Decides when the gate's output is active: armed windows, releases, limits.

The code is pure: time comes in as an argument. The runtime's pulse thread and the simulated line
each own one ``PulseSchedule``. They only call ``advance`` when ``next_change_mono_ns`` is reached,
and drive the line to ``active``.

For a normally passing gate, the output is active while it rejects. For a normally rejecting gate,
it is active while it lets a released part through. With both, a part is rejected unless it is
released in time. ``reject_everything`` overrides any release, and so does an expired lease.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeinspect.line import messages as m
from edgeinspect.line.config import GateConfig, GateKind

FOREVER_NS = 2**62
"""Later than any monotonic time. A window that starts then waits for the belt to move."""


@dataclass(slots=True)
class _Window:
    start_mono_ns: int
    end_mono_ns: int
    released: bool = False

    def holds(self, mono_ns: int) -> bool:
        return self.start_mono_ns <= mono_ns < self.end_mono_ns


class PulseSchedule:
    """The gate's plan. All times are CLOCK_MONOTONIC nanoseconds."""

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self._windows: dict[int, _Window] = {}
        self._hold_until_mono_ns: int | None = None
        self._lease_until_mono_ns = 0
        self._active = False
        self._since_mono_ns = 0
        self._idle_since_mono_ns = -FOREVER_NS
        self._now_mono_ns = 0
        opens = config.kind is GateKind.NORMALLY_REJECTING
        self._demand = self._pass_demand if opens else self._reject_demand

    @property
    def active(self) -> bool:
        """The level that the output must have now."""
        return self._active

    def carry_out(self, action: m.GateAction, now_mono_ns: int) -> bool:
        """Do what the core asks of the gate. False: it was a release, and came too late.

        The shells on virtual time call this. The runtime's pulse thread does the same under its
        lock, with holds of the station's own between the core and the schedule.
        """
        match action:
            case m.Arm():
                self.arm(action.part_id, action.start_mono_ns, action.end_mono_ns)
            case m.Release():
                return self.release(action.part_id, now_mono_ns)
            case m.RejectEverything():
                self.reject_everything(action.until_mono_ns)
            case m.EndRejectEverything():
                self.end_reject_everything()
            case m.RenewLease():
                self.renew_lease(action.until_mono_ns)
        return True

    def arm(self, part_id: int, start_mono_ns: int, end_mono_ns: int) -> None:
        """Set or move the part's window; a released part stays released."""
        window = self._windows.get(part_id)
        if window is None:
            self._windows[part_id] = _Window(start_mono_ns, end_mono_ns)
        else:
            window.start_mono_ns, window.end_mono_ns = start_mono_ns, end_mono_ns

    def release(self, part_id: int, now_mono_ns: int) -> bool:
        """Let the part pass. Return False if its window has begun or is unknown.

        It stays rejected.
        """
        window = self._windows.get(part_id)
        if window is None or now_mono_ns >= window.start_mono_ns:
            return False
        window.released = True
        return True

    def reject_everything(self, until_mono_ns: int | None) -> None:
        """Reject every part until then, or until ``end_reject_everything``."""
        self._hold_until_mono_ns = FOREVER_NS if until_mono_ns is None else until_mono_ns

    def end_reject_everything(self) -> None:
        """Obey armed windows and releases again."""
        self._hold_until_mono_ns = None

    def renew_lease(self, until_mono_ns: int) -> None:
        """Extend the time until which the core counts as alive."""
        self._lease_until_mono_ns = max(self._lease_until_mono_ns, until_mono_ns)

    def missed(self, now_mono_ns: int) -> int:
        """Return the length of the longest window that passed unrejected since ``advance``, in ns.

        Returns 0 if there is none. Only a normally passing gate can miss one. Call this before each
        ``advance``, which forgets past windows.
        """
        if self._config.kind is GateKind.NORMALLY_REJECTING or self._active:
            return 0
        lengths = [
            window.end_mono_ns - window.start_mono_ns
            for window in self._windows.values()
            if not window.released
            and self._now_mono_ns < window.start_mono_ns
            and window.end_mono_ns <= now_mono_ns
        ]
        return max(lengths, default=0)

    def advance(self, now_mono_ns: int) -> list[m.GateActivated]:
        """Decide the level for ``now_mono_ns``; return the span that began or ended, if any."""
        self._now_mono_ns = now_mono_ns
        wanted = self._demand(now_mono_ns)
        self._forget_before(now_mono_ns)
        if wanted == self._active:
            return []
        self._active = wanted
        if wanted:
            self._since_mono_ns = now_mono_ns
            return [m.GateActivated(now_mono_ns, None)]
        self._idle_since_mono_ns = now_mono_ns
        return [m.GateActivated(self._since_mono_ns, now_mono_ns)]

    def next_change_mono_ns(self) -> int | None:
        """Return the next time at which the level may change; None if there is none."""
        now_mono_ns = self._now_mono_ns
        times = [self._lease_until_mono_ns]
        for window in self._windows.values():
            times += (window.start_mono_ns, window.end_mono_ns)
        if self._hold_until_mono_ns is not None:
            times.append(self._hold_until_mono_ns)
        if self._config.max_on_ns is not None:
            times.append(self._since_mono_ns + self._config.max_on_ns)
        if not self._active:
            # at least 1 ns: after ``max_on_ns`` the demand may still be there
            times.append(self._idle_since_mono_ns + max(self._config.min_off_ns, 1))
        coming = [time for time in times if now_mono_ns < time < FOREVER_NS]
        return min(coming, default=None)

    def _held(self, now_mono_ns: int) -> bool:
        hold = self._hold_until_mono_ns
        held = hold is not None and now_mono_ns < hold
        return held or now_mono_ns >= self._lease_until_mono_ns

    def _on_too_long(self, until_mono_ns: int) -> bool:
        limit = self._config.max_on_ns
        return limit is not None and until_mono_ns - self._since_mono_ns >= limit

    def _rested(self, now_mono_ns: int) -> bool:
        return now_mono_ns >= self._idle_since_mono_ns + self._config.min_off_ns

    def _reject_demand(self, now_mono_ns: int) -> bool:
        demand = self._held(now_mono_ns) or any(
            not window.released and window.holds(now_mono_ns) for window in self._windows.values()
        )
        if not self._active:
            return demand and self._rested(now_mono_ns)
        if self._on_too_long(now_mono_ns):
            return False
        return demand or self._next_reject_is_too_near_to_rest(now_mono_ns)

    def _next_reject_is_too_near_to_rest(self, now_mono_ns: int) -> bool:
        rested_mono_ns = now_mono_ns + self._config.min_off_ns
        return any(
            not window.released and now_mono_ns <= window.start_mono_ns < rested_mono_ns
            for window in self._windows.values()
        )

    def _pass_demand(self, now_mono_ns: int) -> bool:
        if self._held(now_mono_ns):
            return False
        if any(not w.released and w.holds(now_mono_ns) for w in self._windows.values()):
            return False
        if self._active:
            still_open = any(w.released and w.holds(now_mono_ns) for w in self._windows.values())
            return still_open and not self._on_too_long(now_mono_ns)
        return any(self._may_open(window, now_mono_ns) for window in self._windows.values())

    def _may_open(self, window: _Window, now_mono_ns: int) -> bool:
        """Return whether the gate may open; opening late or closing early would jam the part."""
        late_ns = now_mono_ns - window.start_mono_ns
        if not window.released or not window.holds(now_mono_ns):
            return False
        if late_ns > self._config.timing_tolerance_ns:
            return False
        limit = self._config.max_on_ns
        if limit is not None and window.end_mono_ns - window.start_mono_ns > limit:
            return False
        overlapped = any(
            not other.released
            and other.start_mono_ns < window.end_mono_ns
            and window.start_mono_ns < other.end_mono_ns
            for other in self._windows.values()
        )
        return not overlapped and self._rested(now_mono_ns)

    def _forget_before(self, now_mono_ns: int) -> None:
        over = [key for key, w in self._windows.items() if w.end_mono_ns <= now_mono_ns]
        for part_id in over:
            del self._windows[part_id]
