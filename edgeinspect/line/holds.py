"""Why everything is rejected at the moment, and until when."""

from __future__ import annotations

from dataclasses import dataclass

from edgeinspect.line.track import Track


@dataclass(frozen=True, slots=True)
class _Until:
    """When a hold ends.

    Attributes:
        mono_ns: the end in time.
        position: the end in track units, as far as it is known.
        distance: how far the belt has to travel.
        since_mono_ns: when the travel began, while the position at that time is not settled; then
            None.
    """

    mono_ns: int | None = None
    position: int | None = None
    since_mono_ns: int | None = None
    distance: int = 0


class Holds:
    """Named reasons to reject everything. Each ends at a time, at a position, or on request."""

    def __init__(self) -> None:
        self._by_reason: dict[str, _Until] = {}

    @property
    def reasons(self) -> tuple[str, ...]:
        """The names of the reasons in force."""
        return tuple(self._by_reason)

    @property
    def until_mono_ns(self) -> int | None:
        """When the last reason ends by itself; None if one of them does not."""
        times = [until.mono_ns for until in self._by_reason.values()]
        known = [time for time in times if time is not None]
        return max(known) if known and len(known) == len(times) else None

    def until_time(self, reason: str, mono_ns: int) -> None:
        """Hold until then. A longer hold for the same reason is not shortened."""
        old = self._by_reason.get(reason, _Until(mono_ns=mono_ns))
        if old.mono_ns is not None:
            self._by_reason[reason] = _Until(mono_ns=max(mono_ns, old.mono_ns))

    def until_travelled(self, reason: str, since_mono_ns: int, distance: int) -> None:
        """Hold until the belt has travelled this far from its position at ``since_mono_ns``.

        A hold for the same reason that is still in force is never shortened.
        """
        old = self._by_reason.get(reason, _Until())
        self._by_reason[reason] = _Until(
            position=old.position, since_mono_ns=since_mono_ns, distance=max(distance, old.distance)
        )

    def begin_again(self, mono_ns: int) -> None:
        """Restart every hold that waits for travel, because earlier positions are worthless."""
        for reason, until in self._by_reason.items():
            if until.distance:
                self._by_reason[reason] = _Until(since_mono_ns=mono_ns, distance=until.distance)

    def open_ended(self, reason: str) -> None:
        """Hold until ``end`` is called for this reason."""
        self._by_reason[reason] = _Until()

    def end(self, reason: str) -> None:
        """End the hold for this reason, if there is one."""
        self._by_reason.pop(reason, None)

    def forget_before(self, mono_ns: int) -> None:
        """Drop the reasons whose time has come."""
        over = [r for r, u in self._by_reason.items() if u.mono_ns and u.mono_ns <= mono_ns]
        for reason in over:
            del self._by_reason[reason]

    def end_passed(self, belt: Track, position: int) -> bool:
        """Drop the reasons whose end the belt has passed; return whether there were any.

        Args:
            belt: gives the positions at which holds began.
            position: the belt has come at least this far.
        """
        before = len(self._by_reason)
        for reason, until in list(self._by_reason.items()):
            settled = _settled(until, belt)
            if settled.since_mono_ns is None and _is_passed(settled.position, position):
                del self._by_reason[reason]
            else:
                self._by_reason[reason] = settled
        return len(self._by_reason) < before


def _settled(until: _Until, belt: Track) -> _Until:
    if until.since_mono_ns is None:
        return until
    place = belt.place_at(until.since_mono_ns)
    if not place.settled:
        return until
    end = place.position + until.distance
    end = end if until.position is None else max(end, until.position)
    return _Until(position=end, distance=until.distance)


def _is_passed(end: int | None, position: int) -> bool:
    return end is not None and end <= position
