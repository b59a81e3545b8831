"""Opening the records database, for the one writer and for any number of readers.

The writer checks and migrates the file and sets it to WAL with ``synchronous=FULL``, so that a
commit returns only once the log is on the disk. A file with damaged pages or a damaged schema, or
one that belongs to another program, is renamed, never deleted, and a new one is started. Readers
open read-only and never block the writer.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeinspect.errors import DataFromNewerVersion, StorageFault
from edgeinspect.files.atomic_file import fsync_file, fsync_folder, remove_quietly, share_with_group
from edgeinspect.files.set_aside import set_aside
from edgeinspect.records.durable import database_fault, database_faults, immediate
from edgeinspect.records.schema import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    migrate,
    schema_damage,
    version_of,
)
from edgeinspect.undo import undo_on_error

DATABASE_NAME = "records.sqlite3"
SYNCHRONOUS = "FULL"
"""With anything less, a commit to a log (WAL) returns before the log is on the disk."""

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_UNREADABLE = _DAMAGED | {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_SCHEMA,
}
"""Errors that reading a damaged schema can end with."""
LOG_SUFFIXES = ("-wal", "-shm")
_WITH_LOG = ("", "-wal")
_BUSY_TIMEOUT_S = 2.0
_PROGRESS_INTERVAL = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedDatabase:
    """A connection for the writer, in autocommit mode, and how the file was found.

    Attributes:
        integrity: "ok", "new", or "unfinished" if the check ran out of time.
        set_aside: the new name of a damaged database that was found instead.
    """

    connection: sqlite3.Connection
    integrity: str
    set_aside: Path | None


def open_for_writing(data_dir: Path, *, check_limit_s: float = 1.0) -> OpenedDatabase:
    """Open or create the database; the caller holds the data directory's lock.

    Raises:
        DataFromNewerVersion: a newer edgeinspect wrote it; it is left unchanged.
        StorageFault: it cannot be opened.
        DiskFull: there is no space to create or migrate it.
    """
    path = data_dir / DATABASE_NAME
    with database_faults("open the records database", data_dir):
        try:
            connection, integrity = _open_checked(path, check_limit_s)
        except _DamagedError:
            aside = set_database_aside(data_dir)
            connection, integrity = _open_checked(path, check_limit_s)
            return OpenedDatabase(connection=connection, integrity=integrity, set_aside=aside)
    return OpenedDatabase(connection=connection, integrity=integrity, set_aside=None)


def set_database_aside(data_dir: Path) -> Path | None:
    """Rename the database and its log; returns its new name. Raises OSError."""
    path = data_dir / DATABASE_NAME
    # The database goes first: alone, without its log, it could look sound after a crash here.
    aside = set_aside(path, with_suffixes=_WITH_LOG)
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    return aside


def copy_database(connection: sqlite3.Connection, target: Path) -> None:
    """Copy the database to a new file, durably, even if the open file has lost its name.

    Raises StorageFault, DiskFull; then there is no new file.
    """
    with database_faults("rebuild the records", target.parent):
        target.unlink(missing_ok=True)
        with undo_on_error(remove_quietly, target):
            with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy:
                copy.execute("PRAGMA journal_mode = OFF")
                copy.execute("PRAGMA synchronous = OFF")
                connection.backup(copy)
            fsync_file(target, os.O_RDWR | os.O_CLOEXEC)


def open_for_reading(data_dir: Path) -> sqlite3.Connection:
    """Open the database of a station that may be running, in this or another process.

    Raises:
        DataFromNewerVersion: a newer edgeinspect wrote it.
        StorageFault: there is no database, or it cannot be read.
    """
    path = data_dir / DATABASE_NAME
    with database_faults("read the records", data_dir):
        if not path.is_file():
            raise StorageFault(
                f"No records were found in {data_dir}.",
                next_action="Give the data directory of a station that has run.",
            )
    connection = _connect_read_only(path)
    with undo_on_error(connection.close):
        with database_faults("read the records", data_dir):
            version = version_of(connection)
        _refuse_newer(version, path)
        if version == 0:
            raise StorageFault(
                f"The station has not created its records in {data_dir} yet.",
                next_action="It creates them when it starts; try again in a moment.",
            )
        if version < SCHEMA_VERSION:
            raise StorageFault(
                f"{path} has version {version}, but this edgeinspect reads version "
                f"{SCHEMA_VERSION}.",
                next_action="Start the station once with this edgeinspect; it migrates the "
                "records.",
            )
    connection.row_factory = sqlite3.Row
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, *, doing: str, path: Path) -> Iterator[None]:
    """Commit the changes of the block durably, or none of them. Raises StorageFault, DiskFull."""
    with database_faults(doing, path), immediate(connection):
        yield


class _DamagedError(Exception):
    """The file is not a sound database; it will be set aside."""


def _open_checked(path: Path, check_limit_s: float) -> tuple[sqlite3.Connection, str]:
    if path.exists() and not path.is_file():
        raise _DamagedError("it is not a file")
    _refuse_orphaned_log(path)
    connection = sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    with undo_on_error(connection.close):
        try:
            version = _version_of_sound(connection, path)
            share_with_group(path)  # first: the log inherits its permissions
            integrity = "new" if version == 0 else _quick_check(connection, check_limit_s)
            if version == 0:  # possible only without tables; retention converts older ones
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA journal_size_limit = 16777216")
            migrate(connection)
            if version == 0:
                fsync_folder(path.parent)
        except sqlite3.DatabaseError as error:
            if _code(error) in _DAMAGED:
                raise _DamagedError from error
            raise
    return connection, integrity


def _version_of_sound(connection: sqlite3.Connection, path: Path) -> int:
    """Check that the schema can be read and is ours; returns its version.

    Raises _DamagedError, DataFromNewerVersion.
    """
    try:
        version = version_of(connection)
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application != (APPLICATION_ID if version else 0) or (version == 0 and tables):
            raise _DamagedError("it belongs to another program")
        damage = schema_damage(connection) if version else ""
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if _code(error) in _UNREADABLE:
            raise _DamagedError from error
        raise
    if damage:
        raise _DamagedError(damage)
    _refuse_newer(version, path)
    return version


def _code(error: sqlite3.Error | UnicodeDecodeError) -> int:
    """SQLite's primary error code; SQLITE_ERROR for text that is not UTF-8."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF


def _refuse_orphaned_log(path: Path) -> None:
    """Refuse a log beside an empty database: SQLite would delete it with its records."""
    log = path.with_name(f"{path.name}-wal")
    if _size(path) == 0 and _size(log) > 0:
        raise _DamagedError


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _refuse_newer(version: int, path: Path) -> None:
    if version > SCHEMA_VERSION:
        raise DataFromNewerVersion(
            f"{path} has version {version}; this edgeinspect supports versions up to "
            f"{SCHEMA_VERSION}.",
            next_action="Update edgeinspect, or use another data directory.",
        )


def _quick_check(connection: sqlite3.Connection, limit_s: float) -> str:
    deadline = time.monotonic() + limit_s
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _PROGRESS_INTERVAL)
    try:
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return "unfinished"
        raise
    finally:
        connection.set_progress_handler(None, 0)
    if verdict != "ok":
        raise _DamagedError(verdict)
    return "ok"


def _connect_read_only(path: Path) -> sqlite3.Connection:
    address = f"{path.resolve().as_uri()}?mode=ro"
    try:
        return _connect_address(address)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
            raise database_fault(error, doing="read the records", path=path.parent) from error
        if any(_size(path.with_name(f"{path.name}{log}")) for log in ("-wal", "-journal")):
            raise StorageFault(
                f"{path.parent} is read-only and has records that are still in the database log.",
                next_action="Copy the whole directory to a writable folder and read it there.",
            ) from error
        # Nobody can be writing: the directory is read-only and there is no log beside the file.
        with database_faults("read the records", path.parent):
            return _connect_address(f"{address}&immutable=1")
    except sqlite3.Error as error:
        raise database_fault(error, doing="read the records", path=path.parent) from error


def _connect_address(address: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        address, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    with undo_on_error(connection.close):
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return connection
