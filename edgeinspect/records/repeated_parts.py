"""Records of very many parts, made by repeating a few thousand. For benchmarks only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from edgeinspect.part import PartRecord
from edgeinspect.records.database import open_for_writing
from edgeinspect.records.rows import encode_record

_WALL = "2026-01-01T00:00:00.000000+00:00"
_STAMPS = {
    "recipe_id": 1,
    "start_id": 1,
    "recorded_wall": _WALL,
    "clock_synchronized": 1,
    "recorded_mono_ns": 0,
}


def write_repeated_parts(
    data_dir: Path,
    records: Sequence[PartRecord],
    *,
    parts: int,
    classes: Sequence[str],
    document: str,
) -> None:
    """Make records of ``parts`` parts, as one start of the station would have written them.

    Args:
        data_dir: the data directory to write to.
        records: repeated in their order, all of one recipe; the parts are numbered from 1.
        parts: the number of parts.
        classes: the class names of that recipe; see ``RecordWriter.register_recipe``.
        document: that recipe itself; see ``RecordWriter.register_recipe``.

    Raises:
        StorageFault, DiskFull: they cannot be written.
    """
    rows = [encode_record(record) | _STAMPS for record in records]
    columns = list(rows[0])
    names = ", ".join(columns)
    numbered = ", ".join("n" if name == "part_id" else name for name in columns)
    with closing(open_for_writing(data_dir).connection) as connection:
        connection.execute("PRAGMA synchronous = OFF")  # nobody needs them after a power cut
        connection.execute("BEGIN")
        connection.execute(
            "INSERT INTO starts VALUES (1, 'bench', ?, 0, 1, '', 'new', '', '[]')", (_WALL,)
        )
        recipe = (records[0].recipe_digest, json.dumps(list(classes)), document)
        connection.execute("INSERT INTO recipes VALUES (1, ?, ?, ?)", recipe)
        connection.execute(f"CREATE TEMP TABLE pool ({names})")
        connection.executemany(
            f"INSERT INTO pool ({names}) VALUES ({', '.join('?' * len(columns))})",  # noqa: S608
            [tuple(row.values()) for row in rows],
        )
        connection.execute(
            "WITH RECURSIVE numbers (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM numbers"  # noqa: S608
            f" WHERE n < :parts) INSERT INTO parts ({names}) SELECT {numbered} FROM numbers"
            f" JOIN pool ON pool.rowid = n % {len(rows)} + 1",
            {"parts": parts},
        )
        connection.execute("COMMIT")
