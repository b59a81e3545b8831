"""The engine: full-integer TFLite models through LiteRT or tflite-runtime.

``open_engine`` runs a verified bundle on the station; ``open_model`` runs bare model bytes for the
tools. A model that cannot be trusted is refused before the first part: see ``model_file`` for
what is looked at, and ``model_probe`` for files of unknown origin.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.directory import EDGETPU_MODEL_FILE, Bundle
from edgeinspect.errors import InferenceFailed, ModelRefused
from edgeinspect.hw.arrangement import BUDGET_NS, Arrangement, candidates, median_run_ns
from edgeinspect.hw.edgetpu import is_compiled
from edgeinspect.hw.interpreters import Kernels, Lane, Loader
from edgeinspect.hw.model_file import check_against_card, check_identifier
from edgeinspect.hw.model_probe import probe_in_child
from edgeinspect.hw.runtime_library import AUTO, load_library
from edgeinspect.ports import TensorSpec

__all__ = ["Kernels", "LiteRtEngine", "open_engine", "open_model"]

Tile = NDArray[np.generic]


class LiteRtEngine:
    """One model, loaded into one or several interpreters. Made by the functions below.

    ``run`` may be called from several threads at once; each tile takes whichever interpreter is
    free.
    """

    def __init__(self, lanes: Sequence[Lane], *, arrangement: Arrangement, runtime: str) -> None:
        first = lanes[0]
        self._input_spec = first.input_spec
        self._output_spec = first.output_spec
        self._tile_shape = first.input_spec.shape[1:]
        self._dtype = np.dtype(first.input_spec.dtype)
        self._batch = arrangement.batch
        self._idle: queue.SimpleQueue[Lane | None] = queue.SimpleQueue()
        for lane in lanes:
            self._idle.put(lane)
        self._lanes = len(lanes)
        self._helpers: ThreadPoolExecutor | None = None
        if len(lanes) > 1:
            self._helpers = ThreadPoolExecutor(len(lanes) - 1, thread_name_prefix="inference")
        self._closed = threading.Event()
        self._arrangement = arrangement
        self._description = f"{runtime}, {first.kernels}, {arrangement}"

    @property
    def input_spec(self) -> TensorSpec:
        return self._input_spec

    @property
    def output_spec(self) -> TensorSpec:
        return self._output_spec

    @property
    def description(self) -> str:
        return self._description

    @property
    def arrangement(self) -> Arrangement:
        """How tiles share the cores."""
        return self._arrangement

    def run(self, tiles: Sequence[Tile]) -> list[Tile]:
        """See ``edgeinspect.ports.Engine``."""
        if self._closed.is_set():
            raise InferenceFailed("The engine is closed.")
        for tile in tiles:
            if tile.shape != self._tile_shape or tile.dtype != self._dtype:
                raise InferenceFailed(
                    f"A tile of {self._dtype} {self._tile_shape} is expected, "
                    f"got {tile.dtype} {tile.shape}."
                )
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


def open_engine(
    bundle: Bundle,
    *,
    runtime: str = AUTO,
    arrangement: str = AUTO,
    threads: int | None = None,
    delegate: str = "none",
    device: str | None = None,
    tiles_at_once: int = 1,
    kernels: Kernels = Kernels.FAST,
    probe: bool | None = None,
) -> LiteRtEngine:
    """Open the engine of a verified bundle.

    Args:
        runtime: auto, litert or tflite-runtime.
        arrangement: auto (measured, within 0.3 s), threads, interpreters or batch.
        threads: cores to use at most; None: all that this process may use.
        delegate: none or edgetpu, which takes the bundle's model for it, where there is one.
        device: which accelerator; None: the first.
        tiles_at_once: tiles of one part, for which the arrangement is chosen.
        kernels: ``reference`` for golden outputs; they take one core.
        probe: try the model in a child process first; None: only where the library does not
            verify a file's structure by itself.

    Raises:
        ModelRefused: the model cannot be trusted or is not the card's.
        DriverMissing: the library or the delegate is not installed.
    """
    name, model = bundle.card.model, bundle.model
    if delegate == "edgetpu":
        name, model = _edgetpu_model(bundle)
    source = str(bundle.directory / name)
    engine = open_model(
        model,
        source=source,
        runtime=runtime,
        arrangement=arrangement,
        threads=threads,
        delegate=delegate,
        device=device,
        tiles_at_once=tiles_at_once,
        kernels=kernels,
        probe=probe,
    )
    try:
        check_against_card(engine.input_spec, bundle.card.input.spec("input"), "input", source)
        check_against_card(engine.output_spec, bundle.card.output.spec("output"), "output", source)
    except ModelRefused:
        engine.close()
        raise
    return engine


def _edgetpu_model(bundle: Bundle) -> tuple[str, bytes]:
    """Name and bytes of the bundle's model for the Edge TPU. Raises ModelRefused."""
    if bundle.edgetpu_model:
        return EDGETPU_MODEL_FILE, bundle.edgetpu_model
    if not is_compiled(bundle.model):
        raise ModelRefused(
            f"The bundle {bundle.card.name} holds no model that was compiled for the Edge TPU, "
            "so all of it would run on the CPU.",
            next_action=f"Add {EDGETPU_MODEL_FILE}, made by edgetpu_compiler, or set "
            "engine.delegate: none.",
        )
    return bundle.card.model, bundle.model


def open_model(
    model: bytes,
    *,
    source: str,
    runtime: str = AUTO,
    arrangement: str = AUTO,
    threads: int | None = None,
    delegate: str = "none",
    device: str | None = None,
    tiles_at_once: int = 1,
    kernels: Kernels = Kernels.FAST,
    probe: bool | None = True,
) -> LiteRtEngine:
    """Open bare model bytes of unknown origin; ``source`` names them in errors.

    Arguments and errors are those of ``open_engine``, but ``probe`` is on.
    """
    check_identifier(model, source)
    library = load_library(runtime)
    if probe or delegate != "none" or (probe is None and not library.verifies_structure):
        probe_in_child(model, library=library.name, source=source, delegate=delegate, device=device)
    loader = Loader(
        model, source=source, library=library, kernels=kernels, delegate=delegate, device=device
    )
    single = loader.lane(threads=1)
    loader.check_memory(single)
    cores = threads if threads is not None else len(os.sched_getaffinity(0))
    if kernels is Kernels.REFERENCE or delegate != "none":
        return _engine_of(loader, [single], Arrangement())
    options = candidates(arrangement, cores=cores, tiles=max(1, tiles_at_once))
    if options == [Arrangement()]:
        return _engine_of(loader, [single], Arrangement())
    return _fastest(loader, options, tiles=loader.samples(max(1, tiles_at_once)), single=single)


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
            engine = one if option == Arrangement() else _engine(loader, option)
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
        return _engine(loader, option)
    except ModelRefused as error:
        if option.batch == 1:
            raise
        raise ModelRefused(
            f"This model cannot run in batches: {error.message}",
            next_action="Set engine.arrangement to auto.",
        ) from error


def _engine(loader: Loader, arrangement: Arrangement) -> LiteRtEngine:
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
