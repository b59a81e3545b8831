"""DeepPCB: each picture of a circuit board with one of a good board, and a list of boxes."""

from __future__ import annotations

from pathlib import Path

from edgeinspect_tools.data.dataset import Box, Picture, Source, Split
from edgeinspect_tools.data.formats.dataset_format import DatasetFormat
from edgeinspect_tools.data.formats.labels import by_path, main_label, wrong
from edgeinspect_tools.data.picture_files import file_below

PCB_CLASSES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
"""DeepPCB's types 1 to 6."""


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
            raise wrong(file, "the file", str(error), "DeepPCB's list") from error
        pictures += [
            _pcb(root, file, number, line.split(), split)
            for number, line in enumerate(lines, 1)
            if line.strip()
        ]
    return Source(kind="deeppcb", root=root, pictures=by_path(pictures), official_split=True)


def _pcb(root: Path, file: Path, number: int, words: list[str], split: Split | None) -> Picture:
    if len(words) != 2:
        raise wrong(file, "the line", " ".join(words), "a picture and its label file", line=number)
    stem = words[0].removesuffix(".jpg")
    for name in (f"{stem}_test.jpg", f"{stem}_temp.jpg", words[1]):
        if file_below(root, name) is None:
            raise wrong(file, "the line", name, f"a file below {root}", line=number)
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
        raise wrong(file, "the file", str(error), "a label file") from error
    for number, line in enumerate(text.splitlines(), 1):
        words = line.replace(",", " ").split()
        if not words:
            continue
        try:
            left, top, right, bottom, kind = (int(word) for word in words)
            boxes.append(Box(PCB_CLASSES[kind - 1] if kind > 0 else "", left, top, right, bottom))
        except (ValueError, IndexError) as error:
            raise wrong(
                file, "the line", line, "x1 y1 x2 y2 type, type 1 to 6", line=number
            ) from error
        if not boxes[-1].label or not boxes[-1].area:
            raise wrong(file, "the line", line, "x1 < x2, y1 < y2, type 1 to 6", line=number)
    return tuple(boxes)


DEEPPCB = DatasetFormat(
    name="deeppcb",
    description="deeppcb:PATH",
    recognises=lambda path: (path / "trainval.txt").is_file() and (path / "test.txt").is_file(),
    read=read_deeppcb,
    aligned_references=True,
)
