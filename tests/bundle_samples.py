"""A small real bundle for tests: a model that marks every cell by its highest pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_model import max_pool_model

from edgeinspect.bundle.card import ClassCard, Fit, Role, Task
from edgeinspect.bundle.directory import Bundle
from edgeinspect.bundle.wrap import wrap_model
from edgeinspect.hw.litert import Kernels, open_model

SPOT = ClassCard(name="spot", role=Role.DEFECT)


def spot_bundle(folder: Path, *, name: str = "spots", **options: Any) -> Bundle:
    """A bundle in ``folder/name``: 16 x 16 grey tiles, stride 4, one defect class."""
    model = max_pool_model()
    path = folder / f"{name}.tflite"
    path.write_bytes(model)
    reference = open_model(model, source=name, kernels=Kernels.REFERENCE, probe=False)
    defaults: dict[str, Any] = {
        "classes": [SPOT],
        "task": Task.SEGMENTATION,
        "fit": Fit.TILES,
        "stride_px": 4,
        "licence": "Apache-2.0",
    }
    return wrap_model(path, folder / name, reference=reference, name=name, **defaults | options)
