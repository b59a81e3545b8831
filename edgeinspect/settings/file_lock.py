"""One writer at a time among processes: a lock that the kernel drops when its owner dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from edgeinspect.atomic_file import share_with_group, storage_faults
from edgeinspect.errors import StorageFault

_POLL_S = 0.01


@contextlib.contextmanager
def exclusive(path: Path, *, timeout_s: float = 10.0) -> Iterator[None]:
    """Hold the lock file ``path``, made if missing, while the block runs.

    The file stays: removing it would let two writers lock two files of the same name.

    Raises:
        StorageFault: another process held it all the time, or the file cannot be opened.
    """
    with storage_faults(path):
        # Several people write where it lies: never through a link, and never a pipe.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o664)
        share_with_group(path)
    try:
        _wait_for(descriptor, path, time.monotonic() + timeout_s)
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, path: Path, deadline_s: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                raise StorageFault(
                    f"Another process has been writing beside {path} for too long.",
                    next_action="Wait until it has finished, or end it, and try again.",
                ) from None
            time.sleep(_POLL_S)
        except OSError as error:
            raise StorageFault(
                f"{path} cannot be locked ({error.strerror}).",
                next_action="Keep the data directory on a local disk.",
            ) from error
