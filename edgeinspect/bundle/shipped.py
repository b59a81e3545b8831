"""The bundles that ship with edgeinspect, in a source checkout and in an installation."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path

from edgeinspect.bundle.card import CARD_FILE
from edgeinspect.errors import ModelRefused

SIM_BUNDLE = "sim-surface"
"""The bundle for the parts of the simulated line."""


def shipped_folders() -> Iterator[Path]:
    """Folders that hold shipped bundles and exist: the checkout's, then the installation's."""
    checkout = Path(__file__).resolve().parents[2]
    candidates = [Path(sysconfig.get_path("data")) / "share" / "edgeinspect" / "models"]
    if (checkout / "pyproject.toml").is_file():
        candidates.insert(0, checkout / "models")
    yield from (folder for folder in candidates if folder.is_dir())


def shipped_bundles() -> list[Path]:
    """The directory of every shipped bundle."""
    return [
        entry
        for folder in shipped_folders()
        for entry in sorted(folder.iterdir())
        if (entry / CARD_FILE).is_file()
    ]


def shipped_bundle(name: str) -> Path:
    """The directory of one shipped bundle. Raises ModelRefused."""
    for directory in shipped_bundles():
        if directory.name == name:
            return directory
    raise ModelRefused(
        f"The bundle {name}, which ships with edgeinspect, is missing.",
        next_action="Reinstall edgeinspect, or run it from a complete checkout.",
    )
