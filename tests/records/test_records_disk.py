"""A real full disk and a real read-only one: a small file system in memory, where one may be
mounted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeinspect.errors import DiskFull, StorageFault
from edgeinspect.records import ImagePolicy, PartFilter, RecordReader, RecordWriter
from tests.helpers.memory_disk import memory_disk, mount
from tests.helpers.records_samples import StepClock, sample_entry

DISK_BYTES = 3 << 20
POLICY = ImagePolicy(max_bytes=DISK_BYTES, min_free_bytes=0)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with memory_disk(tmp_path / "disk", size_bytes=DISK_BYTES) as place:
        yield place


def open_writer(disk: Path) -> RecordWriter:
    return RecordWriter(disk / "data", clock=StepClock(), policy=POLICY, reserve_bytes=400_000)


def _fill(path: Path) -> None:
    """Take all the space that is left."""
    with path.open("wb", buffering=0) as file:
        for size in (65536, 4096):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


def _recorded(disk: Path) -> list[int]:
    with RecordReader(disk / "data") as reader:
        return [part.record.part_id for part in reader.parts()]


def _write_until_full(writer: RecordWriter, first: int) -> tuple[list[int], range]:
    """Ids that were acknowledged, and the batch that no longer fitted."""
    acknowledged: list[int] = []
    while True:
        batch = range(first, first + 20)
        try:
            done = writer.write([sample_entry(i, picture=i % 2 == 0) for i in batch])
        except DiskFull:
            return acknowledged, batch
        acknowledged += done.part_ids
        first = batch.stop


def test_a_full_disk_loses_nothing_and_is_used_again_once_there_is_room(disk: Path) -> None:
    with open_writer(disk) as writer:
        writer.write([sample_entry(i, picture=True) for i in range(1, 41)])
        kept_bytes = writer.image_bytes
        _fill(disk / "ballast")
        acknowledged, refused = _write_until_full(writer, 41)
        assert len(acknowledged) > 100
        assert writer.image_bytes < kept_bytes
        assert _recorded(disk) == list(range(1, refused.start))
        with pytest.raises(DiskFull):  # far more than the pictures that may still go leave room for
            writer.write([sample_entry(i) for i in range(refused.start, refused.start + 2_000)])
        assert _recorded(disk) == list(range(1, refused.start))
        (disk / "ballast").unlink()
        done = writer.write([sample_entry(i, picture=True) for i in refused])
        assert done.images_kept == len(refused)
        assert (disk / "data" / "reserve").stat().st_size == 400_000
    assert _recorded(disk) == list(range(1, refused.stop))


def test_a_station_starts_again_on_a_disk_that_is_full(disk: Path) -> None:
    with open_writer(disk) as writer:
        writer.write([sample_entry(i, picture=True) for i in range(1, 41)])
        _fill(disk / "ballast")
    with open_writer(disk) as writer:
        assert writer.report.faults == {}
        writer.write([sample_entry(i) for i in range(41, 61)])
    assert _recorded(disk) == list(range(1, 61))


def test_every_kept_picture_is_readable_after_the_disk_was_full(disk: Path) -> None:
    with open_writer(disk) as writer:
        _fill(disk / "ballast")
        _write_until_full(writer, 1)
        (disk / "ballast").unlink()
        writer.write([sample_entry(i, picture=True) for i in range(100_000, 100_020)])
    with RecordReader(disk / "data") as reader:
        pictured = list(reader.parts(PartFilter(with_image=True)))
        assert len(pictured) >= 20
        for part in pictured:
            assert reader.picture(part).shape == (24, 24)
    with open_writer(disk) as writer:
        assert writer.report.faults == {}


def test_a_read_only_directory(disk: Path) -> None:
    with open_writer(disk) as writer:
        writer.write([sample_entry(i) for i in range(1, 4)])
    mount("-o", "remount,ro", str(disk))
    assert _recorded(disk) == [1, 2, 3]
    with pytest.raises(StorageFault, match=r"Cannot write .*lock: Read-only"):
        open_writer(disk)


def test_a_read_only_directory_with_records_still_in_the_log(disk: Path, tmp_path: Path) -> None:
    with open_writer(disk) as writer:
        writer.write([sample_entry(1)])
        copy = tmp_path / "disk" / "copy"
        copy.mkdir()
        for name in ("records.sqlite3", "records.sqlite3-wal"):
            (copy / name).write_bytes((disk / "data" / name).read_bytes())
    mount("-o", "remount,ro", str(disk))
    with pytest.raises(StorageFault, match="still in the database log"):
        RecordReader(copy)
