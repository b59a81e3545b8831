"""Where the belt is at a time, and when it will be somewhere.

With a fixed belt speed a position is simply a time. With an encoder it is a count, and the count
at an instant is a function of stamps: it is known once a count stamped at that instant or later
has arrived, or once the encoder has been silent for so long that none can come any more. Until
then it is provisional, however it is asked for. What lies ahead of the last count is predicted
from recent speed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import NamedTuple, Protocol

from edgeinspect.line.config import TrackConfig, Tracking
from edgeinspect.line.reject import FOREVER_NS

HISTORY_EDGES = 16_384
SPEED_EDGES = 8
OVERDUE_INTERVALS = 4


class Place(NamedTuple):
    """Where the belt is at an instant, in track units.

    Attributes:
        position: it is here, or up to ``slack`` behind.
        slack: how far behind it may be, because counts between two readings are not told apart.
        settled: nothing that still arrives can change this; otherwise it is an estimate.
    """

    position: int
    slack: int = 0
    settled: bool = True


class Track(Protocol):
    def place_at(self, mono_ns: int) -> Place:
        """Where the belt was at a time, or is about to be."""
        ...

    def time_of(self, position: int) -> int:
        """CLOCK_MONOTONIC ns at which the belt is there; FOREVER_NS while it seems to stand."""
        ...

    def soonest(self, position: int) -> int:
        """As ``time_of``, but a belt whose counts are merely late is taken to move on."""
        ...


class DelayTrack:
    """A belt of constant speed: positions are times, as long as it keeps that speed."""

    known = True

    def __init__(self) -> None:
        self._steady_from_mono_ns = 0
        self._travel = 0

    @property
    def steady_from_mono_ns(self) -> int:
        """Since when, or from when, the belt has its speed; FOREVER_NS while it is stopped."""
        return self._steady_from_mono_ns

    def stop(self, now_mono_ns: int) -> None:
        """Nobody knows the belt's speed from now on."""
        self._travel = self.least_travel(now_mono_ns)
        self._steady_from_mono_ns = FOREVER_NS

    def start(self, now_mono_ns: int, restart_ns: int) -> None:
        """The belt starts now, from whatever speed it has."""
        self._travel = self.least_travel(now_mono_ns)
        self._steady_from_mono_ns = now_mono_ns + restart_ns

    def least_travel(self, now_mono_ns: int) -> int:
        """How far the belt has come at least: what it went while it had its speed."""
        return self._travel + max(0, now_mono_ns - self._steady_from_mono_ns)

    def place_at(self, mono_ns: int) -> Place:
        return Place(mono_ns)

    def time_of(self, position: int) -> int:
        return position

    def soonest(self, position: int) -> int:
        return position


class EncoderTrack:
    """A belt watched by an encoder.

    Counts may arrive late, also later than an edge or a frame stamped after them. A missing count
    means, in this order: nothing yet; that it is overdue, when the belt may stand or the count may
    be late; and after ``encoder_timeout_ns`` that the belt stands. A count that arrives later than
    that contradicts what was believed of the belt, and ``add`` says so.
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
        """When the silence of the encoder will mean more than it means now; None: never."""
        if self._stands:
            return None
        return self._stands_from_mono_ns() if self._overdue else self._overdue_from_mono_ns()

    def note_absence(self, now_mono_ns: int) -> None:
        """Nobody has listened for a while, so that was no silence of the encoder."""
        self._listening_since_mono_ns = now_mono_ns

    def note_silence(self, now_mono_ns: int) -> None:
        """Take it that the belt may stand, or does stand, if no count has come for too long."""
        self._overdue = self._overdue or now_mono_ns >= self._overdue_from_mono_ns()
        self._stands = self._stands or now_mono_ns >= self._stands_from_mono_ns()

    def note_quiet_until(self, now_mono_ns: int) -> None:
        """Everything that has arrived by now has been taken, so no older count is to come."""
        quiet_mono_ns = now_mono_ns - self._config.encoder_timeout_ns
        if quiet_mono_ns >= self._listening_since_mono_ns:
            self._known_until_mono_ns = max(self._known_until_mono_ns, quiet_mono_ns)

    def was_silent_at(self, mono_ns: int) -> bool:
        """Whether no count had come for too long at this time."""
        if not self._times:
            return True
        before = bisect_right(self._times, mono_ns) - 1
        return before >= 0 and mono_ns >= self._times[before] + self._usual_ns()

    def add(self, count: int, edge_mono_ns: int) -> str:
        """Take one reading. Returns why it cannot be believed, or ""; it is kept anyway."""
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
            why = "a count of the encoder came after the belt had been taken to stand"
            self._known_until_mono_ns = (
                edge_mono_ns  # that was no silence: more may be on their way
            )
        elif self._counts_too_fast(step, span_ns):
            why = "the encoder counted faster than the belt can move"
        if self._times and edge_mono_ns >= self._overdue_from_mono_ns():
            self._speed_from = len(self._times)  # the speed before a stop says nothing of this one
        self._append(count, edge_mono_ns)
        return why

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

    def time_of(self, position: int) -> int:
        if self._overdue and position > self.last_count:
            return FOREVER_NS
        return self.soonest(position)

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
        """Where the belt was not later than reading number ``after``, and after the one before."""
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
        """No moving belt lets so much time pass between two readings."""
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
    return DelayTrack() if config.tracking is Tracking.DELAY else EncoderTrack(config)
