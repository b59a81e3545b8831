"""The few folders on the data partition in which root, and nobody else, writes.

    /data/system             what is copied over /etc, and what was imported (history.py)
    /data/edgeinspect        the station's folder; its group may read it and enter it
    /data/edgeinspect/keys   whose signature a bundle needs

Root writes a fixed list of names into them, and nothing below the folders that it hands over to the
station. They are opened by descriptor, one step at a time and never through a link.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgeinspect.errors import StorageFault
from edgeinspect.files.atomic_file import fsync_folder, make_folder, replace_file, storage_faults
from edgeinspect.setup.owner import Owner

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_KEY_BYTES = 16 << 10


def make_own_folder(path: Path, *, mode: int, gid: int | None = None) -> None:
    """Make ``path`` if it is missing, and this process's user the only one who writes there.

    Its parent must be such a folder already.

    Args:
        path: the folder.
        mode: its permissions.
        gid: its group; None leaves it.

    Raises:
        StorageFault: something else is there, e.g. a link, or it cannot be made.
    """
    if not os.path.lexists(path):
        make_folder(path.parent)
        with storage_faults(path):
            path.mkdir(mode=0o700)
            fsync_folder(path.parent)
    with storage_faults(path):
        descriptor = _open_folder(path)
        try:
            os.fchown(descriptor, os.geteuid(), -1 if gid is None else gid)
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)


def hand_over_folder(path: Path, owner: Owner) -> None:
    """Create ``path`` in a folder of our own for the station's user, if it is missing.

    An existing file or folder is left alone; the code that uses it reports problems.
    """
    if os.path.lexists(path):
        return
    with storage_faults(path):
        path.mkdir(mode=0o700)
        descriptor = _open_folder(path)
        try:
            os.fchown(descriptor, owner.uid, owner.gid)
            os.fchmod(descriptor, 0o2770)
        finally:
            os.close(descriptor)
        fsync_folder(path.parent)


def read_keys(folder: Path) -> dict[str, bytes]:
    """The files of a folder of keys, by name; without links, pipes and folders in it."""
    if not folder.is_dir():
        return {}
    with storage_faults(folder):
        descriptor = _open_folder(folder)
        try:
            found = {name: _read(descriptor, name) for name in sorted(_names(descriptor))}
        finally:
            os.close(descriptor)
    return {name: content for name, content in found.items() if content is not None}


def write_keys(folder: Path, keys: Mapping[str, bytes]) -> None:
    """Make the folder contain exactly these files, each newly created.

    New ones come first and old ones go last, so that there is no moment without any key.
    """
    make_own_folder(folder, mode=0o755)
    for name, content in keys.items():
        replace_file(folder / name, content)
    with storage_faults(folder):
        for entry in folder.iterdir():
            if entry.name not in keys:
                _remove(entry)
        fsync_folder(folder)


def secure_station_folder(folder: Path, keys: Path, owner: Owner) -> None:
    """Take over what an older version left to the station's user, if it is there.

    The folder of keys becomes root's, with new files in it: a descriptor that somebody still
    holds open for writing leads to the old ones. Raises StorageFault.
    """
    if not os.path.lexists(folder):
        return
    make_own_folder(folder, mode=0o2750, gid=owner.gid)
    if os.path.lexists(keys) and (keys.is_symlink() or keys.stat().st_uid != os.geteuid()):
        content = {} if keys.is_symlink() else read_keys(keys)
        if keys.is_symlink() or not keys.is_dir():
            with storage_faults(keys):
                keys.unlink()
        write_keys(keys, content)


def first_names(folder: Path, paths: Iterable[Path]) -> list[str]:
    """The folder's own entries that these paths below it begin with."""
    return sorted({path.relative_to(folder).parts[0] for path in paths})


def _open_folder(path: Path) -> int:
    try:
        return os.open(path, _FOLDER)
    except OSError as error:
        raise StorageFault(
            f"{path} is not a separate folder ({error.strerror}).",
            next_action="Remove it. It must be a folder, not a link or a file.",
        ) from error


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def _read(folder: int, name: str) -> bytes | None:
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=folder)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return os.read(descriptor, _MAX_KEY_BYTES)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
