"""Files that are deleted, replaced or moved under a running station: nothing is acknowledged into
a file that nobody can find, and what was acknowledged is in its place again."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeinspect.errors import DataDisplaced, StationBusy, StorageFault
from edgeinspect.records import ImagePolicy, PartFilter, RecordReader, RecordWriter, kept_open
from edgeinspect.records.database import DATABASE_NAME
from edgeinspect.records.records_lock import DataDirectoryLock, is_held
from tests.helpers.memory_disk import memory_disk
from tests.helpers.records_samples import CLASSES, StepClock, sample_entry, sample_record

POLICY = ImagePolicy(max_bytes=1_000_000, min_free_bytes=0)
LOG, INDEX = f"{DATABASE_NAME}-wal", f"{DATABASE_NAME}-shm"


def open_writer(data_dir: Path) -> RecordWriter:
    return RecordWriter(
        data_dir, clock=StepClock(), policy=POLICY, reserve_bytes=100_000, draw=lambda below: 0
    )


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[RecordWriter]:
    """A station that has recorded parts 1 to 20, half of them with a picture."""
    opened = open_writer(tmp_path / "data")
    opened.reserve_part_ids(1000)
    opened.register_recipe(sample_record(0).recipe_digest, classes=CLASSES, document="all of it")
    opened.write([sample_entry(part_id, picture=part_id % 2 == 0) for part_id in range(1, 21)])
    yield opened
    opened.close()


def recorded(data_dir: Path) -> list[int]:
    with RecordReader(data_dir) as reader:
        parts = list(reader.parts())
        for part in parts:
            assert part.record == sample_record(part.record.part_id)
    return [part.record.part_id for part in parts]


def pictured(data_dir: Path) -> list[int]:
    with RecordReader(data_dir) as reader:
        return [part.record.part_id for part in reader.parts(PartFilter(with_image=True))]


# --- what people do -------------------------------------------------------------------------


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _database_and_log(data: Path) -> None:
    for path in data.glob(f"{DATABASE_NAME}*"):
        path.unlink()


def _another_database(data: Path) -> None:
    """A sound one, as from a backup of another station, whose parts have the same ids."""
    with open_writer(data.parent / "other") as other:
        other.write([sample_entry(part_id) for part_id in range(15, 40)])
    (data.parent / "other" / DATABASE_NAME).rename(data / DATABASE_NAME)


def _another_database_with_log(data: Path) -> None:
    """As copied from a running station: the newest records are in the log alone."""
    with open_writer(data.parent / "other") as other:
        other.write([sample_entry(part_id) for part_id in range(15, 40)])
        for name in (DATABASE_NAME, LOG):
            shutil.copy(data.parent / "other" / name, data / f"new-{name}")
            (data / f"new-{name}").rename(data / name)


def _own_copy(data: Path) -> None:
    shutil.copy(data / DATABASE_NAME, data / "copy")
    (data / "copy").rename(data / DATABASE_NAME)


def _folder_instead(name: str) -> Callable[[Path], object]:
    def act(data: Path) -> None:
        _remove(data / name)
        (data / name).mkdir()
        (data / name / "letter").write_text("for you")

    return act


def _link_instead(name: str) -> Callable[[Path], object]:
    def act(data: Path) -> None:
        (data / name).rename(data.parent / f"real-{name}")
        (data / name).symlink_to(data.parent / f"real-{name}")

    return act


def _dangling_link_instead(name: str) -> Callable[[Path], object]:
    def act(data: Path) -> None:
        _remove(data / name)
        (data / name).symlink_to(data.parent / "nowhere")

    return act


def _file_instead(name: str) -> Callable[[Path], object]:
    def act(data: Path) -> None:
        _remove(data / name)
        (data / name).write_text("7\n")

    return act


def _moved_and_empty_instead(data: Path) -> None:
    data.rename(data.parent / "moved")
    data.mkdir()


DEEDS: dict[str, Callable[[Path], object]] = {
    "database deleted": lambda data: (data / DATABASE_NAME).unlink(),
    "database and log deleted": _database_and_log,
    "log deleted": lambda data: (data / LOG).unlink(),
    "index of the log deleted": lambda data: (data / INDEX).unlink(),
    "log renamed": lambda data: (data / LOG).rename(data / "log"),
    "database renamed": lambda data: (data / DATABASE_NAME).rename(data / "old"),
    "another database": _another_database,
    "another database with its log": _another_database_with_log,
    "a copy of its own database": _own_copy,
    "data directory moved": lambda data: data.rename(data.parent / "moved"),
    "data directory moved, an empty one made": _moved_and_empty_instead,
    "data directory deleted": shutil.rmtree,
    "images deleted": lambda data: shutil.rmtree(data / "images"),
    "counter deleted": lambda data: (data / "next-part-id").unlink(),
    "lock deleted": lambda data: (data / "lock").unlink(),
    **{
        f"{how} instead of {name}": make(name)
        for name in (DATABASE_NAME, LOG, "images", "next-part-id", "lock")
        for how, make in (
            ("a folder", _folder_instead),
            ("a link", _link_instead),
            ("a dangling link", _dangling_link_instead),
            ("a file", _file_instead),
        )
    },
}


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("idle", [True, False])
def test_what_was_acknowledged_is_in_its_place_again(
    writer: RecordWriter, tmp_path: Path, deed: str, idle: bool
) -> None:
    data = tmp_path / "data"
    DEEDS[deed](data)
    batch = [sample_entry(21), sample_entry(22, picture=True)]
    with pytest.raises(DataDisplaced, match="while the station was running"):
        writer.write([] if idle else batch)
    assert writer.write(batch).part_ids == (21, 22)
    assert recorded(data) == list(range(1, 23))
    assert 22 in pictured(data)
    with RecordReader(data) as reader:
        assert reader.query("SELECT document FROM recipes", {})[0][0] == "all of it"
    writer.write([])  # all is well
    ids = writer.reserve_part_ids(10)
    assert ids.start > 1000
    writer.close(next_part_id=23)
    with open_writer(data) as again:
        assert recorded(data) == list(range(1, 23))
        assert again.reserve_part_ids(1).start > 22
        assert again.write([]).part_ids == ()


@pytest.mark.parametrize("deed", DEEDS)
def test_the_end_puts_the_records_back_too(writer: RecordWriter, tmp_path: Path, deed: str) -> None:
    DEEDS[deed](tmp_path / "data")
    writer.close(next_part_id=21)
    assert recorded(tmp_path / "data") == list(range(1, 21))


def test_a_deletion_between_commit_and_answer_is_not_acknowledged(
    writer: RecordWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    confirm = writer._ring.confirm

    def delete_after_the_commit(images: object) -> None:
        confirm(images)  # type: ignore[arg-type]
        _database_and_log(data)

    batch = [sample_entry(21, picture=True)]
    with monkeypatch.context() as patched, pytest.raises(DataDisplaced):
        patched.setattr(writer._ring, "confirm", delete_after_the_commit)
        writer.write(batch)
    assert writer.write(batch).part_ids == (21,)
    assert recorded(data) == list(range(1, 22))
    assert 21 in pictured(data)


def test_nothing_that_lies_in_the_way_is_lost(writer: RecordWriter, tmp_path: Path) -> None:
    data = tmp_path / "data"
    _another_database_with_log(data)
    _folder_instead("next-part-id")(data)
    _file_instead("images")(data)
    with pytest.raises(DataDisplaced):
        writer.write([])
    writer.write([sample_entry(21)])
    assert recorded(data) == list(range(1, 22))
    assert (data / "next-part-id-set-aside-001" / "letter").read_text() == "for you"
    assert (data / "images-set-aside-001").read_text() == "7\n"
    aside = data / "records-set-aside-001.sqlite3"
    with sqlite3.connect(aside) as connection:
        assert connection.execute("SELECT count(*) FROM parts").fetchone() == (25,)
    connection.close()


def test_what_is_moved_back_in_time_is_gone_on_with(writer: RecordWriter, tmp_path: Path) -> None:
    data = tmp_path / "data"
    inode = (data / DATABASE_NAME).stat().st_ino
    data.rename(tmp_path / "moved")
    with pytest.raises(DataDisplaced, match=f"{data} was deleted or moved"):
        writer.write([sample_entry(21)])
    (tmp_path / "moved").rename(data)
    writer.write([sample_entry(21)])
    assert recorded(data) == list(range(1, 22))
    assert (data / DATABASE_NAME).stat().st_ino == inode


def test_pictures_that_are_gone_are_counted_when_it_is_put_right(
    writer: RecordWriter, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "data" / "images")
    with pytest.raises(DataDisplaced, match="images was deleted or moved"):
        writer.write([])
    writer.write([])
    assert writer.report.faults == {"images_missing": 10}
    assert writer.image_bytes == 0


def test_records_that_cannot_be_put_back_stay_in_the_open_file(
    writer: RecordWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the disk has no room for the copy."""
    data = tmp_path / "data"
    _database_and_log(data)

    def no_room(*arguments: object) -> None:
        raise StorageFault("no room for the copy")

    with monkeypatch.context() as patched:
        patched.setattr(kept_open, "copy_database", no_room)
        with pytest.raises(DataDisplaced):
            writer.write([])
        for _ in range(3):
            with pytest.raises(StorageFault, match="no room for the copy"):
                writer.write([sample_entry(21)])
    writer.write([sample_entry(21)])
    assert recorded(data) == list(range(1, 22))


# --- locks ----------------------------------------------------------------------------------


def test_a_deleted_lock_lets_no_second_station_in(writer: RecordWriter, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "lock").unlink()
    with pytest.raises(StationBusy):
        DataDirectoryLock(data)
    assert is_held(data)


def test_a_directory_that_another_station_took_is_not_written_to(
    writer: RecordWriter, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.rename(tmp_path / "moved")
    with open_writer(data) as other:
        with pytest.raises(DataDisplaced):
            writer.write([sample_entry(21)])
        with pytest.raises(StorageFault, match="already running a station"):
            writer.write([sample_entry(21)])
        other.write([sample_entry(500)])
    assert recorded(data) == [500]
    writer.write([sample_entry(21)])  # it has gone; its database is set aside
    assert recorded(data) == list(range(1, 22))
    assert (data / "records-set-aside-001.sqlite3").exists()


# --- disks ----------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with memory_disk(tmp_path / "disk", size_bytes=8 << 20) as place:
        yield place


def test_a_disk_that_was_unmounted_is_not_replaced_by_the_folder_below(disk: Path) -> None:
    writer = open_writer(disk)
    writer.write([sample_entry(1)])
    subprocess.run(["umount", "--lazy", str(disk)], check=True)
    with pytest.raises(DataDisplaced):
        writer.write([sample_entry(2)])
    with pytest.raises(StorageFault, match="no longer on the disk that it was on"):
        writer.write([sample_entry(2)])
    assert list(disk.iterdir()) == []
    with pytest.raises(StorageFault, match="no longer on the disk"):
        writer.close()
