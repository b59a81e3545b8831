"""The stream of things that happened, for whoever listens on the control socket."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple


class FeedEntry(NamedTuple):
    sequence: int
    fields: Mapping[str, object]


class EventFeed:
    """A ring of the last events. Publishing never waits for a reader.

    Readers keep the sequence number of the next entry they want; one that is too slow finds
    that the ring has moved on and how many entries it missed.
    """

    def __init__(self, capacity: int = 2048) -> None:
        self._ring: deque[FeedEntry] = deque(maxlen=capacity)
        self._numbers = itertools.count()
        self._order = threading.Lock()  # between publishers only; held for one append

    @property
    def next_sequence(self) -> int:
        """The number that the next entry will have, or had an instant ago."""
        newest = self._ring[-1] if self._ring else None
        return 0 if newest is None else newest.sequence + 1

    def publish(self, **fields: object) -> None:
        with self._order:
            self._ring.append(FeedEntry(next(self._numbers), fields))

    def read(self, from_sequence: int, limit: int) -> tuple[int, list[FeedEntry]]:
        """At most ``limit`` entries from ``from_sequence`` on.

        Returns:
            how many entries before the first returned one are gone, and the entries.
        """
        try:
            ring = list(self._ring)
        except RuntimeError:  # the ring moved while it was copied; the next poll sees it
            return 0, []
        entries = [entry for entry in ring if entry.sequence >= from_sequence][:limit]
        missed = max(0, entries[0].sequence - from_sequence) if entries else 0
        return missed, entries
