"""Writing files that survive a power cut, and translating storage errors."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from edgeinspect.errors import DiskFull, StorageFault
from edgeinspect.files.atomic_file import fsync_folder

_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
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


def replace_file(path: Path, data: bytes) -> None:
    """Give a file new content atomically and durably."""
    temporary = path.with_name(f".{path.name}.partial")
    write_new_file(temporary, data)
    temporary.replace(path)
    fsync_folder(path.parent)


def free_bytes(directory: Path) -> int:
    """Bytes that an ordinary user may still write on the file system of ``directory``."""
    space = os.statvfs(directory)
    return space.f_bavail * space.f_frsize


def storage_fault(error: sqlite3.Error | OSError, *, doing: str, path: Path) -> StorageFault:
    """Translate an error of the database or the file system; chain it with ``from``."""
    if isinstance(error, StorageFault):
        return error
    if _is_full(error, path):
        return DiskFull(
            f"No space is left to {doing} in {path}.",
            next_action="Free space on that disk or make the storage budget smaller.",
        )
    cause = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return StorageFault(
        f"Cannot {doing} in {path}: {cause}.",
        next_action="Check that the disk is healthy, mounted and writable.",
    )


@contextlib.contextmanager
def storage_faults(doing: str, path: Path) -> Iterator[None]:
    """Raise StorageFault or DiskFull for every error of the database or the file system."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise storage_fault(error, doing=doing, path=path) from error


def _is_full(error: sqlite3.Error | OSError, path: Path) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL_ERRNOS
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code != sqlite3.SQLITE_IOERR:
        return code == sqlite3.SQLITE_FULL
    # A full disk can show as a plain I/O error: the shared-memory index, delayed allocation.
    try:
        return free_bytes(path if path.is_dir() else path.parent) < _NEARLY_FULL_BYTES
    except OSError:
        return False
