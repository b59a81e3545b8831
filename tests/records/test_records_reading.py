from __future__ import annotations

import csv
import datetime
import json
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgeinspect.errors import NotGood, StorageFault, UsageError
from edgeinspect.part import GateOutcome, VerdictKind
from edgeinspect.records import (
    ExportFormat,
    ImagePolicy,
    PartFilter,
    RecordEntry,
    RecordReader,
    RecordWriter,
    database,
    export_parts,
    part_as_dict,
    part_stats,
)
from edgeinspect.records.database import DATABASE_NAME
from edgeinspect.records.parts_export import COLUMNS
from edgeinspect.records.schema import SCHEMA_VERSION
from tests.helpers.records_samples import (
    CLASSES,
    START_WALL,
    StepClock,
    sample_entry,
    sample_record,
)

PARTS = 1200
POLICY = ImagePolicy(max_bytes=1_000_000, min_free_bytes=0)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    with RecordWriter(folder, clock=StepClock(), policy=POLICY) as writer:
        writer.register_recipe("d1" * 32, classes=CLASSES)
        writer.write([sample_entry(i, picture=i in (5, 6)) for i in range(1, PARTS + 1)])
        later = replace(sample_record(PARTS + 1), recipe_digest="e2" * 32)
        writer.write([RecordEntry(later)])
    return folder


@pytest.fixture
def reader(data_dir: Path) -> Iterator[RecordReader]:
    with RecordReader(data_dir) as opened:
        yield opened


def ids(reader: RecordReader, wanted: PartFilter, **options: bool | int) -> list[int]:
    return [part.record.part_id for part in reader.parts(wanted, **options)]  # type: ignore[arg-type]


def every(remainder: int) -> list[int]:
    return [i for i in range(1, PARTS + 2) if i % 4 == remainder]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (PartFilter(), list(range(1, PARTS + 2))),
        (PartFilter(verdict=VerdictKind.PASS), every(0)),
        (PartFilter(verdict=VerdictKind.REJECT), every(1)),
        (PartFilter(verdict=VerdictKind.CANNOT_INSPECT), every(3)),
        (PartFilter(reason="late"), every(3)),
        (PartFilter(reason="scratch"), every(2)),
        (PartFilter(defect_class="pit"), every(1)),
        (PartFilter(gate_outcome=GateOutcome.REJECTED), sorted(every(2) + every(3))),
        (PartFilter(recipe_digest="e2" * 32), [PARTS + 1]),
        (PartFilter(from_part_id=7, to_part_id=9), [7, 8, 9]),
        (PartFilter(since_wall=START_WALL, until_wall=START_WALL), []),
        (PartFilter(with_image=True), [5, 6]),
        (PartFilter(with_image=False, to_part_id=7), [1, 2, 3, 4, 7]),
        (PartFilter(verdict=VerdictKind.REJECT, from_part_id=1198), [1201]),
    ],
)
def test_filters(reader: RecordReader, wanted: PartFilter, expected: list[int]) -> None:
    assert ids(reader, wanted) == expected
    assert ids(reader, wanted, newest_first=True) == expected[::-1]
    assert ids(reader, wanted, limit=2) == expected[:2]
    assert reader.count(wanted) == len(expected)


@pytest.mark.parametrize("limit", [0, 1, 499, 500, 501, 1000, 5000])
def test_limits_around_the_page_size(reader: RecordReader, limit: int) -> None:
    assert ids(reader, PartFilter(), limit=limit) == list(range(1, PARTS + 2))[:limit]


def test_a_time_is_compared_as_an_instant_whatever_its_zone(reader: RecordReader) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=9))
    just_before = START_WALL.astimezone(zone)
    assert reader.count(PartFilter(since_wall=just_before)) == PARTS + 1
    assert reader.count(PartFilter(until_wall=just_before)) == 0


def test_rejects_are_found_through_the_index(reader: RecordReader) -> None:
    plan = reader.query(
        "EXPLAIN QUERY PLAN SELECT count(*) FROM parts"
        " WHERE parts.verdict = 'REJECT' AND parts.verdict <> 'PASS'",
        {},
    )
    assert "parts_not_passed" in plan[0]["detail"]


def test_one_part_and_what_the_recorder_added(reader: RecordReader) -> None:
    part = reader.part(5)
    assert part is not None
    assert part.record == sample_record(5)
    assert part.classes == CLASSES
    assert part.clock_synchronized
    ago = datetime.timedelta(
        microseconds=(part.recorded_mono_ns - part.record.trigger_mono_ns) / 1000
    )
    assert part.triggered_wall == part.recorded_wall - ago
    assert reader.part(10_000_000) is None


def test_a_part_without_a_picture_or_with_an_evicted_or_damaged_one(tmp_path: Path) -> None:
    with RecordWriter(tmp_path, clock=StepClock(), policy=POLICY) as writer:
        writer.write([sample_entry(1), sample_entry(2, picture=True)])
    with RecordReader(tmp_path) as reader:
        without, pictured = list(reader.parts())
        with pytest.raises(NotGood, match="No picture of part 1"):
            reader.picture(without)
        assert pictured.image is not None
        pictured.image.write_bytes(b"\x89PNG")
        with pytest.raises(StorageFault, match="damaged"):
            reader.picture(pictured)
        pictured.image.unlink()
        with pytest.raises(NotGood, match="removed"):
            reader.picture(pictured)


def test_a_reader_neither_blocks_the_writer_nor_sees_half_a_batch(tmp_path: Path) -> None:
    with RecordWriter(tmp_path, clock=StepClock(), policy=POLICY) as writer:
        writer.write([sample_entry(i) for i in range(1, 701)])
        with RecordReader(tmp_path) as reader:
            reading = reader.parts()
            assert next(reading).record.part_id == 1
            writer.write([sample_entry(i) for i in range(701, 711)])
            assert sum(1 for _ in reading) == 709
            assert reader.count() == 710
            with pytest.raises(StorageFault, match="readonly"):
                reader.query("DELETE FROM parts", {})


def test_records_that_are_just_being_made(tmp_path: Path) -> None:
    (tmp_path / DATABASE_NAME).touch()
    with pytest.raises(StorageFault, match="has not created its records") as caught:
        RecordReader(tmp_path)
    assert "try again" in caught.value.next_action


def test_no_records(tmp_path: Path) -> None:
    with pytest.raises(StorageFault, match="No records were found"):
        RecordReader(tmp_path)


def test_an_older_and_a_damaged_database_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / DATABASE_NAME
    with RecordWriter(tmp_path, clock=StepClock(), policy=POLICY) as writer:
        writer.write([sample_entry(1)])
    monkeypatch.setattr(database, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    with pytest.raises(StorageFault, match=f"has version {SCHEMA_VERSION}"):
        RecordReader(tmp_path)
    path.write_bytes(b"rubbish" * 1000)
    with pytest.raises(StorageFault, match="not a database"):
        RecordReader(tmp_path)


def test_a_record_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    with RecordWriter(tmp_path, clock=StepClock(), policy=POLICY) as writer:
        writer.write([sample_entry(1)])
    connection = sqlite3.connect(tmp_path / DATABASE_NAME)
    connection.execute("UPDATE parts SET verdict = 'MAYBE'")
    connection.commit()
    connection.close()
    with RecordReader(tmp_path) as reader, pytest.raises(StorageFault, match=r"part 1 .*'MAYBE'"):
        reader.part(1)


# --- statistics -----------------------------------------------------------------------------


def test_counts_and_percentiles(reader: RecordReader) -> None:
    stats = part_stats(reader, PartFilter(to_part_id=1000))
    assert (stats.parts, stats.first_part_id, stats.last_part_id) == (1000, 1, 1000)
    assert stats.by_verdict == {"CANNOT_INSPECT": 250, "PASS": 250, "REJECT": 250, "REVIEW": 250}
    assert stats.by_reason == {"late": 250, "pit": 250, "scratch": 250}
    assert stats.by_gate_outcome == {"rejected": 500, "passed": 250, "reject_confirmed": 250}
    assert stats.yield_share == 0.25
    assert (stats.score["min"], stats.score["p50"], stats.score["max"]) == (0.125, 0.5, 0.75)
    duration = stats.duration_us["frame_to_verdict"]
    assert (duration["min"], duration["max"]) == (1.0, 1000.0)
    assert duration["p50"] == pytest.approx(500.5)
    assert stats.duration_us["invoke"]["p99"] == pytest.approx(0.002)
    assert stats.duration_us["verdict_to_deadline"]["min"] == pytest.approx(479_000.0)
    json.dumps(stats.as_dict(), allow_nan=False)


def test_statistics_of_no_parts(reader: RecordReader) -> None:
    stats = part_stats(reader, PartFilter(from_part_id=10_000))
    assert (stats.parts, stats.first_part_id, stats.yield_share) == (0, None, None)
    assert stats.score == {}
    assert stats.duration_us == {}


# --- export ---------------------------------------------------------------------------------


def test_jsonl_holds_everything(reader: RecordReader, tmp_path: Path) -> None:
    path = tmp_path / "parts.jsonl"
    reported: list[int] = []
    count = export_parts(reader.parts(), path, format=ExportFormat.JSONL, progress=reported.append)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert count == len(rows) == PARTS + 1
    assert reported == list(range(100, PARTS + 1, 100))
    part = reader.part(5)
    assert part is not None
    assert rows[4] == part_as_dict(part)
    assert list(rows[4]) == list(COLUMNS)
    assert rows[4]["scores"] == {"scratch": 0.375, "pit": 0.75}
    assert rows[4]["worst_width_px"] == 5
    assert rows[4]["image"].endswith("000000005.png")
    assert rows[2]["scores"] is None
    assert rows[PARTS]["scores"] == {"0": 0.375, "1": 0.75}


def test_csv_has_a_header_and_a_row_a_part(reader: RecordReader, tmp_path: Path) -> None:
    path = tmp_path / "parts.csv"
    export_parts(reader.parts(limit=10), path, format=ExportFormat.CSV)
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["part_id"] for row in rows] == [str(i) for i in range(1, 11)]
    assert json.loads(rows[0]["scores"]) == {"scratch": 0.375, "pit": 0.75}
    assert rows[2]["doubt"] == "late"


def test_parquet_has_the_declared_types(reader: RecordReader, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "parts.parquet"
    export_parts(reader.parts(), path, format=ExportFormat.PARQUET)
    table = parquet.read_table(path)
    assert table.num_rows == PARTS + 1
    types = {"float64": "double"}
    assert {field.name: str(field.type) for field in table.schema} == {
        name: types.get(kind, kind) for name, kind in COLUMNS.items()
    }
    assert table.column("trigger_mono_ns").to_pylist()[4] == sample_record(5).trigger_mono_ns


def test_parquet_without_pyarrow_says_what_to_install(
    reader: RecordReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'edgeinspect\[parquet\]'"):
        export_parts(reader.parts(), tmp_path / "parts.parquet", format=ExportFormat.PARQUET)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", list(ExportFormat))
def test_a_failed_export_leaves_the_old_file(
    reader: RecordReader, tmp_path: Path, kind: ExportFormat
) -> None:
    if kind is ExportFormat.PARQUET:
        pytest.importorskip("pyarrow")
    path = tmp_path / "parts"
    path.write_text("old")

    def failing() -> Iterator[object]:
        yield reader.part(1)
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageFault, match="write the export"):
        export_parts(failing(), path, format=kind)  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_export_into_a_folder_that_is_not_there(reader: RecordReader, tmp_path: Path) -> None:
    with pytest.raises(StorageFault, match="No such file"):
        export_parts(reader.parts(), tmp_path / "no" / "parts.csv", format=ExportFormat.CSV)


# --- documentation --------------------------------------------------------------------------


def test_every_column_is_documented(reader: RecordReader) -> None:
    text = (Path(__file__).parents[2] / "docs/reference/records.md").read_text(encoding="utf-8")
    for (table,) in reader.query("SELECT name FROM sqlite_master WHERE type = 'table'", {}):
        section = text.split(f"### {table}\n", 1)[1].split("\n### ", 1)[0]
        for column in reader.query(f"PRAGMA table_info({table})", {}):
            assert f"| `{column['name']}` |" in section, f"{table}.{column['name']}"
