"""Writing files that survive a power cut, and translating storage errors."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from edgeinspect.errors import StorageFault
from edgeinspect.files.atomic_file import disk_full, storage_fault
from edgeinspect.undo import undo_on_error

_NEARLY_FULL_BYTES = 64 * 1024


def write_new_file(path: Path, data: bytes) -> None:
    """Write a file and fsync it; its name is durable only after ``fsync_folder``.

    A failure leaves no file behind; a crash may leave part of one.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o664)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def free_bytes(directory: Path) -> int:
    """Bytes that an ordinary user may still write on the file system of ``directory``."""
    space = os.statvfs(directory)
    return space.f_bavail * space.f_frsize


def database_fault(error: sqlite3.Error | OSError, *, doing: str, path: Path) -> StorageFault:
    """Translate an error of the database or the file system; chain it with ``from``.

    Args:
        error: the error to translate.
        doing: completes "Cannot ... in path".
        path: the file concerned.
    """
    doing = f"{doing} in {path}"
    if isinstance(error, OSError):
        return storage_fault(error, doing=doing)
    if _is_full(error, path):
        return disk_full(doing)
    return StorageFault(
        f"Cannot {doing}: {error}.",
        next_action="Check that the disk is healthy, mounted and writable.",
    )


@contextlib.contextmanager
def database_faults(doing: str, path: Path) -> Iterator[None]:
    """Raise StorageFault or DiskFull for every error of the database or the file system."""
    try:
        yield
    except StorageFault:
        raise
    except (sqlite3.Error, OSError) as error:
        raise database_fault(error, doing=doing, path=path) from error


@contextlib.contextmanager
def immediate(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction: all that the block does, or nothing of it, on a connection in autocommit."""
    connection.execute("BEGIN IMMEDIATE")
    with undo_on_error(_roll_back, connection):
        yield
        connection.execute("COMMIT")


def _roll_back(connection: sqlite3.Connection) -> None:
    """Undo the open transaction unless SQLite already has; never hides the first error."""
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _is_full(error: sqlite3.Error, path: Path) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code != sqlite3.SQLITE_IOERR:
        return code == sqlite3.SQLITE_FULL
    # A full disk can show as a plain I/O error: the shared-memory index, delayed allocation.
    try:
        return free_bytes(path if path.is_dir() else path.parent) < _NEARLY_FULL_BYTES
    except OSError:
        return False
