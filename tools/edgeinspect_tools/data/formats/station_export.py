"""Parts that a station recorded and people labelled: its data directory, or an export of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edgeinspect.errors import UsageError
from edgeinspect.records.needed import LABELS_DATABASE
from edgeinspect_tools.data.dataset import Picture, Source
from edgeinspect_tools.data.formats.csv_labels import read_rows
from edgeinspect_tools.data.formats.dataset_format import DatasetFormat
from edgeinspect_tools.data.formats.labels import by_path, class_label, wrong
from edgeinspect_tools.data.picture_files import file_below

LABELS_FILE = "labels.csv"
DEFECTIVE = "defective"
"""The class of a defective part whose defect has no name."""

_UNSURE = "unsure"


def read_station_export(path: Path, good: str) -> Source:
    """Read labelled parts; the pictures of one part are one group.

    Args:
        path: a station's data directory with its labels; or a CSV file, or a folder with
            ``labels.csv``: columns ``path`` (or ``image``, as ``edgeinspect parts export`` calls
            it), ``label``, and ``part_id`` or ``group``, paths absolute or relative to the file.
            A column ``defect_class`` names the class of what is labelled ``defective``.

    Raises:
        UsageError: the folder holds neither.
        ConfigError: a row is wrong; names file, line, key, value and what was expected.
    """
    if path.is_file():
        return _read_table(path, good)
    if (path / LABELS_FILE).is_file():
        return _read_table(path / LABELS_FILE, good)
    if (path / LABELS_DATABASE).is_file():
        return _read_data_directory(path)
    raise UsageError(
        f"{path} holds neither {LABELS_FILE} nor a station's {LABELS_DATABASE}.",
        next_action="Label parts with edgeinspect label, or name the station's data directory.",
    )


def _read_data_directory(data_dir: Path) -> Source:
    from edgeinspect.labels.label_export import labelled_parts

    found = labelled_parts(data_dir)
    pictures = [Picture(path=p.path, label=p.name, group=p.group) for p in found.pictures]
    return _source(
        data_dir, pictures, unsure=found.unsure, gone=found.without_picture, unlabelled=0
    )


def _read_table(file: Path, good: str) -> Source:
    rows = read_rows(file, ("label",))
    column = "path" if rows and "path" in rows[0][1] else "image"
    if rows and column not in rows[0][1]:
        raise wrong(file, "the header", ",".join(rows[0][1]), "a column 'path' or 'image'", line=1)
    pictures: dict[Path, Picture] = {}
    unsure = gone = unlabelled = 0
    for line, row in rows:
        label, name = row["label"], row.get(column, "")
        if not label:
            unlabelled += 1
        elif label.lower() == _UNSURE:
            unsure += 1
        elif not name:
            gone += 1
        else:
            where = Path(name) if Path(name).is_absolute() else file_below(file.parent, name)
            if where is None or not where.is_file():
                raise wrong(
                    file, column, name, f"a picture, absolute or below {file.parent}", line=line
                )
            if where in pictures:
                raise wrong(file, column, name, "each picture once", line=line)
            named = row.get("defect_class") if label.lower() == DEFECTIVE else ""
            pictures[where] = Picture(
                path=where,
                label=class_label(named or label, good),
                group=row.get("group") or (f"part {row['part_id']}" if row.get("part_id") else ""),
            )
    return _source(
        file.parent, list(pictures.values()), unsure=unsure, gone=gone, unlabelled=unlabelled
    )


def _source(
    folder: Path, pictures: Sequence[Picture], *, unsure: int, gone: int, unlabelled: int
) -> Source:
    folders = [folder.resolve(), *(picture.path.resolve().parent for picture in pictures)]
    notes = (
        (unsure, "parts that people were unsure of were left out."),
        (gone, "labelled parts have no picture any more."),
        (unlabelled, "parts without a label were left out."),
    )
    return Source(
        kind="station-export",
        root=Path(os.path.commonpath(folders)),
        pictures=by_path(
            [Picture(path=p.path.resolve(), label=p.label, group=p.group) for p in pictures]
        ),
        notes=tuple(f"{count} {text}" for count, text in notes if count),
    )


STATION_EXPORT = DatasetFormat(
    name="station-export",
    description="a station's labelled parts",
    recognises=lambda path: (path / LABELS_DATABASE).is_file(),
    read=read_station_export,
)
