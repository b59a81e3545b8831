"""The files of a finished run: the float model, ``run.json`` and ``curves.png``."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import edgeinspect
from edgeinspect.files.atomic_file import replace_file
from edgeinspect_tools.quantize.draft_bundle import FLOAT_MODEL, RUN_FILE

CURVES_FILE = "curves.png"
_LIBRARIES = ("tensorflow-cpu", "tensorflow", "keras", "numpy", "opencv-python-headless")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRun:
    """A finished run.

    Attributes:
        folder: where its files are.
        model: the float model's path; it gives raw logits.
        description: the content of ``run.json``.
    """

    folder: Path
    model: Path
    description: dict[str, Any] = field(repr=False)


def write_outcome(folder: Path, float_model: bytes, description: Mapping[str, Any]) -> TrainedRun:
    """Write the run's files; ``run.json`` last, so that a run without it is not finished.

    Raises:
        StorageFault: they cannot be written.
    """
    (folder / RUN_FILE).unlink(missing_ok=True)
    replace_file(folder / FLOAT_MODEL, float_model)
    replace_file(folder / CURVES_FILE, draw_curves(description["curves"]))
    full = {
        "format": 1,
        **description,
        "model": {"file": FLOAT_MODEL, "sha256": hashlib.sha256(float_model).hexdigest()},
        "versions": versions(),
    }
    replace_file(folder / RUN_FILE, (json.dumps(full, indent=1) + "\n").encode())
    return TrainedRun(folder=folder, model=folder / FLOAT_MODEL, description=full)


def versions() -> dict[str, str]:
    """Of the program, the interpreter and the libraries that shape the result."""
    found = {"edgeinspect": edgeinspect.__version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def draw_curves(curves: Sequence[Mapping[str, float]]) -> bytes:
    """Every curve over the steps as a PNG, each in a panel of its own."""
    names = [name for name in (curves[0] if curves else {}) if name != "step"]
    panels = [_panel(name, curves) for name in names]
    picture = np.vstack(panels) if panels else np.full((60, 640, 3), 255, np.uint8)
    return bytes(cv2.imencode(".png", picture)[1].tobytes())


def _panel(name: str, curves: Sequence[Mapping[str, float]]) -> NDArray[np.uint8]:
    height, width, left, top, right, bottom = 200, 640, 60, 30, 20, 30
    panel = np.full((height, width, 3), 255, np.uint8)
    points = [(entry["step"], entry[name]) for entry in curves if name in entry]
    steps, values = (np.array(column, np.float64) for column in zip(*points, strict=True))
    low, high = float(values.min()), float(values.max())
    across = (steps / max(1.0, float(steps.max()))) * (width - left - right) + left
    down = height - bottom - (values - low) / max(high - low, 1e-9) * (height - top - bottom)
    line = np.stack([across, down], axis=1).round().astype(np.int32)
    cv2.rectangle(panel, (left, top), (width - right, height - bottom), (200, 200, 200), 1)
    cv2.polylines(panel, [line.reshape(-1, 1, 2)], False, (160, 80, 0), 2, cv2.LINE_AA)
    for text, x, y in (
        (name, left, 20),
        (f"{high:.4g}", 4, top + 8),
        (f"{low:.4g}", 4, height - bottom),
        (f"step {int(steps.max())}", width - 110, height - 10),
    ):
        cv2.putText(panel, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (60, 60, 60), 1)
    return panel
