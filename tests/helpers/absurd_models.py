"""Models of valid structure and absurd contents: each has once killed, hung or bloated somebody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from tests.helpers.tiny_model import max_pool_model

Edit = Callable[[Any], None]


def edited(edit: Edit, model: bytes | None = None) -> bytes:
    """The model with its unpacked schema objects changed by ``edit(model)``."""
    root = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model or max_pool_model(), 0))
    edit(root)
    builder = flatbuffers.Builder(1024)
    builder.Finish(root.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _graph(model: Any) -> Any:
    return model.subgraphs[0]


def _operator(model: Any) -> Any:
    return _graph(model).operators[0]


def _code(builtin: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = builtin
    code.deprecatedBuiltinCode = min(builtin, 127)
    return code


def _constant(model: Any, dtype: int, shape: list[int], data: bytes) -> int:
    """Add a constant tensor; returns its index."""
    buffer = schema.BufferT()
    buffer.data = list(data)
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = b"constant", shape, dtype
    tensor.buffer = len(model.buffers) - 1
    _graph(model).tensors.append(tensor)
    return len(_graph(model).tensors) - 1


def _wrong_input(index: int) -> Edit:
    def edit(model: Any) -> None:
        _operator(model).inputs = [index]

    return edit


def _wrong_output(index: int) -> Edit:
    def edit(model: Any) -> None:
        _operator(model).outputs = [index]

    return edit


def _no_inputs(model: Any) -> None:
    _operator(model).inputs = []


def _graph_input(index: int) -> Edit:
    def edit(model: Any) -> None:
        _graph(model).inputs = [index]

    return edit


def _wrong_code(model: Any) -> None:
    _operator(model).opcodeIndex = 77


def _other_operator(builtin: int) -> Edit:
    """The operator's options and inputs stay those of a pooling."""

    def edit(model: Any) -> None:
        model.operatorCodes = [_code(builtin)]

    return edit


def _pool(**values: int) -> Edit:
    def edit(model: Any) -> None:
        for name, value in values.items():
            setattr(_operator(model).builtinOptions, name, value)

    return edit


def _without_options(model: Any) -> None:
    _operator(model).builtinOptions = None
    _operator(model).builtinOptionsType = 0


def _shape(*extents: int, tensor: int = 0) -> Edit:
    def edit(model: Any) -> None:
        _graph(model).tensors[tensor].shape = list(extents)

    return edit


def _scale(*scales: float, zero_points: tuple[int, ...] = (0,)) -> Edit:
    def edit(model: Any) -> None:
        for tensor in _graph(model).tensors:
            tensor.quantization.scale = list(scales)
            tensor.quantization.zeroPoint = list(zero_points)

    return edit


def _without_quantization(model: Any) -> None:
    for tensor in _graph(model).tensors:
        tensor.quantization = None


def _wrong_buffer(model: Any) -> None:
    _graph(model).tensors[0].buffer = 9999


def _reshape(*target: int) -> Edit:
    def edit(model: Any) -> None:
        data = b"".join(value.to_bytes(4, "little", signed=True) for value in target)
        wanted = _constant(model, schema.TensorType.INT32, [len(target)], data)
        model.operatorCodes = [_code(schema.BuiltinOperator.RESHAPE)]
        _operator(model).inputs = [0, wanted]
        _without_options(model)

    return edit


def _short_constant(model: Any) -> None:
    """A weight tensor that states more than its buffer holds."""
    weights = _constant(model, schema.TensorType.INT8, [1, 4, 4, 1024], b"\1")
    model.operatorCodes = [_code(schema.BuiltinOperator.DEPTHWISE_CONV_2D)]
    _operator(model).inputs = [0, weights]
    _operator(model).builtinOptionsType = schema.BuiltinOptions.DepthwiseConv2DOptions
    _operator(model).builtinOptions = schema.DepthwiseConv2DOptionsT()
    _operator(model).builtinOptions.strideW = _operator(model).builtinOptions.strideH = 4
    _operator(model).builtinOptions.depthMultiplier = 1024


def _convolution(*, stride: int = 1, groups_of: int = 1, out: int = 1) -> Edit:
    def edit(model: Any) -> None:
        size = out * 3 * 3 * groups_of
        weights = _constant(model, schema.TensorType.INT8, [out, 3, 3, groups_of], b"\1" * size)
        _graph(model).tensors[weights].quantization = _graph(model).tensors[0].quantization
        model.operatorCodes = [_code(schema.BuiltinOperator.CONV_2D)]
        _operator(model).inputs = [0, weights]
        _operator(model).builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
        _operator(model).builtinOptions = schema.Conv2DOptionsT()
        options = _operator(model).builtinOptions
        options.strideW = options.strideH = stride

    return edit


def _negative_axis(axis: int) -> Edit:
    def edit(model: Any) -> None:
        data = axis.to_bytes(4, "little", signed=True)
        wanted = _constant(model, schema.TensorType.INT32, [1], data)
        model.operatorCodes = [_code(schema.BuiltinOperator.REDUCE_MAX)]
        _operator(model).inputs = [0, wanted]
        _operator(model).builtinOptionsType = schema.BuiltinOptions.ReducerOptions
        _operator(model).builtinOptions = schema.ReducerOptionsT()

    return edit


def _while(*, cond: int, body: int, ends: bool) -> Edit:
    """A WHILE over the picture whose condition is a constant."""

    def edit(model: Any) -> None:
        graph = _graph(model)
        flag = schema.BufferT()
        flag.data = [0 if ends else 1]
        model.buffers.append(flag)
        answer = schema.TensorT()
        answer.name, answer.shape, answer.type = b"go on", [], schema.TensorType.BOOL
        answer.buffer = len(model.buffers) - 1
        condition, loop = schema.SubGraphT(), schema.SubGraphT()
        condition.tensors, condition.inputs, condition.outputs = (
            [graph.tensors[0], answer],
            [0],
            [1],
        )
        loop.tensors, loop.inputs, loop.outputs = [graph.tensors[0]], [0], [0]
        condition.operators, loop.operators = [], []
        model.subgraphs += [condition, loop]
        graph.tensors[1].shape = graph.tensors[0].shape
        model.operatorCodes = [_code(schema.BuiltinOperator.WHILE)]
        _operator(model).builtinOptionsType = schema.BuiltinOptions.WhileOptions
        _operator(model).builtinOptions = schema.WhileOptionsT()
        _operator(model).builtinOptions.condSubgraphIndex = cond
        _operator(model).builtinOptions.bodySubgraphIndex = body

    return edit


ABSURD: dict[str, Edit] = {
    "an input tensor that is not there": _wrong_input(999),
    "an input tensor below zero": _wrong_input(-1),
    "an output tensor that is not there": _wrong_output(999),
    "an operator without inputs": _no_inputs,
    "a graph input that is not there": _graph_input(500),
    "an operator code that is not there": _wrong_code,
    "an operator of one input where two belong": _other_operator(schema.BuiltinOperator.CONV_2D),
    "a gather that pools": _other_operator(schema.BuiltinOperator.GATHER),
    "an operator without its options": _without_options,
    "a stride of zero": _pool(strideW=0, strideH=0),
    "a filter beyond all": _pool(filterWidth=2**31 - 1, filterHeight=2**31 - 1),
    "a negative extent": _shape(1, -16, 16, 1),
    "extents that overflow": _shape(1, 2**31 - 1, 2**31 - 1, 3),
    "extents whose product wraps to little": _shape(1, 65536, 65536, 65536),
    "an extent of zero": _shape(1, 0, 16, 1),
    "a gigantic picture": _shape(1, 30_000, 30_000, 4),
    "a thousand extents": _shape(*[1] * 1000),
    "a scale of zero": _scale(0.0),
    "scales without zero points": _scale(0.1, 0.2, 0.3, zero_points=()),
    "a zero point beyond int8": _scale(0.1, zero_points=(100_000,)),
    "no quantization": _without_quantization,
    "a buffer that is not there": _wrong_buffer,
    "a huge reshape": _reshape(2**31 - 1, 2**31 - 1),
    "a constant shorter than its tensor": _short_constant,
    "a convolution with a stride of zero": _convolution(stride=0),
    "a convolution over channels that are not there": _convolution(groups_of=7),
    "an axis beyond the tensor": _negative_axis(-9),
    "a loop that never ends": _while(cond=1, body=2, ends=False),
    "a loop whose body is the graph itself": _while(cond=1, body=0, ends=False),
    "a loop whose condition is the graph itself": _while(cond=0, body=2, ends=False),
    "a loop into graphs that are not there": _while(cond=50, body=-3, ends=True),
}
"""What was done to a model, by words; none of them may be run."""
