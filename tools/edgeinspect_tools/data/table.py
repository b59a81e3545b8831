"""CSV labels: ``path,label[,group]``, also as the station exports its parts."""

from __future__ import annotations

import csv
from pathlib import Path

from edgeinspect.errors import ConfigError
from edgeinspect_tools.data.dataset import Picture, Source
from edgeinspect_tools.data.folders import class_label

MAX_BYTES = 64 * 1024 * 1024


def read_csv(path: Path, good: str) -> Source:
    """Read a CSV file with a header; paths are relative to the file's folder.

    Columns: ``path`` and ``label``, and where there is one ``group`` (the same part). Others are
    ignored. Rows with an empty label are left out and counted in a note.
    """
    root = path.parent
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _wrong(path, None, "the file", "too large", f"at most {MAX_BYTES} bytes")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _check_header(path, reader.fieldnames)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _wrong(path, None, "the file", str(error), "a readable CSV file in UTF-8") from error
    pictures: dict[Path, Picture] = {}
    for line, row in rows:
        picture = _picture(path, line, row, good)
        if picture is None:
            continue
        if picture.path in pictures:
            raise _wrong(path, line, "path", row["path"], "each picture once")
        pictures[picture.path] = picture
    unlabelled = len(rows) - len(pictures)
    return Source(
        kind="csv",
        root=root,
        pictures=tuple(pictures[key] for key in sorted(pictures)),
        notes=(f"{unlabelled} rows without a label were left out.",) if unlabelled else (),
    )


def _check_header(path: Path, header: object) -> None:
    names = list(header) if isinstance(header, (list, tuple)) else []
    for column in ("path", "label"):
        if column not in names:
            raise _wrong(path, 1, "the header", ",".join(map(str, names)), f"a column {column!r}")


def _picture(file: Path, line: int, row: dict[str, str | None], good: str) -> Picture | None:
    name, label = (row["path"] or "").strip(), (row["label"] or "").strip()
    if not name:
        raise _wrong(file, line, "path", name, "the name of a picture")
    if not label:
        return None
    where = file.parent / name
    if not where.is_file():
        raise _wrong(file, line, "path", name, f"a file below {file.parent}")
    return Picture(
        path=where, label=class_label(label, good), group=(row.get("group") or "").strip()
    )


def _wrong(file: Path, line: int | None, key: str, value: object, expected: str) -> ConfigError:
    return ConfigError(file=file, line=line, key=key, value=value, expected=expected)
