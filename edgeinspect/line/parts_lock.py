"""The lock: nothing passes until the station is proven again, except announced masters.

While locked, every part is judged CANNOT_INSPECT (locked). An announced master is treated like any
part without the lock, so the challenge proves the path that real parts take. One announcement
admits one part, and only onto an empty belt, so that no other part can be mistaken for it.
"""

from __future__ import annotations

from enum import StrEnum


class LockState(StrEnum):
    """Whether the station is locked, and where an announced master is."""

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
        """Whether parts that no sensor has seen must be rejected now, too."""
        return self.state in (LockState.LOCKED, LockState.AWAITING_MASTER)

    def lock(self) -> None:
        """Lock the station and withdraw any announcement; a master in flight is not affected."""
        if self._master_id is None:
            self.state = LockState.LOCKED

    def unlock(self) -> None:
        """Unlock the station."""
        self.state = LockState.OPEN
        self._master_id = None

    def announce(self) -> None:
        """Admit the next part as a master, if the station is locked."""
        if self.state is LockState.LOCKED:
            self.state = LockState.AWAITING_MASTER

    def admits(self, part_id: int) -> bool:
        """Return whether this part, which was just triggered, is to be inspected."""
        if self.state is LockState.AWAITING_MASTER:
            self.state = LockState.MASTER_IN_FLIGHT
            self._master_id = part_id
            return True
        return self.state is LockState.OPEN

    def end_of(self, part_id: int) -> bool:
        """Note that a part has left.

        Return whether it was the master, so that the lock closes again.
        """
        if part_id != self._master_id:
            return False
        self._master_id = None
        self.state = LockState.LOCKED
        return True
