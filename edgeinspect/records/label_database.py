"""The database of labels, apart from the records so that neither makes the other wait.

``edgeinspect.labels.label_store`` gives the rows their meaning.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import NamedTuple

from edgeinspect.errors import DataFromNewerVersion, StorageFault
from edgeinspect.files.atomic_file import share_with_group
from edgeinspect.records.database import transaction
from edgeinspect.records.durable import database_faults
from edgeinspect.records.needed import LABELS_DATABASE

_APPLICATION_ID = 0x45494C42  # "EILB"
_VERSION = 1
_BUSY_TIMEOUT_S = 5.0
_SCHEMA = """
CREATE TABLE labels (
    label_id INTEGER PRIMARY KEY,
    part_id INTEGER NOT NULL,
    label TEXT NOT NULL CHECK (label IN ('good', 'defective', 'unsure')),
    defect_class TEXT NOT NULL,
    author TEXT NOT NULL,
    labelled_wall TEXT NOT NULL,
    note TEXT NOT NULL
) STRICT
"""


class LabelRow(NamedTuple):
    """One row of the table ``labels``; ``label_id`` counts up."""

    label_id: int
    part_id: int
    label: str
    defect_class: str
    author: str
    labelled_wall: str
    note: str


class LabelDatabase:
    """The labels of one data directory; several processes may use it at once.

    A missing database has no rows; it is made for the first label.

    Raises:
        DataFromNewerVersion: a newer edgeinspect wrote the labels.
        StorageFault: they cannot be opened.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._connection: sqlite3.Connection | None = None
        if (data_dir / LABELS_DATABASE).exists():
            self._connection = _open(data_dir)

    def add(
        self,
        *,
        part_id: int,
        label: str,
        defect_class: str,
        author: str,
        labelled_wall: str,
        note: str,
    ) -> LabelRow:
        """Write a row durably. Raises StorageFault, DiskFull."""
        if self._connection is None:
            if not self._data_dir.is_dir():
                raise StorageFault(f"The data directory {self._data_dir} does not exist.")
            self._connection = _open(self._data_dir)
        values = (part_id, label, defect_class, author, labelled_wall, note)
        with database_faults("store a label", self._data_dir):
            (label_id,) = self._connection.execute(
                "INSERT INTO labels (part_id, label, defect_class, author, labelled_wall, note)"
                " VALUES (?, ?, ?, ?, ?, ?) RETURNING label_id",
                values,
            ).fetchone()
        return LabelRow(label_id, *values)

    def rows(self, part_id: int | None = None) -> list[LabelRow]:
        """Read the rows of one part, or all of them, oldest first. Raises StorageFault."""
        if self._connection is None:
            return []
        chosen = "" if part_id is None else "WHERE part_id = :part_id"
        with database_faults("read the labels", self._data_dir):
            rows = self._connection.execute(
                f"SELECT {', '.join(LabelRow._fields)} FROM labels {chosen} ORDER BY label_id",  # noqa: S608
                {"part_id": part_id},
            ).fetchall()
        return [LabelRow(*row) for row in rows]

    def close(self) -> None:
        """Close the connection; closing twice is allowed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _open(data_dir: Path) -> sqlite3.Connection:
    path = data_dir / LABELS_DATABASE
    with database_faults("open the labels", data_dir), contextlib.ExitStack() as opened:
        connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        opened.callback(connection.close)
        _prepare(connection, path)
        share_with_group(path)
        opened.pop_all()
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    version = _version(connection)
    if version > _VERSION:
        raise DataFromNewerVersion(
            f"{path} has version {version}; this edgeinspect supports versions up to {_VERSION}.",
            next_action="Update edgeinspect.",
        )
    if version == _VERSION:
        return
    with transaction(connection, doing="create the labels", path=path.parent):
        if _version(connection) == 0:  # unless another process has just made it
            connection.execute(_SCHEMA)
            connection.execute("CREATE INDEX labels_by_part ON labels (part_id)")
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
