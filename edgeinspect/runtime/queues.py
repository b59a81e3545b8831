"""Bounded queues between the station's threads."""

from __future__ import annotations

import queue
from typing import Generic, TypeVar

T = TypeVar("T")


class BoundedQueue(Generic[T]):
    """First in, first out; refuses when full, so that a producer never waits.

    Built on ``queue.SimpleQueue``, whose hand-over needs no Python-level lock. The bound is
    checked before the insertion, so each producer may exceed it by one.
    """

    def __init__(self, name: str, capacity: int) -> None:
        self.name = name
        self.capacity = capacity
        self._queue: queue.SimpleQueue[T | None] = queue.SimpleQueue()

    def offer(self, item: T) -> bool:
        """Append; False, and nothing appended, if the queue is full."""
        if self._queue.qsize() >= self.capacity:
            return False
        self._queue.put(item)
        return True

    def force(self, item: T) -> None:
        """Append even if full; only for rare items."""
        self._queue.put(item)

    def take(self, timeout_s: float | None = None) -> T | None:
        """The oldest item; None after ``timeout_s`` (None: wait) or a ``wake``."""
        try:
            if timeout_s is not None and timeout_s <= 0:
                return self._queue.get_nowait()
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def wake(self) -> None:
        """Let one waiting ``take`` return None."""
        self._queue.put(None)

    def __len__(self) -> int:
        return self._queue.qsize()
