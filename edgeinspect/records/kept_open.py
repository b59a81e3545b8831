"""The writer's open database, kept at its path even if somebody moves or deletes the files.

Before and after every commit the files at their paths are compared with the open ones. If one is
missing or different, ``DataDisplaced`` names it and nothing is acknowledged. The next use repairs
it: the open file, which holds every acknowledged record, is copied to a new file at the right path,
and a strange file there is set aside.
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
from edgeinspect.records.durable import database_faults
from edgeinspect.records.part_ids import COUNTER_NAME
from edgeinspect.records.records_lock import LOCK_NAME, DataDirectoryLock
from edgeinspect.records.records_place import WatchedPlaces
from edgeinspect.records.ring import IMAGES_FOLDER
from edgeinspect.undo import undo_on_error

COPY_NAME = "records-copy.sqlite3"
"""The copy of a file that has lost its name; it then becomes the database."""


class KeptOpenDatabase:
    """A data directory's database, locked for this process until ``close``.

    Args:
        data_dir: the data directory, which exists.
        check_limit_s: time limit of the integrity check at opening.
        on_open: called at each opening, before anything else is read or written.

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
        """The open database at its path; after a storage fault it is closed and reopened.

        Raises:
            DataDisplaced: files were moved; the next use repairs it.
            StorageFault, DiskFull: it cannot be opened or repaired, or the block raised this.
        """
        if self._closed:
            raise UsageError("The records are closed.")
        try:
            with database_faults("use the records", self._data_dir):
                self._repair()
                self.refuse_displaced()
                yield self._connection or self.open()
        except (DiskFull, DataDisplaced):
            raise
        except StorageFault:
            self._close_in_place()
            raise

    def open(self) -> sqlite3.Connection:
        """Open it at the start, so that the start can report the findings."""
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
        """Remember the files that this process has just put at these paths."""
        self._places.pin(*paths)

    def refuse_displaced(self) -> None:
        """Raise DataDisplaced if a file is no longer where it was opened."""
        what = self._places.displaced()
        if what:
            self._must_mend = True
            raise DataDisplaced(
                f"{what} while the station was running.",
                next_action="Do not touch the data directory: the station restores its records.",
            )

    def close(self, last: Callable[[sqlite3.Connection], None] = lambda connection: None) -> None:
        """Close the database at its path and release the directory; closing twice is allowed.

        Args:
            last: called with the connection if it is open.
        """
        if self._closed:
            return
        try:
            if self._connection is not None:
                self._must_mend = True  # a deleted file is lost once it is closed
                self._repair()
            if self._connection is not None:
                last(self._connection)
        finally:
            self._closed = True
            self._disconnect()
            self._places.forget()
            self._lock.release()

    def _repair(self) -> None:
        """Put the files back where they belong, if they are not there."""
        if self._must_mend and self._places.displaced():
            with database_faults("restore the records", self._data_dir):
                self._own_folder()
                self._put_database_back()
                self._set_strangers_aside()
            self.open()
        self._must_mend = False

    def _own_folder(self) -> None:
        """Make sure that the old path is a folder on the old disk, locked by this process."""
        if not self._places.is_same_disk(self._data_dir):
            raise StorageFault(
                f"{self._data_dir} is no longer on the disk that it was on when the station "
                "started.",
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
        # SQLite removes the log at the old path when it closes; it must not be somebody else's.
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

    def _set_strangers_aside(self) -> None:
        images, counter = self._data_dir / IMAGES_FOLDER, self._data_dir / COUNTER_NAME
        if images.is_symlink() or not images.is_dir():
            set_aside(images)
        if not self._places.is_ours(counter):
            set_aside(counter)

    def _close_in_place(self) -> None:
        if self._places.displaced():
            self._must_mend = True  # the open file may be the only copy
        else:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            # Closing moves the log into the database; if a full disk refuses, nothing is lost.
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
            self._places.forget(*self._logs)  # SQLite removes them
