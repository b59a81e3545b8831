"""One model in several interpreters as one engine, and the choice of how many."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from edgeinspect.errors import InferenceFailed, ModelRefused
from edgeinspect.faults import FaultName
from edgeinspect.hw.arrangement import BUDGET_NS, Arrangement, candidates, median_run_ns
from edgeinspect.hw.interpreters import Lane, Loader
from edgeinspect.ports import StationEngine

Tile = NDArray[np.generic]


class LiteRtEngine(StationEngine):
    """One model, loaded into one or several interpreters. Made by ``open_engine`` and its like.

    ``run`` may be called from several threads at once; each tile takes whichever interpreter is
    free.

    Attributes:
        arrangement: how tiles share the cores.
    """

    def __init__(self, lanes: Sequence[Lane], *, arrangement: Arrangement, runtime: str) -> None:
        first = lanes[0]
        self.input_spec = first.input_spec
        self.output_spec = first.output_spec
        self._batch = arrangement.batch
        self._idle: queue.SimpleQueue[Lane | None] = queue.SimpleQueue()
        for lane in lanes:
            self._idle.put(lane)
        self._lanes = len(lanes)
        self._helpers: ThreadPoolExecutor | None = None
        if len(lanes) > 1:
            self._helpers = ThreadPoolExecutor(len(lanes) - 1, thread_name_prefix="inference")
        self._closed = threading.Event()
        self.arrangement = arrangement
        self.description = f"{runtime}, {first.kernels}, {arrangement}"

    @override
    def trouble(self) -> dict[FaultName, str]:
        """See ``edgeinspect.ports.StationEngine``: the CPU is never lost."""
        return {}

    def run(self, tiles: Sequence[Tile]) -> list[Tile]:
        """See ``edgeinspect.ports.Engine``."""
        if self._closed.is_set():
            raise InferenceFailed("The engine is closed.")
        for tile in tiles:
            self.input_spec.check_tile(tile)
        try:
            return self._run(tiles)
        except (RuntimeError, ValueError) as error:
            raise InferenceFailed(f"The model failed on a picture: {error}.") from error

    def _run(self, tiles: Sequence[Tile]) -> list[Tile]:
        if self._helpers is None or len(tiles) <= self._batch:
            lane = self._take_lane()
            try:
                return lane.infer(tiles)
            finally:
                self._put_back(lane)
        jobs = deque(range(0, len(tiles), self._batch))
        outputs: dict[int, list[Tile]] = {}
        helpers = [
            self._helpers.submit(self._work, jobs, tiles, outputs)
            for _ in range(min(self._lanes, len(jobs)) - 1)
        ]
        try:
            self._work(jobs, tiles, outputs)
        finally:
            jobs.clear()
            _settle(helpers)
        return [output for start in sorted(outputs) for output in outputs[start]]

    def _work(
        self, jobs: deque[int], tiles: Sequence[Tile], outputs: dict[int, list[Tile]]
    ) -> None:
        lane = self._take_lane()
        try:
            while jobs:
                try:
                    start = jobs.popleft()
                except IndexError:  # another thread took the last one
                    return
                outputs[start] = lane.infer(tiles[start : start + self._batch])
        finally:
            self._put_back(lane)

    def _take_lane(self) -> Lane:
        lane = self._idle.get()
        if lane is None:
            self._idle.put(None)  # for the next one who comes too late
            raise InferenceFailed("The engine is closed.")
        return lane

    def _put_back(self, lane: Lane) -> None:
        """A lane of a closed engine is dropped, and with it the interpreter's memory."""
        if not self._closed.is_set():
            self._idle.put(lane)
            if self._closed.is_set():
                self._drop_lanes()

    def _drop_lanes(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait()
        self._idle.put(None)

    def close(self) -> None:
        """Free the interpreters and end the threads; closing twice is allowed.

        Tiles that are being inferred are finished first, and nobody waits for them here.
        """
        self._closed.set()
        self._drop_lanes()
        if self._helpers is not None:
            self._helpers.shutdown(wait=False)


def _settle(helpers: list[Future[None]]) -> None:
    """Wait for the helpers that began, drop the others, raise what one of them raised."""
    errors = [
        error
        for helper in helpers
        if not helper.cancel() and (error := helper.exception()) is not None
    ]
    if errors:
        raise errors[0]


def choose(
    loader: Loader, wish: str, *, cores: int, tiles_at_once: int, several: bool = True
) -> LiteRtEngine:
    """Load the model in the requested arrangement, or in the fastest one.

    Args:
        loader: loads the model.
        wish: auto (measured, within 0.3 s), threads, interpreters or batch.
        cores: the most cores to use.
        tiles_at_once: tiles of one part.
        several: False if only one interpreter with one thread is possible.

    Raises:
        ModelRefused: the model cannot run, or gives different outputs for the same picture.
    """
    single = loader.lane(threads=1)
    loader.check_memory(single)
    tiles = max(1, tiles_at_once)
    options = candidates(wish, cores=cores, tiles=tiles)
    if not several or options == [Arrangement()]:
        return _engine_of(loader, [single], Arrangement())
    return _fastest(loader, options, tiles=loader.samples(tiles), single=single)


def _fastest(
    loader: Loader, options: list[Arrangement], *, tiles: list[Tile], single: Lane
) -> LiteRtEngine:
    """Measure each option within the budget and keep the fastest; the first where time lacks."""
    if len(options) == 1:
        return _only(loader, options[0])
    one = _engine_of(loader, [single], Arrangement())
    share_ns = BUDGET_NS // (len(options) + 1)
    tile_ns = median_run_ns(one.run, tiles[:1], budget_ns=share_ns // 4)
    if tile_ns * len(tiles) * 2 > share_ns:
        return _only(loader, options[0])
    best: tuple[int, LiteRtEngine] | None = None
    for option in options:
        try:
            engine = one if option == Arrangement() else arranged(loader, option)
        except ModelRefused:
            if option.batch == 1:
                raise
            continue  # many models cannot be resized to a batch; the others remain
        if option.batch > 1 and not _same_outputs(engine, one, tiles):
            engine.close()
            continue
        took_ns = median_run_ns(engine.run, tiles, budget_ns=share_ns // 2)
        if best is None or took_ns < best[0]:
            if best is not None:
                best[1].close()
            best = (took_ns, engine)
        else:
            engine.close()
    return best[1] if best is not None else one


def _only(loader: Loader, option: Arrangement) -> LiteRtEngine:
    try:
        return arranged(loader, option)
    except ModelRefused as error:
        if option.batch == 1:
            raise
        raise ModelRefused(
            f"This model cannot run in batches: {error.message}",
            next_action="Set engine.arrangement to auto.",
        ) from error


def arranged(loader: Loader, arrangement: Arrangement) -> LiteRtEngine:
    """Load the model in exactly this arrangement. Raises ModelRefused."""
    lanes = [
        loader.lane(threads=arrangement.threads, batch=arrangement.batch)
        for _ in range(arrangement.interpreters)
    ]
    return _engine_of(loader, lanes, arrangement)


def _engine_of(loader: Loader, lanes: list[Lane], arrangement: Arrangement) -> LiteRtEngine:
    return LiteRtEngine(lanes, arrangement=arrangement, runtime=loader.runtime)


def _same_outputs(batched: LiteRtEngine, single: LiteRtEngine, tiles: list[Tile]) -> bool:
    pairs = zip(batched.run(tiles), single.run(tiles), strict=True)
    return all(itertools.starmap(np.array_equal, pairs))
