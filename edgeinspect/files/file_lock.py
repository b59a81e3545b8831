"""Locks between processes, on files and folders. The kernel drops a lock when its owner dies.

Only this module calls ``flock``. It distinguishes a lock that another process holds from a file
system that cannot lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from edgeinspect.errors import StorageFault
from edgeinspect.files.atomic_file import share_with_group, storage_faults
from edgeinspect.undo import undo_on_error

_POLL_S = 0.01
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


def try_lock(descriptor: int, path: Path) -> bool:
    """Lock an open file or folder without waiting; returns False if another process holds it.

    Raises:
        StorageFault: the file system of ``path`` does not support locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise StorageFault(
            f"The file system of {path} does not support locks ({error.strerror}), so two "
            "programs could write there at the same time.",
            next_action="Keep the data directory on a local disk (ext4, xfs, btrfs).",
        ) from error
    return True


def open_lock_file(path: Path) -> int:
    """Open a lock file, creating it if it is missing; returns the descriptor.

    Several users may write to its folder, so a link is not followed and a pipe does not block.

    Raises:
        StorageFault: the file cannot be opened or created.
    """
    with storage_faults(path):
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o664)
        share_with_group(path)
    return descriptor


def is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file or folder is the one that is at ``path`` now."""
    try:
        ours, there = os.fstat(descriptor), path.lstat()
    except OSError:
        return False
    return os.path.samestat(ours, there)


@contextlib.contextmanager
def exclusive(path: Path, *, timeout_s: float = 10.0) -> Iterator[None]:
    """Hold a lock file, created if it is missing, while the block runs.

    The file stays afterwards. If somebody removes it, the lock is taken again on the new file, so
    that two writers never lock two different files of the same name.

    Raises:
        StorageFault: another process held the lock for ``timeout_s``, the file cannot be opened,
            or its file system has no locks.
    """
    deadline_s = time.monotonic() + timeout_s
    descriptor = _locked(path, deadline_s)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path, deadline_s: float) -> int:
    while True:
        descriptor = open_lock_file(path)
        with undo_on_error(os.close, descriptor):
            if _wait_for(descriptor, path, deadline_s) and is_at(descriptor, path):
                return descriptor
        os.close(descriptor)
        if time.monotonic() > deadline_s:
            raise StorageFault(
                f"Another process has held the lock of {path} for too long.",
                next_action="Wait until it is finished, or stop it, then try again.",
            )


def _wait_for(descriptor: int, path: Path, deadline_s: float) -> bool:
    while not try_lock(descriptor, path):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    return True
