"""Models and pictures that somebody else published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.card import ClassCard, Role
from edgeinspect.bundle.directory import Bundle
from edgeinspect.hw.runtime_library import load_library
from edgeinspect_tools.pack.wrap_model import wrap_model


def numbered_classes(count: int) -> list[ClassCard]:
    """A classifier's classes by number; the first, the background, is the good one."""
    roles = [Role.GOOD] + [Role.DEFECT] * (count - 1)
    return [ClassCard(name=str(index), role=role) for index, role in enumerate(roles)]


def wrap(model: Path, out_dir: Path, classes: int, **options: Any) -> Bundle:
    return wrap_model(
        model,
        out_dir,
        classes=numbered_classes(classes),
        name=model.stem,
        **options,
    )


def picture(path: Path) -> NDArray[np.uint8]:
    stored = cv2.imread(str(path))
    assert stored is not None, path
    pixels = cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)
    return np.asarray(pixels, np.uint8)


def bare_outputs(model: bytes, values: NDArray[Any]) -> NDArray[Any]:
    """The plain interpreter, as any example of its use has it."""
    interpreter = load_library().interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values[None])
    interpreter.invoke()
    result: NDArray[Any] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
    return result
