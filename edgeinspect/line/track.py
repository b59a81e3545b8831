"""Where the belt is at a given time, and when it will reach a position.

With a fixed belt speed, a position is simply a time. With an encoder, it is a count. The count at
an instant is known once a count stamped at that instant or later has arrived, or once the encoder
has been silent for so long that none can follow. Until then it is provisional. Positions beyond the
last count are predicted from the recent speed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import NamedTuple, Protocol

from typing_extensions import override

from edgeinspect.line.config import TrackConfig, Tracking
from edgeinspect.line.reject import FOREVER_NS

HISTORY_EDGES = 16_384
SPEED_EDGES = 8
OVERDUE_INTERVALS = 4


class Place(NamedTuple):
    """Where the belt is at an instant, in track units.

    Attributes:
        position: the belt is here, or up to ``slack`` behind.
        slack: how far behind it may be, because positions between two readings are unknown.
        settled: no later count can change this; otherwise it is an estimate.
    """

    position: int
    slack: int = 0
    settled: bool = True


class Track(Protocol):
    """Converts between times and positions of the belt."""

    def place_at(self, mono_ns: int) -> Place:
        """Return where the belt was, or will be, at this time."""
        ...

    def time_of(self, position: int) -> int:
        """Return when (CLOCK_MONOTONIC ns) the belt reaches a position.

        FOREVER_NS while the belt seems to stand.
        """
        ...

    def soonest(self, position: int) -> int:
        """Like ``time_of``, but assume that a belt whose counts are merely late keeps moving."""
        ...


class DelayTrack(Track):
    """A belt of constant speed: positions are times, as long as it keeps that speed."""

    known = True

    def __init__(self) -> None:
        self._steady_from_mono_ns = 0
        self._travel = 0

    @property
    def steady_from_mono_ns(self) -> int:
        """The time from which the belt has its speed; FOREVER_NS while it is stopped."""
        return self._steady_from_mono_ns

    def stop(self, now_mono_ns: int) -> None:
        """Note that the belt's speed is unknown from now on."""
        self._travel = self.least_travel(now_mono_ns)
        self._steady_from_mono_ns = FOREVER_NS

    def start(self, now_mono_ns: int, restart_ns: int) -> None:
        """Note that the belt starts now, at an unknown speed."""
        self._travel = self.least_travel(now_mono_ns)
        self._steady_from_mono_ns = now_mono_ns + restart_ns

    def least_travel(self, now_mono_ns: int) -> int:
        """Return the least distance that the belt has travelled: the time at its set speed."""
        return self._travel + max(0, now_mono_ns - self._steady_from_mono_ns)

    @override
    @override
    def place_at(self, mono_ns: int) -> Place:
        return Place(mono_ns)

    @override
    @override
    def time_of(self, position: int) -> int:
        return position

    @override
    @override
    def soonest(self, position: int) -> int:
        return position


class EncoderTrack(Track):
    """A belt whose position comes from an encoder.

    Counts may arrive late, even later than an edge or a frame stamped after them. At first a
    missing count means nothing. Then it is overdue: the belt may stand, or the count may be late.
    After ``encoder_timeout_ns`` the belt is assumed to stand. A count that arrives even later
    contradicts that assumption, and ``add`` reports it.
    """

    def __init__(self, config: TrackConfig) -> None:
        self._config = config
        self._times: list[int] = []
        self._counts: list[int] = []
        self._speed_from = 0
        self._overdue = self._stands = True
        self._known_until_mono_ns = -1
        self._listening_since_mono_ns = 0
        self._too_many = 0.0
        self._ns_per_count = float(config.encoder_timeout_ns)

    @property
    def known(self) -> bool:
        """Whether the encoder has counted at all."""
        return bool(self._times)

    @property
    def last_count(self) -> int:
        """The belt has come at least this far."""
        return self._counts[-1] if self._counts else 0

    @property
    def silence_mono_ns(self) -> int | None:
        """When the encoder's silence next changes its meaning; None if it will not."""
        if self._stands:
            return None
        return self._stands_from_mono_ns() if self._overdue else self._overdue_from_mono_ns()

    def note_absence(self, now_mono_ns: int) -> None:
        """Note that nobody listened for a while, so the silence was not the encoder's."""
        self._listening_since_mono_ns = now_mono_ns

    def note_silence(self, now_mono_ns: int) -> bool:
        """Assume that the belt may stand, or does stand, if no count has come for too long.

        Returns:
            Whether that changes the assumed state of the belt.
        """
        before = self._overdue, self._stands
        self._overdue = self._overdue or now_mono_ns >= self._overdue_from_mono_ns()
        self._stands = self._stands or now_mono_ns >= self._stands_from_mono_ns()
        return before != (self._overdue, self._stands)

    def note_quiet_until(self, now_mono_ns: int) -> None:
        """Note that everything that has arrived by now was handled, so no older count will come."""
        quiet_mono_ns = now_mono_ns - self._config.encoder_timeout_ns
        if quiet_mono_ns >= self._listening_since_mono_ns:
            self._known_until_mono_ns = max(self._known_until_mono_ns, quiet_mono_ns)

    def was_silent_at(self, mono_ns: int) -> bool:
        """Return whether no count had come for too long at this time."""
        if not self._times:
            return True
        before = bisect_right(self._times, mono_ns) - 1
        return before >= 0 and mono_ns >= self._times[before] + self._usual_ns()

    def add(self, count: int, edge_mono_ns: int) -> str:
        """Take one reading; return why it cannot be trusted, or "".

        The reading is kept either way.
        """
        if not self._times:
            self._append(count, edge_mono_ns)
            return ""
        step, span_ns = count - self._counts[-1], edge_mono_ns - self._times[-1]
        if step <= 0 and span_ns <= 0 and self._fits_in(count, edge_mono_ns):
            return ""  # it was overtaken by a newer one and says nothing new
        why = ""
        if step < 0 or span_ns < 0:
            why = "the encoder's counts run backwards"
            self._forget()
        elif step > 0 and self._times[-1] < edge_mono_ns <= self._known_until_mono_ns:
            why = "an encoder count arrived after the belt was assumed to be stopped"
            # The encoder was not silent: more counts may be on their way.
            self._known_until_mono_ns = edge_mono_ns
        elif self._counts_too_fast(step, span_ns):
            why = "the encoder counted faster than the belt can move"
        if self._times and edge_mono_ns >= self._overdue_from_mono_ns():
            self._speed_from = len(self._times)  # the speed before a stop says nothing of this one
        self._append(count, edge_mono_ns)
        return why

    @override
    @override
    def place_at(self, mono_ns: int) -> Place:
        after = bisect_left(self._times, mono_ns)
        if after < len(self._times):
            return self._place_before(after, mono_ns)
        settled = mono_ns <= self._known_until_mono_ns
        if not self._times:
            return Place(0, FOREVER_NS, settled)
        last = self._counts[-1]
        since_ns = mono_ns - self._times[-1]
        if settled or since_ns >= self._config.encoder_timeout_ns or not self._has_speed():
            return Place(last, settled=settled)
        return Place(last + int(since_ns / self._ns_per_count), settled=False)

    @override
    @override
    def time_of(self, position: int) -> int:
        if self._overdue and position > self.last_count:
            return FOREVER_NS
        return self.soonest(position)

    @override
    @override
    def soonest(self, position: int) -> int:
        if not self._times:
            return FOREVER_NS
        last = self._counts[-1]
        if position > last:
            if self._stands or not self._has_speed():
                return FOREVER_NS
            return self._times[-1] + int((position - last) * self._ns_per_count)
        after = bisect_right(self._counts, position)
        if after == 0 or after == len(self._counts):
            return self._times[max(after - 1, 0)]
        start, end = self._counts[after - 1], self._counts[after]
        span_ns = self._times[after] - self._times[after - 1]
        return self._times[after - 1] + span_ns * (position - start) // (end - start)

    def _place_before(self, after: int, mono_ns: int) -> Place:
        """Return where the belt was between reading number ``after`` and the one before it."""
        count = self._counts[after]
        if self._times[after] == mono_ns:
            return Place(self._counts[bisect_right(self._times, mono_ns) - 1])
        if after == 0:
            return Place(count, FOREVER_NS)  # before all that is remembered
        before = self._counts[after - 1]
        return Place(max(before, count - 1), max(0, count - 1 - before))

    def _append(self, count: int, edge_mono_ns: int) -> None:
        if len(self._times) >= 2 * HISTORY_EDGES:
            del self._times[:HISTORY_EDGES], self._counts[:HISTORY_EDGES]
            self._speed_from = max(0, self._speed_from - HISTORY_EDGES)
        self._times.append(edge_mono_ns)
        self._counts.append(count)
        self._overdue = self._stands = False
        self._known_until_mono_ns = max(self._known_until_mono_ns, edge_mono_ns)
        self._ns_per_count = self._measured_ns_per_count()

    def _forget(self) -> None:
        self._times.clear()
        self._counts.clear()
        self._speed_from = 0

    def _fits_in(self, count: int, edge_mono_ns: int) -> bool:
        """Whether an older reading agrees with those that overtook it."""
        after = bisect_left(self._times, edge_mono_ns)
        return count <= self._counts[after] and (after == 0 or self._counts[after - 1] <= count)

    def _counts_too_fast(self, step: int, span_ns: int) -> bool:
        """Whether more counts have come than the belt's highest speed and jitter explain."""
        limit = self._config.encoder_max_counts_per_s
        if limit is None:
            return False
        self._too_many = max(0.0, self._too_many + step - limit * span_ns / 1e9)
        if self._too_many <= 1 + limit * self._config.encoder_jitter_ns / 1e9:
            return False
        self._too_many = 0.0
        return True

    def _overdue_from_mono_ns(self) -> int:
        return self._times[-1] + self._usual_ns() if self._times else FOREVER_NS

    def _stands_from_mono_ns(self) -> int:
        if not self._times:
            return FOREVER_NS
        since_mono_ns = max(self._times[-1], self._listening_since_mono_ns)
        return since_mono_ns + self._config.encoder_timeout_ns

    def _usual_ns(self) -> int:
        """Return the longest time that a moving belt lets pass between two readings."""
        usual_ns = OVERDUE_INTERVALS * self._ns_per_count * max(1, self._last_step())
        return int(min(usual_ns + 1, self._config.encoder_timeout_ns))

    def _has_speed(self) -> bool:
        return len(self._times) - self._speed_from > 1

    def _last_step(self) -> int:
        return self._counts[-1] - self._counts[-2] if self._has_speed() else 1

    def _measured_ns_per_count(self) -> float:
        first = max(self._speed_from, len(self._times) - 1 - SPEED_EDGES)
        counts = self._counts[-1] - self._counts[first]
        if counts <= 0:
            return float(self._config.encoder_timeout_ns)
        return (self._times[-1] - self._times[first]) / counts


def make_track(config: TrackConfig) -> DelayTrack | EncoderTrack:
    """Return the track for this kind of tracking."""
    return DelayTrack() if config.tracking is Tracking.DELAY else EncoderTrack(config)
