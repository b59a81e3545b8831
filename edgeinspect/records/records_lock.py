"""A lock that gives a data directory to one station; the kernel drops it when the owner dies.

Both the folder and the file ``lock`` in it are locked: the file names the owner, and the folder
stays locked if somebody removes the file.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from edgeinspect.errors import StationBusy, StorageFault
from edgeinspect.files.file_lock import is_at, open_lock_file, try_lock
from edgeinspect.records.durable import database_faults
from edgeinspect.undo import undo_on_error

LOCK_NAME = "lock"


class DataDirectoryLock:
    """Holds the data directory for this process until ``release``.

    Raises:
        StationBusy: another process holds it; the message names its process id.
        StorageFault: the lock file cannot be opened, or its file system has no locks.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._descriptors: tuple[int, ...] = _take(data_dir)

    @property
    def is_in_place(self) -> bool:
        """Whether the locked folder and file are still those at the path."""
        folder, file = self._descriptors[0], self._descriptors[-1]
        path = self._data_dir.resolve()
        return is_at(file, path / LOCK_NAME) and (folder == file or is_at(folder, path))

    def renew(self) -> None:
        """Lock the folder and file that are at the path now.

        Raises StationBusy, StorageFault; then the old lock is kept.
        """
        old = self._descriptors
        self._descriptors = _take(self._data_dir, held=old)
        _close(set(old) - set(self._descriptors))

    def release(self) -> None:
        """Let another process have the directory; releasing twice is allowed."""
        _close(self._descriptors)
        self._descriptors = ()


def is_held(data_dir: Path) -> bool:
    """Whether a process holds the data directory. Raises StorageFault."""
    for path, flags in ((data_dir, os.O_DIRECTORY), (data_dir / LOCK_NAME, 0)):
        try:
            # whoever may read the file can try to lock it
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
        except FileNotFoundError:
            continue
        try:
            if not try_lock(descriptor, path):
                return True
        finally:
            os.close(descriptor)
    return False


def _take(data_dir: Path, *, held: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Lock the folder, if its file system can lock folders, and the file."""
    taken: list[int] = []
    with undo_on_error(lambda: _close(set(taken) - set(held))):
        for path in (data_dir.resolve(), data_dir.resolve() / LOCK_NAME):
            mine = [descriptor for descriptor in held if is_at(descriptor, path)]
            taken += mine[:1] or _locked(path, data_dir)
    # The process id only helps people: a full disk must not keep a station from starting.
    with contextlib.suppress(OSError):
        os.ftruncate(taken[-1], 0)
        os.pwrite(taken[-1], f"{os.getpid()}\n".encode("ascii"), 0)
    return tuple(taken)


def _locked(path: Path, data_dir: Path) -> list[int]:
    is_folder = path.name != LOCK_NAME
    with database_faults("lock the data directory", data_dir):
        descriptor = (
            os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if is_folder
            else open_lock_file(path)
        )
    try:
        if try_lock(descriptor, path):
            return [descriptor]
    except StorageFault:
        os.close(descriptor)
        if is_folder:  # some file systems lock files only
            return []
        raise
    os.close(descriptor)
    owner = _owner(data_dir)
    raise StationBusy(
        f"Process {owner or 'unknown'} is already running a station on {data_dir}.",
        next_action="Stop it first, or give this station its own data directory.",
    )


def _owner(data_dir: Path) -> str:
    with contextlib.suppress(OSError):
        return (data_dir / LOCK_NAME).read_bytes()[:32].decode("ascii", "replace").strip()
    return ""


def _close(descriptors: set[int] | tuple[int, ...]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
