"""Channels whose weights are next to nothing but whose bias is not.

Trained networks have them: a batch norm can switch a channel off and leave its offset. An int8
bias is stored in steps of input scale times weight scale; with a weight scale near zero it would
need more than 32 bits, and ``ai-edge-quantizer`` then loses it (seen with 0.10: a bias of -6 under
weights of 1e-7 became 0). TensorFlow's quantizer widens the scale instead, and so do we, by lifting
one weight of the channel to the smallest value whose scale holds the bias.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect_tools.missing import need

_LARGEST_BIAS = 2**30
_WEIGHT_STEPS = 127
_INPUT_STEPS = 255

_CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": -1, "FULLY_CONNECTED": 0}


def with_live_channels(model: bytes, ranges: Mapping[str, tuple[float, float]]) -> bytes:
    """The float model with every bias within reach of its channel's int8 scale.

    Adds to a channel's output at most 1/60,000 of its bias, far below an int8 step; a model without
    such channels comes back as it is.

    Args:
        ranges: lowest and highest value of each tensor, by name.
    """
    flatbuffers, schema = need("flatbuffers"), need("ai_edge_litert.schema_py_generated")
    graph = schema.ModelT.InitFromPackedBuf(model, 0)
    changed = False
    for weights, bias, buffer, axis, source in _layers(graph, schema):
        low, high = ranges.get(source, (0.0, 0.0))
        step = (max(high, 0.0) - min(low, 0.0)) / _INPUT_STEPS
        if step <= 0:
            continue
        needed = np.abs(bias.astype(np.float64)) * _WEIGHT_STEPS / (_LARGEST_BIAS * step)
        by_channel = np.moveaxis(weights, axis, 0)
        flat = np.abs(by_channel).reshape(len(bias), -1).max(axis=1)
        for channel in np.flatnonzero(flat < needed).tolist():
            by_channel[(channel, *[0] * (by_channel.ndim - 1))] = needed[channel]
            changed = True
        buffer.data = np.frombuffer(weights.tobytes(), np.uint8)
    if not changed:
        return model
    builder = flatbuffers.Builder(len(model) + 1024)
    builder.Finish(graph.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _layers(
    graph: Any, schema: Any
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], Any, int, str]]:
    """Weights (a copy), bias, the weights' buffer, channel axis and input name of each layer."""
    codes = {getattr(schema.BuiltinOperator, name): axis for name, axis in _CHANNEL_AXIS.items()}
    main = graph.subgraphs[0]
    for operator in main.operators:
        code = graph.operatorCodes[operator.opcodeIndex]
        axis = codes.get(max(code.builtinCode, code.deprecatedBuiltinCode))
        inputs = [int(index) for index in operator.inputs]
        if axis is None or len(inputs) < 3 or inputs[2] < 0:
            continue
        source, kernel, offset = (main.tensors[index] for index in inputs[:3])
        buffers = [graph.buffers[tensor.buffer] for tensor in (kernel, offset)]
        floats = all(tensor.type == schema.TensorType.FLOAT32 for tensor in (kernel, offset))
        if not floats or any(buffer.data is None for buffer in buffers):
            continue
        weights, bias = (
            np.frombuffer(bytes(bytearray(buffer.data)), "<f4").copy() for buffer in buffers
        )
        name = source.name.decode() if isinstance(source.name, bytes) else str(source.name)
        yield weights.reshape([int(n) for n in kernel.shape]), bias, buffers[0], axis, name
