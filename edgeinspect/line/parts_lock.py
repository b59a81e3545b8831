"""The lock: nothing passes until the station is proven again, but for announced masters.

While locked every part is judged CANNOT_INSPECT (locked). A master that was announced is treated
as any part is without the lock, so that what it proves is the way that parts go. One announcement
admits one part, and only onto an empty belt: then nobody can take another part for it.
"""

from __future__ import annotations

from enum import StrEnum


class LockState(StrEnum):
    OPEN = "open"
    LOCKED = "locked"
    AWAITING_MASTER = "awaiting_master"
    MASTER_IN_FLIGHT = "master_in_flight"


class PartsLock:
    """Decides which part is inspected while the station is locked."""

    def __init__(self) -> None:
        self.state = LockState.OPEN
        self._master_id: int | None = None

    @property
    def rejects_everything(self) -> bool:
        """Whether also what no sensor has seen is to be rejected now."""
        return self.state in (LockState.LOCKED, LockState.AWAITING_MASTER)

    def lock(self) -> None:
        """Also withdraws an announcement; a master on its way keeps its way."""
        if self._master_id is None:
            self.state = LockState.LOCKED

    def unlock(self) -> None:
        self.state = LockState.OPEN
        self._master_id = None

    def announce(self) -> None:
        """The next part is a master."""
        if self.state is LockState.LOCKED:
            self.state = LockState.AWAITING_MASTER

    def admits(self, part_id: int) -> bool:
        """Whether this part, which has just been triggered, is to be inspected."""
        if self.state is LockState.AWAITING_MASTER:
            self.state = LockState.MASTER_IN_FLIGHT
            self._master_id = part_id
            return True
        return self.state is LockState.OPEN

    def end_of(self, part_id: int) -> bool:
        """A part's way has ended; whether it was the master's, so that the lock closes again."""
        if self._master_id is None or part_id != self._master_id:
            return False
        self._master_id = None
        self.state = LockState.LOCKED
        return True
