"""CSV labels: ``path,label[,group][,reference]``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeinspect.files.csv_cells import restored
from edgeinspect_tools.csv_table import read_table
from edgeinspect_tools.data.dataset import Picture, Source
from edgeinspect_tools.data.formats.dataset_format import DatasetFormat
from edgeinspect_tools.data.formats.labels import class_label, wrong
from edgeinspect_tools.data.picture_files import file_below

MAX_BYTES = 64 * 1024 * 1024


def read_csv(path: Path, good: str) -> Source:
    """Read a CSV file with a header; paths are relative to the file's folder and stay below it.

    Columns: ``path`` and ``label``, and where there is one ``group`` (the same part) and
    ``reference`` (a picture of the product without a defect). Others are ignored. Rows with an
    empty label are left out and counted in a note.
    """
    root = path.parent
    rows = read_rows(path, ("path", "label"))
    pictures: dict[Path, Picture] = {}
    for line, row in rows:
        picture = _picture(path, line, row, good)
        if picture is None:
            continue
        if picture.path in pictures:
            raise wrong(path, "path", row["path"], "each picture once", line=line)
        pictures[picture.path] = picture
    unlabelled = len(rows) - len(pictures)
    return Source(
        kind="csv",
        root=root,
        pictures=tuple(pictures[key] for key in sorted(pictures)),
        notes=(f"{unlabelled} rows without a label were left out.",) if unlabelled else (),
    )


def read_rows(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Line number and content of every row; missing cells at a row's end are empty.

    Raises:
        ConfigError: unreadable, or one of the columns is missing.
    """
    header, rows = read_table(path, columns, max_bytes=MAX_BYTES)
    return [
        (line, {name: restored((row.get(name) or "").strip()) for name in header})
        for line, row in rows
    ]


def _picture(file: Path, line: int, row: dict[str, str], good: str) -> Picture | None:
    name, label = row["path"], row["label"]
    if not name:
        raise wrong(file, "path", name, "the name of a picture", line=line)
    if not label:
        return None
    return Picture(
        path=_below(file, line, "path", name),
        label=class_label(label, good),
        group=row.get("group", ""),
        reference=_reference(file, line, row.get("reference", "")),
    )


def _reference(file: Path, line: int, name: str) -> Path | None:
    return _below(file, line, "reference", name) if name else None


def _below(file: Path, line: int, key: str, name: str) -> Path:
    where = file_below(file.parent, name)
    if where is None:
        raise wrong(file, key, name, f"a file below {file.parent}", line=line)
    return where


CSV = DatasetFormat(
    name="csv",
    description="a CSV path,label[,group]",
    recognises=lambda path: path.is_file() and path.suffix.lower() == ".csv",
    read=read_csv,
)
