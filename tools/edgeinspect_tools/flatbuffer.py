"""A TFLite file read without running it: tensors, operators and their options.

The schema's Python code trusts every offset, so a damaged file shows itself as an exception from
deep inside; whatever it is, it becomes one ``ModelRefused``. Vector lengths are held against the
file's size before anything is looped over.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import ModelRefused
from edgeinspect.hw.model_file import check_identifier, read_model
from edgeinspect_tools.missing import need

EDGETPU_OPERATOR = "edgetpu-custom-op"

_DAMAGE = (
    struct.error, IndexError, ValueError, TypeError, OverflowError, AttributeError, KeyError,
    MemoryError, RecursionError,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor of a model.

    Attributes:
        shape: as stored.
        signature: the shape with -1 where the size is open; () if the file does not state it.
        dtype: lower-case TFLite name, e.g. ``int8`` or ``float32``.
        scales: of the affine quantization; empty without one.
        zero_points: of the affine quantization; empty without one.
        constant: its bytes; None for a computed tensor.
        is_variable: its state outlives one invocation.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    constant: NDArray[np.uint8] | None = field(compare=False, repr=False)
    is_variable: bool

    @property
    def dense_shape(self) -> tuple[int, ...]:
        """The shape without leading ones."""
        shape = self.shape
        while shape and shape[0] == 1:
            shape = shape[1:]
        return shape

    def values(self) -> NDArray[Any]:
        """A constant's integers or floats, flat. Raises ValueError for other dtypes."""
        if self.constant is None or self.dtype not in _NUMPY:
            raise ValueError(f"{self.name} has no readable constant")
        return self.constant.view(_NUMPY[self.dtype])


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """An operator of a model.

    Attributes:
        name: the builtin operator's name, or the custom operator's own.
        inputs: tensors; None for an optional input that is left out.
        options: options of the operator, by the schema's field names in snake case.
    """

    index: int
    name: str
    is_custom: bool
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteModel:
    """The first subgraph of a file; ``subgraphs`` says how many there are."""

    path: Path
    size_bytes: int
    subgraphs: int
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def parameter_bytes(self) -> int:
        """Bytes of all constants that operators read."""
        used = {t.index: t for op in self.operators for t in op.inputs if t is not None}
        return sum(t.constant.size for t in used.values() if t.constant is not None)

    @property
    def is_compiled(self) -> bool:
        """Whether a part of it was compiled for the Edge TPU."""
        return any(op.is_custom and op.name == EDGETPU_OPERATOR for op in self.operators)


def read_tflite(path: Path) -> TfliteModel:
    """Read a file's structure.

    Raises:
        ModelRefused: missing, too large, not TFLite, or damaged.
        DriverMissing: the schema is not installed.
    """
    return parse_tflite(read_model(path), path)


def parse_tflite(data: bytes, path: Path) -> TfliteModel:
    """As ``read_tflite``, from bytes; ``path`` is named in errors."""
    check_identifier(data, str(path))
    schema = need("ai_edge_litert.schema_py_generated")
    try:
        return _Parser(schema, data).parse(path)
    except _DAMAGE as error:
        raise ModelRefused(f"{path} is truncated or damaged.") from error


class _Parser:
    def __init__(self, schema: Any, data: bytes) -> None:
        self._schema = schema
        self._data = data
        self._types = _names(schema.TensorType)
        self._builtins = _names(schema.BuiltinOperator)
        self._option_types = _names(schema.BuiltinOptions)

    def parse(self, path: Path) -> TfliteModel:
        model = self._schema.Model.GetRootAs(self._data, 0)
        subgraphs = self._bounded(model.SubgraphsLength())
        if not subgraphs:
            raise ValueError("no subgraph")
        graph = model.Subgraphs(0)
        tensors = tuple(self._tensors(model, graph))
        return TfliteModel(
            path=path,
            size_bytes=len(self._data),
            subgraphs=subgraphs,
            tensors=tensors,
            operators=tuple(self._operators(model, graph, tensors)),
            inputs=tuple(tensors[at] for at in self._list(graph.InputsLength, graph.Inputs)),
            outputs=tuple(tensors[at] for at in self._list(graph.OutputsLength, graph.Outputs)),
        )

    def _tensors(self, model: Any, graph: Any) -> Iterator[Tensor]:
        for at in range(self._bounded(graph.TensorsLength())):
            tensor = graph.Tensors(at)
            quantization = tensor.Quantization()
            scales: list[float] = []
            zero_points: list[int] = []
            if quantization is not None:
                scales = self._list(quantization.ScaleLength, quantization.Scale)
                zero_points = self._list(quantization.ZeroPointLength, quantization.ZeroPoint)
            yield Tensor(
                index=at,
                name=(tensor.Name() or b"").decode("utf-8", "replace"),
                shape=tuple(self._list(tensor.ShapeLength, tensor.Shape)),
                signature=tuple(self._list(tensor.ShapeSignatureLength, tensor.ShapeSignature)),
                dtype=self._types[tensor.Type()].lower(),
                scales=tuple(scales),
                zero_points=tuple(zero_points),
                constant=self._constant(model, tensor.Buffer()),
                is_variable=bool(tensor.IsVariable()),
            )

    def _constant(self, model: Any, index: int) -> NDArray[np.uint8] | None:
        if index == 0:  # by convention: no constant
            return None
        if index >= self._bounded(model.BuffersLength()):
            raise ValueError("no such buffer")
        buffer = model.Buffers(index)
        size = buffer.Size() if hasattr(buffer, "Size") else 0
        if size > 1:  # files above 2 GB and some converters keep the bytes behind the flatbuffer
            start = buffer.Offset()
            if start + size > len(self._data):
                raise ValueError("a buffer beyond the end")
            return np.frombuffer(self._data, np.uint8, size, start)
        if not self._bounded(buffer.DataLength()):
            return None
        return np.asarray(buffer.DataAsNumpy(), np.uint8)

    def _operators(self, model: Any, graph: Any, tensors: tuple[Tensor, ...]) -> Iterator[Operator]:
        for at in range(self._bounded(graph.OperatorsLength())):
            operator = graph.Operators(at)
            code = model.OperatorCodes(operator.OpcodeIndex())
            # Files from before 2020 have the code in a byte that cannot go above 127.
            name = self._builtins[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            is_custom = name == "CUSTOM"
            if is_custom:
                name = (code.CustomCode() or b"").decode("utf-8", "replace")
            inputs = self._list(operator.InputsLength, operator.Inputs)
            outputs = self._list(operator.OutputsLength, operator.Outputs)
            yield Operator(
                index=at,
                name=name,
                is_custom=is_custom,
                version=code.Version(),
                inputs=tuple(None if i < 0 else tensors[i] for i in inputs),
                outputs=tuple(tensors[i] for i in outputs),
                options=self._options(operator),
            )

    def _options(self, operator: Any) -> dict[str, int]:
        kind = self._option_types.get(operator.BuiltinOptionsType(), "NONE")
        table = operator.BuiltinOptions()
        if kind == "NONE" or table is None:
            return {}
        options = getattr(self._schema, kind)()
        options.Init(table.Bytes, table.Pos)
        found: dict[str, int] = {}
        for name in dir(options):
            if name[0].isupper() and name != "Init" and not name.startswith("GetRoot"):
                try:
                    value = getattr(options, name)()
                except TypeError:  # an entry of a vector wants its number
                    continue
                if isinstance(value, (bool, int)):
                    found[re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()] = int(value)
        return found

    def _list(self, length: Callable[[], int], entry: Callable[[int], Any]) -> list[Any]:
        return [entry(at) for at in range(self._bounded(length()))]

    def _bounded(self, length: int) -> int:
        if length > len(self._data):
            raise ValueError("a vector longer than the file")
        return int(length)


_NUMPY: dict[str, Any] = {
    "int8": np.int8, "uint8": np.uint8, "int16": np.int16, "int32": np.int32,
    "int64": np.int64, "float32": np.float32,
}  # fmt: skip


def _names(enumeration: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}
