"""Keras to a float TFLite model, and that to full int8, with true minimum and maximum ranges."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import ModelRefused

_Ranges = dict[str, dict[str, NDArray[np.float32]]]


def float_tflite(model: Any) -> bytes:
    """A Keras model as a float32 TFLite model with a fixed batch of one, BatchNorm folded."""
    import tensorflow as tf

    shape = (1, *model.inputs[0].shape[1:])
    signature = [tf.TensorSpec(shape, tf.float32, name=model.inputs[0].name)]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        model.export(folder, format="tf_saved_model", input_signature=signature, verbose=False)
        return bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())


def quantize_int8(
    float_model: bytes,
    samples: Sequence[NDArray[np.float32]],
    *,
    output_range: tuple[float, float] | None = None,
) -> bytes:
    """Full int8 (weights per channel, activations per tensor), int8 input and output.

    The quantizer's own calibration smooths ranges over the samples, which cuts off the rare
    strong activations that defects cause; here every tensor gets the lowest and highest value
    seen in any sample.

    Args:
        samples: inputs in the float model's shape, with the batch axis.
        output_range: range of the output tensor; values outside saturate. None: as seen.

    Raises:
        ModelRefused: the quantizer left float inputs or outputs.
    """
    from ai_edge_quantizer import quantizer, recipe

    ranges = seen_ranges(float_model, samples)
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "float.tflite"
        source.write_bytes(float_model)
        tool = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
        name = _input_name(float_model)
        calibration = tool.calibrate({"serving_default": [{name: samples[0]}]}, num_threads=1)
        known = {key: _like(value, ranges[key]) for key, value in calibration.items()}
        if output_range is not None:
            _set_output(float_model, known, output_range)
        result = bytes(tool.quantize(known, enable_progress_report=False).quantized_model)
    for details in _ends(result):
        if details["dtype"] is not np.int8:
            raise ModelRefused(f"The quantized model's {details['name']} is not int8.")
    return result


def seen_ranges(
    float_model: bytes, samples: Sequence[NDArray[np.float32]]
) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of every tensor over all samples, by tensor name."""
    interpreter = open_model(float_model, preserve=True)
    index = interpreter.get_input_details()[0]["index"]
    tensors = [t for t in interpreter.get_tensor_details() if t["dtype"] is np.float32]
    ranges: dict[str, tuple[float, float]] = {}
    for sample in samples:
        interpreter.set_tensor(index, sample)
        interpreter.invoke()
        for tensor in tensors:
            values = _tensor(interpreter, tensor["index"])
            if values is None or values.size == 0:
                continue
            low, high = ranges.get(tensor["name"], (np.inf, -np.inf))
            ranges[tensor["name"]] = (
                min(low, float(values.min())),
                max(high, float(values.max())),
            )
    return ranges


def open_model(model: bytes, *, preserve: bool = False, reference: bool = False) -> Any:
    """An allocated one-thread interpreter; ``reference`` takes the plain reference kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
    if preserve:
        kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(
        model_content=model,
        num_threads=1,
        experimental_preserve_all_tensors=preserve,
        experimental_op_resolver_type=kernels,
    )
    interpreter.allocate_tensors()
    return interpreter


def _tensor(interpreter: Any, index: int) -> NDArray[np.float32] | None:
    try:
        return np.asarray(interpreter.get_tensor(index), dtype=np.float32)
    except ValueError:  # a tensor that the runtime fused away holds nothing
        return None


def _ends(model: bytes) -> list[Mapping[str, Any]]:
    interpreter = open_model(model)
    return [*interpreter.get_input_details(), *interpreter.get_output_details()]


def _input_name(model: bytes) -> str:
    runner = open_model(model).get_signature_runner("serving_default")
    return str(next(iter(runner.get_input_details())))


def _like(template: Mapping[str, Any], seen: tuple[float, float]) -> dict[str, Any]:
    """The quantizer's statistics of one tensor with our range in it."""
    shape = np.shape(template["min"])
    low, high = (np.full(shape, value, dtype=np.float32) for value in seen)
    return {**template, "min": low, "max": high}


def _set_output(model: bytes, known: dict[str, Any], output_range: tuple[float, float]) -> None:
    name = open_model(model).get_output_details()[0]["name"]
    known[name] = _like(known[name], output_range)


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep the converters' progress chatter off the terminal."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
