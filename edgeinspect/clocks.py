"""Two clocks read at one moment, with a bound on how far apart the two reads can be.

A thread can lose the processor between any two lines. Whoever reads two clocks one after the other
and takes them for one moment is wrong by as long as the thread was away: tens of milliseconds on a
busy machine. Whoever needs a pair of clocks reads it here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Reading = TypeVar("Reading")

SPAN_GOOD_ENOUGH_NS = 100_000
"""Undisturbed, the reads take about a microsecond; a Pi under full load needs some tens."""
TRIES = 10
"""A thread that has just been given the processor keeps it for long enough to read three clocks,
so a second try nearly always succeeds."""


@dataclass(frozen=True, slots=True)
class ClockPair(Generic[Reading]):
    """Attributes:
    mono_ns: CLOCK_MONOTONIC.
    other: what the other clock said at ``mono_ns``, give or take ``error_ns``.
    error_ns: the other clock was read within this of ``mono_ns``.
    """

    mono_ns: int
    other: Reading
    error_ns: int


def read_beside_mono(
    read_other: Callable[[], Reading], now_mono_ns: Callable[[], int]
) -> ClockPair[Reading]:
    """Read another clock between two reads of CLOCK_MONOTONIC; the best of up to ``TRIES``.

    The result may still be bad. ``error_ns`` says how bad, and the caller decides.
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
