"""From a path, or ``layout:path``, to a ``Source``: finds out which layout a data set has."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from edgeinspect.errors import UsageError
from edgeinspect.records.needed import LABELS_DATABASE
from edgeinspect_tools.data import (
    box_labels,
    class_folders,
    csv_labels,
    published_layouts,
    recorded_parts,
)
from edgeinspect_tools.data.dataset import GOOD, Source

Reader = Callable[[Path, str], Source]

READERS: Mapping[str, Reader] = {
    "folders": class_folders.read_folders,
    "mvtec": class_folders.read_mvtec,
    "csv": csv_labels.read_csv,
    "coco": box_labels.read_coco,
    "voc": box_labels.read_voc,
    "deeppcb": published_layouts.read_deeppcb,
    "magnetic-tile": published_layouts.read_magnetic_tile,
    "station-export": recorded_parts.read_station_export,
}
"""Layout name to reader; a reader takes the path and the name of the good class."""

LAYOUTS = (
    "a folder per class with good/ or ok/ among them (masks beside the pictures as NAME.png or "
    "NAME_mask.png, or in masks/), MVTec's train, test and ground_truth, a CSV path,label[,group], "
    "COCO JSON, Pascal VOC XML, a station's labelled parts, deeppcb:PATH or magnetic-tile:PATH"
)


def read_source(text: str | os.PathLike[str], *, good: str = "") -> Source:
    """Read a data set without decoding a picture.

    Args:
        text: a path, or ``layout:path`` with one of ``READERS``.
        good: the source's name of the good class, where it is neither ``good`` nor ``ok``.

    Raises:
        UsageError: nothing there, or no known layout.
        ConfigError: a label file is wrong; names file, line, key, value and what was expected.
    """
    layout, _, rest = os.fspath(text).partition(":")
    if layout in READERS and rest:
        path = Path(rest)
    else:
        path, layout = Path(text), ""
    if not path.exists():
        raise UsageError(f"{path} does not exist.", next_action="Name a data set.")
    layout = layout or _layout_of(path)
    source = READERS[layout](path, good.lower())
    if not source.pictures:
        raise UsageError(f"{path} holds no picture.", next_action=f"A data set is {LAYOUTS}.")
    _check_good(source, good)
    return source


def _check_good(source: Source, good: str) -> None:
    labels = {picture.label for picture in source.pictures}
    if good and source.kind not in ("coco", "voc") and None not in labels and GOOD not in labels:
        raise UsageError(
            f"{source.root}: no class is named {good}; there are "
            f"{', '.join(sorted(label for label in labels if label))}.",
            next_action="Give --good the name of the good class.",
        )


def _layout_of(path: Path) -> str:
    if path.is_file():
        by_suffix = {".csv": "csv", ".json": "coco"}
        if path.suffix.lower() in by_suffix:
            return by_suffix[path.suffix.lower()]
        raise UsageError(
            f"{path} is of no known label format.", next_action=f"A data set is {LAYOUTS}."
        )
    for layout, matches in _MARKS.items():
        if matches(path):
            return layout
    return "folders"


_MARKS: Mapping[str, Callable[[Path], bool]] = {
    "deeppcb": lambda path: (path / "trainval.txt").is_file() and (path / "test.txt").is_file(),
    "magnetic-tile": lambda path: any(path.glob("MT_*/Imgs")),
    "mvtec": lambda path: (path / "test").is_dir() and (path / "ground_truth").is_dir(),
    "station-export": lambda path: (path / LABELS_DATABASE).is_file(),
    "coco": lambda path: box_labels.coco_file(path) is not None,
    "voc": lambda path: any(path.glob("*.xml")) or any(path.glob("Annotations/*.xml")),
}
