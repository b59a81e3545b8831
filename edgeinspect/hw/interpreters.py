"""One model in one or several interpreters, each with its tensors' places looked up once."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import DriverMissing, ModelRefused, UsageError
from edgeinspect.hw.model_file import refusal, tensor_spec
from edgeinspect.hw.runtime_library import RuntimeLibrary
from edgeinspect.ports import TensorSpec

Tile = NDArray[np.generic]

EDGETPU_VARIABLE = "EDGEINSPECT_EDGETPU_LIBRARY"
"""Names libedgetpu on a machine that keeps it elsewhere than ``ld.so`` looks."""


class Kernels(StrEnum):
    """``reference`` gives the same bits on every machine, slowly; ``fast`` what the library has."""

    FAST = "fast"
    REFERENCE = "reference"


class Lane:
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
        """Return the output of every tile, in order."""
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


class Loader:
    """Builds lanes of one model."""

    def __init__(
        self,
        model: bytes,
        *,
        source: str,
        library: RuntimeLibrary,
        kernels: Kernels,
        delegate: str,
        device: str | None = None,
        stateful: bool = False,
    ) -> None:
        """Store how to load the model; nothing is loaded yet.

        Args:
            model: the model's bytes.
            source: the model's name in errors.
            library: the runtime library.
            kernels: the kind of kernels.
            delegate: none or edgetpu.
            device: the accelerator; None: the first.
            stateful: the model is known to have a memory, which must be reset between tiles.
        """
        self._model = model
        self._source = source
        self.runtime = f"{library.name} {library.version}"
        self._library = library
        self._kernels = kernels
        self._delegate = delegate
        self._delegates = load_delegates(library, delegate, device)
        self._stateful = stateful

    @property
    def is_stateful(self) -> bool:
        """The model has a memory; ``check_memory`` finds it out."""
        return self._stateful

    def lane(self, *, threads: int, batch: int = 1) -> Lane:
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

    def _load(self, threads: int, batch: int) -> Lane:
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
        return Lane(interpreter, batch=batch, kernels=self._kernels_in(interpreter), specs=specs)

    def _allocate(self, interpreter: Any) -> None:
        try:
            interpreter.allocate_tensors()
        except RuntimeError as error:
            if "custom op" not in str(error):  # the check of the tensors may give a clearer reason
                self._specs(interpreter.get_input_details(), interpreter.get_output_details())
            raise

    def _specs(self, inputs: list[Any], outputs: list[Any]) -> tuple[TensorSpec, TensorSpec]:
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelRefused(
                f"{self._source} has {len(inputs)} inputs and {len(outputs)} outputs; expected "
                "one of each."
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
        names = {operator["op_name"] for operator in interpreter._get_ops_details()}  # noqa: SLF001  the library's
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

    def extremes(self) -> list[tuple[str, Tile]]:
        """Pictures at which a model may break, with words for each; once a lane was loaded."""
        shape, limits = self._sample_shape, np.iinfo(self._sample_dtype)
        stripes = np.full(shape, limits.min, self._sample_dtype)
        stripes.reshape(-1)[::2] = limits.max
        return [
            (f"all {limits.min}", np.full(shape, limits.min, self._sample_dtype)),
            (f"all {limits.max}", np.full(shape, limits.max, self._sample_dtype)),
            ("stripes", stripes),
            *(("noise", self._sample(seed)) for seed in (5, 6)),
        ]

    def check_memory(self, lane: Lane) -> None:
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
        raise ModelRefused(f"{self._source} gives different outputs for the same picture.")


def load_delegates(library: RuntimeLibrary, name: str, device: str | None = None) -> list[Any]:
    """The delegates to give to an interpreter.

    Args:
        library: the inference library.
        name: "none" or "edgetpu".
        device: which accelerator, e.g. "usb", "pci" or "usb:1"; None: the first.

    Raises:
        DriverMissing: the delegate's library is not installed, or finds no device.
    """
    if name == "none":
        return []
    if name != "edgetpu":
        raise UsageError(f"Unknown delegate {name!r}; expected none or edgetpu.")
    options = {"device": device} if device is not None else None
    place = os.environ.get(EDGETPU_VARIABLE) or "libedgetpu.so.1"
    try:
        ctypes.CDLL(place)  # the library's own loader complains twice
        return [library.load_delegate(place, options)]
    except (OSError, ValueError, RuntimeError) as error:
        which = f" for the device {device}" if device is not None else ""
        why = " ".join(str(error).split()).rstrip(".")
        raise DriverMissing(
            f"The Edge TPU delegate cannot be loaded{which}: {why}.",
            next_action="Install libedgetpu1-std, connect the accelerator to a USB 3 port, and "
            "give this user the right to use it (group plugdev or apex).",
        ) from error
