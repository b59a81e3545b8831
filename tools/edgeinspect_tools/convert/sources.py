"""The table of converters: which sources each one takes, its script and its environment."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from edgeinspect.errors import UsageError

TFLITE = "tflite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Converter:
    """How one kind of source becomes a float .tflite.

    Attributes:
        kind: the name of the kind.
        description: for errors.
        suffixes: of the files it takes, in lower case.
        folder_file: the file by which its folders are known; "" where it takes no folder.
        takes_factory: it takes ``file.py::factory``.
        script: in ``scripts/``, run as a process; "" where the source needs no conversion.
        requirements: of the script's own environment; empty where it runs in this one.
        module: that must be importable in this environment, where the script runs in it.
    """

    kind: str
    description: str
    suffixes: tuple[str, ...] = ()
    folder_file: str = ""
    takes_factory: bool = False
    script: str = ""
    requirements: tuple[str, ...] = ()
    module: str = ""

    def takes(self, path: Path, *, factory: bool) -> bool:
        """Whether it converts an existing file or folder, or a factory in a file."""
        if factory:
            return self.takes_factory
        if path.is_dir():
            return bool(self.folder_file) and (path / self.folder_file).is_file()
        return path.suffix.lower() in self.suffixes


# onnx2tf 1.29 pins TensorFlow 2.19 and numpy 1.26; 2.x needs Python 3.12.
_ONNX2TF = "onnx2tf>=2.6,<3" if sys.version_info >= (3, 12) else "onnx2tf>=1.29.24,<1.30"

CONVERTERS: tuple[Converter, ...] = (
    Converter(
        kind="keras",
        description=".keras",
        suffixes=(".keras", ".h5"),
        script="from_keras.py",
        module="tensorflow",
    ),
    Converter(
        kind="savedmodel",
        description="a SavedModel folder",
        folder_file="saved_model.pb",
        script="from_keras.py",
        module="tensorflow",
    ),
    Converter(
        kind="pytorch",
        description=".pt2, model.py::factory",
        suffixes=(".pt2",),
        takes_factory=True,
        script="from_pytorch.py",
        requirements=("litert-torch>=0.10,<0.11", "torch>=2.13,<2.14"),
    ),
    Converter(
        kind="onnx",
        description=".onnx",
        suffixes=(".onnx",),
        script="from_onnx.py",
        requirements=(_ONNX2TF,),
    ),
    Converter(kind=TFLITE, description=".tflite", suffixes=(".tflite",)),
)


def converter_for(source: str) -> Converter:
    """The converter that takes a source: a file, a folder, or ``model.py::factory``.

    Raises:
        UsageError: the source does not exist, or no converter takes it.
    """
    name, mark, _ = source.partition("::")
    path = Path(name)
    if not path.exists():
        raise UsageError(f"{path} does not exist.", next_action="Give the path of a model.")
    for converter in CONVERTERS:
        if converter.takes(path, factory=bool(mark)):
            return converter
    if path.suffix.lower() in (".pt", ".pth"):
        raise UsageError(
            f"{path} holds weights or pickled code, not a program.",
            next_action="Save it with torch.export.save(...) as .pt2, or give model.py::factory "
            "with --weights.",
        )
    if path.is_dir():
        files = [each.folder_file for each in CONVERTERS if each.folder_file]
        raise UsageError(f"{path} is a folder without {' or '.join(files)}.")
    raise UsageError(
        f"{path} is not a kind of model that can be converted.",
        next_action=f"Give one of: {', '.join(each.description for each in CONVERTERS)}.",
    )
