"""How the tiles of a part share the cores: measured at start, or as the station file says."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import UsageError

BUDGET_NS = 300_000_000
"""Most that the measuring at start may take; a slow model gets the usual winner instead."""

Run = Callable[[list[NDArray[np.generic]]], object]


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How the tiles of a part share the cores.

    Attributes:
        interpreters: how many work at the same time, each in its own thread.
        threads: threads inside each interpreter.
        batch: tiles in one invocation.
    """

    interpreters: int = 1
    threads: int = 1
    batch: int = 1

    def __str__(self) -> str:
        parts = [
            _count(self.interpreters, "interpreter"),
            f"{_count(self.threads, 'thread')}{' each' if self.interpreters > 1 else ''}",
        ]
        if self.batch > 1:
            parts.append(f"batches of {self.batch}")
        return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number > 1 else ''}"


def candidates(wish: str, *, cores: int, tiles: int) -> list[Arrangement]:
    """What may be used for ``tiles`` tiles at once on ``cores`` cores; the usual winner first.

    Raises:
        UsageError: ``wish`` is none of auto, threads, interpreters, batch.
    """
    inside = Arrangement(threads=cores)
    beside = Arrangement(interpreters=cores)
    together = Arrangement(threads=cores, batch=max(1, tiles))
    fixed = {"threads": inside, "interpreters": beside, "batch": together}
    if wish in fixed:
        return [fixed[wish]]
    if wish != "auto":
        raise UsageError(f"Unknown arrangement {wish!r}; expected auto, {', '.join(fixed)}.")
    if tiles == 1:
        return list(dict.fromkeys((inside, Arrangement())))
    mixed = Arrangement(interpreters=max(1, cores // 2), threads=min(2, cores))
    several = Arrangement(interpreters=min(cores, tiles))
    return list(dict.fromkeys((several, inside, together, mixed)))


def median_run_ns(run: Run, tiles: list[NDArray[np.generic]], *, budget_ns: int) -> int:
    """Median time of one run of ``tiles``, over 2 to 9 runs within the budget, after one more."""
    run(tiles)
    times: list[int] = []
    end = time.monotonic_ns() + budget_ns
    while len(times) < 2 or (len(times) < 9 and time.monotonic_ns() < end):
        start = time.monotonic_ns()
        run(tiles)
        times.append(time.monotonic_ns() - start)
    return statistics.median_high(times)
