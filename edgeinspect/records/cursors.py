"""How far each link has sent the records; pruning keeps the records that are still unsent.

The cursors have a database of their own, ``link-cursors.sqlite3`` in the data directory, so that a
link that moves its cursor never makes the station's recorder wait. A position is a value of the
column ``record_seq`` (docs/reference/records.md), which rises in the order in which parts became
durable.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeinspect.files.atomic_file import share_with_group
from edgeinspect.records.durable import database_faults

CURSORS_DATABASE = "link-cursors.sqlite3"
_APPLICATION_ID = 0x45494C43  # "EILC"
_BUSY_TIMEOUT_S = 2.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS link_cursors (
    link TEXT PRIMARY KEY,
    record_seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class LinkCursor:
    """How far one link has come.

    Attributes:
        link: the link's name.
        record_seq: the receiver has acknowledged every record up to this position.
    """

    link: str
    record_seq: int


class LinkCursors:
    """The cursors of one data directory; several programs may use it at once."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / CURSORS_DATABASE

    def move(self, link: str, record_seq: int) -> None:
        """Note durably that everything up to ``record_seq`` was acknowledged.

        The first call registers the link. A cursor never moves back. Raises StorageFault, DiskFull.
        """
        with self._open(writing=True) as connection:
            connection.execute(
                "INSERT INTO link_cursors VALUES (?, ?) ON CONFLICT (link) DO UPDATE"
                " SET record_seq = max(record_seq, excluded.record_seq)",
                (link, record_seq),
            )

    def forget(self, link: str) -> None:
        """Remove a link, so that no records are kept for it. Raises StorageFault."""
        with self._open(writing=True) as connection:
            connection.execute("DELETE FROM link_cursors WHERE link = ?", (link,))

    def lowest(self) -> LinkCursor | None:
        """The cursor that is furthest behind; None without links. Raises StorageFault."""
        if not self._path.exists():
            return None
        with self._open(writing=False) as connection:
            row = connection.execute(
                "SELECT link, record_seq FROM link_cursors ORDER BY record_seq, link LIMIT 1"
            ).fetchone()
        return None if row is None else LinkCursor(*row)

    @contextlib.contextmanager
    def _open(self, *, writing: bool) -> Iterator[sqlite3.Connection]:
        address = f"{self._path.resolve().as_uri()}?mode={'rwc' if writing else 'ro'}"
        with database_faults("access the links' cursors", self._path.parent):
            connection = sqlite3.connect(
                address, uri=True, timeout=_BUSY_TIMEOUT_S if writing else 0, isolation_level=None
            )
            try:
                if writing:
                    connection.execute("PRAGMA synchronous = FULL")
                    connection.execute(_SCHEMA)
                    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                    share_with_group(self._path)
                yield connection
            finally:
                connection.close()
