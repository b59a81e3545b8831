"""Part ids that are strictly increasing and never given out twice.

The next free id is kept in the database and, so that a lost or damaged database cannot bring
old ids back, in a small file beside it. The larger one counts, together with the ids that the
records and the picture files show to be in use.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from edgeinspect.errors import UsageError
from edgeinspect.records.database import transaction
from edgeinspect.records.durable import replace_file, storage_faults

COUNTER_NAME = "next-part-id"
_IMPLAUSIBLE = 1 << 62


class PartIds:
    """The ids of one data directory. ``highest_image_id`` is the highest one among its files."""

    def __init__(self, data_dir: Path, *, highest_image_id: int = 0) -> None:
        self._data_dir = data_dir
        self._floor = highest_image_id + 1 if highest_image_id < _IMPLAUSIBLE else 1

    def next_part_id(self, connection: sqlite3.Connection) -> int:
        """The lowest id that nothing has used or reserved."""
        (reserved,) = connection.execute("SELECT next_part_id FROM part_id_reservation").fetchone()
        return max(
            int(reserved), _highest_recorded(connection) + 1, self._floor, self._read_counter(), 1
        )

    def reserve(self, connection: sqlite3.Connection, count: int) -> range:
        """Reserve ``count`` ids, durably, before any part is given one of them."""
        if count < 1:
            raise UsageError("At least one part id must be reserved.")
        first = self.next_part_id(connection)
        self._store(connection, first + count)
        return range(first, first + count)

    def give_back(self, connection: sqlite3.Connection, next_part_id: int) -> None:
        """State that no id from ``next_part_id`` on was given to a part."""
        if next_part_id <= _highest_recorded(connection) or next_part_id < self._floor:
            raise UsageError(f"Part id {next_part_id} is already in use.")
        if next_part_id < self.next_part_id(connection):
            self._store(connection, next_part_id)

    def _store(self, connection: sqlite3.Connection, next_part_id: int) -> None:
        with storage_faults("reserve part ids", self._data_dir):
            replace_file(self._data_dir / COUNTER_NAME, f"{next_part_id}\n".encode("ascii"))
        with transaction(connection, doing="reserve part ids", path=self._data_dir):
            connection.execute("UPDATE part_id_reservation SET next_part_id = ?", (next_part_id,))

    def _read_counter(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            counter = int((self._data_dir / COUNTER_NAME).read_text(encoding="ascii"))
            return counter if counter < _IMPLAUSIBLE else 0
        return 0


def _highest_recorded(connection: sqlite3.Connection) -> int:
    (highest,) = connection.execute("SELECT max(part_id) FROM parts").fetchone()
    return highest or 0
