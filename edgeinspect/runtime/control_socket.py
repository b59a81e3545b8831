"""Opening and closing the control socket's file without trampling on anybody's."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import socket
import stat
from pathlib import Path

from edgeinspect.errors import StationBusy, StorageFault, UsageError
from edgeinspect.runtime.protocol import MAX_SOCKET_PATH_BYTES

_PROBE_S = 1.0


def listen_on(path: Path, *, mode: int, group: str | None, backlog: int) -> socket.socket:
    """Bind and listen; nobody but ``mode`` and ``group`` allow can ever connect.

    A socket file that a dead process left behind is replaced.

    Raises:
        StationBusy: somebody listens there.
        UsageError: the path is too long, something else is in the way, or the group is unknown.
        StorageFault: the file cannot be made.
    """
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise UsageError(
            f"The control socket's path has more than {MAX_SOCKET_PATH_BYTES} bytes: {path}.",
            next_action="Set control.socket to a shorter path.",
        )
    group_id = _group_id(group)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        # Linux gives the file the mode of the unbound socket, so it is never more open.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(os.fspath(path))
        if group_id is not None:
            os.chown(path, -1, group_id)
        path.chmod(mode)
        listener.listen(backlog)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise StorageFault(
            f"The control socket {path} cannot be made: {error.strerror or error}."
        ) from error
    except BaseException:
        listener.close()
        raise
    return listener


def remove_own(path: Path, inode: int) -> None:
    """Remove the file if it is still the one that this process made."""
    with contextlib.suppress(OSError):
        if path.lstat().st_ino == inode:
            path.unlink()


def _group_id(group: str | None) -> int | None:
    if group is None:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise UsageError(
            f"There is no group {group} on this machine.",
            next_action=f"Run: sudo groupadd {group}, or change control.group.",
        ) from None


def _remove_stale(path: Path) -> None:
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise UsageError(
            f"{path} is in the way of the control socket and is no socket.",
            next_action="Move it away or set control.socket to another path.",
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(os.fspath(path))
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                path.unlink(missing_ok=True)
                return
    raise StationBusy(
        f"A running station listens on {path}.",
        next_action="Stop it first, or give this station a socket of its own.",
    )
