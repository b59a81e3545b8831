"""Where the belt is at a time, and when it will be somewhere.

With a fixed belt speed a position is simply a time. With an encoder it is a count, known at the
encoder's edges, interpolated between them and predicted beyond the last one from recent speed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Protocol

from edgeinspect.line.config import TrackConfig, Tracking
from edgeinspect.line.reject import FOREVER_NS

HISTORY_EDGES = 512
SPEED_EDGES = 8
OVERDUE_INTERVALS = 4


class Track(Protocol):
    def position_at(self, mono_ns: int) -> int:
        """Belt position in track units at a time that may lie a little ahead."""
        ...

    def time_of(self, position: int) -> int:
        """CLOCK_MONOTONIC ns at which the belt is there; FOREVER_NS while it stands."""
        ...


class DelayTrack:
    """A belt of constant speed: positions are times."""

    def position_at(self, mono_ns: int) -> int:
        return mono_ns

    def time_of(self, position: int) -> int:
        return position


class EncoderTrack:
    """A belt watched by an encoder."""

    def __init__(self, config: TrackConfig) -> None:
        self._config = config
        self._times: deque[int] = deque(maxlen=HISTORY_EDGES)
        self._counts: deque[int] = deque(maxlen=HISTORY_EDGES)
        self._standing = True

    @property
    def known(self) -> bool:
        """Whether the encoder has counted at all."""
        return bool(self._times)

    @property
    def overdue_mono_ns(self) -> int | None:
        """When the next count is so late that the belt must be standing; None if it stands."""
        return None if self._standing or not self._times else self._next_by_mono_ns()

    def stood_at(self, mono_ns: int) -> bool:
        """Whether no count had come for too long at this time; counts up to then are known."""
        return not self._times or mono_ns >= self._next_by_mono_ns()

    def _next_by_mono_ns(self) -> int:
        usual_ns = OVERDUE_INTERVALS * self._ns_per_count() * max(1, self._last_step())
        return self._times[-1] + int(min(usual_ns + 1, self._config.encoder_timeout_ns))

    def add(self, count: int, edge_mono_ns: int) -> bool:
        """Take one reading. False if the belt cannot have moved like that; it is kept anyway."""
        plausible = True
        if self._times:
            step, span_ns = count - self._counts[-1], edge_mono_ns - self._times[-1]
            limit = self._config.encoder_max_counts_per_s
            if step < 0 or span_ns < 0:
                plausible = False
                self._times.clear()
                self._counts.clear()
            elif limit is not None and step * 1_000_000_000 > limit * max(span_ns, 1) + 10**9:
                plausible = False
            resumed = self._standing
        else:
            resumed = False
        self._standing = False
        if resumed:
            self._forget_speed()
        self._times.append(edge_mono_ns)
        self._counts.append(count)
        return plausible

    def mark_standing_if_overdue(self, now_mono_ns: int) -> None:
        overdue = self.overdue_mono_ns
        if overdue is not None and now_mono_ns >= overdue:
            self._standing = True

    def position_at(self, mono_ns: int) -> int:
        if not self._times:
            return 0
        if mono_ns >= self._times[-1]:
            if self._standing or len(self._times) < 2:
                return self._counts[-1]
            ahead = int((mono_ns - self._times[-1]) / self._ns_per_count())
            return self._counts[-1] + min(ahead, max(1, self._last_step()))
        after = bisect_right(self._times, mono_ns)
        if after == 0:
            return self._counts[0]
        return self._between(after, mono_ns)

    def time_of(self, position: int) -> int:
        if not self._times:
            return FOREVER_NS
        last = self._counts[-1]
        if position > last:
            if self._standing or len(self._times) < 2:
                return FOREVER_NS
            return self._times[-1] + int((position - last) * self._ns_per_count())
        after = bisect_right(self._counts, position)
        if after == 0 or after == len(self._counts):
            return self._times[max(after - 1, 0)]
        start, end = self._counts[after - 1], self._counts[after]
        span_ns = self._times[after] - self._times[after - 1]
        return self._times[after - 1] + span_ns * (position - start) // max(end - start, 1)

    def _between(self, after: int, mono_ns: int) -> int:
        start_ns, end_ns = self._times[after - 1], self._times[after]
        start, end = self._counts[after - 1], self._counts[after]
        return start + (end - start) * (mono_ns - start_ns) // max(end_ns - start_ns, 1)

    def _forget_speed(self) -> None:
        """The speed before a standstill says nothing of the speed after it."""
        while len(self._times) > 1:
            self._times.popleft()
            self._counts.popleft()

    def _last_step(self) -> int:
        return self._counts[-1] - self._counts[-2] if len(self._counts) > 1 else 1

    def _ns_per_count(self) -> float:
        first = max(0, len(self._times) - 1 - SPEED_EDGES)
        counts = self._counts[-1] - self._counts[first]
        if counts <= 0:
            return float(self._config.encoder_timeout_ns)
        return (self._times[-1] - self._times[first]) / counts


def make_track(config: TrackConfig) -> DelayTrack | EncoderTrack:
    return DelayTrack() if config.tracking is Tracking.DELAY else EncoderTrack(config)
