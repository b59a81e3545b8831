"""Puts the audit trail back that somebody removed or replaced under a running station."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from edgeinspect.files.atomic_file import replace_file, storage_faults
from edgeinspect.files.file_lock import exclusive, is_at
from edgeinspect.files.set_aside import set_aside
from edgeinspect.settings.audit import AuditTrail, last_digest, starts_after

_PERIOD_NS = 500_000_000


class AuditGuard:
    """Keeps the trail's file open, so that its entries stay readable if the name is removed.

    Other processes append to the same file, so its content is always up to date.

    Args:
        trail: the trail of the data directory.
        now_mono_ns: the clock; the guard looks at the file at most twice a second.
    """

    def __init__(self, trail: AuditTrail, *, now_mono_ns: Callable[[], int]) -> None:
        self._path = trail.path
        self._now_mono_ns = now_mono_ns
        self._looked_mono_ns = now_mono_ns() - _PERIOD_NS
        self._descriptor: int | None = None

    def look(self) -> str:
        """What had happened to the trail and was put right, as a sentence; "" if nothing.

        Raises StorageFault: it cannot be put right now.
        """
        now_mono_ns = self._now_mono_ns()
        if now_mono_ns - self._looked_mono_ns < _PERIOD_NS:
            return ""
        self._looked_mono_ns = now_mono_ns
        if self._descriptor is not None and not is_at(self._descriptor, self._path):
            return self._put_back(self._descriptor)
        if self._descriptor is None:
            self._take_up()
        return ""

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _put_back(self, descriptor: int) -> str:
        if not self._path.parent.is_dir():
            return ""  # the whole directory is missing: the records create it again first
        with exclusive(self._path.with_name(f".{self._path.name}.lock")):
            if is_at(descriptor, self._path):
                return ""
            with storage_faults(self._path):
                ours = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
                was = "replaced" if os.path.lexists(self._path) else "deleted or moved"
                since = self._appended_since(ours)
                if was == "replaced" and not since:
                    set_aside(self._path)
            replace_file(self._path, ours + since, mode=0o664)
        self.close()
        self._take_up()
        return (
            f"{self._path} was {was} while the station was running; the station restored its "
            "entries"
        )

    def _appended_since(self, ours: bytes) -> bytes:
        """Return the entries that others appended after ours to a new file of that name."""
        if self._path.is_symlink() or not self._path.is_file():
            return b""
        theirs = self._path.read_bytes()
        return theirs if starts_after(theirs, last_digest(ours)) else b""

    def _take_up(self) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self._descriptor = os.open(Path(self._path), flags)
        except OSError:
            self._descriptor = None  # there is none yet
