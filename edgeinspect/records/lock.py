"""One station a data directory: an advisory lock that the kernel drops when its owner dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from edgeinspect.errors import StationBusy
from edgeinspect.records.durable import storage_faults

LOCK_NAME = "lock"


class DataDirectoryLock:
    """Holds the data directory for this process until ``release``.

    Raises:
        StationBusy: another process holds it; the message names its process id.
        StorageFault: the lock file cannot be opened.
    """

    def __init__(self, data_dir: Path) -> None:
        path = data_dir / LOCK_NAME
        with storage_faults("lock the data directory", data_dir):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StationBusy(
                f"Process {owner or 'unknown'} is already running a station on {data_dir}.",
                next_action="Stop it first, or give this station a data directory of its own.",
            ) from error
        self._descriptor: int | None = descriptor
        # The id only helps people; a full disk must not keep a station from starting.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Let another process have the directory; releasing twice is allowed."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
