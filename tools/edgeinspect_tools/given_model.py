"""Model files that somebody hands to the tools."""

from __future__ import annotations

from pathlib import Path

from edgeinspect.hw.model_file import read_model
from edgeinspect.hw.model_probe import try_bare


def read_tried(path: Path) -> bytes:
    """The bytes of a model that has been run in a child process without killing it.

    Raises:
        ModelRefused: missing, too large, not TFLite, or it kills, hangs or bloats the child.
    """
    model = read_model(path)
    try_bare(model, source=str(path))
    return model
