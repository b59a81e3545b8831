"""A small real bundle for tests: a model that marks every cell by its highest pixel."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from edgeinspect.bundle.card import ClassCard, Fit, Role, Task
from edgeinspect.bundle.directory import Bundle, bundle_digest, sha256_of
from edgeinspect_tools.pack.wrap_model import wrap_model
from tests.helpers.tiny_model import max_pool_model

SPOT = ClassCard(name="spot", role=Role.DEFECT)


def bundle_with_model(folder: Path, source: Path, model: bytes) -> Path:
    """A copy of the bundle ``source`` below ``folder`` with another model and fitting digests.

    Anybody can make one. It lies where the store would put it.
    """
    copy = folder / "copy"
    shutil.copytree(source, copy)
    card = copy / "card.yaml"
    before = sha256_of((copy / "model.tflite").read_bytes())
    (copy / "model.tflite").write_bytes(model)
    card.write_text(card.read_text().replace(before, sha256_of(model)))
    return copy.rename(folder / f"{source.name}-1-{bundle_digest(copy)[:12]}")


def spot_bundle(folder: Path, *, name: str = "spots", **options: Any) -> Bundle:
    """A bundle in ``folder/name``: 16 x 16 grey tiles, stride 4, one defect class."""
    model = max_pool_model()
    path = folder / f"{name}.tflite"
    path.write_bytes(model)
    defaults: dict[str, Any] = {
        "classes": [SPOT],
        "task": Task.SEGMENTATION,
        "fit": Fit.TILES,
        "stride_px": 4,
        "licence": "Apache-2.0",
    }
    return wrap_model(path, folder / name, name=name, **defaults | options)
