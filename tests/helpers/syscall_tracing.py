"""Stops a forked child before its n-th system call that changes files, and kills it there.

A small ptrace through ctypes, so that SQLite's own writes are met as well. It can also keep a
model of what a power cut would leave: only file content and names that were fsynced.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_TRACEME, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 24, 0x4200, 0x420E
_TRACESYSGOOD, _EXITKILL = 1, 0x100000
_ENTRY, _EXIT = 1, 2
_SYSCALL_STOP = signal.SIGTRAP | 0x80

_CALLS = {
    "x86_64": {
        "write": 1, "open": 2, "pwrite64": 18, "writev": 20, "fsync": 74, "fdatasync": 75,
        "ftruncate": 77, "rename": 82, "mkdir": 83, "rmdir": 84, "link": 86, "unlink": 87,
        "openat": 257, "mkdirat": 258, "unlinkat": 263, "renameat": 264, "linkat": 265,
        "fallocate": 285, "pwritev": 296, "renameat2": 316,
    },
    "aarch64": {
        "mkdirat": 34, "unlinkat": 35, "linkat": 37, "renameat": 38, "ftruncate": 46,
        "fallocate": 47, "openat": 56, "write": 64, "writev": 66, "pwrite64": 68,
        "pwritev": 70, "fsync": 82, "fdatasync": 83, "renameat2": 276,
    },
}  # fmt: skip


class _SyscallInfo(ctypes.Structure):
    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction_pointer", ctypes.c_uint64),
        ("stack_pointer", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
        ("spare", ctypes.c_uint64),
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def can_trace() -> str:
    """Why tracing is not possible here; "" if it is."""
    if platform.machine() not in _CALLS:
        return f"no system call numbers for {platform.machine()}"
    try:
        run_traced(lambda: None, kill_before=None)
    except OSError as error:
        return f"ptrace is not permitted: {error}"
    return ""


@dataclass
class Durable:
    """What a power cut would leave below ``root``: fsynced content under fsynced names."""

    root: Path
    content: dict[int, bytes] = field(default_factory=dict)
    names: dict[Path, dict[str, tuple[int, bool]]] = field(default_factory=dict)

    def assume_present(self) -> None:
        """Everything below the root is durable now."""
        for folder, _, files in os.walk(self.root):
            self.note_fsync(Path(folder))
            for name in files:
                self.note_fsync(Path(folder, name))

    def note_fsync(self, path: Path) -> None:
        """The file or directory has just been fsynced."""
        if path.is_dir():
            self.names[path] = {
                entry.name: (entry.inode(), entry.is_dir()) for entry in os.scandir(path)
            }
        elif path.is_file():
            self.content[path.stat().st_ino] = path.read_bytes()

    def restore(self, target: Path) -> None:
        """Make ``target`` what the disk holds after the cut."""
        self._restore(self.root, target)

    def _restore(self, folder: Path, target: Path) -> None:
        target.mkdir()
        for name, (inode, is_folder) in self.names.get(folder, {}).items():
            if is_folder:
                self._restore(folder / name, target / name)
            elif not name.endswith("-shm"):
                (target / name).write_bytes(self.content.get(inode, b""))


def run_traced(
    child: Callable[[], None], *, kill_before: int | None, durable: Durable | None = None
) -> list[str]:
    """Run ``child`` in a fork; returns the names of its file-changing calls, in order.

    Args:
        kill_before: SIGKILL it before call number ``kill_before``, counted from 0.
        durable: told of every fsync that came back.

    Raises:
        OSError: tracing is not permitted.
        AssertionError: the child failed by itself.
    """
    pid = os.fork()
    if pid == 0:
        _become_traced(child)
    try:
        return _Trace(pid, durable).run(kill_before)
    except BaseException:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        raise


def _become_traced(child: Callable[[], None]) -> None:
    status = 3
    try:
        if _libc.ptrace(_TRACEME, 0, None, None) == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
            child()
            status = 0
    finally:
        os._exit(status)


class _Trace:
    def __init__(self, pid: int, durable: Durable | None) -> None:
        self._pid = pid
        self._durable = durable
        self._names = {number: name for name, number in _CALLS[platform.machine()].items()}
        self._syncing: Path | None = None
        self.calls: list[str] = []

    def run(self, kill_before: int | None) -> list[str]:
        _, status = os.waitpid(self._pid, 0)
        if not os.WIFSTOPPED(status):
            raise OSError("the child could not be traced")
        self._ptrace(_SETOPTIONS, 0, _TRACESYSGOOD | _EXITKILL)
        passed_on = 0
        while True:
            self._ptrace(_SYSCALL, 0, passed_on)
            _, status = os.waitpid(self._pid, 0)
            if not os.WIFSTOPPED(status):
                break
            passed_on = os.WSTOPSIG(status)
            if passed_on == _SYSCALL_STOP:
                passed_on = 0
                self._at_stop()
                if kill_before is not None and len(self.calls) > kill_before:
                    os.kill(self._pid, signal.SIGKILL)
                    _, status = os.waitpid(self._pid, 0)
                    break
        assert status in (0, signal.SIGKILL), f"the child ended with status {status}"
        return self.calls

    def _at_stop(self) -> None:
        info = _SyscallInfo()
        size = ctypes.sizeof(info)
        self._ptrace(_GET_SYSCALL_INFO, size, ctypes.addressof(info))
        if info.op == _EXIT and self._syncing is not None:
            if self._durable is not None:
                self._durable.note_fsync(self._syncing)
            self._syncing = None
        if info.op != _ENTRY or info.number not in self._names:
            return
        name = self._names[info.number]
        self.calls.append(name)
        if name in ("fsync", "fdatasync"):
            self._syncing = Path(f"/proc/{self._pid}/fd/{info.arguments[0]}").readlink()

    def _ptrace(self, request: int, address: int, data: int) -> None:
        if _libc.ptrace(request, self._pid, address, data) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
