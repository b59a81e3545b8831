"""The latest events of the station, kept for those who follow them on the control socket."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple


class FeedEntry(NamedTuple):
    """One event and its number."""

    sequence: int
    fields: Mapping[str, object]


class EventFeed:
    """A ring of the latest events. Publishing never waits for a reader.

    Each reader keeps the number of the next event that it wants. A reader that is too slow learns
    how many events it has missed.
    """

    def __init__(self, capacity: int = 2048) -> None:
        self._ring: deque[FeedEntry] = deque(maxlen=capacity)
        self._numbers = itertools.count()
        self._order = threading.Lock()  # between publishers only; held for one append

    @property
    def next_sequence(self) -> int:
        """The number of the next event; another thread may publish it at any moment."""
        newest = self._ring[-1] if self._ring else None
        return 0 if newest is None else newest.sequence + 1

    def publish(self, **fields: object) -> None:
        """Add an event; may be called from any thread."""
        with self._order:
            self._ring.append(FeedEntry(next(self._numbers), fields))

    def read(self, from_sequence: int, limit: int) -> tuple[int, list[FeedEntry]]:
        """Read at most ``limit`` events from ``from_sequence`` on.

        Returns:
            how many events before the first returned one are lost, and the events.
        """
        try:
            ring = list(self._ring)
        except RuntimeError:  # a publisher was faster than the copy; the next poll reads them
            return 0, []
        entries = [entry for entry in ring if entry.sequence >= from_sequence][:limit]
        missed = max(0, entries[0].sequence - from_sequence) if entries else 0
        return missed, entries
