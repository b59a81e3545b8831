"""The checkpoint of an interrupted run, from which it can continue."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import UsageError
from edgeinspect.files.atomic_file import make_folder, replace_file
from edgeinspect.files.json_text import parse_json
from edgeinspect_tools.train.training_settings import TrainSettings

Arrays = list[NDArray[Any]]


@dataclass(slots=True)
class Progress:
    """Everything that a run is made of, besides its settings and data.

    Attributes:
        step: steps done.
        seconds: spent so far.
        stale: validations since the best one.
        best: value of the best validation.
        curves: one entry per validation.
        hard_spots: of good training pictures, by number.
        model, average, optimizer, chosen: variables; ``chosen`` are the best averages so far.
    """

    step: int = 0
    seconds: float = 0.0
    stale: int = 0
    best: float = -1.0
    curves: list[dict[str, float]] = field(default_factory=list)
    hard_spots: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    model: Arrays = field(default_factory=list)
    average: Arrays = field(default_factory=list)
    optimizer: Arrays = field(default_factory=list)
    chosen: Arrays = field(default_factory=list)


_NEWER = (
    *("encoder_stride_px", "contrast", "brightness"),
    *("grain", "good_share", "coverage_gain", "picture_loss"),
)
"""Settings that checkpoints of version 0.1 lack."""

CHECKPOINT_FILE = "checkpoint.npz"

_GROUPS = ("model", "average", "optimizer", "chosen")
_PLAIN = ("step", "seconds", "stale", "best", "curves")


def save(folder: Path, progress: Progress, *, identity: Mapping[str, object]) -> None:
    """Write the checkpoint, whole or not at all. ``identity`` is what a resumed run must share.

    Raises:
        StorageFault: it cannot be written; the checkpoint before it stays.
    """
    state = {name: getattr(progress, name) for name in _PLAIN}
    state["hard_spots"] = {str(key): value for key, value in progress.hard_spots.items()}
    arrays: dict[str, Any] = {
        f"{group}.{number}": array
        for group in _GROUPS
        for number, array in enumerate(getattr(progress, group))
    }
    text = json.dumps({"state": state, "identity": dict(identity)})
    arrays["json"] = np.frombuffer(text.encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    make_folder(folder)
    replace_file(folder / CHECKPOINT_FILE, buffer.getvalue())


def load(folder: Path, *, identity: Mapping[str, object]) -> Progress:
    """Read a checkpoint.

    Raises:
        UsageError: there is none, it cannot be read, or it belongs to another run.
    """
    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        raise UsageError(f"There is nothing to resume: {path} does not exist.")
    try:
        content = io.BytesIO(path.read_bytes())
        with np.load(content, allow_pickle=False) as file:
            found = parse_json(bytes(file["json"]).decode())
            groups = {group: _numbered(file, group) for group in _GROUPS}
        arguments: dict[str, Any] = {name: found["state"][name] for name in _PLAIN} | groups
        progress = Progress(**arguments)
        spots = found["state"]["hard_spots"]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{path} is damaged.", next_action="Delete it and train from the start."
        ) from error
    wanted = json.loads(json.dumps(dict(identity)))
    known = _with_newer_settings(found["identity"])
    other = sorted(key for key in wanted if known.get(key) != wanted[key])
    if other:
        raise UsageError(
            f"{path} belongs to a run with other {', '.join(other)}.",
            next_action="Resume with the same data and options, or train from the start.",
        )
    progress.hard_spots = {
        int(key): [(int(x), int(y)) for x, y in value] for key, value in spots.items()
    }
    return progress


def _with_newer_settings(identity: dict[str, Any]) -> dict[str, Any]:
    """Settings that came after a checkpoint had their default in it."""
    settings = identity.get("settings")
    if not isinstance(settings, dict) or "encoder" not in settings:
        return identity
    if "task" in settings:  # the name of the setting ``method`` until version 0.1
        settings["method"] = settings.pop("task")
    newer = {key: value for key, value in TrainSettings().as_dict().items() if key in _NEWER}
    return {**identity, "settings": newer | settings}


def _numbered(file: Any, group: str) -> Arrays:
    count = sum(1 for name in file.files if name.startswith(f"{group}."))
    return [file[f"{group}.{number}"] for number in range(count)]


def values(variables: Sequence[Any]) -> Arrays:
    """Current values of TensorFlow or Keras variables."""
    return [np.array(variable.numpy()) for variable in variables]


def assign(variables: Sequence[Any], arrays: Arrays) -> None:
    """Set variables to values of the same number and shapes."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
