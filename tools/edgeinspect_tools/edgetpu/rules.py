"""The Edge TPU's documented rules, operator by operator.

Source: "TensorFlow models on the Edge TPU" (coral.ai/docs/edgetpu/models-intro), its table of
supported operations for runtime 14 (compiler 16.0, the last one), and its list of requirements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from edgeinspect_tools.flatbuffer import Operator, Tensor

Rule = Callable[[Operator], str]
"""Says why the operator is not mapped; "" if it is."""

ON_CHIP_BYTES = 8 * 1024 * 1024
"""SRAM for parameters and executable; roughly this much, the documentation says."""

SOFTMAX_MAX = 16_000

NEWEST_VERSION = {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 9}
"""Operator versions that compiler 16.0 (TensorFlow 2.5) reads; newer ones it refuses."""

LARGE_RESHAPE = 65_536
"""Values above which a reshape is called large; the documentation gives no figure."""

UNSURE = {
    "RESHAPE": "a reshape of this size may stay on the CPU",
    "RESIZE_BILINEAR": "it may stay on the CPU, depending on its size, to keep precision",
    "RESIZE_NEAREST_NEIGHBOR": "it may stay on the CPU, depending on its size, to keep precision",
}
"""Operators of which the documentation itself does not promise that they are mapped."""


def is_unsure(operator: Operator) -> bool:
    """Whether the documentation promises the mapping only with a reservation."""
    large = math.prod(operator.outputs[0].shape) > LARGE_RESHAPE if operator.outputs else False
    return operator.name in UNSURE and (operator.name != "RESHAPE" or large)


_EIGHT_BITS = ("int8", "uint8")


def reason_against(operator: Operator) -> str:
    """Why this operator would run on the CPU, in a few words; "" if the Edge TPU runs it."""
    if operator.is_custom:
        return "a custom operator"
    rule = _RULES.get(operator.name)
    if rule is None:
        return "not supported by the Edge TPU"
    return _tensors(operator) or rule(operator)


def _tensors(operator: Operator) -> str:
    for tensor in (*operator.inputs, *operator.outputs):
        if tensor is None or tensor.is_variable:
            continue
        if tensor.constant is None:
            if tensor.dtype not in _EIGHT_BITS:
                return f"works on {tensor.dtype}, not on quantized 8-bit integers"
            if any(extent < 1 for extent in tensor.shape) or len(tensor.dense_shape) > 3:
                return _shape_reason(tensor)
        elif tensor.dtype.startswith("float"):
            return "its parameters are not quantized"
    return ""


def _shape_reason(tensor: Tensor) -> str:
    if any(extent < 1 for extent in tensor.shape):
        return f"{tensor.name} has no fixed size"
    shape = " x ".join(map(str, tensor.shape))
    return f"{tensor.name} is {shape}; only the three innermost sizes may exceed 1"


def _always(operator: Operator) -> str:
    del operator
    return ""


def _no_fused_activation(operator: Operator) -> str:
    fused = operator.options.get("fused_activation_function", 0)
    return "it has a fused activation function" if fused else ""


def _constant_parameters(operator: Operator) -> str:
    parameters = [tensor for tensor in operator.inputs[1:] if tensor is not None]
    return "" if all(t.constant is not None for t in parameters) else "its weights are computed"


def _convolution(operator: Operator) -> str:
    dilation = {operator.options.get(f"dilation_{axis}_factor", 1) for axis in "wh"}
    if len(dilation) > 1:
        return "its dilation differs along x and y"
    return _constant_parameters(operator)


def _fully_connected(operator: Operator) -> str:
    if operator.options.get("weights_format", 0):
        return "its weights are not in the default format"
    if len(operator.outputs[0].dense_shape) > 1:
        return "its output has more than one dimension"
    return _constant_parameters(operator)


def _concatenation(operator: Operator) -> str:
    constants = [t for t in operator.inputs if t is not None and t.constant is not None]
    if constants and len(operator.inputs) != 2:
        return "it joins a constant to more than one other tensor"
    if any(np.any(t.values() != (t.zero_points or (0,))[0]) for t in constants):
        return "it joins a constant that is not zero"
    return _no_fused_activation(operator)


def _softmax(operator: Operator) -> str:
    shape = operator.outputs[0].dense_shape
    if len(shape) > 1:
        return "its input has more than one dimension"
    if shape and shape[0] > SOFTMAX_MAX:
        return f"its input has more than {SOFTMAX_MAX} values"
    return ""


def _axes(operator: Operator, at: int) -> list[int] | None:
    tensor = operator.inputs[at] if at < len(operator.inputs) else None
    if tensor is None or tensor.constant is None:
        return None
    return [int(axis) for axis in tensor.values()]


def _reduction(operator: Operator) -> str:
    axes, source = _axes(operator, 1), operator.inputs[0]
    if axes is None or source is None:
        return "its axes are not constant"
    rank = len(source.shape)
    reduced = {axis % rank for axis in axes} if rank else set()
    if 0 in reduced and rank > 1:
        return "it reduces the batch dimension"
    innermost = rank - 1
    if operator.name == "MEAN" and innermost in reduced and source.shape[innermost] % 4:
        return "it averages over a depth that is not a multiple of 4"
    return ""


def _padding(operator: Operator) -> str:
    amounts = _axes(operator, 1)
    if amounts is None:
        return "its padding is not constant"
    source = operator.inputs[0]
    batched = source is not None and len(source.shape) > 3
    return "it pads the batch dimension" if batched and any(amounts[:2]) else ""


def _not_along_batch(operator: Operator) -> str:
    rank = max(1, len(operator.outputs[0].shape))
    axis: int | None = operator.options.get("axis", 0)
    if operator.name == "SPLIT":  # its axis is the first input
        axis = next(iter(_axes(operator, 0) or []), None)
    if axis is None:
        return "its axis is not constant"
    return "it works along the batch dimension" if axis % rank == 0 else ""


def _prelu(operator: Operator) -> str:
    alpha = operator.inputs[1]
    one_dimensional = alpha is not None and len(alpha.dense_shape) <= 1
    return "" if one_dimensional else "its alpha varies along more than the innermost dimension"


def _strided_slice(operator: Operator) -> str:
    strides = _axes(operator, 3)
    if strides is None or any(stride != 1 for stride in strides):
        return "its strides are not all 1"
    if operator.options.get("ellipsis_mask", 0) or operator.options.get("new_axis_mask", 0):
        return "it has an ellipsis or a new axis"
    return ""


_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(
        (
            "ADD", "EXPAND_DIMS", "L2_NORMALIZATION", "LOGISTIC", "LSTM", "MAXIMUM", "MINIMUM",
            "MUL", "QUANTIZE", "RELU", "RELU6", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR",
            "RESIZE_NEAREST_NEIGHBOR", "RSQRT", "SLICE", "SPACE_TO_DEPTH", "SQUARED_DIFFERENCE",
            "SQUEEZE", "SUB", "TANH", "TRANSPOSE", "UNIDIRECTIONAL_SEQUENCE_LSTM",
        ),
        _always,
    ),
    "AVERAGE_POOL_2D": _no_fused_activation,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "FULLY_CONNECTED": _fully_connected,
    "MAX_POOL_2D": _no_fused_activation,
    "MEAN": _reduction,
    "PACK": _not_along_batch,
    "PAD": _padding,
    "PRELU": _prelu,
    "REDUCE_MAX": _reduction,
    "REDUCE_MIN": _reduction,
    "SOFTMAX": _softmax,
    "SPLIT": _not_along_batch,
    "STRIDED_SLICE": _strided_slice,
    "SUM": _reduction,
    "TRANSPOSE_CONV": _always,
}  # fmt: skip
