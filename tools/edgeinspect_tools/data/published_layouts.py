"""Published data sets with layouts of their own: DeepPCB and the magnetic tiles."""

from __future__ import annotations

import re
from pathlib import Path

from edgeinspect.errors import ConfigError
from edgeinspect_tools.data.box_labels import main_label
from edgeinspect_tools.data.dataset import GOOD, Box, Picture, Source, Split
from edgeinspect_tools.data.picture_files import file_below, pictures_below, with_masks

PCB_CLASSES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
"""DeepPCB's types 1 to 6."""

SAME_TILE_GAP = 100
RESUMED_TILE_GAP = 1000
"""Tiles were taken one after the other, each under the exposures 1 to 6, and the number in the
name counts on. A new tile begins after a gap in the numbers, unless the exposures go on where
they stopped. Nothing published says so; the numbers do (most runs hold exactly six) and the eye
agrees. A split that parts these pictures measures memory."""

_TILE_NAME = re.compile(r"exp(\d+)_num_(\d+)")


def read_deeppcb(root: Path, good: str) -> Source:
    """DeepPCB with its official split; the defect-free template is each picture's reference.

    ``good`` is not used: every picture has defects.
    """
    del good
    pictures: list[Picture] = []
    for name, split in (("trainval.txt", None), ("test.txt", Split.TEST)):
        file = root / name
        try:
            lines = file.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise _wrong(file, None, "the file", str(error), "DeepPCB's list") from error
        pictures += [
            _pcb(root, file, number, line.split(), split)
            for number, line in enumerate(lines, 1)
            if line.strip()
        ]
    ordered = tuple(sorted(pictures, key=lambda picture: picture.path))
    return Source(kind="deeppcb", root=root, pictures=ordered, official_split=True)


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


def _pcb(root: Path, file: Path, number: int, words: list[str], split: Split | None) -> Picture:
    if len(words) != 2:
        raise _wrong(file, number, "the line", " ".join(words), "a picture and its label file")
    stem = words[0].removesuffix(".jpg")
    for name in (f"{stem}_test.jpg", f"{stem}_temp.jpg", words[1]):
        if file_below(root, name) is None:
            raise _wrong(file, number, "the line", name, f"a file below {root}")
    picture, template = (root / f"{stem}_{end}.jpg" for end in ("test", "temp"))
    boxes = _pcb_boxes(root / words[1])
    return Picture(
        path=picture, label=main_label(boxes), boxes=boxes, split=split, reference=template
    )


def _pcb_boxes(file: Path) -> tuple[Box, ...]:
    boxes = []
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(file, None, "the file", str(error), "a label file") from error
    for number, line in enumerate(text.splitlines(), 1):
        words = line.replace(",", " ").split()
        if not words:
            continue
        try:
            left, top, right, bottom, kind = (int(word) for word in words)
            boxes.append(Box(PCB_CLASSES[kind - 1] if kind > 0 else "", left, top, right, bottom))
        except (ValueError, IndexError) as error:
            raise _wrong(file, number, "the line", line, "x1 y1 x2 y2 type, type 1 to 6") from error
        if not boxes[-1].label or not boxes[-1].area:
            raise _wrong(file, number, "the line", line, "x1 < x2, y1 < y2, type 1 to 6")
    return tuple(boxes)


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


def _wrong(file: Path, line: int | None, key: str, value: object, expected: str) -> ConfigError:
    return ConfigError(file=file, line=line, key=key, value=value, expected=expected)
