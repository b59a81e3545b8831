"""A control socket whose own path is too long for the kernel."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeinspect.control.client import ControlClient
from edgeinspect.control.socket_path import MAX_ADDRESS_BYTES, address_to_listen_on, fits
from edgeinspect.control.unix_socket import listen_on, remove_own
from edgeinspect.errors import StationUnreachable, StorageFault, UsageError


@pytest.fixture
def runtime_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """As short as the real one, wherever the tests keep their files."""
    with tempfile.TemporaryDirectory(prefix="run-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A socket's path that the kernel refuses."""
    folder = tmp_path / ("d" * MAX_ADDRESS_BYTES)
    folder.mkdir()
    return folder / "control.sock"


def test_the_longest_path_that_the_kernel_takes_is_used_as_it_is(tmp_path: Path) -> None:
    rest = MAX_ADDRESS_BYTES - len(os.fsencode(tmp_path)) - 1
    path = tmp_path / ("s" * rest)
    assert address_to_listen_on(path, shared=False) == path
    listen_on(path, mode=0o600, group=None, backlog=1).close()
    assert path.is_socket() and not path.is_symlink()
    assert not fits(tmp_path / ("s" * (rest + 1)))


def test_a_long_path_becomes_a_link_that_the_client_follows(deep: Path, runtime_dir: Path) -> None:
    listener = listen_on(deep, mode=0o600, group=None, backlog=1)
    address = Path(listener.getsockname())
    assert address.parent == runtime_dir / "edgeinspect"
    assert deep.readlink() == address
    assert address.stat().st_mode & 0o777 == 0o600
    ControlClient(deep).close()
    remove_own(deep, address.stat().st_ino)
    assert not address.exists() and not deep.is_symlink()
    listener.close()
    with pytest.raises(StationUnreachable, match="No station answers"):
        ControlClient(deep)


def test_a_relative_path_to_a_deep_folder_works(
    deep: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(deep.parent)
    with listen_on(Path(deep.name), mode=0o600, group=None, backlog=1) as listener:
        assert listener.getsockname().startswith(str(runtime_dir))
        ControlClient(deep.name).close()


def test_two_deep_folders_get_two_sockets(deep: Path, runtime_dir: Path) -> None:
    other = deep.with_name("other.sock")
    addresses = [address_to_listen_on(path, shared=False) for path in (deep, other)]
    assert len(set(addresses)) == 2 and addresses[0].parent == runtime_dir / "edgeinspect"


def test_what_a_killed_station_left_is_replaced(deep: Path, runtime_dir: Path) -> None:
    first = listen_on(deep, mode=0o600, group=None, backlog=1)
    first.close()
    with listen_on(deep, mode=0o600, group=None, backlog=1) as second:
        assert second.getsockname() == str(deep.readlink())
        ControlClient(deep).close()


def test_a_file_at_the_long_path_is_left_alone(deep: Path, runtime_dir: Path) -> None:
    deep.write_text("precious")
    with pytest.raises(UsageError, match="already exists and is not a socket"):
        listen_on(deep, mode=0o600, group=None, backlog=1)
    assert deep.read_text() == "precious"


def test_a_directory_that_others_can_write_is_not_used(deep: Path, runtime_dir: Path) -> None:
    (runtime_dir / "edgeinspect").mkdir()
    (runtime_dir / "edgeinspect").chmod(0o777)
    assert runtime_dir not in address_to_listen_on(deep, shared=False).parents


def test_a_link_in_place_of_the_directory_is_not_used(deep: Path, runtime_dir: Path) -> None:
    (runtime_dir / "elsewhere").mkdir()
    (runtime_dir / "edgeinspect").symlink_to(runtime_dir / "elsewhere")
    assert runtime_dir not in address_to_listen_on(deep, shared=False).parents


def test_a_socket_for_a_group_lies_where_the_group_can_reach_it(
    deep: Path, runtime_dir: Path
) -> None:
    address = address_to_listen_on(deep, shared=True)
    assert runtime_dir not in address.parents
    assert address.parent.stat().st_mode & 0o777 in (0o711, 0o755)


def test_no_usable_directory_is_said(
    deep: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12_345)  # so no directory is this user's
    monkeypatch.setattr("tempfile.tempdir", str(runtime_dir))
    with pytest.raises(StorageFault, match="none of these directories") as caught:
        address_to_listen_on(deep, shared=False)
    assert "control.socket" in caught.value.next_action
