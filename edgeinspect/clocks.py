"""Reads two clocks together, with a bound on the time between the two reads.

A thread can lose the processor between any two lines. Code that reads two clocks one after the
other and treats them as simultaneous can be wrong by tens of milliseconds on a busy machine. Any
code that needs a pair of clocks must read it here.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Reading = TypeVar("Reading")

SPAN_GOOD_ENOUGH_NS = 100_000
"""Undisturbed, the reads take about 1 us; on a Pi under full load, some tens of us."""
TRIES = 10
"""A thread that just got the processor keeps it long enough to read three clocks, so a second try
nearly always succeeds."""


@dataclass(frozen=True, slots=True)
class ClockPair(Generic[Reading]):
    """Two clocks, read together.

    Attributes:
        mono_ns: CLOCK_MONOTONIC.
        other: the other clock at ``mono_ns``, with an error of at most ``error_ns``.
        error_ns: the other clock was read within this time of ``mono_ns``.
    """

    mono_ns: int
    other: Reading
    error_ns: int


def read_beside_mono(
    read_other: Callable[[], Reading], now_mono_ns: Callable[[], int]
) -> ClockPair[Reading]:
    """Read another clock between two reads of CLOCK_MONOTONIC; return the best of ``TRIES`` reads.

    The result may still be bad: ``error_ns`` shows how bad, and the caller decides.
    """
    best = _read_once(read_other, now_mono_ns)
    for _ in range(TRIES - 1):
        if 2 * best.error_ns <= SPAN_GOOD_ENOUGH_NS:
            break
        best = min(best, _read_once(read_other, now_mono_ns), key=lambda pair: pair.error_ns)
    return best


def _read_once(
    read_other: Callable[[], Reading], now_mono_ns: Callable[[], int]
) -> ClockPair[Reading]:
    before = now_mono_ns()
    other = read_other()
    after = now_mono_ns()
    return ClockPair((before + after) // 2, other, (after - before + 1) // 2)


def utc_now() -> datetime.datetime:
    """Return the wall clock's time, for people: it may be wrong, and it may jump."""
    return datetime.datetime.now(datetime.UTC)
