"""The table of dataset formats, and the reader that finds out which one a path has."""

from __future__ import annotations

import os
from pathlib import Path

from edgeinspect.errors import UsageError
from edgeinspect_tools.data.dataset import GOOD, Source
from edgeinspect_tools.data.formats.class_folders import FOLDERS
from edgeinspect_tools.data.formats.coco import COCO
from edgeinspect_tools.data.formats.csv_labels import CSV
from edgeinspect_tools.data.formats.dataset_format import DatasetFormat
from edgeinspect_tools.data.formats.deeppcb_pairs import DEEPPCB
from edgeinspect_tools.data.formats.magnetic_tiles import MAGNETIC_TILES
from edgeinspect_tools.data.formats.mvtec import MVTEC
from edgeinspect_tools.data.formats.station_export import STATION_EXPORT
from edgeinspect_tools.data.formats.voc import VOC

FORMATS: tuple[DatasetFormat, ...] = (
    FOLDERS,
    VOC,
    COCO,
    CSV,
    STATION_EXPORT,
    MVTEC,
    MAGNETIC_TILES,
    DEEPPCB,
)
"""Every format. The last one that recognises a path reads it: special ones stand below general
ones."""


def known_formats() -> str:
    """Completes the sentence "A data set is ..."."""
    *others, last = (each.description for each in FORMATS)
    return f"{', '.join(others)} or {last}"


def format_named(name: str) -> DatasetFormat | None:
    """The format of that name, or None."""
    return next((each for each in FORMATS if each.name == name), None)


def read_source(text: str | os.PathLike[str], *, good: str = "") -> Source:
    """Read a data set without decoding a picture.

    Args:
        text: a path, or ``name:path`` with the name of one of ``FORMATS``.
        good: the source's name of the good class, where it is neither ``good`` nor ``ok``.

    Raises:
        UsageError: the path does not exist, or its format is unknown.
        ConfigError: a label file is wrong; names file, line, key, value and what was expected.
    """
    name, _, rest = os.fspath(text).partition(":")
    chosen = format_named(name) if rest else None
    path = Path(rest) if chosen else Path(text)
    if not path.exists():
        raise UsageError(f"{path} does not exist.", next_action="Give the path of a data set.")
    chosen = chosen or _format_of(path)
    source = chosen.read(path, good.lower())
    if not source.pictures:
        raise UsageError(
            f"{path} holds no picture.", next_action=f"A data set is {known_formats()}."
        )
    if good and not chosen.lists_defects_only:
        _check_good(source, good)
    return source


def _check_good(source: Source, good: str) -> None:
    labels = {picture.label for picture in source.pictures}
    if None not in labels and GOOD not in labels:
        raise UsageError(
            f"{source.root}: no class is named {good}; there are "
            f"{', '.join(sorted(label for label in labels if label))}.",
            next_action="Give --good the name of the good class.",
        )


def _format_of(path: Path) -> DatasetFormat:
    for each in reversed(FORMATS):
        if each.recognises(path):
            return each
    raise UsageError(
        f"{path} has no known label format.", next_action=f"A data set is {known_formats()}."
    )
