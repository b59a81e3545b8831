"""Small files that are either complete or absent, even after a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgeinspect.errors import DiskFull, StorageFault
from edgeinspect.undo import undo_on_error

_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def replace_file(
    path: Path,
    data: bytes,
    *,
    mode: int | None = 0o644,
    owner: tuple[int, int] | None = None,
) -> None:
    """Write a file and replace the one that is there.

    Args:
        path: where to write.
        data: the whole content.
        mode: the file's permissions; None for a file system without permissions (FAT).
        owner: the file's user and group; None for those of this process.

    Raises:
        StorageFault: the file cannot be written; the old one is still there.
    """
    with storage_faults(path):
        temporary = _write_temporary(path, data, mode, owner)
        with undo_on_error(remove_quietly, temporary):
            temporary.replace(path)
        fsync_folder(path.parent)


def create_file(path: Path, data: bytes, *, mode: int = 0o444) -> bool:
    """Write a file unless it exists; returns False if it does.

    Of two processes that create the same path, only one gets True.

    Raises:
        StorageFault: the file cannot be written.
    """
    with storage_faults(path):
        temporary = _write_temporary(path, data, mode)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        finally:
            remove_quietly(temporary)
        fsync_folder(path.parent)
    return True


def fsync_folder(folder: Path) -> None:
    """Make creations, renames and removals in a folder durable."""
    fsync_file(folder, os.O_RDONLY | os.O_DIRECTORY)


def fsync_file(path: Path, flags: int = os.O_RDONLY | os.O_CLOEXEC) -> None:
    """Make the content of a file that was written before durable."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents durably.

    Raises:
        StorageFault: the folder cannot be created.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with storage_faults(folder):
        folder.mkdir(exist_ok=True)
        share_with_group(folder)
        fsync_folder(folder.parent)


def nearest_folder(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def share_with_group(path: Path) -> None:
    """Let the group write a file that this process created, if the group may write its folder.

    The station's user and the technicians' group share a station's data. Whoever creates a lock or
    a database must not lock the others out, whatever the umask.
    """
    with contextlib.suppress(OSError):
        status = path.stat()
        if path.parent.stat().st_mode & stat.S_IWGRP and status.st_uid == os.geteuid():
            inherited = stat.S_ISGID | 0o070 if path.is_dir() else 0o060
            path.chmod(stat.S_IMODE(status.st_mode) | inherited)


def open_regular(path: Path) -> int:
    """Open a regular file for reading; returns the descriptor.

    The file is checked before it is opened, because opening a pipe can block and opening a device
    can trigger an action. It is checked again afterwards, because it may have been swapped.

    Raises:
        OSError: the file cannot be opened, or it is something else, such as a pipe.
    """
    _demand_regular(path, path.stat().st_mode)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _demand_regular(path, os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _demand_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def _write_temporary(
    path: Path, data: bytes, mode: int | None, owner: tuple[int, int] | None = None
) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    with undo_on_error(remove_quietly, Path(name)), os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        if owner is not None:
            os.fchown(file.fileno(), *owner)
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    return Path(name)


def remove_quietly(path: Path) -> None:
    """Remove a file if it is there and can be removed."""
    with contextlib.suppress(OSError):
        path.unlink()


@contextlib.contextmanager
def storage_faults(path: Path) -> Iterator[None]:
    """Turn an OSError in the block into a StorageFault or DiskFull that names ``path``."""
    try:
        yield
    except StorageFault:
        raise
    except OSError as error:
        raise storage_fault(error, doing=f"write {path}") from error


def storage_fault(error: OSError, *, doing: str) -> StorageFault:
    """What the file system raised, as our error; chain it with ``from``.

    Args:
        error: the error of the file system.
        doing: completes "Cannot ...", with the file or folder in it.
    """
    if error.errno in _FULL_ERRNOS:
        return disk_full(doing)
    return StorageFault(
        f"Cannot {doing}: {error.strerror or error}.",
        next_action="Check the folder's permissions, and that the disk is mounted and healthy.",
    )


def disk_full(doing: str) -> DiskFull:
    """The error of a disk without space; ``doing`` completes "No space is left to ..."."""
    return DiskFull(
        f"No disk space is left to {doing}.",
        next_action="Free space on that disk or reduce the storage budget.",
    )
