"""Part ids that are strictly increasing and never given out twice.

The next free id is kept in the database and in a small file beside it. The larger one counts,
together with the ids that the records and the picture files show to be in use.

A restored backup brings an old state of all of these back, so none of them can know which ids
were given out after it was made. What cannot be restored is the running kernel's boot id and the
change time of a file. The database keeps both (the *witness*): only if this is still the same
boot and the same, untouched counter file do the ids go on without a gap. In any other case the
next id is drawn at random far above everything known, so that two lives that grew from one
backup give different ids. docs/reference/records.md has the odds.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path

from edgeinspect.errors import UsageError
from edgeinspect.files.set_aside import set_aside
from edgeinspect.records.database import transaction
from edgeinspect.records.durable import replace_file, storage_faults

COUNTER_NAME = "next-part-id"
MAX_DRAWN_ID = 10**15
"""Exact in JSON, where numbers are doubles, and in spreadsheets, which keep 15 digits."""
_DRAWS = 1_000
"""A draw takes at most this fraction of the ids that are left."""
_IMPLAUSIBLE = 1 << 62
_COUNTER_BYTES = 64

Draw = Callable[[int], int]
"""A random number below its argument, which is at least 1."""


def no_gap(below: int) -> int:
    """In place of chance where parts are only played: nobody else ever knows their ids."""
    del below
    return 0


class PartIds:
    """The ids of one data directory.

    Args:
        data_dir: holds the counter file.
        connection: the database, whose witness decides whether the ids go on without a gap.
        boot_id: of the running kernel; "" if it is not known.
        floor: no id below this one is given out; the picture files say so, and a writer that
            has had this directory open before.
        draw: the source of chance.
    """

    def __init__(
        self,
        data_dir: Path,
        connection: sqlite3.Connection,
        *,
        boot_id: str,
        floor: int = 1,
        draw: Draw = secrets.randbelow,
    ) -> None:
        self._data_dir = data_dir
        self._boot_id = boot_id
        self._floor = _plausible(floor)
        self._draw = draw
        (kept,) = connection.execute("SELECT witness FROM part_id_reservation").fetchone()
        self._goes_on = bool(boot_id and kept) and kept == self._witness()

    def next_part_id(self, connection: sqlite3.Connection) -> int:
        """The lowest id that nothing here has used or reserved."""
        (reserved,) = connection.execute("SELECT next_part_id FROM part_id_reservation").fetchone()
        reserved = _plausible(int(reserved))
        return max(
            reserved, _highest_recorded(connection) + 1, self._floor, self._read_counter(), 1
        )

    def reserve(self, connection: sqlite3.Connection, count: int) -> range:
        """Reserve ``count`` ids, durably, before any part is given one of them."""
        if count < 1:
            raise UsageError("At least one part id must be reserved.")
        first = self.next_part_id(connection)
        if not self._goes_on:
            first += self._draw(max(1, (MAX_DRAWN_ID - first) // _DRAWS))
        self._store(connection, first + count)
        self._goes_on = True
        return range(first, first + count)

    def keep_counter(self, connection: sqlite3.Connection) -> None:
        """Make the counter file anew if it is gone."""
        if not (self._data_dir / COUNTER_NAME).is_file():
            self._store(connection, self.next_part_id(connection))

    def give_back(self, connection: sqlite3.Connection, next_part_id: int) -> None:
        """State that no id from ``next_part_id`` on was given to a part."""
        if next_part_id <= _highest_recorded(connection):
            raise UsageError(f"Part id {next_part_id} is already in use.")
        if self._floor <= next_part_id < self.next_part_id(connection):
            self._store(connection, next_part_id)

    def _store(self, connection: sqlite3.Connection, next_part_id: int) -> None:
        path = self._data_dir / COUNTER_NAME
        with storage_faults("reserve part ids", self._data_dir):
            if path.is_dir():
                set_aside(path)
            replace_file(path, f"{next_part_id}\n".encode("ascii"))
        with transaction(connection, doing="reserve part ids", path=self._data_dir):
            connection.execute(
                "UPDATE part_id_reservation SET next_part_id = ?, witness = ?",
                (next_part_id, self._witness()),
            )

    def _witness(self) -> str:
        """This boot and this very counter file; "" without a file."""
        try:
            found = (self._data_dir / COUNTER_NAME).lstat()
        except OSError:
            return ""
        return f"{self._boot_id} {found.st_dev} {found.st_ino} {found.st_ctime_ns}"

    def _read_counter(self) -> int:
        path = self._data_dir / COUNTER_NAME
        with contextlib.suppress(OSError, ValueError):
            if path.is_file():
                with path.open("rb") as file:
                    return _plausible(int(file.read(_COUNTER_BYTES)))
        return 0


def _plausible(number: int) -> int:
    """0 for what is no id, so that one absurd number does not use up all others."""
    return number if 0 < number < _IMPLAUSIBLE else 0


def _highest_recorded(connection: sqlite3.Connection) -> int:
    query = "SELECT max(part_id) FROM parts WHERE part_id < ?"
    (highest,) = connection.execute(query, (_IMPLAUSIBLE,)).fetchone()
    return highest or 0
