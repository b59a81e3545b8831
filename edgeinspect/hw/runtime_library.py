"""LiteRT or tflite-runtime, whichever is installed or asked for."""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass
from typing import Any

from edgeinspect.errors import DriverMissing, UsageError

AUTO = "auto"
_LIBRARIES = {
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite-runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
}


@dataclass(frozen=True, slots=True)
class RuntimeLibrary:
    """One of the two libraries, imported.

    Attributes:
        name: "litert" or "tflite-runtime".
        verifies_structure: it checks a file's structure before it follows an offset in it.
        interpreter, resolver_type, load_delegate: the library's own.
    """

    name: str
    version: str
    verifies_structure: bool
    interpreter: Any
    resolver_type: Any
    load_delegate: Any


def load_library(name: str = AUTO) -> RuntimeLibrary:
    """Import the named library; ``auto`` takes LiteRT, else tflite-runtime.

    Raises:
        DriverMissing: it is not installed, or does not work with this numpy.
        UsageError: an unknown name.
    """
    if name != AUTO and name not in _LIBRARIES:
        raise UsageError(
            f"Unknown inference runtime {name!r}; expected auto, {', '.join(_LIBRARIES)}."
        )
    wanted = list(_LIBRARIES) if name == AUTO else [name]
    cause: ImportError | None = None
    for candidate in wanted:
        module_name, distribution = _LIBRARIES[candidate]
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            cause = cause or error
            continue
        return RuntimeLibrary(
            name=candidate,
            version=_version(distribution),
            verifies_structure=candidate == "litert",
            interpreter=module.Interpreter,
            resolver_type=module.OpResolverType,
            load_delegate=module.load_delegate,
        )
    packages = " or ".join(_LIBRARIES[candidate][1] for candidate in wanted)
    install = "edgeinspect[legacy]" if name == "tflite-runtime" else "ai-edge-litert"
    raise DriverMissing(
        f"{packages} is not installed or cannot be loaded: {cause}.",
        next_action=f"Run: pip install '{install}'.",
    ) from cause


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown version"
