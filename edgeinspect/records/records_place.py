"""Whether the files of a running station are still where it opened them.

An open file outlives its name: a database that was deleted, replaced or moved still accepts
records, but nobody will ever read them. So device and inode of every open file are compared with
those at its path, before and after each commit and while the station idles.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class _Found:
    """The file at a path; ``trouble`` is the reason if it could not be examined."""

    device: int = 0
    inode: int = 0
    kind: str = ""
    trouble: str = ""


class WatchedPlaces:
    """Paths and the files that were there when they were remembered; links are not followed."""

    def __init__(self) -> None:
        self._known: dict[Path, _Found] = {}
        self._pins: dict[Path, int] = {}

    def remember(self, *paths: Path) -> None:
        """Remember the open files at these paths; a path without a file is not watched."""
        for path in paths:
            self.forget(path)
            found = _look(path)
            if found.kind:
                self._known[path] = found

    def pin(self, *paths: Path) -> None:
        """Remember other files; they are held open so that no new file gets their inode."""
        for path in paths:
            self.remember(path)
            with contextlib.suppress(OSError):
                self._pins[path] = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)

    def forget(self, *paths: Path) -> None:
        """Stop watching these paths; all of them by default."""
        for path in paths or tuple(self._known):
            self._known.pop(path, None)
            if path in self._pins:
                os.close(self._pins.pop(path))

    def is_ours(self, path: Path) -> bool:
        """Whether the file at the path is the remembered one; False for an unknown path."""
        return path in self._known and _look(path) == self._known[path]

    def is_same_disk(self, path: Path) -> bool:
        """Whether the path, or the folder for it, is on the same disk as before."""
        known = self._known.get(path)
        while not (found := _look(path)).kind and not found.trouble and path != path.parent:
            path = path.parent
        return known is None or known.device == found.device

    def displaced(self) -> str:
        """Half a sentence on the first file that is missing or different; "" if there is none."""
        for path, known in self._known.items():
            found = _look(path)
            if found == known:
                continue
            if found.trouble:
                return f"{path} cannot be checked ({found.trouble})"
            if not found.kind:
                return f"{path} was deleted or moved"
            return f"{path} was replaced by another {found.kind}"
        return ""


def _look(path: Path) -> _Found:
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return _Found()
    except OSError as error:
        return _Found(trouble=error.strerror or str(error))
    return _Found(found.st_dev, found.st_ino, _kind(found.st_mode))


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISREG(mode):
        return "file"
    return "link" if stat.S_ISLNK(mode) else "special file"
