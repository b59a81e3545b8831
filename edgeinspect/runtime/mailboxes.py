"""Inputs that change faster than the line thread reads: one queue entry, whatever has happened."""

from __future__ import annotations

import threading
from collections import deque

from edgeinspect.line import messages as m
from edgeinspect.line.track import HISTORY_EDGES


class EncoderMailbox:
    """Holds the readings that the core has not seen yet; one queue entry represents all of them.

    If there are more than the core remembers, the oldest are dropped. The core then knows less
    exactly where the belt was, and takes account of that.
    """

    def __init__(self) -> None:
        self._readings: deque[tuple[int, int]] = deque(maxlen=HISTORY_EDGES)
        self._posted = False

    def put(self, count: int, edge_mono_ns: int) -> bool:
        """Keep a reading; returns True if the mailbox has to be posted."""
        self._readings.append((count, edge_mono_ns))
        was_posted, self._posted = self._posted, True
        return not was_posted

    def take(self) -> list[m.EncoderCount]:
        """Return all readings as one event; nothing if an earlier call took them."""
        self._posted = False  # before they are taken: a newer one posts the mailbox again
        taken = []
        while self._readings:
            taken.append(self._readings.popleft())
        return [m.EncoderCount(*taken[-1], earlier=tuple(taken[:-1]))] if taken else []


class StopMailbox:
    """Holds the changes of the line-stopped input that the core has not seen yet.

    However often it changes, the core gets the first stop and the newest level: even a stop that is
    already over has moved every part on the belt.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first_stop_mono_ns: int | None = None
        self._newest = (False, 0)
        self._posted = False

    def put(self, stopped: bool, edge_mono_ns: int) -> bool:
        """Keep the level; returns True if the mailbox has to be posted."""
        with self._lock:
            if stopped and self._first_stop_mono_ns is None:
                self._first_stop_mono_ns = edge_mono_ns
            if edge_mono_ns >= self._newest[1]:
                self._newest = stopped, edge_mono_ns
            was_posted, self._posted = self._posted, True
            return not was_posted

    def take(self) -> list[m.LineStopped]:
        """Return the first stop, if there was one, and the newest level."""
        with self._lock:
            self._posted = False
            first_stop_mono_ns, self._first_stop_mono_ns = self._first_stop_mono_ns, None
            stopped, edge_mono_ns = self._newest
        events = []
        if first_stop_mono_ns is not None:
            events.append(m.LineStopped(True, first_stop_mono_ns))
        if not stopped:
            events.append(m.LineStopped(False, edge_mono_ns))
        return events
