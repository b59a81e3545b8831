"""Making and removing the file of a Unix socket without harming other files."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import socket
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeinspect.control.connections import Role
from edgeinspect.control.socket_path import address_to_listen_on, fits, point_to
from edgeinspect.errors import StationBusy, StorageFault, UsageError
from edgeinspect.undo import undo_on_error

_PROBE_S = 1.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The path of a socket and who may connect; see ``settings.station_file.Control``."""

    path: Path
    mode: int = 0o660
    group: str | None = None
    role: Role = Role.COMMAND


class Listener:
    """A socket that listens until it is closed."""

    def __init__(self, endpoint: Endpoint, *, backlog: int) -> None:
        """Bind and listen. Raises StationBusy, UsageError, StorageFault; see ``listen_on``."""
        self.role = endpoint.role
        self._path = endpoint.path
        self.socket = listen_on(
            endpoint.path, mode=endpoint.mode, group=endpoint.group, backlog=backlog
        )
        self.address = str(self.socket.getsockname())
        self._inode = Path(self.address).lstat().st_ino

    def fileno(self) -> int:
        """The descriptor, for polling."""
        return self.socket.fileno()

    def close(self) -> None:
        """Stop listening and remove the socket's file."""
        self.socket.close()
        remove_own(self._path, self._inode)


def peer_user_id(connection: socket.socket) -> int:
    """The user of the connected process, as the kernel noted it when it connected; see unix(7)."""
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(struct.unpack("3i", credentials)[1])


def listen_on(path: Path, *, mode: int, group: str | None, backlog: int) -> socket.socket:
    """Bind and listen; users that ``mode`` and ``group`` exclude can never connect.

    A socket file that a dead process left behind is replaced. If the path is too long for the
    kernel, the socket is in a short directory and ``path`` is a link to it.

    Raises:
        StationBusy: a station listens there.
        UsageError: another kind of file is at the path, or the group is unknown.
        StorageFault: the file cannot be made.
    """
    path = path.absolute()
    group_id = _group_id(group)
    address = address_to_listen_on(path, shared=group is not None)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with undo_on_error(listener.close), _storage_faults(path):
        if not fits(path):
            _refuse_all_but_a_link(path)
        _remove_stale(address)
        # The file gets the mode of the unbound socket (Linux), so it is never more open.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(os.fspath(address))
        # In a folder with the setgid bit the group is right already. The image's unit relies on
        # that, because it may not change groups.
        if group_id is not None and address.lstat().st_gid != group_id:
            os.chown(address, -1, group_id)
        address.chmod(mode)
        listener.listen(backlog)
        point_to(address, path=path)
        listener.setblocking(False)
    return listener


@contextlib.contextmanager
def _storage_faults(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFault(
            f"The control socket {path} cannot be created: {error.strerror or error}."
        ) from error


def remove_own(path: Path, inode: int) -> None:
    """Remove the socket and the link to it, if they are still those of this process."""
    with contextlib.suppress(OSError):
        if path.stat().st_ino == inode:
            address = path.resolve()
            address.unlink()
            if address != path:
                path.unlink(missing_ok=True)


def _group_id(group: str | None) -> int | None:
    if group is None:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise UsageError(
            f"The group {group} does not exist on this machine.",
            next_action=f"Run: sudo groupadd {group}, or change control.group.",
        ) from None


def _refuse_all_but_a_link(path: Path) -> None:
    """Raise UsageError if the file at the socket's own path is not an earlier link."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISLNK(path.lstat().st_mode):
            raise _taken(path)


def _taken(path: Path) -> UsageError:
    return UsageError(
        f"{path} already exists and is not a socket.",
        next_action="Move that file, or set control.socket to another path.",
    )


def _remove_stale(path: Path) -> None:
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise _taken(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(os.fspath(path))
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                path.unlink(missing_ok=True)
                return
    raise StationBusy(
        f"A running station already uses {path}.",
        next_action="Stop it first, or give this station its own socket.",
    )
