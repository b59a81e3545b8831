"""A bundle's name from its directory."""

from __future__ import annotations

import re
from pathlib import Path

_OTHER = re.compile(r"[^A-Za-z0-9._+-]+")


def bundle_name(directory: Path) -> str:
    """The directory's name as far as a card allows it, e.g. ``my parts/`` gives ``my-parts``."""
    name = _OTHER.sub("-", directory.resolve().name).lstrip("._+-")[:64]
    return name or "bundle"
