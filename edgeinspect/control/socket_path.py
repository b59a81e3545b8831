"""A place for a Unix socket whose path is too long for the kernel.

The kernel takes at most 107 bytes (``sun_path`` in ``<sys/un.h>``, less the terminating zero). If
the path is longer, the station listens in a short directory, and a symbolic link at the socket's
own path leads there. So a client needs only the station file.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgeinspect.errors import StorageFault

MAX_ADDRESS_BYTES = 107


def fits(path: Path) -> bool:
    """Whether the kernel accepts this path as a socket's address."""
    return len(os.fsencode(path)) <= MAX_ADDRESS_BYTES


def address_to_listen_on(path: Path, *, shared: bool) -> Path:
    """The path to bind for a socket that clients look for at ``path``.

    Args:
        path: the path from the station file.
        shared: whether other users may connect; then ``$XDG_RUNTIME_DIR`` is avoided, because
            they cannot enter it.

    Returns:
        ``path`` itself if it fits, otherwise a path in a short directory, which is made if missing.

    Raises:
        StorageFault: no short directory can be made.
    """
    path = path.absolute()
    if fits(path):
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16] + ".sock"
    folders = list(_short_folders(shared=shared))
    for folder in folders:
        if fits(folder / name) and _is_ours(folder):
            return folder / name
    tried = ", ".join(str(folder) for folder in folders)
    raise StorageFault(
        f"The path {path} is too long for a socket, and none of these directories can be used for "
        f"a shorter one: {tried}.",
        next_action="Set control.socket to a path of at most "
        f"{MAX_ADDRESS_BYTES} bytes, or create /run/edgeinspect for the station's user.",
    )


def address_to_connect_to(path: Path) -> Path:
    """The path to connect to for a socket that the station file places at ``path``.

    Raises:
        OSError: the path is too long and there is no link.
    """
    return path if fits(path) else path.readlink()


def point_to(address: Path, *, path: Path) -> None:
    """Link ``path`` to ``address``; replaces an earlier link in one step. Raises OSError."""
    if address == path.absolute():
        return
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    unfinished.symlink_to(address)
    unfinished.replace(path)


def _short_folders(*, shared: bool) -> Iterator[Path]:
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    if own.startswith("/") and not shared:
        yield Path(own) / "edgeinspect"
    yield Path("/run/edgeinspect")
    yield Path(tempfile.gettempdir()) / f"edgeinspect-{os.geteuid()}"


def _is_ours(folder: Path) -> bool:
    """Make the folder if it is missing; returns False if others could change its files."""
    try:
        try:
            folder.mkdir(mode=0o711)
            folder.chmod(0o711)  # despite the umask: the socket's own mode decides who connects
        except FileExistsError:
            pass
        found = folder.lstat()
    except OSError:
        return False
    safe_mode = stat.S_ISDIR(found.st_mode) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return safe_mode and found.st_uid == os.geteuid()
