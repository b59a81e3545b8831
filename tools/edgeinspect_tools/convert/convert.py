"""One conversion: the source's own converter, the bundle's layout, the proof that both agree."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import CameraFault, ModelRefused, UsageError
from edgeinspect.files.atomic_file import replace_file
from edgeinspect.hw.model_file import read_model
from edgeinspect.hw.model_probe import try_bare
from edgeinspect.hw.picture_file import read_picture
from edgeinspect_tools.convert.contract import normalised
from edgeinspect_tools.convert.environment import Environment, default_folder, run_child
from edgeinspect_tools.convert.scripts.script_protocol import MARK, REFUSED
from edgeinspect_tools.convert.sources import TFLITE, Converter, converter_for
from edgeinspect_tools.flatbuffer import parse_tflite
from edgeinspect_tools.given_model import read_tried
from edgeinspect_tools.missing import not_installed
from edgeinspect_tools.quantize.int8 import run_tflite

DEADLINE_S = 900
TOLERANCE = 1e-3
"""Largest difference to the source, relative to the largest output, that still is rounding."""

_RANDOM_PICTURES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A converted model and how it compares with its source.

    Attributes:
        kind: kind of source.
        model: bytes of the float TFLite file.
        input_shape: shape of the model's input.
        output_shape: shape of the model's output.
        environment: the converter's own environment; None if this tool's environment was used.
        compared: number of pictures on which source and model were compared.
        error: largest difference, relative to the source's largest output; 0 if the source is
            the model itself.
        same_top: share of the compared outputs whose highest class agrees.
    """

    kind: str
    model: bytes
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    environment: Path | None
    compared: int
    error: float
    same_top: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """Options of a conversion.

    Attributes:
        input_shape: (1, height, width, channels), if the source leaves its size open.
        weights: a PyTorch state dictionary for ``model.py::factory``.
        pictures: pictures to compare on, beside random ones.
        env_dir: where converters' environments are kept; None for the user's cache.
        deadline_s: time limit for each run of the converter.
    """

    input_shape: tuple[int, int, int, int] | None = None
    weights: Path | None = None
    pictures: Sequence[Path] = ()
    env_dir: Path | None = None
    deadline_s: float = DEADLINE_S


def convert_model(
    source: str,
    *,
    options: ConvertOptions | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Converted:
    """Convert a source to a float TFLite model and compare the two.

    Raises:
        UsageError: no known source.
        DriverMissing: the converter is not there and could not be installed.
        ModelRefused: it cannot be converted, or the result differs from its source.
    """
    options = options or ConvertOptions()
    converter = converter_for(source)
    if not converter.script:
        return _unconverted(Path(source))
    with tempfile.TemporaryDirectory(prefix="edgeinspect-convert-") as folder:
        child = _Child(source, converter, options, Path(folder), say)
        model = normalised(child.convert(), source=Path(source))
        parsed = parse_tflite(model, Path(source))
        pictures = _pictures(parsed.inputs[0].shape, options.pictures)
        expected = child.run(pictures)
    found = run_float(model, pictures)
    error, same_top = _difference(expected, found, Path(source))
    return Converted(
        kind=converter.kind,
        model=model,
        input_shape=parsed.inputs[0].shape,
        output_shape=parsed.outputs[0].shape,
        environment=child.environment.path if child.environment is not None else None,
        compared=len(pictures),
        error=error,
        same_top=same_top,
    )


def save_converted(converted: Converted, path: Path) -> None:
    """Write the model atomically. Raises StorageFault."""
    replace_file(path, converted.model)


def run_float(model: bytes, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """The model's outputs by the reference kernels; (n, *output shape) for (n, *input shape)."""
    return run_tflite(model, reference=True)(pictures[:, 0])[:, None]


class _Child:
    """The converter as a process: in its own environment, with a deadline."""

    def __init__(
        self,
        source: str,
        converter: Converter,
        options: ConvertOptions,
        folder: Path,
        say: Callable[[str], None],
    ) -> None:
        self._request = {
            "source": _absolute(source),
            "kind": converter.kind,
            "shape": options.input_shape,
            "weights": str(options.weights.resolve()) if options.weights else None,
        }
        self._options = options
        self._folder = folder
        self._script = Path(__file__).parent / "scripts" / converter.script
        self.environment = None
        if converter.requirements:
            env_dir = (options.env_dir or default_folder()).resolve()
            self.environment = Environment(converter.kind, converter.requirements, env_dir)
            self.environment.make(say=say)
        else:
            _check_installed(converter.module)

    def convert(self) -> bytes:
        out = self._folder / "converted.tflite"
        self._call({"do": "convert", "out": str(out)})
        model = read_model(out)
        try_bare(model, source=str(self._request["source"]))
        return model

    def run(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        inputs, outputs = self._folder / "inputs.npy", self._folder / "outputs.npy"
        np.save(inputs, pictures)
        self._call({"do": "run", "inputs": str(inputs), "outputs": str(outputs)})
        return np.asarray(np.load(outputs, allow_pickle=False), np.float32)

    def _call(self, request: dict[str, Any]) -> None:
        import sys

        file = self._folder / "request.json"
        file.write_text(json.dumps({**self._request, **request}), encoding="utf-8")
        python = sys.executable if self.environment is None else str(self.environment.python)
        ended = run_child(
            [python, str(self._script), str(file)],
            deadline_s=self._options.deadline_s,
            folder=self._folder,
        )
        name = self._request["source"]
        if ended.code == REFUSED and MARK in ended.stderr:
            raise ModelRefused(f"{name}: {ended.stderr.rpartition(MARK)[2].strip()}")
        if ended.code is None:
            raise ModelRefused(
                f"{name} could not be converted within {self._options.deadline_s:g} s.",
                next_action="Give more time with --deadline.",
            )
        if ended.code != 0:
            raise ModelRefused(f"{name} could not be converted: {ended.last_words}")


def _unconverted(source: Path) -> Converted:
    model = normalised(read_tried(source), source=source)
    parsed = parse_tflite(model, source)
    return Converted(
        kind=TFLITE,
        model=model,
        input_shape=parsed.inputs[0].shape,
        output_shape=parsed.outputs[0].shape,
        environment=None,
        compared=0,
        error=0.0,
        same_top=1.0,
    )


def _absolute(source: str) -> str:
    path, mark, factory = source.partition("::")
    return f"{Path(path).resolve()}{mark}{factory}"


def _check_installed(module: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise not_installed(module)


def _pictures(shape: tuple[int, ...], files: Sequence[Path]) -> NDArray[np.float32]:
    """Random and real pictures in [-1, 1], (n, 1, height, width, channels)."""
    rng = np.random.default_rng(0)
    made = [rng.uniform(-1, 1, shape).astype(np.float32) for _ in range(_RANDOM_PICTURES)]
    return np.stack(made + [_real(shape, file) for file in files])


def _real(shape: tuple[int, ...], file: Path) -> NDArray[np.float32]:
    import cv2

    try:
        pixels: Any = read_picture(file)
    except CameraFault as error:
        raise UsageError(error.message) from error
    _, height, width, channels = shape
    if channels == 3 and pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    if channels == 1 and pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    resized = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))
    return (resized.reshape(shape).astype(np.float32) - np.float32(127.5)) / np.float32(127.5)


def _difference(
    expected: NDArray[np.float32], found: NDArray[np.float32], source: Path
) -> tuple[float, float]:
    if expected.shape != found.shape:
        raise ModelRefused(
            f"{source} gives {expected.shape[1:]}, its conversion {found.shape[1:]}."
        )
    if not (np.isfinite(expected).all() and np.isfinite(found).all()):
        raise ModelRefused(f"{source} or its conversion gives values that are not finite.")
    scale = max(float(np.abs(expected).max()), 1e-6)
    error = float(np.abs(expected - found).max()) / scale
    if error > TOLERANCE:
        raise ModelRefused(
            f"{source} and its conversion differ by {error:.2%} of the largest output; at most "
            f"{TOLERANCE:.2%} is rounding."
        )
    same = expected.argmax(axis=-1) == found.argmax(axis=-1)
    return error, float(same.mean())
