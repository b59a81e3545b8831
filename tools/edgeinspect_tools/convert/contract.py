"""Bringing a float TFLite file into the bundle's layout: names, fixed batch, one in and one out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeinspect.errors import ModelRefused
from edgeinspect_tools.flatbuffer import Tensor, TfliteModel, parse_tflite
from edgeinspect_tools.missing import need

INPUT_NAME, OUTPUT_NAME = "input", "output"


def normalised(data: bytes, *, source: Path) -> bytes:
    """Check a float model and give its tensors the bundle's names and a fixed batch of 1.

    Raises:
        ModelRefused: not float32, or not one input (1, height, width, channels) and one output;
            the sentence names ``source``.
    """
    _check(parse_tflite(data, source), source)
    schema = need("ai_edge_litert.schema_py_generated")
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    for tensor in graph.tensors:
        tensor.shapeSignature = None
    graph.tensors[graph.inputs[0]].name = INPUT_NAME.encode()
    graph.tensors[graph.outputs[0]].name = OUTPUT_NAME.encode()
    model.signatureDefs = [_signature(schema, graph)]
    builder = need("flatbuffers").Builder(len(data) + 1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    result = bytes(builder.Output())
    _check(parse_tflite(result, source), source)
    return result


def _signature(schema: Any, graph: Any) -> Any:
    def entry(name: str, index: int) -> Any:
        made = schema.TensorMapT()
        made.name, made.tensorIndex = name.encode(), index
        return made

    signature = schema.SignatureDefT()
    signature.signatureKey = b"serving_default"
    signature.subgraphIndex = 0
    signature.inputs = [entry(INPUT_NAME, graph.inputs[0])]
    signature.outputs = [entry(OUTPUT_NAME, graph.outputs[0])]
    return signature


def _check(model: TfliteModel, source: Path) -> None:
    if model.is_compiled:
        raise ModelRefused(f"{source} is compiled for the Edge TPU; a float model is needed.")
    if model.subgraphs != 1:
        raise ModelRefused(f"{source} has {model.subgraphs} subgraphs; one is expected.")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelRefused(
            f"{source} has {len(model.inputs)} inputs and {len(model.outputs)} outputs; one of "
            "each is expected."
        )
    for tensor, role in ((model.inputs[0], "input"), (model.outputs[0], "output")):
        _check_float(tensor, role, source)
    _check_layout(model.inputs[0], model.outputs[0], source)


def _check_float(tensor: Tensor, role: str, source: Path) -> None:
    if tensor.dtype in ("int8", "uint8"):
        raise ModelRefused(
            f"{source} is quantized already: its {role} is {tensor.dtype}.",
            next_action="Give the float model.",
        )
    if tensor.dtype != "float32":
        raise ModelRefused(f"{source} has an {role} of {tensor.dtype}; float32 is expected.")


def _check_layout(taken: Tensor, given: Tensor, source: Path) -> None:
    shape = taken.shape
    if len(shape) == 4 and shape[3] not in (1, 3) and shape[1] in (1, 3):
        raise ModelRefused(
            f"{source} takes {_shown(shape)}, channels first; channels last is expected.",
            next_action="Convert from the PyTorch or ONNX source instead.",
        )
    if len(shape) != 4 or shape[0] != 1 or shape[3] not in (1, 3) or min(shape) < 1:
        raise ModelRefused(
            f"{source} takes {_shown(shape)}; expected 1 x height x width x 1 or 3 channels."
        )
    if len(given.shape) not in (2, 4) or given.shape[0] != 1 or min(given.shape) < 1:
        raise ModelRefused(
            f"{source} gives {_shown(given.shape)}; expected 1 x classes, or 1 x height x width x "
            "classes."
        )


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single value"
