"""What a model must be before the station runs it; every refusal is one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeinspect.errors import ModelRefused
from edgeinspect.ports import TensorSpec

_IDENTIFIER = b"TFL3"
_EDGETPU_OP = "edgetpu-custom-op"
_AGAIN = "Fetch or make the model again; do not inspect with this copy."
_FULL_INTEGER = "Quantize it to full integer, with int8 or uint8 inputs and outputs."


def read_model(path: Path) -> bytes:
    """The bytes of a model file. Raises ModelRefused: missing, too large, not TFLite."""
    # Not above: the child that tries models begins sooner without the validators of cards.
    from edgeinspect.bundle.directory import MAX_MODEL_BYTES, read_bounded

    data = read_bounded(path, MAX_MODEL_BYTES)
    check_identifier(data, str(path))
    return data


def check_identifier(model: bytes, source: str) -> None:
    """Raise ModelRefused unless this is a TFLite flatbuffer by its identifier."""
    if not model:
        raise ModelRefused(f"{source} is empty.")
    if model[4:8] != _IDENTIFIER:
        raise ModelRefused(f"{source} is not a TFLite model.")


def refusal(error: Exception, source: str) -> ModelRefused:
    """The library's complaint about a model as one sentence."""
    text = " ".join(str(error).split())
    if _EDGETPU_OP in text:
        return ModelRefused(
            f"{source} is compiled for the Edge TPU, but no Edge TPU delegate is loaded.",
            next_action="Use the CPU model, or set engine.delegate: edgetpu on a machine with one.",
        )
    if "unresolved custom op" in text:
        name = text.split("unresolved custom op:", 1)[1].split(".")[0].strip()
        return ModelRefused(
            f"{source} needs the operator {name}, which no installed runtime supports."
        )
    if "Flatbuffer" in text or "flatbuffer" in text:
        return ModelRefused(f"{source} is truncated or damaged.", next_action=_AGAIN)
    why = text.rstrip(".") or type(error).__name__
    return ModelRefused(f"{source} cannot be run: {why}.", next_action=_AGAIN)


def tensor_spec(details: Mapping[str, Any], role: str, source: str) -> TensorSpec:
    """One entry of the interpreter's tensor details. Raises ModelRefused unless int8 or uint8."""
    dtype = np.dtype(details["dtype"]).name
    if dtype not in ("int8", "uint8"):
        kind = "a float model" if dtype.startswith("float") else "not a full-integer model"
        raise ModelRefused(f"{source} is {kind}: its {role} is {dtype}.", next_action=_FULL_INTEGER)
    scale, zero_point = details["quantization"]
    if not 0 < scale < float("inf"):
        raise ModelRefused(
            f"{source} does not have exactly one scale for its {role}.", next_action=_FULL_INTEGER
        )
    shape = tuple(int(extent) for extent in details["shape"])
    if len(shape) < 2 or shape[0] != 1 or min(shape) < 1:
        raise ModelRefused(f"{source} has an {role} of shape {shape}; expected a batch of 1.")
    return TensorSpec(
        name=str(details["name"]),
        shape=shape,
        dtype=dtype,
        scale=float(scale),
        zero_point=int(zero_point),
    )


def check_against_card(found: TensorSpec, card: TensorSpec, role: str, source: str) -> None:
    """Raise ModelRefused unless the tensor is the one that the card describes."""
    pairs: list[tuple[str, object, object]] = [
        ("shape", found.shape, card.shape),
        ("dtype", found.dtype, card.dtype),
        ("scale", np.float32(found.scale), np.float32(card.scale)),
        ("zero point", found.zero_point, card.zero_point),
    ]
    for what, is_value, expected in pairs:
        if is_value != expected:
            raise ModelRefused(
                f"{source}: the model's {role} has {what} {is_value}, "
                f"but the card states {expected}.",
                next_action="Make the bundle again with edgeinspect-tools.",
            )
