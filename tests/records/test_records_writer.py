from __future__ import annotations

import contextlib
import datetime
import math
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.errors import (
    DataFromNewerVersion,
    DiskFull,
    StationBusy,
    StorageFault,
    UsageError,
)
from edgeinspect.part import GateOutcome, PartRecord, Verdict, VerdictKind
from edgeinspect.records import (
    ImageKind,
    ImagePolicy,
    PartFilter,
    RecordEntry,
    RecordReader,
    RecordWriter,
    image_kind,
)
from edgeinspect.records import writer as writer_module
from edgeinspect.records.database import DATABASE_NAME, open_for_writing, transaction
from edgeinspect.records.images import decode_png, encode_png, is_sampled
from edgeinspect.records.part_ids import MAX_DRAWN_ID, Draw
from edgeinspect.records.rows import decode_record, encode_record
from edgeinspect.records.schema import SCHEMA_VERSION
from tests.helpers.records_samples import (
    CLASSES,
    START_WALL,
    StepClock,
    sample_entry,
    sample_inspection,
    sample_pixels,
    sample_record,
)

NO_FLOOR = ImagePolicy(max_bytes=1_000_000, min_free_bytes=0)


def open_writer(
    data_dir: Path,
    *,
    clock: StepClock | None = None,
    policy: ImagePolicy = NO_FLOOR,
    draw: Draw = lambda below: 0,
) -> RecordWriter:
    return RecordWriter(
        data_dir,
        clock=clock or StepClock(),
        policy=policy,
        reserve_bytes=100_000,
        draw=draw,
    )


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[RecordWriter]:
    with open_writer(tmp_path / "data") as opened:
        yield opened


def read_all(data_dir: Path) -> list[PartRecord]:
    with RecordReader(data_dir) as reader:
        return [part.record for part in reader.parts()]


# --- one record -----------------------------------------------------------------------------


@pytest.mark.parametrize("part_id", range(4))
def test_a_record_comes_back_as_it_was(tmp_path: Path, part_id: int) -> None:
    record = sample_record(part_id + 100)
    with open_writer(tmp_path) as writer:
        assert writer.write([RecordEntry(record)]).part_ids == (record.part_id,)
    assert read_all(tmp_path) == [record]


def test_a_record_of_a_part_that_never_got_a_frame(tmp_path: Path) -> None:
    record = PartRecord(
        1, 10, Verdict(VerdictKind.CANNOT_INSPECT), GateOutcome.LOST, recipe_digest=""
    )
    with open_writer(tmp_path) as writer:
        writer.write([RecordEntry(record)])
    assert read_all(tmp_path) == [record]


finite = st.floats(width=32, min_value=0, max_value=1)


@given(
    scores=st.lists(finite, max_size=5),
    ranks=st.lists(st.tuples(finite, finite, finite), max_size=3),
    detail=st.text(),
)
def test_every_value_survives_the_row(
    scores: list[float], ranks: list[tuple[float, ...]], detail: str
) -> None:
    seen = sample_inspection(0.5)
    record = replace(
        sample_record(1),
        inspection=replace(
            seen,
            scores=tuple(scores),
            order_statistics=tuple(ranks),
        ),
        verdict=Verdict(VerdictKind.REJECT, "pit", 0.5, detail=detail),
    )
    columns = encode_record(record)
    connection = sqlite3.connect(":memory:")
    values = ", ".join(f":{name} AS {name}" for name in columns)
    connection.row_factory = sqlite3.Row
    row = dict(connection.execute(f"SELECT {values}", columns).fetchone())
    connection.close()
    expected_detail = detail.encode("utf-8", "replace").decode()
    assert decode_record(row, record.recipe_digest) == replace(
        record, verdict=replace(record.verdict, detail=expected_detail)
    )


def test_broken_and_numpy_numbers_cannot_keep_a_record_from_being_written(tmp_path: Path) -> None:
    seen = replace(
        sample_inspection(0.5),
        scores=(math.nan, float(np.float32(0.5)), math.inf),
        worst_region=type(sample_inspection(0).worst_region)(*np.arange(4)),  # type: ignore[misc]
    )
    record = replace(
        sample_record(1),
        part_id=np.int64(1),  # type: ignore[arg-type]
        inspection=seen,
        verdict=Verdict(VerdictKind.REJECT, "pit\udc80", math.nan),
    )
    with open_writer(tmp_path) as writer:
        writer.write([RecordEntry(record)])
    (found,) = read_all(tmp_path)
    assert found.inspection is not None
    assert math.isnan(found.verdict.score)
    assert math.isnan(found.inspection.scores[0])
    assert found.inspection.scores[1] == 0.5
    assert found.inspection.worst_region == (0, 1, 2, 3)
    assert found.verdict.defect_class == "pit?"


# --- acknowledgement ------------------------------------------------------------------------


def test_what_is_acknowledged_is_seen_by_another_process(
    writer: RecordWriter, tmp_path: Path
) -> None:
    writer.write([sample_entry(part_id) for part_id in range(1, 6)])
    script = (
        "import sys, pathlib; from edgeinspect.records import RecordReader;"
        "print([p.record.part_id for p in RecordReader(pathlib.Path(sys.argv[1])).parts()])"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "data")]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "[1, 2, 3, 4, 5]"


def test_a_batch_is_recorded_whole_or_not_at_all(writer: RecordWriter, tmp_path: Path) -> None:
    writer.write([sample_entry(2, picture=True)])
    other = replace(sample_record(2), trigger_mono_ns=1)
    with pytest.raises(UsageError, match="2 is already used"):
        writer.write([sample_entry(1, picture=True), RecordEntry(other)])
    assert [record.part_id for record in read_all(tmp_path / "data")] == [2]
    assert len(list((tmp_path / "data" / "images").rglob("*.png"))) == 1
    writer.write([sample_entry(1, picture=True)])
    assert writer.report.images.unindexed == ()


def test_writing_a_recorded_batch_again_changes_nothing(
    writer: RecordWriter, tmp_path: Path
) -> None:
    batch = [sample_entry(1), sample_entry(2)]
    writer.write(batch)
    assert writer.write(batch).part_ids == (1, 2)
    assert read_all(tmp_path / "data") == [entry.record for entry in batch]


def test_an_empty_batch_is_acknowledged(writer: RecordWriter) -> None:
    assert writer.write([]).part_ids == ()


def test_a_closed_writer_says_so(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    writer.close()
    writer.close()
    with pytest.raises(UsageError, match="closed"):
        writer.write([sample_entry(1)])


def test_every_commit_is_forced_to_the_disk(tmp_path: Path) -> None:
    opened = open_for_writing(tmp_path)
    assert opened.connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert opened.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    opened.connection.close()


def test_after_a_storage_fault_the_writer_goes_on(
    writer: RecordWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def fail(*arguments: object, **options: object) -> Iterator[None]:
        raise StorageFault("the disk failed")
        yield

    writer.write([sample_entry(1, picture=True)])
    with monkeypatch.context() as patched, pytest.raises(StorageFault, match="the disk failed"):
        patched.setattr(writer_module, "transaction", fail)
        writer.write([sample_entry(2, picture=True)])
    done = writer.write([sample_entry(2, picture=True)])
    assert (done.images_kept, done.image_faults) == (1, ())
    assert _kept(tmp_path / "data") == [1, 2]
    assert writer.report.integrity == "ok"
    assert writer.report.faults == {}


def test_a_commit_that_was_reported_as_failed_but_is_durable(
    writer: RecordWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def commit_then_fail(*arguments: object, **options: object) -> Iterator[None]:
        with transaction(*arguments, **options):  # type: ignore[arg-type]
            yield
        raise StorageFault("the answer of the disk was lost")

    batch = [sample_entry(1, picture=True)]
    with monkeypatch.context() as patched, pytest.raises(StorageFault, match="answer"):
        patched.setattr(writer_module, "transaction", commit_then_fail)
        writer.write(batch)
    assert writer.write(batch).part_ids == (1,)
    assert _kept(tmp_path / "data") == [1]
    assert writer.report.faults == {}


# --- part ids -------------------------------------------------------------------------------


def test_ids_are_never_given_out_twice(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        first, second = writer.reserve_part_ids(10), writer.reserve_part_ids(10)
    assert second == range(first.stop, first.stop + 10)
    with open_writer(tmp_path) as writer:
        assert writer.reserve_part_ids(1).start == second.stop


def test_unused_ids_can_be_given_back_but_used_ones_cannot(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    first = writer.reserve_part_ids(1000).start
    writer.write([sample_entry(first), sample_entry(first + 1)])
    writer.close(next_part_id=first + 3)
    writer = open_writer(tmp_path)
    assert writer.reserve_part_ids(5).start == first + 3
    with pytest.raises(UsageError, match="in use"):
        writer.close(next_part_id=first + 1)
    with open_writer(tmp_path) as again:
        assert again.reserve_part_ids(1).start == first + 8


def restore(backup: Path, place: Path, what: str) -> None:
    """Put back the database alone, the counter alone, both, or the whole directory."""
    if what == "all":
        shutil.rmtree(place)
        shutil.copytree(backup, place)
        return
    if what != "counter":
        for path in place.glob(f"{DATABASE_NAME}*"):
            path.unlink()
        shutil.copy2(backup / DATABASE_NAME, place)
    if what != "database":
        shutil.copy2(backup / "next-part-id", place)


@pytest.mark.parametrize("what", ["database", "counter", "both", "all"])
@pytest.mark.parametrize("cleanly", [True, False])
def test_a_restored_backup_gives_no_id_again(tmp_path: Path, what: str, cleanly: bool) -> None:
    place, backup = tmp_path / "data", tmp_path / "backup"

    def life(chance: int) -> range:
        """The ids that one life of the station gave out, as far as ``reserve`` goes."""
        writer = open_writer(place, draw=lambda below: chance % below)
        ids = writer.reserve_part_ids(1000)
        writer.close(next_part_id=ids.start + 50 if cleanly else None)
        return ids[:50] if cleanly else ids

    given = [life(5_000)]
    shutil.copytree(backup if backup.exists() else place, backup)
    given.append(life(7_000))
    restore(backup, place, what)
    given.append(life(9_000))
    given.append(life(3_000))
    assert len({part_id for ids in given for part_id in ids}) == sum(map(len, given))
    assert given[3].start > given[2][-1]


def test_after_a_reboot_the_ids_begin_somewhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memory card that is written anew from its image shows nothing but another boot."""
    with open_writer(tmp_path) as writer:
        ids = writer.reserve_part_ids(10)
    asked: list[int] = []

    def drawn(below: int) -> int:
        asked.append(below)
        return 123_456

    monkeypatch.setattr(writer_module, "_read_boot_id", lambda: "another boot")
    with open_writer(tmp_path, draw=drawn) as writer:
        assert writer.reserve_part_ids(10).start == ids.stop + 123_456
    assert asked == [(MAX_DRAWN_ID - ids.stop) // 1_000]


def test_drawn_ids_stay_exact_in_spreadsheets_and_json(tmp_path: Path) -> None:
    with open_writer(tmp_path, draw=lambda below: below - 1) as writer:
        assert writer.reserve_part_ids(10).stop < MAX_DRAWN_ID / 900
    (tmp_path / "next-part-id").write_text(f"{MAX_DRAWN_ID + 7}\n")
    with open_writer(tmp_path, draw=lambda below: below - 1) as writer:
        assert writer.reserve_part_ids(10).start == MAX_DRAWN_ID + 7  # none left to draw from


@pytest.mark.parametrize("counter", [b"", b"rubbish", b"\xff\xfe", b"9" * 30, b"-5"])
def test_ids_survive_the_loss_of_the_database_or_of_the_counter(
    tmp_path: Path, counter: bytes
) -> None:
    with open_writer(tmp_path) as writer:
        ids = writer.reserve_part_ids(50)
        writer.write([sample_entry(ids.start + 6, picture=True)])
    (tmp_path / "next-part-id").write_bytes(counter)
    with open_writer(tmp_path) as writer:
        second = writer.reserve_part_ids(50)
        assert second.start >= ids.stop
    (tmp_path / DATABASE_NAME).unlink()
    with open_writer(tmp_path) as writer:
        assert writer.reserve_part_ids(1).start >= second.stop
    (tmp_path / DATABASE_NAME).unlink()
    (tmp_path / "next-part-id").unlink()
    with open_writer(tmp_path, draw=lambda below: 0) as writer:
        assert writer.report.faults == {"images_unindexed": 1}
        assert writer.reserve_part_ids(1).start == ids.start + 7


def test_a_file_with_an_absurd_number_does_not_use_up_the_ids(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / f"{10**30}.png").touch()
    with open_writer(tmp_path, draw=lambda below: 0) as writer:
        assert writer.reserve_part_ids(1).start == 1


def test_no_ids_is_a_wrong_question(writer: RecordWriter) -> None:
    with pytest.raises(UsageError):
        writer.reserve_part_ids(0)


# --- opening --------------------------------------------------------------------------------


def test_a_second_station_is_refused_and_told_who_is_there(
    writer: RecordWriter, tmp_path: Path
) -> None:
    with pytest.raises(StationBusy, match=rf"Process {os.getpid()} "):
        open_writer(tmp_path / "data")
    writer.close()
    open_writer(tmp_path / "data").close()


def test_a_killed_station_leaves_no_lock(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys; from tests.helpers import records_samples as samples;"
        "from edgeinspect.records import RecordWriter;"
        "writer = RecordWriter(pathlib.Path(sys.argv[1]), clock=samples.StepClock());"
        "print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    pipe = subprocess.PIPE
    place = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=place, stdin=pipe, stdout=pipe, text=True) as station:
        assert station.stdout is not None
        assert station.stdout.readline() == "ready\n"
        with pytest.raises(StationBusy, match=f"{station.pid}"):
            open_writer(tmp_path)
        station.kill()
    open_writer(tmp_path).close()


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    open_writer(tmp_path).close()
    connection = sqlite3.connect(tmp_path / DATABASE_NAME)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = (tmp_path / DATABASE_NAME).read_bytes()
    for opening in (open_writer, RecordReader):
        with pytest.raises(DataFromNewerVersion, match=f"version {SCHEMA_VERSION + 1}"):
            opening(tmp_path)
    assert (tmp_path / DATABASE_NAME).read_bytes() == before


def set_schema(connection: sqlite3.Connection, *statements: str) -> None:
    """Change the schema's own text."""
    connection.execute("PRAGMA writable_schema = ON")
    for statement in statements:
        connection.execute(statement)
    connection.commit()


NOT_OURS = {
    "another program's": ("CREATE TABLE guests (name TEXT)",),
    "another program's version": ("CREATE TABLE guests (name TEXT)", "PRAGMA user_version = 9"),
    "garbage": ("UPDATE sqlite_master SET sql = 'CREATE TABLE parts (' WHERE name = 'parts'",),
    "no text": ("UPDATE sqlite_master SET sql = '' WHERE name = 'images'",),
    "not even text": ("UPDATE sqlite_master SET sql = x'ff00fe' WHERE name = 'parts'",),
    "names that are not text": ("UPDATE sqlite_master SET name = x'c328' WHERE name = 'parts'",),
    "a root page that is none": ("UPDATE sqlite_master SET rootpage = 9999 WHERE name = 'parts'",),
    "a missing table": ("DELETE FROM sqlite_master WHERE name = 'starts'",),
    "a missing column": ("ALTER TABLE parts DROP COLUMN detail",),
    "another type": (
        "UPDATE sqlite_master SET sql = replace(sql, 'score REAL', 'score BLOB')"
        " WHERE name = 'parts'",
    ),
    "a view": ("ALTER TABLE images RENAME TO old", "CREATE VIEW images AS SELECT * FROM old"),
    "a trigger": (
        "CREATE TRIGGER forget AFTER INSERT ON parts"
        " BEGIN DELETE FROM parts WHERE part_id = new.part_id; END",
    ),
    "no reservation": ("DELETE FROM part_id_reservation",),
    "garbage of a newer version": (
        "UPDATE sqlite_master SET sql = 'CREATE TABLE parts (' WHERE name = 'parts'",
        "PRAGMA user_version = 99",
    ),
    "a version below zero": ("PRAGMA user_version = -3",),
}


@pytest.mark.parametrize("what", NOT_OURS)
def test_a_schema_that_is_not_ours_is_set_aside(tmp_path: Path, what: str) -> None:
    if not what.startswith("another program"):
        with open_writer(tmp_path) as writer:
            writer.reserve_part_ids(10)
            writer.write([sample_entry(1)])
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as connection:
        set_schema(connection, *NOT_OURS[what])
    before = (tmp_path / DATABASE_NAME).read_bytes()
    with open_writer(tmp_path) as writer:
        assert writer.report.faults == {"records_set_aside": 1}
        aside = writer.report.set_aside
        assert aside is not None
        assert aside.read_bytes() == before
        writer.write([sample_entry(11)])
    assert [record.part_id for record in read_all(tmp_path)] == [11]


def test_what_a_person_adds_to_the_schema_does_no_harm(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        writer.write([sample_entry(1)])
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as connection:
        connection.execute("CREATE VIEW rejects AS SELECT * FROM parts WHERE verdict = 'REJECT'")
        connection.execute("CREATE INDEX mine ON parts (score)")
        connection.execute("ALTER TABLE parts ADD COLUMN remark TEXT")
        connection.execute("ANALYZE")
        connection.commit()
    with open_writer(tmp_path) as writer:
        assert writer.report.faults == {}
        writer.write([sample_entry(2)])
    assert [record.part_id for record in read_all(tmp_path)] == [1, 2]


@pytest.mark.parametrize("name", [DATABASE_NAME, "images", "next-part-id"])
@pytest.mark.parametrize("kind", ["folder", "file", "fifo"])
def test_a_start_sets_aside_what_is_of_the_wrong_kind(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_bytes(b"something else\n" * 200)
    else:
        os.mkfifo(path)
    with open_writer(tmp_path) as writer:
        ids = writer.reserve_part_ids(10)
        assert writer.write([sample_entry(ids.start, picture=True)]).images_kept == 1
    assert [record.part_id for record in read_all(tmp_path)] == [ids.start]


@pytest.mark.parametrize("damage", ["header", "middle", "truncated", "text", "emptied"])
def test_a_damaged_database_is_set_aside_and_a_new_one_begun(tmp_path: Path, damage: str) -> None:
    with open_writer(tmp_path) as writer:
        writer.reserve_part_ids(1000)
        writer.write([sample_entry(part_id) for part_id in range(1, 400)])
        log = (tmp_path / f"{DATABASE_NAME}-wal").read_bytes()
    path = tmp_path / DATABASE_NAME
    data = bytearray(path.read_bytes())
    if damage == "header":
        data[:100] = bytes(100)
    elif damage == "middle":
        data[8192:-4096] = os.urandom(len(data) - 8192 - 4096)
    elif damage == "truncated":
        del data[len(data) // 2 :]
    elif damage == "text":
        data[:] = b"not a database at all\n" * 100
    else:
        data.clear()
        (tmp_path / f"{DATABASE_NAME}-wal").write_bytes(log)
    path.write_bytes(data)
    with open_writer(tmp_path) as writer:
        aside = writer.report.set_aside
        assert aside == tmp_path / "records-set-aside-001.sqlite3"
        assert writer.report.faults == {"records_set_aside": 1}
        assert aside.read_bytes() == bytes(data)
        assert writer.reserve_part_ids(1).start == 1001
        writer.write([sample_entry(1001)])
    assert [record.part_id for record in read_all(tmp_path)] == [1001]


def test_a_new_station_reports_nothing_amiss(writer: RecordWriter) -> None:
    assert writer.report.integrity == "new"
    assert writer.report.faults == {}


def test_the_integrity_check_ends_in_time(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        writer.write([sample_entry(part_id) for part_id in range(1, 400)])
    opened = open_for_writing(tmp_path, check_limit_s=-1.0)
    opened.connection.close()
    assert opened.integrity == "unfinished"


def test_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StorageFault, match=r"Cannot write .*data: File exists"):
        open_writer(tmp_path / "data")


def test_each_start_is_kept_with_what_its_gate_cannot_stop(tmp_path: Path) -> None:
    RecordWriter(tmp_path, clock=StepClock(), uncovered_faults=("no guard sensor",)).close()
    with RecordReader(tmp_path) as reader:
        (start,) = reader.query("SELECT * FROM starts", {})
    assert start["uncovered_faults"] == '["no guard sensor"]'
    assert start["started_wall"] == "2026-03-01T12:00:00.001000+00:00"
    assert start["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class InterruptedClock(StepClock):
    """Both clocks run together; the thread loses the processor within the first wall read."""

    def __init__(self) -> None:
        super().__init__()
        self.gaps_ns = [40_000_000]

    def now_mono_ns(self) -> int:
        self.mono_ns += 1_000
        return self.mono_ns

    def now_wall(self) -> datetime.datetime:
        now = START_WALL + datetime.timedelta(microseconds=self.mono_ns / 1000)
        self.mono_ns += self.gaps_ns.pop() if self.gaps_ns else 1_000
        return now


def test_wall_and_monotonic_time_of_a_row_belong_together_whatever_interrupts(
    tmp_path: Path,
) -> None:
    clock = InterruptedClock()
    with open_writer(tmp_path, clock=clock) as writer:
        clock.gaps_ns = [40_000_000]
        writer.write([sample_entry(1)])
    with RecordReader(tmp_path) as reader:
        part = reader.part(1)
    assert part is not None and not clock.gaps_ns
    apart = part.recorded_wall - START_WALL
    assert abs(apart / datetime.timedelta(microseconds=1) - part.recorded_mono_ns / 1000) <= 2


def test_a_clock_that_jumps_back_a_day_changes_no_order(tmp_path: Path) -> None:
    clock = StepClock()
    with open_writer(tmp_path, clock=clock) as writer:
        writer.write([sample_entry(1), sample_entry(2)])
        clock.wall -= datetime.timedelta(days=1)
        clock.synchronized = False
        writer.write([sample_entry(3)])
    with RecordReader(tmp_path) as reader:
        parts = list(reader.parts())
        assert [part.record.part_id for part in parts] == [1, 2, 3]
        assert [part.clock_synchronized for part in parts] == [True, True, False]
        assert parts[2].recorded_wall < parts[0].recorded_wall
        newest = list(reader.parts(limit=1, newest_first=True))
        assert newest[0].record.part_id == 3
        since = PartFilter(since_wall=parts[0].recorded_wall)
        assert [part.record.part_id for part in reader.parts(since)] == [1, 2]


# --- pictures -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(24, 24), (7, 5), (24, 24, 3)])
def test_a_picture_is_kept_without_loss(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    with open_writer(tmp_path) as writer:
        done = writer.write([RecordEntry(sample_record(1), ImageKind.REJECT, pixels)])
        assert (done.images_kept, done.image_faults) == (1, ())
        with RecordReader(tmp_path) as reader:
            part = reader.part(1)
            assert part is not None
            assert part.image == tmp_path / "images" / "000000" / "000000001.png"
            assert part.image_kind is ImageKind.REJECT
            assert np.array_equal(reader.picture(part), pixels)


def test_a_picture_that_cannot_be_encoded_costs_nothing_but_itself(writer: RecordWriter) -> None:
    pixels = np.zeros((4, 4, 2), np.uint8)
    done = writer.write([RecordEntry(sample_record(1), ImageKind.REJECT, pixels)])
    assert done.part_ids == (1,)
    assert done.images_kept == 0
    assert "shape (4, 4, 2)" in done.image_faults[0]


def test_png_of_float_is_refused() -> None:
    with pytest.raises(UsageError):
        encode_png(np.zeros((4, 4), np.float32))
    assert decode_png(b"") is None


def test_which_pictures_are_worth_keeping() -> None:
    from edgeinspect.line.config import ClassThresholds

    limits = [ClassThresholds(name=name, review=0.4, reject=0.6) for name in CLASSES]
    policy = ImagePolicy(pass_sample_share=0.0, near_miss_margin=0.05)

    def kind(part_id: int, score: float = 0.1) -> ImageKind | None:
        record = replace(sample_record(part_id), inspection=sample_inspection(score))
        return image_kind(record, thresholds=limits, policy=policy)

    assert [kind(1), kind(2), kind(3), kind(4)] == [
        ImageKind.REJECT,
        ImageKind.REVIEW,
        ImageKind.CANNOT_INSPECT,
        None,
    ]
    assert kind(4, 0.36) is ImageKind.NEAR_MISS
    assert kind(4, 0.34) is None
    policy = ImagePolicy(pass_sample_share=1.0)
    assert kind(4) is ImageKind.PASS_SAMPLE


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
def test_the_sample_is_the_declared_share_and_always_the_same(share: float) -> None:
    chosen = [part_id for part_id in range(20_000) if is_sampled(part_id, share)]
    assert abs(len(chosen) - 20_000 * share) <= 4 * math.sqrt(20_000 * share * (1 - share))
    assert chosen == [part_id for part_id in range(20_000) if is_sampled(part_id, share)]


@pytest.mark.parametrize("bad", [{"max_bytes": -1}, {"pass_sample_share": 1.5}])
def test_an_impossible_policy_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        ImagePolicy(**bad)  # type: ignore[arg-type]


def _kept(data_dir: Path) -> list[int]:
    with RecordReader(data_dir) as reader:
        parts = list(reader.parts(PartFilter(with_image=True)))
        for part in parts:
            assert np.array_equal(reader.picture(part), sample_pixels(part.record.part_id))
    files = {int(path.stem) for path in (data_dir / "images").rglob("*.png")}
    kept = [part.record.part_id for part in parts]
    assert files == set(kept)
    return kept


def _write_pictures(writer: RecordWriter, kind: ImageKind, part_ids: range) -> int:
    entries = [RecordEntry(sample_record(i), kind, sample_pixels(i)) for i in part_ids]
    return sum(writer.write([entry]).images_no_room for entry in entries)


def test_passes_make_way_first_then_the_oldest(tmp_path: Path) -> None:
    size = len(encode_png(sample_pixels(1)))
    policy = ImagePolicy(max_bytes=10 * size + size // 2, min_free_bytes=0)
    with open_writer(tmp_path, policy=policy) as writer:
        _write_pictures(writer, ImageKind.PASS_SAMPLE, range(1, 6))
        _write_pictures(writer, ImageKind.REJECT, range(6, 11))
        assert _kept(tmp_path) == list(range(1, 11))
        _write_pictures(writer, ImageKind.REVIEW, range(11, 13))
        assert _kept(tmp_path) == list(range(3, 13))
        _write_pictures(writer, ImageKind.REJECT, range(13, 18))
        assert _kept(tmp_path) == list(range(8, 18))
        assert _write_pictures(writer, ImageKind.PASS_SAMPLE, range(18, 20)) == 2
        assert _kept(tmp_path) == list(range(8, 18))
        assert writer.image_bytes <= policy.max_bytes
    assert len(read_all(tmp_path)) == 19


def test_no_picture_is_written_below_the_free_space_floor(tmp_path: Path) -> None:
    policy = ImagePolicy(max_bytes=1 << 40, min_free_bytes=1 << 60)
    with open_writer(tmp_path, policy=policy) as writer:
        done = writer.write([sample_entry(1, picture=True)])
    assert (done.part_ids, done.images_kept, done.images_no_room) == ((1,), 0, 1)


def test_files_and_index_that_disagree_are_reported_and_nothing_is_deleted(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        writer.write([sample_entry(part_id, picture=True) for part_id in (1, 2)])
    folder = tmp_path / "images" / "000000"
    picture = (folder / "000000002.png").read_bytes()
    (folder / "000000002.png").unlink()
    stranger = folder / "holiday.png"
    stranger.write_bytes(b"sun")
    (folder / ".000000003.png.partial").write_bytes(b"half")
    with open_writer(tmp_path) as writer:
        images = writer.report.images
        assert writer.report.faults == {"images_unindexed": 1, "images_missing": 1}
    assert images.unindexed == (stranger,)
    assert (images.indexed, images.partial_removed) == (1, 1)
    assert stranger.read_bytes() == b"sun"
    with RecordReader(tmp_path) as reader:
        part = reader.part(2)
        assert part is not None
        assert part.image is None
    stranger.unlink()
    (folder / "000000002.png").write_bytes(picture)
    with open_writer(tmp_path) as writer:
        assert writer.report.faults == {}
    assert _kept(tmp_path) == [1, 2]


def test_a_file_in_the_place_of_a_picture_is_not_overwritten(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        place = tmp_path / "images" / "000000" / "000000009.png"
        place.parent.mkdir(parents=True)
        place.write_bytes(b"old")
        done = writer.write([sample_entry(9, picture=True)])
    assert "already exists" in done.image_faults[0]
    assert done.part_ids == (9,)
    assert place.read_bytes() == b"old"


# --- a full disk, without a disk (a real one is in test_records_disk.py) ----------------------


def limit_pages(writer: RecordWriter, pages: int | None) -> None:
    connection = writer._kept._connection
    assert connection is not None
    connection.execute(f"PRAGMA max_page_count = {pages or 1 << 30}")


def test_a_full_database_is_named_and_used_again_once_there_is_room(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        limit_pages(writer, 20)
        recorded = 0
        with pytest.raises(DiskFull, match="write records"):
            for first in range(1, 10_000, 10):
                writer.write([sample_entry(i, picture=i == 1) for i in range(first, first + 10)])
                recorded = first + 9
        assert len(read_all(tmp_path)) == recorded > 0
        with pytest.raises(DiskFull):
            writer.write([sample_entry(recorded + i) for i in range(1, 11)])
        limit_pages(writer, None)
        writer.write([sample_entry(recorded + i) for i in range(1, 11)])
    assert [record.part_id for record in read_all(tmp_path)] == list(range(1, recorded + 11))


def test_pictures_are_evicted_to_make_room_for_records(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        writer.write([sample_entry(part_id, picture=True) for part_id in range(1, 9)])
        limit_pages(writer, 20)
        with pytest.raises(DiskFull):
            for first in range(10, 10_000, 10):
                writer.write([sample_entry(i) for i in range(first, first + 10)])
        assert writer.image_bytes == 0
    assert _kept(tmp_path) == []
