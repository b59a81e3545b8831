"""Work that a set-up does as the station's own user, although root started it.

The station's folder is open to the technicians' group. Whatever root did there could be led astray
by a link, a pipe or a folder that somebody swaps at the right moment, so root does nothing there:
a child process gives its rights up for good, does the work and reports in JSON.
"""

from __future__ import annotations

import json
import os
import pwd
import resource
import select
import signal
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeinspect.errors import EdgeInspectError, StorageFault

ACCOUNT = "edgeinspect"
"""The station's user and group, as the image and ``install.sh`` make them."""
LIMIT_S = 150.0
"""Less than the start's own limit, so that a child that hangs costs the station its recipe and
never its network. A good import takes seconds."""
_MAX_REPORT_BYTES = 4 << 20
_MORE_DATA_BYTES = 2 << 30
"""Beyond what the process has when it forks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The owner of the station's files."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def station_owner() -> Owner | None:
    """Return the station's user if root asks; None for any other user, who owns their own files."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        return None
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Owner(uid=entry.pw_uid, gid=entry.pw_gid, groups=tuple(groups))


def run_as(
    owner: Owner | None, work: Callable[[], Mapping[str, Any]], *, limit_s: float = LIMIT_S
) -> Mapping[str, Any]:
    """What ``work`` returns, done as ``owner``; None does it in this process.

    Args:
        owner: the user to become; None stays in this process.
        work: returns what JSON can hold. Every module that it needs must be loaded already: the
            child may not be able to read root's files.
        limit_s: how long the child may take, in seconds.

    Raises:
        StorageFault: the child ended early, or did not end in time.
    """
    if owner is None:
        return work()
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        # The only other threads are those of numpy's library, which expects forks.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _be_child(owner, work, write_end)
    os.close(write_end)
    try:
        report = _read_report(read_end, time.monotonic() + limit_s)
    finally:
        os.close(read_end)
        _end(child)
    try:
        found = json.loads(report)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise StorageFault(
            f"The station's files could not be imported: the process of user {owner.uid} ended "
            f"early or took longer than {limit_s:g} s.",
            next_action="Look for pipes, links and files of other users in the station's folder.",
        )
    return found


def as_report(error: EdgeInspectError) -> dict[str, Any]:
    """Convert an error for JSON; see ``heard``."""
    return {
        "message": error.message,
        "next_action": error.next_action,
        "exit_code": error.exit_code,
    }


def heard(values: object) -> EdgeInspectError:
    """Return the error that a child reported with ``as_report``."""
    fields = values if isinstance(values, dict) else {}
    error = EdgeInspectError(
        str(fields.get("message", "The station's files could not be imported.")),
        next_action=str(fields.get("next_action", "")),
    )
    code = fields.get("exit_code")
    error.exit_code = code if isinstance(code, int) and 0 < code < 126 else 1
    return error


def _be_child(owner: Owner, work: Callable[[], Mapping[str, Any]], write_end: int) -> None:
    """Never returns."""
    status = 1
    try:
        os.setsid()
        os.closerange(3, write_end)
        os.closerange(write_end + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        limit_bytes = _data_bytes() + _MORE_DATA_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.setgroups(owner.groups)
        os.setresgid(owner.gid, owner.gid, owner.gid)
        os.setresuid(owner.uid, owner.uid, owner.uid)
        os.umask(0o007)
        with os.fdopen(write_end, "w", encoding="utf-8") as pipe:
            try:
                report = work()
            except EdgeInspectError as error:
                report = {"problems": [as_report(error)]}
            json.dump(dict(report), pipe)
        status = 0
    finally:
        os._exit(status)


def _data_bytes() -> int:
    """What counts against RLIMIT_DATA now; see proc_pid_statm(5)."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  cheap after a fork
        return int(file.read().split()[5]) * resource.getpagesize()


def _read_report(descriptor: int, deadline_s: float) -> bytes:
    """What the child wrote until it closed its end; b"" if that is late or too much."""
    chunks: list[bytes] = []
    while True:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0 or not select.select([descriptor], [], [], left_s)[0]:
            return b""
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        if sum(map(len, chunks)) > _MAX_REPORT_BYTES:
            return b""


def _end(child: int) -> None:
    try:
        os.killpg(child, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        os.kill(child, signal.SIGKILL)  # it does not have its own session yet
    os.waitpid(child, 0)
