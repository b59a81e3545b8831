"""Keras to a float TFLite model, and that to full int8, with true minimum and maximum ranges."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import ModelRefused
from edgeinspect_tools.flatbuffer import parse_tflite
from edgeinspect_tools.missing import need
from edgeinspect_tools.quantize.dead_channels import with_live_channels

TrueRanges = dict[str, tuple[float, float]]
"""Lowest and highest value of each tensor, by its name."""

SIGNATURE = "serving_default"


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
    ranges: TrueRanges | None = None,
) -> bytes:
    """Full int8 (weights per channel, activations per tensor), int8 input and output.

    The quantizer's own calibration smooths ranges over the samples, which cuts off the rare
    strong activations that defects cause; here every tensor gets the lowest and highest value
    seen in any sample.

    Args:
        samples: inputs in the float model's shape, with the batch axis.
        output_range: range of the output tensor; values outside saturate. None: as seen.
        ranges: instead of those seen in the samples.

    Raises:
        ModelRefused: the quantizer cannot handle the model, or left float inputs or outputs.
        DriverMissing: the quantizer is not installed.
    """
    quantizer = need("ai_edge_quantizer.quantizer")
    recipe = need("ai_edge_quantizer.recipe")
    float_model = with_signature(float_model)
    ranges = seen_ranges(float_model, samples) if ranges is None else ranges
    if output_range is not None:
        ranges = narrowed_to_output(float_model, ranges, output_range)
    float_model = with_live_channels(float_model, ranges)
    with _quiet(), tempfile.TemporaryDirectory() as folder, _refusing("ai-edge-quantizer"):
        source = Path(folder) / "float.tflite"
        source.write_bytes(float_model)
        tool = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
        key, name = _signature_and_input(float_model)
        calibration = tool.calibrate({key: [{name: samples[0]}]}, num_threads=1)
        known = {
            tensor: _like(value, ranges[tensor]) if tensor in ranges else value
            for tensor, value in calibration.items()
        }
        if output_range is not None:
            _set_output(float_model, known, output_range)
        return _checked(bytes(tool.quantize(known, enable_progress_report=False).quantized_model))


def tensorflow_int8(float_model: bytes, samples: Sequence[NDArray[np.float32]]) -> bytes:
    """The same by TensorFlow's post-training quantizer, which also takes true ranges.

    It has no way to state the output's range.

    Raises:
        ModelRefused: it cannot handle the model.
        DriverMissing: TensorFlow is not installed.
    """
    tf = need("tensorflow")
    calibrator = need("tensorflow.lite.python.optimize.calibrator")

    def feed() -> Iterator[list[NDArray[np.float32]]]:
        return ([sample] for sample in samples)

    with _quiet(), _refusing("TensorFlow"):
        tool = calibrator.Calibrator(float_model)
        result = bytes(
            tool.calibrate_and_quantize(
                feed,
                tf.int8,
                tf.int8,
                False,
                activations_type=tf.int8,
                bias_type=tf.int32,
                disable_per_channel=False,
            )
        )
        return _checked(result)


def seen_ranges(float_model: bytes, samples: Sequence[NDArray[np.float32]]) -> TrueRanges:
    """Lowest and highest value of every tensor over all samples, by tensor name."""
    return ranges_holding(float_model, samples, [1.0])[0]


def ranges_holding(
    float_model: bytes, samples: Sequence[NDArray[np.float32]], shares: Sequence[float]
) -> list[TrueRanges]:
    """For each share the ranges that hold so much of every tensor's values in every sample.

    1 gives the true lowest and highest value; below it the rarest values on either side saturate.
    The input's range is always the true one.
    """
    interpreter = open_model(float_model, preserve=True)
    entry = interpreter.get_input_details()[0]["index"]
    tensors = [t for t in interpreter.get_tensor_details() if t["dtype"] is np.float32]
    found: list[TrueRanges] = [{} for _ in shares]
    for sample in samples:
        interpreter.set_tensor(entry, sample)
        interpreter.invoke()
        for tensor in tensors:
            values = _tensor(interpreter, tensor["index"])
            if values is None or values.size == 0:
                continue
            for share, ranges in zip(shares, found, strict=True):
                low, high = ranges.get(tensor["name"], (np.inf, -np.inf))
                bottom, top = _ends_of(values, 1.0 if tensor["index"] == entry else share)
                ranges[tensor["name"]] = (min(low, bottom), max(high, top))
    return found


def _ends_of(values: NDArray[np.float32], share: float) -> tuple[float, float]:
    cut = int(values.size * (1 - share) / 2)
    if cut == 0:
        return float(values.min()), float(values.max())
    ordered = np.partition(values.ravel(), (cut, values.size - 1 - cut))
    return float(ordered[cut]), float(ordered[values.size - 1 - cut])


def narrowed_to_output(
    model: bytes, ranges: TrueRanges, output_range: tuple[float, float]
) -> TrueRanges:
    """The ranges, with that of the output's minuend or first summand as wide as the output needs.

    What saturates there saturates in the output anyway, so finer steps cost nothing.
    """
    last = parse_tflite(model, Path("model.float.tflite")).operators[-1]
    if last.name not in {"ADD", "SUB"} or len(last.inputs) != 2:
        return ranges
    first, second = last.inputs
    if first is None or second is None or not {first.name, second.name} <= ranges.keys():
        return ranges
    low, high = ranges[second.name]
    if last.name == "ADD":
        low, high = -high, -low
    bottom, top = ranges[first.name]
    bottom, top = max(bottom, output_range[0] + low), min(top, output_range[1] + high)
    return {**ranges, first.name: (bottom, top)} if bottom < top else ranges


def open_model(model: bytes, *, preserve: bool = False, reference: bool = False) -> Any:
    """An allocated one-thread interpreter; ``reference`` takes the plain reference kernels.

    Raises:
        ModelRefused: these kernels cannot run the model.
    """
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
    try:
        interpreter.allocate_tensors()
    except RuntimeError as error:
        raise ModelRefused(
            f"The model cannot be run: {str(error).splitlines()[0]}",
            next_action="The usual cause is a layer whose values are almost zero. Train longer, or "
            "start from the weights of a trained network.",
        ) from error
    return interpreter


Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def run_tflite(model: bytes, *, reference: bool = False) -> Run:
    """Runs tiles (n, h, w, c) one by one through a float TFLite model with one output.

    Raises:
        ModelRefused: the kernels cannot run the model.
    """
    interpreter = open_model(model, reference=reference)
    source = interpreter.get_input_details()[0]["index"]
    sink = interpreter.get_output_details()[0]["index"]

    def run(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs = []
        for tile in tiles:
            interpreter.set_tensor(source, tile[None])
            interpreter.invoke()
            outputs.append(np.array(interpreter.get_tensor(sink), np.float32)[0])
        return np.stack(outputs)

    return run


def with_signature(model: bytes) -> bytes:
    """The model with a signature around its input and output, which old converters left out."""
    if open_model(model).get_signature_list():
        return model
    flatbuffers, schema = need("flatbuffers"), need("ai_edge_litert.schema_py_generated")
    graph = schema.ModelT.InitFromPackedBuf(model, 0)
    main = graph.subgraphs[0]

    def named(tensors: Sequence[int]) -> list[Any]:
        maps = []
        for index in tensors:
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = main.tensors[index].name, int(index)
            maps.append(entry)
        return maps

    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE.encode(), 0
    signature.inputs, signature.outputs = named(main.inputs), named(main.outputs)
    graph.signatureDefs = [signature]
    builder = flatbuffers.Builder(len(model) + 1024)
    builder.Finish(graph.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _checked(result: bytes) -> bytes:
    for details in _ends(result):
        if details["dtype"] is not np.int8:
            raise ModelRefused(f"The quantized model's {details['name']} is not int8.")
    return result


@contextlib.contextmanager
def _refusing(tool: str) -> Iterator[None]:
    """Whatever a converter chokes on becomes one sentence."""
    try:
        yield
    except (RuntimeError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelRefused(f"{tool} cannot quantize this model: {lines[0][:200]}") from error


def _tensor(interpreter: Any, index: int) -> NDArray[np.float32] | None:
    try:
        return np.asarray(interpreter.get_tensor(index), dtype=np.float32)
    except ValueError:  # a tensor that the runtime fused away holds nothing
        return None


def _ends(model: bytes) -> list[Mapping[str, Any]]:
    interpreter = open_model(model)
    return [*interpreter.get_input_details(), *interpreter.get_output_details()]


def _signature_and_input(model: bytes) -> tuple[str, str]:
    signatures = open_model(model).get_signature_list()
    key = SIGNATURE if SIGNATURE in signatures else next(iter(signatures))
    return str(key), str(signatures[key]["inputs"][0])


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
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
