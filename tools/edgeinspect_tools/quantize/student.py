"""A float TFLite graph in TensorFlow with the rounding of int8 in it, so that it can be trained.

Weights are rounded per output channel, every operator's output per tensor, just where the int8
file has them. Rounding lets gradients through as if it were not there, and an activation's scale
learns with the weights: clipping and rounding both have a gradient (learned step size,
Esser et al. 2020). Batch norms are folded already, because this is the graph that is quantized.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import ModelRefused
from edgeinspect_tools.flatbuffer import Operator, Tensor, parse_tflite
from edgeinspect_tools.missing import need

Ranges = Mapping[str, tuple[float, float]]

_LOW, _HIGH = -128, 127
_PADDING = ("SAME", "VALID")
_RELU, _RELU6 = 1, 3
_SMALLEST = 1e-8
_SCALE_PACE = 12.0
"""How much faster a scale may move than a weight, both relative to themselves."""

_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_KEEPS_SCALE = frozenset(
    {"RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "MAX_POOL_2D", "AVERAGE_POOL_2D",
     "PAD"}
)  # fmt: skip
"""Operators whose int8 output has the input's scale."""


class Student:
    """The graph as a function of its input, its weights and its scales.

    Args:
        model: float TFLite.
        ranges: of every tensor, to begin with; those of ``fixed`` stay.
        fixed: names of tensors whose range is not learned.

    Raises:
        ModelRefused: an operator is not among those that can be trained here.
        DriverMissing: TensorFlow is not installed.
    """

    def __init__(self, model: bytes, ranges: Ranges, *, fixed: Sequence[str] = ()) -> None:
        self._tf = need("tensorflow")
        self._bytes = model
        self._graph = parse_tflite(model, Path("model.float.tflite"))
        if len(self._graph.inputs) != 1 or len(self._graph.outputs) != 1:
            raise ModelRefused("Only a model with one input and one output can be fine-tuned.")
        strange = {op.name for op in self._graph.operators} - set(_RUN) - set(_LAYERS)
        if strange:
            raise ModelRefused(f"Fine-tuning does not support {', '.join(sorted(strange))}.")
        self._rounders: dict[int, _Rounder] = {}
        self._layers: dict[int, _Layer] = {}
        entry = self._graph.inputs[0]
        self._rounders[entry.index] = self._rounder(entry, ranges, {*fixed, entry.name})
        for op in self._graph.operators:
            self._add(op, ranges, set(fixed))

    @property
    def variables(self) -> list[Any]:
        """What can be trained."""
        scales = {id(r): r.log_scale for r in self._rounders.values() if r.log_scale is not None}
        return [v for layer in self._layers.values() for v in layer.variables] + [*scales.values()]

    def __call__(self, samples: Any) -> Any:
        """The outputs of real inputs (n, height, width, channels), rounded as int8 rounds them."""
        values = {self._graph.inputs[0].index: samples}
        values[self._graph.inputs[0].index] = self._rounded(self._graph.inputs[0], samples)
        for op in self._graph.operators:
            taken = [None if t is None else self._value(t, values) for t in op.inputs]
            run = _RUN.get(op.name)
            value = (
                self._layers[op.index].run(taken[0]) if run is None else run(self._tf, taken, op)
            )
            value = _activated(self._tf, value, op)
            values[op.outputs[0].index] = self._rounded(op.outputs[0], value)
        return values[self._graph.outputs[0].index]

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The learned range of every activation, by tensor name."""
        named = {tensor.index: tensor.name for tensor in self._graph.tensors}
        return {named[index]: rounder.range() for index, rounder in self._rounders.items()}

    def float_model(self) -> bytes:
        """The float model with the weights as they are now."""
        flatbuffers, schema = need("flatbuffers"), need("ai_edge_litert.schema_py_generated")
        graph = schema.ModelT.InitFromPackedBuf(self._bytes, 0)
        tensors = graph.subgraphs[0].tensors
        for layer in self._layers.values():
            for index, values in layer.constants():
                buffer = schema.BufferT()
                buffer.data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)
                tensors[index].buffer = len(graph.buffers)
                graph.buffers.append(buffer)
        builder = flatbuffers.Builder(len(self._bytes) * 2)
        builder.Finish(graph.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _add(self, op: Operator, ranges: Ranges, fixed: set[str]) -> None:
        if op.name in _LAYERS:
            self._layers[op.index] = _Layer(self._tf, op)
        output = op.outputs[0]
        first = op.inputs[0]
        if op.name in _KEEPS_SCALE and first is not None and first.index in self._rounders:
            self._rounders[output.index] = self._rounders[first.index]
        else:
            self._rounders[output.index] = self._rounder(output, ranges, fixed)

    def _rounder(self, tensor: Tensor, ranges: Ranges, fixed: set[str]) -> _Rounder:
        if tensor.name not in ranges:
            raise ModelRefused(f"{tensor.name} has no calibrated range.")
        return _Rounder(self._tf, ranges[tensor.name], learned=tensor.name not in fixed)

    def _rounded(self, tensor: Tensor, value: Any) -> Any:
        return self._rounders[tensor.index].rounded(value)

    def _value(self, tensor: Tensor, values: Mapping[int, Any]) -> Any:
        if tensor.index in values:
            return values[tensor.index]
        return tensor.values().reshape(tensor.shape)


class _Rounder:
    """One activation's int8 grid: its zero point stays, its scale may learn."""

    def __init__(self, tf: Any, wanted: tuple[float, float], *, learned: bool) -> None:
        low, high = min(wanted[0], 0.0), max(wanted[1], 0.0)
        self._tf = tf
        self._scale = max((high - low) / (_HIGH - _LOW), _SMALLEST)
        self._zero_point = min(_HIGH, max(_LOW, round(_LOW - low / self._scale)))
        self.log_scale = tf.Variable(0.0) if learned else None

    def rounded(self, value: Any) -> Any:
        scale = self._scale
        if self.log_scale is not None:
            scale = scale * self._tf.exp(_SCALE_PACE * self.log_scale)
        steps = _straight_through(self._tf, value / scale)
        zero = self._zero_point
        return self._tf.clip_by_value(steps, float(_LOW - zero), float(_HIGH - zero)) * scale

    def range(self) -> tuple[float, float]:
        scale = self._scale
        if self.log_scale is not None:
            scale *= math.exp(_SCALE_PACE * float(self.log_scale))
        return (_LOW - self._zero_point) * scale, (_HIGH - self._zero_point) * scale


class _Layer:
    """A convolution or dense layer; weights move in units of their own size."""

    def __init__(self, tf: Any, op: Operator) -> None:
        kernel, self._bias_tensor = op.inputs[1], op.inputs[2] if len(op.inputs) > 2 else None
        if kernel is None or kernel.constant is None:
            raise ModelRefused(f"{op.outputs[0].name} has no constant weights to fine-tune.")
        self._tf, self._op, self._kernel_tensor = tf, op, kernel
        self._kernel = self._ordered(kernel.values().reshape(kernel.shape))
        self._unit = _unit(self._kernel)
        count = self._kernel.shape[-1]
        self._bias = np.zeros(count, np.float32)
        if self._bias_tensor is not None and self._bias_tensor.constant is not None:
            self._bias = self._bias_tensor.values().astype(np.float32)
        largest = np.abs(self._kernel).max(axis=tuple(range(self._kernel.ndim - 1)))
        self._bias_unit = np.abs(self._bias) + largest
        self._kernel_moved = tf.Variable(tf.zeros(self._kernel.shape))
        self._bias_moved = tf.Variable(tf.zeros(count))
        self.variables = [self._kernel_moved] + [self._bias_moved] * (self._bias_tensor is not None)

    def run(self, x: Any) -> Any:
        tf, options = self._tf, self._op.options
        kernel, bias = self._now()
        largest = tf.reduce_max(tf.abs(kernel), axis=list(range(len(kernel.shape) - 1)))
        scale = tf.stop_gradient(tf.maximum(largest / _HIGH, _SMALLEST))
        kernel = _straight_through(tf, kernel / scale) * scale
        if self._op.name == "FULLY_CONNECTED":
            return tf.matmul(tf.reshape(x, (-1, self._kernel.shape[0])), kernel) + bias
        strides = [options["stride_h"], options["stride_w"]]
        dilations = [options.get("dilation_h_factor", 1), options.get("dilation_w_factor", 1)]
        padding = _PADDING[options["padding"]]
        if self._op.name == "CONV_2D":
            # conv2d has no gradient for dilated kernels on a CPU; convolution takes them apart.
            return tf.nn.convolution(x, kernel, strides, padding, dilations=dilations) + bias
        kernel = tf.reshape(kernel, (*self._kernel.shape[:2], x.shape[-1], -1))
        stride = [1, *strides, 1]
        return tf.nn.depthwise_conv2d(x, kernel, stride, padding, dilations=dilations) + bias

    def constants(self) -> list[tuple[int, NDArray[np.float32]]]:
        """Tensor number and values, as the file has them, of weights and bias."""
        kernel, bias = (np.asarray(value, np.float32) for value in self._now())
        found = [(self._kernel_tensor.index, self._stored(kernel))]
        if self._bias_tensor is not None:
            found.append((self._bias_tensor.index, bias))
        return found

    def _now(self) -> tuple[Any, Any]:
        return (
            self._kernel + self._unit * self._kernel_moved,
            self._bias + self._bias_unit * self._bias_moved,
        )

    def _ordered(self, stored: NDArray[np.float32]) -> NDArray[np.float32]:
        """Output channels last: TFLite has (out, h, w, in), (1, h, w, channels), (out, in)."""
        if self._op.name == "CONV_2D":
            return stored.transpose(1, 2, 3, 0)
        return stored[0] if self._op.name == "DEPTHWISE_CONV_2D" else stored.T

    def _stored(self, ordered: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._op.name == "CONV_2D":
            return ordered.transpose(3, 0, 1, 2)
        return ordered[None] if self._op.name == "DEPTHWISE_CONV_2D" else ordered.T


def _unit(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """The size of the weights of an input and an output channel, whichever is smaller.

    A channel that one layer makes loud and the next one hushes keeps its balance this way.
    """
    squares = kernel.astype(np.float64) ** 2
    last = kernel.ndim - 1
    by_output = squares.mean(axis=tuple(range(last)), keepdims=True)
    by_input = squares.mean(axis=(*range(last - 1), last), keepdims=True)
    return np.asarray(np.sqrt(np.minimum(by_output, by_input)) + _SMALLEST, np.float32)


def _straight_through(tf: Any, steps: Any) -> Any:
    return steps + tf.stop_gradient(tf.round(steps) - steps)


def _activated(tf: Any, value: Any, op: Operator) -> Any:
    kind = op.options.get("fused_activation_function", 0)
    if kind == _RELU:
        return tf.nn.relu(value)
    if kind == _RELU6:
        return tf.nn.relu6(value)
    if kind:
        raise ModelRefused(
            f"{op.outputs[0].name} has an activation that fine-tuning does not support."
        )
    return value


def _pooled(tf: Any, pool: str, value: Any, op: Operator) -> Any:
    options = op.options
    window = [options["filter_height"], options["filter_width"]]
    strides = [options["stride_h"], options["stride_w"]]
    return getattr(tf.nn, pool)(value, window, strides, _PADDING[options["padding"]])


def _resized(tf: Any, kernel: str, taken: Sequence[Any], op: Operator) -> Any:
    return getattr(tf.raw_ops, kernel)(
        images=taken[0],
        size=tf.constant(taken[1], tf.int32),
        align_corners=bool(op.options.get("align_corners", 0)),
        half_pixel_centers=bool(op.options.get("half_pixel_centers", 0)),
    )


def _reduced(tf: Any, reduce: str, taken: Sequence[Any], op: Operator) -> Any:
    axes = [int(axis) for axis in np.ravel(taken[1])]
    return getattr(tf, reduce)(taken[0], axis=axes, keepdims=bool(op.options.get("keep_dims", 0)))


def _reshaped(tf: Any, value: Any, op: Operator) -> Any:
    return tf.reshape(value, (-1, *op.outputs[0].shape[1:]))


_RUN: Mapping[str, Callable[[Any, Sequence[Any], Operator], Any]] = {
    "ADD": lambda tf, taken, op: taken[0] + taken[1],
    "SUB": lambda tf, taken, op: taken[0] - taken[1],
    "MUL": lambda tf, taken, op: taken[0] * taken[1],
    "ABS": lambda tf, taken, op: tf.abs(taken[0]),
    "RELU": lambda tf, taken, op: tf.nn.relu(taken[0]),
    "RELU6": lambda tf, taken, op: tf.nn.relu6(taken[0]),
    "PAD": lambda tf, taken, op: tf.pad(taken[0], taken[1]),
    "MEAN": lambda tf, taken, op: _reduced(tf, "reduce_mean", taken, op),
    "REDUCE_MAX": lambda tf, taken, op: _reduced(tf, "reduce_max", taken, op),
    "CONCATENATION": lambda tf, taken, op: tf.concat(taken, op.options.get("axis", -1)),
    "RESHAPE": lambda tf, taken, op: _reshaped(tf, taken[0], op),
    "MAX_POOL_2D": lambda tf, taken, op: _pooled(tf, "max_pool2d", taken[0], op),
    "AVERAGE_POOL_2D": lambda tf, taken, op: _pooled(tf, "avg_pool2d", taken[0], op),
    "RESIZE_BILINEAR": lambda tf, taken, op: _resized(tf, "ResizeBilinear", taken, op),
    "RESIZE_NEAREST_NEIGHBOR": lambda tf, taken, op: _resized(
        tf, "ResizeNearestNeighbor", taken, op
    ),
}
