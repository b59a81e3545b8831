"""Why everything is rejected at the moment, and until when."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Until:
    mono_ns: int | None = None
    position: int | None = None


class Holds:
    """Named reasons to reject everything, each with an end in time, in position, or none yet."""

    def __init__(self) -> None:
        self._by_reason: dict[str, _Until] = {}

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(self._by_reason)

    @property
    def until_mono_ns(self) -> int | None:
        """When the last reason ends by itself; None if one of them does not."""
        times = [until.mono_ns for until in self._by_reason.values()]
        known = [time for time in times if time is not None]
        return max(known) if known and len(known) == len(times) else None

    def until_time(self, reason: str, mono_ns: int) -> None:
        self._by_reason[reason] = _Until(mono_ns=mono_ns)

    def until_position(self, reason: str, position: int) -> None:
        self._by_reason[reason] = _Until(position=position)

    def open_ended(self, reason: str) -> None:
        self._by_reason[reason] = _Until()

    def end(self, reason: str) -> None:
        self._by_reason.pop(reason, None)

    def forget_before(self, mono_ns: int) -> None:
        """Drop the reasons whose time has come."""
        over = [r for r, u in self._by_reason.items() if u.mono_ns and u.mono_ns <= mono_ns]
        for reason in over:
            del self._by_reason[reason]

    def end_passed(self, position: int) -> bool:
        """Drop the reasons whose position the belt has passed; say whether there were any."""
        over = [
            reason
            for reason, until in self._by_reason.items()
            if until.position is not None and until.position <= position
        ]
        for reason in over:
            del self._by_reason[reason]
        return bool(over)
