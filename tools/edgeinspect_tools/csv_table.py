"""CSV files that people hand to the tools."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from pathlib import Path

from edgeinspect.errors import ConfigError

Row = dict[str, str]
"""A row's cells by column. Missing cells are None; surplus cells are in a list under None."""


def read_table(
    path: Path, required: Sequence[str], *, known: Collection[str] = (), max_bytes: int
) -> tuple[list[str], list[tuple[int, Row]]]:
    """Read a CSV file with a header.

    Args:
        path: the file, in UTF-8 with or without a byte order mark.
        required: columns that must be there.
        known: columns that may be there; empty for any.
        max_bytes: largest size of the file.

    Returns:
        The names of the columns, and the line number and cells of every row.

    Raises:
        ConfigError: the file cannot be read, is too large, or has the wrong columns.
    """

    def wrong(key: str, value: object, expected: str, line: int | None = None) -> ConfigError:
        return ConfigError(file=path, line=line, key=key, value=value, expected=expected)

    try:
        if path.stat().st_size > max_bytes:
            raise wrong("the file", "too large", f"at most {max_bytes} bytes")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or ())
            for name in header:
                if known and name not in known:
                    raise wrong("the header", name, f"columns among {', '.join(known)}", 1)
            for name in required:
                if name not in header:
                    raise wrong("the header", ",".join(header), f"a column {name!r}", 1)
            return header, [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise wrong("the file", str(error), "a readable CSV file in UTF-8") from error
