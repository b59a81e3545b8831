"""TFLite files made operator by operator."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeinspect.cli.application import run_command_line
from edgeinspect_tools.cli import application

SHARED = Path(os.environ.get("EDGEINSPECT_SHARED", Path(__file__).resolve().parents[3] / "shared"))


def run(*arguments: str) -> int:
    return run_command_line(application, program="edgeinspect-tools", arguments=arguments)


@dataclass
class T:
    """A tensor: shape, dtype, and a constant where it has one."""

    shape: tuple[int, ...] = (1, 8, 8, 4)
    dtype: str = "INT8"
    constant: np.ndarray[Any, Any] | None = None
    signature: tuple[int, ...] | None = None


@dataclass
class Op:
    name: str
    inputs: list[int]
    outputs: list[int]
    options: Any = None
    version: int = 1
    custom: str = ""
    fields: dict[str, int] = field(default_factory=dict)


def made(tensors: list[T], ops: list[Op]) -> bytes:
    """The bytes of a TFLite file; the first tensor is its input, the last its output."""
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    model.operatorCodes, graph = [], schema.SubGraphT()
    model.subgraphs = [graph]
    graph.tensors, graph.operators = [], []
    for number, tensor in enumerate(tensors):
        entry = schema.TensorT()
        entry.name, entry.shape = f"t{number}".encode(), list(tensor.shape)
        entry.shapeSignature = list(tensor.signature) if tensor.signature else None
        entry.type = getattr(schema.TensorType, tensor.dtype)
        entry.buffer = 0
        if tensor.constant is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(tensor.constant.tobytes(), np.uint8)
            entry.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(entry)
    for op in ops:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, op.name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version, code.customCode = op.version, op.custom.encode() or None
        operator = schema.OperatorT()
        operator.opcodeIndex = len(model.operatorCodes)
        operator.inputs, operator.outputs = op.inputs, op.outputs
        if op.options:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, op.options)
            operator.builtinOptions = getattr(schema, op.options + "T")()
            for name, value in op.fields.items():
                setattr(operator.builtinOptions, name, value)
        model.operatorCodes.append(code)
        graph.operators.append(operator)
    graph.inputs, graph.outputs = [0], [len(tensors) - 1]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
