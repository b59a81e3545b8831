"""A little disk space, reserved for the moment when the disk is full.

Evicting pictures needs a few database pages before it frees anything. The reserve is a file that is
removed at that moment and written again once there is room.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from edgeinspect.records.durable import free_bytes

RESERVE_NAME = "reserve"


class SpaceReserve:
    """The file that reserves space.

    Attributes:
        size_bytes: size of the file; 0 for no reserve.
    """

    def __init__(self, data_dir: Path, *, size_bytes: int) -> None:
        self._path = data_dir / RESERVE_NAME
        self.size_bytes = size_bytes

    def fill(self) -> bool:
        """Write the file if there is ample room; returns whether it exists."""
        try:
            if self._path.exists() and self._path.lstat().st_size == self.size_bytes:
                return True
            if not self.size_bytes or free_bytes(self._path.parent) < 2 * self.size_bytes:
                return False
            self._allocate()
        except OSError:
            self.release()
            return False
        return True

    def release(self) -> bool:
        """Remove the file; returns whether there was one."""
        with contextlib.suppress(OSError):
            self._path.unlink()
            return True
        return False

    def _allocate(self) -> None:
        descriptor = os.open(
            self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
        )
        try:
            os.posix_fallocate(descriptor, 0, self.size_bytes)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
