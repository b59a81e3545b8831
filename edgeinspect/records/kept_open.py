"""The writer's open database, and what keeps it where people find it.

Before and after every commit the files' places are compared with what was opened. What is no
longer in its place is named (``DataDisplaced``) and nothing is acknowledged. The next use mends
it: the open file, which has all that was acknowledged, is copied to a new one under the right
name, and what lies in the way is set aside.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeinspect.errors import DataDisplaced, DiskFull, StationBusy, StorageFault, UsageError
from edgeinspect.files.atomic_file import fsync_folder, make_folder
from edgeinspect.files.set_aside import set_aside
from edgeinspect.records.database import (
    DATABASE_NAME,
    LOG_SUFFIXES,
    OpenedDatabase,
    copy_database,
    open_for_writing,
)
from edgeinspect.records.durable import storage_faults
from edgeinspect.records.part_ids import COUNTER_NAME
from edgeinspect.records.records_lock import LOCK_NAME, DataDirectoryLock
from edgeinspect.records.records_place import WatchedPlaces
from edgeinspect.records.ring import IMAGES_FOLDER
from edgeinspect.undo import undo_on_error

COPY_NAME = "records-copy.sqlite3"
"""What is copied from a file without a name; it then becomes the database."""


class KeptOpenDatabase:
    """A data directory's database, locked for this process until ``close``.

    Args:
        data_dir: exists.
        check_limit_s: the integrity check at opening takes no longer than this.
        on_open: told of each opening, to read and write what must come first.

    Raises:
        StationBusy: another process owns the directory.
        StorageFault: it cannot be locked.
    """

    def __init__(
        self, data_dir: Path, *, check_limit_s: float, on_open: Callable[[OpenedDatabase], None]
    ) -> None:
        self._data_dir = data_dir
        self._check_limit_s = check_limit_s
        self._on_open = on_open
        database = data_dir / DATABASE_NAME
        self._database = database
        self._logs = tuple(database.with_name(f"{database.name}{end}") for end in LOG_SUFFIXES)
        self._connection: sqlite3.Connection | None = None
        self._places = WatchedPlaces()
        self._must_mend = False
        self._closed = False
        self._lock = DataDirectoryLock(data_dir)

    @contextlib.contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """The open database, in its place; closed, to be opened anew, by a failing disk.

        Raises:
            DataDisplaced: files were moved; the next use mends it.
            StorageFault, DiskFull: it cannot be opened or mended; so does what happens inside.
        """
        if self._closed:
            raise UsageError("The records are closed.")
        try:
            with storage_faults("use the records", self._data_dir):
                self._mend()
                self.refuse_displaced()
                yield self._connection or self.open()
        except (DiskFull, DataDisplaced):
            raise
        except StorageFault:
            self._close_in_place()
            raise

    def open(self) -> sqlite3.Connection:
        """Open it now; for the start, which tells what it found."""
        opened = open_for_writing(self._data_dir, check_limit_s=self._check_limit_s)
        with undo_on_error(opened.connection.close):
            self._on_open(opened)
        self._connection = opened.connection
        others = (self._data_dir / name for name in (LOCK_NAME, COUNTER_NAME, IMAGES_FOLDER))
        self._places.pin(self._data_dir)
        self._places.remember(self._database, *self._logs)
        self._places.pin(*others)
        return opened.connection

    def remember(self, *paths: Path) -> None:
        """What lies there now was put there by this process."""
        self._places.pin(*paths)

    def refuse_displaced(self) -> None:
        """Raises DataDisplaced if a file is not where it was opened."""
        what = self._places.displaced()
        if what:
            self._must_mend = True
            raise DataDisplaced(
                f"{what} while the station was running.",
                next_action="Leave the data directory alone: the station puts its records back.",
            )

    def close(self, last: Callable[[sqlite3.Connection], None] = lambda connection: None) -> None:
        """Close it, in its place, and release the directory; closing twice is allowed.

        Args:
            last: called with the connection, if it is open.
        """
        if self._closed:
            return
        try:
            if self._connection is not None:
                self._must_mend = True  # once closed, a file without a name is gone
                self._mend()
            if self._connection is not None:
                last(self._connection)
        finally:
            self._closed = True
            self._disconnect()
            self._places.forget()
            self._lock.release()

    def _mend(self) -> None:
        """Put the files back into their places, if they are not there."""
        if self._must_mend and self._places.displaced():
            with storage_faults("put the records back", self._data_dir):
                self._own_folder()
                self._put_database_back()
                self._clear_the_way()
            self.open()
        self._must_mend = False

    def _own_folder(self) -> None:
        """A folder of the old name on the old disk, locked by this process."""
        if not self._places.is_same_disk(self._data_dir):
            raise StorageFault(
                f"{self._data_dir} is not on the disk that it was on when the station started.",
                next_action="Mount that disk again, or restart the station to use this one.",
            )
        make_folder(self._data_dir)
        lock = self._data_dir / LOCK_NAME
        if lock.is_symlink() or (lock.exists() and not lock.is_file()):
            set_aside(lock)
        try:
            self._lock.renew()
        except StationBusy as error:
            raise StorageFault(error.message, next_action=error.next_action) from error

    def _put_database_back(self) -> None:
        mine = [path for path in (self._database, *self._logs) if self._places.is_ours(path)]
        copy = self._data_dir / COPY_NAME
        is_whole = self._connection is None or len(mine) == 1 + len(self._logs)
        if self._connection is not None and not is_whole:
            copy_database(self._connection, copy)
        # SQLite removes the log of the old name when it closes: nobody else's may be there.
        foreign = [
            path.name.removeprefix(DATABASE_NAME)
            for path in (self._database, *self._logs)
            if path not in mine
        ]
        if self._connection is not None or self._database not in mine:
            set_aside(self._database, with_suffixes=foreign)
        self._disconnect()
        if not is_whole:
            copy.replace(self._database)
            fsync_folder(self._data_dir)

    def _clear_the_way(self) -> None:
        images, counter = self._data_dir / IMAGES_FOLDER, self._data_dir / COUNTER_NAME
        if images.is_symlink() or not images.is_dir():
            set_aside(images)
        if not self._places.is_ours(counter):
            set_aside(counter)

    def _close_in_place(self) -> None:
        if self._places.displaced():
            self._must_mend = True  # the open file may be all that there is
        else:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            # Closing moves the log into the database, which a full disk may refuse: no loss.
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
            self._places.forget(*self._logs)  # SQLite removes them
