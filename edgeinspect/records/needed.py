"""Which old parts are still needed, so that ``Retention`` keeps their rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeinspect.records.baseline import baseline_range

LABELS_DATABASE = "labels.sqlite3"
"""Written by ``edgeinspect.labels.label_store``; see docs/reference/records.md."""
_FOR_NS = 10_000_000_000
_WAIT_S = 0.05


class NeededParts:
    """Finds the parts of one data directory that stay although they are old."""

    def __init__(self, data_dir: Path) -> None:
        self._labels = data_dir / LABELS_DATABASE
        self._baseline = (0, 0)
        self._read_mono_ns: int | None = None

    def refresh(self, connection: sqlite3.Connection, now_mono_ns: int) -> None:
        """Look for the baseline again, every ten seconds."""
        read = self._read_mono_ns
        if read is None or now_mono_ns - read >= _FOR_NS:
            self._baseline = baseline_range(_Queried(connection)) or (0, 0)
            self._read_mono_ns = now_mono_ns

    def among(self, connection: sqlite3.Connection, part_ids: Sequence[int]) -> set[int]:
        """Those of the parts that are needed, labels left aside. Raises sqlite3.Error."""
        first, last = self._baseline
        ids = (json.dumps(list(part_ids)),)
        needed = {part_id for part_id in part_ids if first <= part_id <= last}
        for statement in (_PICTURED, _ENDS_OF_RUNS):
            needed.update(row[0] for row in connection.execute(statement, ids))
        return needed

    def labelled_among(self, part_ids: Sequence[int]) -> set[int] | None:
        """Those of the parts that are labelled; None if the labels cannot be read now."""
        if not self._labels.exists():
            return set()
        address = f"{self._labels.resolve().as_uri()}?mode=ro"
        try:
            connection = sqlite3.connect(address, uri=True, timeout=_WAIT_S)
            try:
                rows = connection.execute(_LABELLED, (json.dumps(list(part_ids)),)).fetchall()
            finally:
                connection.close()
        except sqlite3.Error:
            return None
        return {row[0] for row in rows}


_CHOSEN = "part_id IN (SELECT value FROM json_each(?))"
_LABELLED = f"SELECT part_id FROM labels WHERE {_CHOSEN}"  # noqa: S608 (constants)
_PICTURED = f"SELECT part_id FROM images WHERE {_CHOSEN}"  # noqa: S608 (constants)
_ENDS_OF_RUNS = (
    f"SELECT part_id FROM parts AS part WHERE {_CHOSEN}"  # noqa: S608 (constants)
    " AND recipe_id <> (SELECT recipe_id FROM parts AS later"
    " WHERE later.part_id > part.part_id ORDER BY later.part_id LIMIT 1)"
)


class _Queried:
    """Lets ``baseline_range`` query the writer's connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def query(self, sql: str, values: dict[str, Any], /) -> list[Any]:
        return self._connection.execute(sql, values).fetchall()
