"""The engine: full-integer TFLite models through LiteRT or tflite-runtime.

``open_engine`` runs a verified bundle on the station; ``open_model`` runs bare model bytes for the
tools. A model that cannot be trusted is refused before the first part: see ``model_file`` for
what is looked at, and ``model_probe`` for files of unknown origin.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import queue
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.directory import Bundle
from edgeinspect.errors import DriverMissing, InferenceFailed, ModelRefused, UsageError
from edgeinspect.hw.arrangement import BUDGET_NS, Arrangement, candidates, median_run_ns
from edgeinspect.hw.model_file import check_against_card, check_identifier, refusal, tensor_spec
from edgeinspect.hw.model_probe import probe_in_child
from edgeinspect.hw.runtime_library import AUTO, RuntimeLibrary, load_library
from edgeinspect.ports import TensorSpec

Tile = NDArray[np.generic]

_EDGETPU_LIBRARY = "libedgetpu.so.1"


class Kernels(StrEnum):
    """``reference`` gives the same bits on every machine, slowly; ``fast`` what the library has."""

    FAST = "fast"
    REFERENCE = "reference"


class LiteRtEngine:
    """One model, loaded into one or several interpreters. Made by the functions below.

    ``run`` may be called from several threads at once; each tile takes whichever interpreter is
    free.
    """

    def __init__(self, lanes: Sequence[_Lane], *, arrangement: Arrangement, runtime: str) -> None:
        first = lanes[0]
        self._input_spec = first.input_spec
        self._output_spec = first.output_spec
        self._tile_shape = first.input_spec.shape[1:]
        self._dtype = np.dtype(first.input_spec.dtype)
        self._batch = arrangement.batch
        self._idle: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
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
            lane = self._idle.get()
            try:
                return lane.infer(tiles)
            finally:
                self._idle.put(lane)
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
        lane = self._idle.get()
        try:
            while jobs:
                try:
                    start = jobs.popleft()
                except IndexError:  # another thread took the last one
                    return
                outputs[start] = lane.infer(tiles[start : start + self._batch])
        finally:
            self._idle.put(lane)

    def close(self) -> None:
        """Stop the threads; closing twice is allowed. Runs in progress end normally."""
        self._closed.set()
        if self._helpers is not None:
            self._helpers.shutdown(wait=True)


def _settle(helpers: list[Future[None]]) -> None:
    """Wait for the helpers that began, drop the others, raise what one of them raised."""
    errors = [
        error
        for helper in helpers
        if not helper.cancel() and (error := helper.exception()) is not None
    ]
    if errors:
        raise errors[0]


class _Lane:
    """One interpreter with its tensors' places looked up once."""

    def __init__(
        self, interpreter: Any, *, batch: int, kernels: str, specs: tuple[TensorSpec, TensorSpec]
    ) -> None:
        self.input_spec, self.output_spec = specs
        self.kernels = kernels
        self.forget_between_tiles = False
        self._interpreter = interpreter
        self._input = interpreter.get_input_details()[0]["index"]
        self._output = interpreter.get_output_details()[0]["index"]
        self._batch: NDArray[Any] | None = None
        if batch > 1:
            shape = (batch, *self.input_spec.shape[1:])
            self._batch = np.zeros(shape, self.input_spec.dtype)

    def infer(self, tiles: Sequence[Tile]) -> list[Tile]:
        if self._batch is not None:
            return self._infer_batch(self._batch, tiles)
        return [self._invoke(tile[None])[0] for tile in tiles]

    def _infer_batch(self, batch: NDArray[Any], tiles: Sequence[Tile]) -> list[Tile]:
        outputs: list[Tile] = []
        for start in range(0, len(tiles), len(batch)):
            chunk = tiles[start : start + len(batch)]
            for slot, tile in zip(batch, chunk, strict=False):
                slot[...] = tile
            outputs.extend(self._invoke(batch)[: len(chunk)])
        return outputs

    def _invoke(self, values: NDArray[Any]) -> NDArray[Any]:
        interpreter = self._interpreter
        if self.forget_between_tiles:
            interpreter.reset_all_variables()
        interpreter.set_tensor(self._input, values)
        interpreter.invoke()
        result: NDArray[Any] = interpreter.get_tensor(self._output)
        return result


class _Loader:
    """Builds lanes of one model."""

    def __init__(
        self,
        model: bytes,
        *,
        source: str,
        library: RuntimeLibrary,
        kernels: Kernels,
        delegate: str,
    ) -> None:
        self._model = model
        self._source = source
        self._library = library
        self._kernels = kernels
        self._delegate = delegate
        self._delegates = _load_delegates(library, delegate)
        self._stateful = False

    def lane(self, *, threads: int, batch: int = 1) -> _Lane:
        """Load the model once more. Raises ModelRefused."""
        try:
            lane = self._load(threads, batch)
            lane.forget_between_tiles = self._stateful
            lane.infer([self._sample(0)] * batch)
        except (ValueError, RuntimeError) as error:
            if isinstance(error, ModelRefused):
                raise
            raise refusal(error, self._source) from error
        return lane

    def _load(self, threads: int, batch: int) -> _Lane:
        resolver = self._library.resolver_type
        interpreter = self._library.interpreter(
            model_content=self._model,
            num_threads=threads,
            experimental_delegates=self._delegates or None,
            experimental_op_resolver_type=(
                resolver.BUILTIN_REF if self._kernels is Kernels.REFERENCE else resolver.AUTO
            ),
        )
        self._allocate(interpreter)
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        specs = self._specs(inputs, outputs)
        if batch > 1:
            interpreter.resize_tensor_input(inputs[0]["index"], (batch, *specs[0].shape[1:]))
            interpreter.allocate_tensors()
        self._sample_shape, self._sample_dtype = specs[0].shape[1:], specs[0].dtype
        return _Lane(interpreter, batch=batch, kernels=self._kernels_in(interpreter), specs=specs)

    def _allocate(self, interpreter: Any) -> None:
        try:
            interpreter.allocate_tensors()
        except RuntimeError as error:
            if "custom op" not in str(error):  # the tensors may tell it in plainer words
                self._specs(interpreter.get_input_details(), interpreter.get_output_details())
            raise

    def _specs(self, inputs: list[Any], outputs: list[Any]) -> tuple[TensorSpec, TensorSpec]:
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelRefused(
                f"{self._source} has {len(inputs)} inputs and {len(outputs)} outputs; "
                "one of each is expected."
            )
        return (
            tensor_spec(inputs[0], "input", self._source),
            tensor_spec(outputs[0], "output", self._source),
        )

    def _kernels_in(self, interpreter: Any) -> str:
        if self._delegate != "none":
            return f"{self._delegate} delegate"
        if self._kernels is Kernels.REFERENCE:
            return "reference kernels"
        names = {operator["op_name"] for operator in interpreter._get_ops_details()}
        # Without a delegate of ours, the one that LiteRT adds by itself is XNNPACK.
        return "XNNPACK kernels" if "DELEGATE" in names else "built-in kernels (no XNNPACK)"

    def _sample(self, seed: int) -> Tile:
        """A tile of zeros for seed 0, of noise for the others."""
        shape, dtype = self._sample_shape, self._sample_dtype
        if seed == 0:
            return np.zeros(shape, dtype)
        rng = np.random.default_rng(seed)
        return rng.integers(0, 256, shape, dtype=np.uint8).view(dtype)

    def samples(self, count: int) -> list[Tile]:
        """Tiles of noise to measure with; available once a lane was loaded."""
        return [self._sample(1 + index % 4) for index in range(count)]

    def check_memory(self, lane: _Lane) -> None:
        """Make a model with a memory forget between tiles, or refuse it.

        A recurrent model keeps its state from one invocation to the next, so that a part's score
        would hang on the part before it.
        """
        once, other = self._sample(1), self._sample(2)
        for stateful in (False, True):
            self._stateful = lane.forget_between_tiles = stateful
            first, _, again = lane.infer([once, other, once])
            if np.array_equal(first, again):
                return
        raise ModelRefused(f"{self._source} gives the same picture different outputs each time.")

    def engine(self, arrangement: Arrangement) -> LiteRtEngine:
        """An engine in this arrangement. Raises ModelRefused."""
        lanes = [
            self.lane(threads=arrangement.threads, batch=arrangement.batch)
            for _ in range(arrangement.interpreters)
        ]
        return self.engine_of(lanes, arrangement)

    def engine_of(self, lanes: list[_Lane], arrangement: Arrangement) -> LiteRtEngine:
        runtime = f"{self._library.name} {self._library.version}"
        return LiteRtEngine(lanes, arrangement=arrangement, runtime=runtime)


def _load_delegates(library: RuntimeLibrary, name: str) -> list[Any]:
    if name == "none":
        return []
    if name != "edgetpu":
        raise UsageError(f"Unknown delegate {name!r}: none, edgetpu.")
    try:
        ctypes.CDLL(_EDGETPU_LIBRARY)  # the library's own loader complains twice
        return [library.load_delegate(_EDGETPU_LIBRARY)]
    except (OSError, ValueError, RuntimeError) as error:
        raise DriverMissing(
            f"The Edge TPU delegate cannot be loaded: {error}.",
            next_action="Install libedgetpu1-std and connect the accelerator.",
        ) from error


def open_engine(
    bundle: Bundle,
    *,
    runtime: str = AUTO,
    arrangement: str = AUTO,
    threads: int | None = None,
    delegate: str = "none",
    tiles_at_once: int = 1,
    kernels: Kernels = Kernels.FAST,
    probe: bool | None = None,
) -> LiteRtEngine:
    """Open the engine of a verified bundle.

    Args:
        runtime: auto, litert or tflite-runtime.
        arrangement: auto (measured, within 0.3 s), threads, interpreters or batch.
        threads: cores to use at most; None: all that this process may use.
        delegate: none or edgetpu.
        tiles_at_once: tiles of one part, for which the arrangement is chosen.
        kernels: ``reference`` for golden outputs; they take one core.
        probe: try the model in a child process first; None: only where the library does not
            verify a file's structure by itself.

    Raises:
        ModelRefused: the model cannot be trusted or is not the card's.
        DriverMissing: the library or the delegate is not installed.
    """
    source = str(bundle.directory / bundle.card.model)
    engine = open_model(
        bundle.model,
        source=source,
        runtime=runtime,
        arrangement=arrangement,
        threads=threads,
        delegate=delegate,
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


def open_model(
    model: bytes,
    *,
    source: str,
    runtime: str = AUTO,
    arrangement: str = AUTO,
    threads: int | None = None,
    delegate: str = "none",
    tiles_at_once: int = 1,
    kernels: Kernels = Kernels.FAST,
    probe: bool | None = True,
) -> LiteRtEngine:
    """Open bare model bytes of unknown origin; ``source`` names them in errors.

    Arguments and errors are those of ``open_engine``, but ``probe`` is on.
    """
    check_identifier(model, source)
    library = load_library(runtime)
    if probe or (probe is None and not library.verifies_structure):
        probe_in_child(model, library=library.name, source=source)
    loader = _Loader(model, source=source, library=library, kernels=kernels, delegate=delegate)
    single = loader.lane(threads=1)
    loader.check_memory(single)
    cores = threads if threads is not None else len(os.sched_getaffinity(0))
    if kernels is Kernels.REFERENCE or delegate != "none":
        return loader.engine_of([single], Arrangement())
    options = candidates(arrangement, cores=cores, tiles=max(1, tiles_at_once))
    if options == [Arrangement()]:
        return loader.engine_of([single], Arrangement())
    return _fastest(loader, options, tiles=loader.samples(max(1, tiles_at_once)), single=single)


def _fastest(
    loader: _Loader, options: list[Arrangement], *, tiles: list[Tile], single: _Lane
) -> LiteRtEngine:
    """Measure each option within the budget and keep the fastest; the first where time lacks."""
    if len(options) == 1:
        return _only(loader, options[0])
    one = loader.engine_of([single], Arrangement())
    share_ns = BUDGET_NS // (len(options) + 1)
    tile_ns = median_run_ns(one.run, tiles[:1], budget_ns=share_ns // 4)
    if tile_ns * len(tiles) * 2 > share_ns:
        return _only(loader, options[0])
    best: tuple[int, LiteRtEngine] | None = None
    for option in options:
        try:
            engine = one if option == Arrangement() else loader.engine(option)
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


def _only(loader: _Loader, option: Arrangement) -> LiteRtEngine:
    try:
        return loader.engine(option)
    except ModelRefused as error:
        if option.batch == 1:
            raise
        raise ModelRefused(
            f"This model cannot run in batches: {error.message}",
            next_action="Set engine.arrangement to auto.",
        ) from error


def _same_outputs(batched: LiteRtEngine, single: LiteRtEngine, tiles: list[Tile]) -> bool:
    pairs = zip(batched.run(tiles), single.run(tiles), strict=True)
    return all(itertools.starmap(np.array_equal, pairs))
