from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeinspect.errors import StationBusy, StorageFault
from edgeinspect.files.file_lock import exclusive
from edgeinspect.records.records_lock import DataDirectoryLock, is_held


def fail_with(number: int, *, for_folders: bool = False) -> Callable[[int, int], None]:
    """A file system whose locks all fail; ``for_folders``: only those of folders."""
    flock = fcntl.flock

    def fail(descriptor: int, how: int) -> None:
        if for_folders and not Path(f"/proc/self/fd/{descriptor}").is_dir():
            return flock(descriptor, how)
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    "number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF]
)
def test_a_file_system_without_locks_is_not_called_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", fail_with(number))
    expected = r"The file system of .*lock does not support locks.* directory on a local disk"
    with pytest.raises(StorageFault, match=expected):
        DataDirectoryLock(tmp_path)
    with pytest.raises(StorageFault, match=expected), exclusive(tmp_path / ".lock"):
        pass
    with pytest.raises(StorageFault, match="does not support locks"):
        is_held(tmp_path)


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_a_lock_that_another_process_holds_is_called_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "lock").write_text("4711\n")
    monkeypatch.setattr(fcntl, "flock", fail_with(number))
    with pytest.raises(StationBusy, match="Process 4711 is already running"):
        DataDirectoryLock(tmp_path)
    with (
        pytest.raises(StorageFault, match="held the lock of"),
        exclusive(tmp_path / ".lock", timeout_s=0.0),
    ):
        pass
    assert is_held(tmp_path)


def test_where_only_files_can_be_locked_the_file_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", fail_with(errno.EBADF, for_folders=True))
    lock = DataDirectoryLock(tmp_path)
    assert lock.is_in_place
    with pytest.raises(StationBusy, match=f"Process {os.getpid()} "):
        DataDirectoryLock(tmp_path)
    lock.release()
    DataDirectoryLock(tmp_path).release()


def test_a_lock_is_taken_anew_where_it_was_removed(tmp_path: Path) -> None:
    lock = DataDirectoryLock(tmp_path)
    assert lock.is_in_place
    (tmp_path / "lock").unlink()
    assert not lock.is_in_place
    lock.renew()
    assert lock.is_in_place
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()
    assert not is_held(tmp_path)


def test_a_lock_file_is_never_a_link(tmp_path: Path) -> None:
    """Whoever may write the folder must not have another file emptied."""
    (tmp_path / "letter").write_text("for you")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lock").symlink_to(tmp_path / "letter")
    with pytest.raises(StorageFault, match="symbolic links"):
        DataDirectoryLock(tmp_path / "data")
    assert (tmp_path / "letter").read_text() == "for you"


def test_writers_do_not_lock_two_files_of_one_name(tmp_path: Path) -> None:
    """The second one waits for a file that the first then removes, and locks the new one."""
    path = tmp_path / ".lock"
    entered = threading.Event()
    leave = threading.Event()

    def second() -> None:
        with exclusive(path):
            entered.set()
            leave.wait(10)

    with exclusive(path):
        thread = threading.Thread(target=second)
        thread.start()
        path.unlink()
    assert entered.wait(10)
    with pytest.raises(StorageFault, match="held the lock of"), exclusive(path, timeout_s=0.0):
        pass
    leave.set()
    thread.join()
