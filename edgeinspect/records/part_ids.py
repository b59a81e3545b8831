"""Part ids that strictly increase and are never given out twice.

The next free id is kept in the database and in a small file beside it. The higher one counts, and
so do the ids of the records and of the picture files.

A restored backup restores an old state of all of these, so none of them knows which ids were given
out after the backup was made. A backup cannot restore the running kernel's boot id and the change
time of a file. The database keeps both (the *witness*). The ids continue without a gap only in the
same boot and with the same, untouched counter file. Otherwise the next id is drawn at random far
above every known id, so that two stations restored from one backup give different ids.
docs/reference/records.md has the odds.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path

from edgeinspect.errors import UsageError
from edgeinspect.files.atomic_file import replace_file
from edgeinspect.files.set_aside import set_aside
from edgeinspect.records.database import transaction
from edgeinspect.records.durable import database_faults

COUNTER_NAME = "next-part-id"
MAX_DRAWN_ID = 10**15
"""Exact in JSON, where numbers are doubles, and in spreadsheets, which keep 15 digits."""
_DRAWS = 1_000
"""A draw uses up at most this fraction of the remaining ids."""
_IMPLAUSIBLE = 1 << 62
_COUNTER_BYTES = 64

Draw = Callable[[int], int]
"""A random number below its argument, which is at least 1."""


def no_gap(below: int) -> int:
    """Draws nothing at random, for simulated parts, whose ids nobody else ever sees."""
    del below
    return 0


class PartIds:
    """Gives out the ids of one data directory.

    Args:
        data_dir: holds the counter file.
        connection: the database, whose witness decides whether the ids continue without a gap.
        boot_id: the running kernel's boot id; "" if it is unknown.
        floor: no id below this one is given out, because picture files or an earlier opening by
            this writer use them.
        draw: returns a random number.
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
        """The lowest id that is neither used nor reserved here."""
        (reserved,) = connection.execute("SELECT next_part_id FROM part_id_reservation").fetchone()
        reserved = _plausible(int(reserved))
        return max(
            reserved, _highest_recorded(connection) + 1, self._floor, self._read_counter(), 1
        )

    def reserve(self, connection: sqlite3.Connection, count: int) -> range:
        """Reserve ``count`` ids durably, before any part gets one of them."""
        if count < 1:
            raise UsageError("At least one part id must be reserved.")
        first = self.next_part_id(connection)
        if not self._goes_on:
            first += self._draw(max(1, (MAX_DRAWN_ID - first) // _DRAWS))
        self._store(connection, first + count)
        self._goes_on = True
        return range(first, first + count)

    def keep_counter(self, connection: sqlite3.Connection) -> None:
        """Write the counter file again if it is missing."""
        if not (self._data_dir / COUNTER_NAME).is_file():
            self._store(connection, self.next_part_id(connection))

    def give_back(self, connection: sqlite3.Connection, next_part_id: int) -> None:
        """Return the ids from ``next_part_id`` on: no part got one of them."""
        if next_part_id <= _highest_recorded(connection):
            raise UsageError(f"Part id {next_part_id} is already in use.")
        if self._floor <= next_part_id < self.next_part_id(connection):
            self._store(connection, next_part_id)

    def _store(self, connection: sqlite3.Connection, next_part_id: int) -> None:
        path = self._data_dir / COUNTER_NAME
        with database_faults("reserve part ids", self._data_dir):
            if path.is_dir():
                set_aside(path)
            replace_file(path, f"{next_part_id}\n".encode("ascii"))
        with transaction(connection, doing="reserve part ids", path=self._data_dir):
            connection.execute(
                "UPDATE part_id_reservation SET next_part_id = ?, witness = ?",
                (next_part_id, self._witness()),
            )

    def _witness(self) -> str:
        """A text that identifies this boot and this counter file; "" without a file."""
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
    """0 for a number that cannot be an id, so that it does not use up all others."""
    return number if 0 < number < _IMPLAUSIBLE else 0


def _highest_recorded(connection: sqlite3.Connection) -> int:
    query = "SELECT max(part_id) FROM parts WHERE part_id < ?"
    (highest,) = connection.execute(query, (_IMPLAUSIBLE,)).fetchone()
    return highest or 0
