"""What kind of model a source is, and the converter and environment that kind needs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from edgeinspect.errors import UsageError


class Kind(StrEnum):
    KERAS = "keras"
    SAVED_MODEL = "savedmodel"
    PYTORCH = "pytorch"
    ONNX = "onnx"
    TFLITE = "tflite"


@dataclass(frozen=True, slots=True)
class Converter:
    """Attributes:
    script: in ``scripts/``.
    requirements: of its environment; empty for this tool's own.
    module: that must be importable in this tool's own environment, where that is used.
    """

    script: str
    requirements: tuple[str, ...] = ()
    module: str = ""


# onnx2tf 1.29 pins TensorFlow 2.19 and numpy 1.26; 2.x needs Python 3.12.
_ONNX2TF = "onnx2tf>=2.6,<3" if sys.version_info >= (3, 12) else "onnx2tf>=1.29.24,<1.30"

CONVERTERS: Mapping[Kind, Converter] = {
    Kind.KERAS: Converter("from_keras.py", module="tensorflow"),
    Kind.SAVED_MODEL: Converter("from_keras.py", module="tensorflow"),
    Kind.PYTORCH: Converter(
        "from_pytorch.py", requirements=("litert-torch>=0.10,<0.11", "torch>=2.13,<2.14")
    ),
    Kind.ONNX: Converter("from_onnx.py", requirements=(_ONNX2TF,)),
}

_BY_SUFFIX = {
    ".keras": Kind.KERAS,
    ".h5": Kind.KERAS,
    ".pt2": Kind.PYTORCH,
    ".onnx": Kind.ONNX,
    ".tflite": Kind.TFLITE,
}


def kind_of(source: str) -> Kind:
    """What a source is: a SavedModel folder, ``model.py::factory``, or a file by its suffix.

    Raises:
        UsageError: nothing there, or nothing known.
    """
    path = Path(source.partition("::")[0])
    if not path.exists():
        raise UsageError(f"{path} does not exist.", next_action="Name a model.")
    if "::" in source:
        return Kind.PYTORCH
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return Kind.SAVED_MODEL
        raise UsageError(f"{path} is a folder without saved_model.pb.")
    if path.suffix.lower() in (".pt", ".pth"):
        raise UsageError(
            f"{path} holds weights or pickled code, not a program.",
            next_action="Save it with torch.export.save(...) as .pt2, or give model.py::factory "
            "with --weights.",
        )
    kind = _BY_SUFFIX.get(path.suffix.lower())
    if kind is None:
        raise UsageError(
            f"{path} is no model of a known kind.",
            next_action="Known: .keras, a SavedModel, .pt2, model.py::factory, .onnx, .tflite.",
        )
    return kind
