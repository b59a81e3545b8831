"""The published magnetic tiles: a folder per class, and each tile under several exposures."""

from __future__ import annotations

import re
from pathlib import Path

from edgeinspect_tools.data.dataset import GOOD, Picture, Source
from edgeinspect_tools.data.formats.dataset_format import DatasetFormat
from edgeinspect_tools.data.picture_files import pictures_below, with_masks

SAME_TILE_GAP = 100
RESUMED_TILE_GAP = 1000
"""Tiles were taken one after the other, each under the exposures 1 to 6, and the number in the
name counts on. A new tile begins after a gap in the numbers, unless the exposures continue where
they stopped. This is not published, but the numbers show it (most runs hold exactly six) and the
pictures agree. A split that separates these pictures measures memory."""

_TILE_NAME = re.compile(r"exp(\d+)_num_(\d+)")


def read_magnetic_tile(root: Path, good: str) -> Source:
    """``MT_CLASS/Imgs/NAME.jpg`` with ``NAME.png`` as the mask; ``MT_Free`` is good.

    Args:
        good: another class, with or without ``MT_``.
    """
    good = good.removeprefix("mt_") or "free"
    pictures: list[Picture] = []
    groups = _tile_groups(root)
    for folder in sorted(root.glob("MT_*")):
        label = folder.name.removeprefix("MT_").lower()
        label = GOOD if label == good else label
        pictures += [
            Picture(path=path, label=label, mask=mask, group=groups.get(path, ""))
            for path, mask in with_masks(pictures_below(folder))
        ]
    note = "Pictures whose numbers follow each other are taken for one tile under six exposures."
    return Source(kind="magnetic-tile", root=root, pictures=tuple(pictures), notes=(note,))


def _tile_groups(root: Path) -> dict[Path, str]:
    numbered = sorted(
        (int(match[2]), int(match[1]), path)
        for path in root.glob("MT_*/Imgs/*.jpg")
        if (match := _TILE_NAME.fullmatch(path.stem))
    )
    groups: dict[Path, str] = {}
    last_number, last_exposure, first = -RESUMED_TILE_GAP, 0, 0
    for number, exposure, path in numbered:
        gap = number - last_number
        resumed = exposure > last_exposure and gap <= RESUMED_TILE_GAP
        if gap > SAME_TILE_GAP and not resumed:
            first = number
        groups[path] = f"tile {first}"
        last_number, last_exposure = number, exposure
    return groups


MAGNETIC_TILES = DatasetFormat(
    name="magnetic-tile",
    description="magnetic-tile:PATH",
    recognises=lambda path: any(path.glob("MT_*/Imgs")),
    read=read_magnetic_tile,
)
