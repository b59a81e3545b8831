"""Station and technicians share a data directory: what one makes, the other can go on with."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeinspect.files.atomic_file import make_folder
from edgeinspect.files.file_lock import exclusive
from edgeinspect.labels.label_store import LabelKind, LabelStore
from edgeinspect.records.database import open_for_writing
from edgeinspect.records.durable import write_new_file
from edgeinspect.settings.audit import AuditTrail


@pytest.fixture(autouse=True)
def _a_login_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def group_may_write(path: Path) -> bool:
    return bool(path.stat().st_mode & stat.S_IWGRP)


def test_in_a_shared_folder_the_group_may_go_on_with_everything(tmp_path: Path) -> None:
    tmp_path.chmod(0o2770)
    with exclusive(tmp_path / ".lock"):
        AuditTrail(tmp_path / "audit.jsonl").append("try", author="a", reason="b")
    connection = open_for_writing(tmp_path).connection
    LabelStore(tmp_path).add(1, LabelKind.GOOD, author="a")
    make_folder(tmp_path / "recipes" / "bracket")
    make_folder(tmp_path / "labelled" / "more")
    # also the log beside the database, while it is open
    modes = {path.name: group_may_write(path) for path in tmp_path.rglob("*")}
    connection.close()
    assert modes["records.sqlite3-wal"]
    assert modes.pop("audit-head.json")
    assert {name for name, open_to_group in modes.items() if not open_to_group} == set()
    assert stat.S_IMODE((tmp_path / "recipes").stat().st_mode) & stat.S_ISGID


def test_in_a_private_folder_nothing_is_opened_to_the_group(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with exclusive(tmp_path / ".lock"):
        pass
    sqlite3.connect(tmp_path / "other.sqlite3").close()
    open_for_writing(tmp_path).connection.close()
    make_folder(tmp_path / "recipes" / "bracket")
    write_new_file(tmp_path / "picture.png", b"")
    assert [path.name for path in tmp_path.rglob("*") if group_may_write(path)] == []


def test_a_picture_can_be_linked_by_whoever_labels_it(tmp_path: Path) -> None:
    # the kernel lets only who may write a file give it a second name (fs.protected_hardlinks)
    os.umask(0o007)  # the station's own
    write_new_file(tmp_path / "picture.png", b"")
    assert stat.S_IMODE((tmp_path / "picture.png").stat().st_mode) == 0o660
