"""Tiny TFLite models made on the spot, so that tests of the engine need no file."""

from __future__ import annotations

from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

_TYPES = {
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "float32": schema.TensorType.FLOAT32,
}
INT8_SCALE, INT8_ZERO_POINT = 1 / 255, -128


def max_pool_model(
    *,
    height: int = 16,
    width: int = 16,
    channels: int = 1,
    stride: int = 4,
    dtype: str = "int8",
    scale: float = INT8_SCALE,
    zero_point: int = INT8_ZERO_POINT,
    custom_op: str = "",
    outputs: int = 1,
) -> bytes:
    """A model that marks every ``stride`` x ``stride`` cell by its highest value.

    Args:
        custom_op: name of an operator to use in the place of the pooling.
        outputs: how many times the output is declared.
    """
    code = schema.OperatorCodeT()
    builtin = schema.BuiltinOperator.MAX_POOL_2D
    if custom_op:
        builtin = schema.BuiltinOperator.CUSTOM
        code.customCode = custom_op.encode()
    code.builtinCode = builtin
    code.deprecatedBuiltinCode = builtin
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0], [1]
    if not custom_op:
        operator.builtinOptionsType = schema.BuiltinOptions.Pool2DOptions
        operator.builtinOptions = schema.Pool2DOptionsT()
        operator.builtinOptions.strideW = operator.builtinOptions.strideH = stride
        operator.builtinOptions.filterWidth = operator.builtinOptions.filterHeight = stride
    graph = schema.SubGraphT()
    cells = (1, -(-height // stride), -(-width // stride), channels)
    graph.tensors = [
        _tensor(b"picture", (1, height, width, channels), dtype, scale, zero_point),
        _tensor(b"map", cells, dtype, scale, zero_point),
    ]
    graph.inputs, graph.outputs = [0], [1] * outputs
    graph.operators = [operator]
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes, model.subgraphs = [code], [graph]
    model.buffers = [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(name: bytes, shape: tuple[int, ...], dtype: str, scale: float, zero_point: int) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), _TYPES[dtype], 0
    if dtype != "float32":
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = [scale]
        tensor.quantization.zeroPoint = [zero_point]
    return tensor
