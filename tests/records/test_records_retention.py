"""Old records make way within a budget, are counted once, and what is needed stays."""

from __future__ import annotations

import dataclasses
import datetime
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from edgeinspect.cli.tune.part_selection import Selection, complete
from edgeinspect.errors import StationBusy, StorageFault
from edgeinspect.faults import FaultName
from edgeinspect.labels.label_store import LabelKind, LabelStore
from edgeinspect.records import (
    ImagePolicy,
    PartFilter,
    RecordEntry,
    RecordReader,
    RecordWriter,
    baseline,
    part_stats,
    retention,
)
from edgeinspect.records.cursors import CURSORS_DATABASE, LinkCursors
from edgeinspect.records.database import DATABASE_NAME
from edgeinspect.records.needed import LABELS_DATABASE
from edgeinspect.records.part_history import hourly, missing, records_kept
from edgeinspect.records.retention import RecordPolicy, Upkeep, compact
from edgeinspect.tune.comparable import RecordedRecipe
from tests.evidence.retention_run import check_account, run
from tests.helpers.records_samples import (
    CLASSES,
    START_WALL,
    StepClock,
    sample_entry,
    sample_record,
)

KEEP = 10
NOTHING = RecordPolicy(max_bytes=0, max_days=None, keep_newest=KEEP)
"""Only what is needed, and the newest, may stay."""
OLD = "01" * 32
"""The recipe of the older parts, which no baseline needs."""


@pytest.fixture(autouse=True)
def _small_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "BASELINE_PARTS", 8)


@pytest.fixture
def clock() -> StepClock:
    return StepClock()


def open_writer(data_dir: Path, policy: RecordPolicy, clock: StepClock) -> RecordWriter:
    images = ImagePolicy(max_bytes=10**6, min_free_bytes=0)
    return RecordWriter(
        data_dir,
        clock=clock,
        policy=images,
        record_policy=policy,
        reserve_bytes=0,
        draw=lambda below: 0,
    )


def record(
    writer: RecordWriter, count: int, *, digest: str = OLD, pictures: Iterable[int] = ()
) -> list[int]:
    """``count`` parts in one batch; ``pictures`` are the places of those whose picture is kept."""
    ids = list(writer.reserve_part_ids(count))
    kept = {ids[place] for place in pictures}
    entries = []
    for part_id in ids:
        entry = sample_entry(part_id, picture=part_id in kept)
        entries.append(RecordEntry(sample_record(part_id, digest=digest), entry.kind, entry.pixels))
    writer.write(entries)
    writer.register_recipe(digest, classes=CLASSES)
    return ids


def all_upkeep(writer: RecordWriter) -> Upkeep:
    """Until there is nothing more to do; the sums, and the troubles at the end."""
    pruned = unsent = 0
    for _ in range(10_000):
        upkeep = writer.maintain()
        pruned += upkeep.parts_pruned
        unsent += upkeep.pruned_unsent
        if not upkeep.more:
            break
    return Upkeep(parts_pruned=pruned, pruned_unsent=unsent, troubles=upkeep.troubles)


def rows_of(data_dir: Path) -> list[int]:
    with RecordReader(data_dir) as reader:
        return [part.record.part_id for part in reader.parts()]


def query(data_dir: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(data_dir / DATABASE_NAME)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_a_small_budget_is_held_and_every_part_is_accounted_for(tmp_path: Path) -> None:
    found = run(tmp_path, parts=16_000, budget_bytes=9_000_000)
    assert isinstance(found["largest_bytes"], int)
    assert found["largest_bytes"] <= 9_000_000
    assert isinstance(found["pruned"], int)
    assert found["pruned"] > 2_000
    assert found["troubles"] == {}


def test_what_is_needed_stays(tmp_path: Path, clock: StepClock) -> None:
    with open_writer(tmp_path, NOTHING, clock) as writer:
        old = record(writer, 60, pictures=[5])
        with LabelStore(tmp_path) as labels:
            labels.add(old[7], LabelKind.GOOD, author="somebody")
        new = record(writer, 60, digest="02" * 32)
        upkeep = all_upkeep(writer)
    inspected = [part_id for part_id in new if part_id % 4 != 3][:8]
    in_baseline = [part_id for part_id in new if part_id <= inspected[-1]]
    expected = {old[5], old[7], old[-1], *in_baseline, *new[-KEEP:]}
    assert set(rows_of(tmp_path)) == expected
    assert upkeep.parts_pruned == 120 - len(expected)
    assert FaultName.RECORDS_OVER_BUDGET in upkeep.troubles
    with RecordReader(tmp_path) as reader:
        assert baseline.baseline_range(reader) == (old[-1] + 1, inspected[-1])


def test_a_row_goes_once_nobody_needs_it(tmp_path: Path, clock: StepClock) -> None:
    with open_writer(tmp_path, NOTHING, clock) as writer:
        old = record(writer, 40, pictures=[3])
        record(writer, 40, digest="02" * 32)
        all_upkeep(writer)
        assert old[3] in rows_of(tmp_path)
        clock.mono_ns += 3_600 * 10**9
        query_writer(tmp_path, "DELETE FROM images")
        assert all_upkeep(writer).parts_pruned == 1
    assert old[3] not in rows_of(tmp_path)


def query_writer(data_dir: Path, sql: str) -> None:
    connection = sqlite3.connect(data_dir / DATABASE_NAME)
    connection.execute(sql)
    connection.commit()
    connection.close()


def test_rows_and_rollups_are_every_part_once(tmp_path: Path, clock: StepClock) -> None:
    with open_writer(tmp_path, NOTHING, clock) as writer:
        ids = record(writer, 50) + record(writer, 50, digest="02" * 32)
        all_upkeep(writer)
    connection = sqlite3.connect(tmp_path / DATABASE_NAME)
    check_account(connection, ids, set())
    connection.close()


def test_stats_count_pruned_parts_as_before(tmp_path: Path, clock: StepClock) -> None:
    filters = (
        PartFilter(),
        PartFilter(reason="pit"),
        PartFilter(defect_class="scratch"),
        PartFilter(recipe_digest=OLD),
        PartFilter(since_wall=START_WALL, until_wall=START_WALL + datetime.timedelta(hours=1)),
        PartFilter(until_wall=START_WALL),
    )
    with open_writer(tmp_path, NOTHING, clock) as writer:
        ids = record(writer, 50) + record(writer, 50, digest="02" * 32)
        with RecordReader(tmp_path) as reader:
            before = [part_stats(reader, wanted) for wanted in filters]
            by_hour = hourly(reader, PartFilter())
        all_upkeep(writer)
    with RecordReader(tmp_path) as reader:
        after = [part_stats(reader, wanted) for wanted in filters]
        assert hourly(reader, PartFilter()) == by_hour
        gone = 100 - len(rows_of(tmp_path))
        by_id = part_stats(reader, PartFilter(to_part_id=ids[20]))
        assert "older parts are kept as hourly counts" in by_id.missing
        assert part_stats(reader, PartFilter(from_part_id=ids[-5])).missing == ""
        assert missing(reader, PartFilter(with_image=True)) == ""
        assert f"{gone} older parts" in missing(reader, PartFilter())
    for old, new in zip(before, after, strict=True):
        assert (old.parts, old.by_verdict, old.by_reason) == (
            new.parts,
            new.by_verdict,
            new.by_reason,
        )
        assert (old.by_gate_outcome, old.yield_share) == (new.by_gate_outcome, new.yield_share)
    assert (after[0].pruned_parts, after[0].missing) == (gone, "")


def test_a_time_within_an_hour_is_reported_as_incomplete(tmp_path: Path, clock: StepClock) -> None:
    with open_writer(tmp_path, NOTHING, clock) as writer:
        record(writer, 50)
        record(writer, 50, digest="02" * 32)
        all_upkeep(writer)
    with RecordReader(tmp_path) as reader:
        until = START_WALL + datetime.timedelta(minutes=5)
        found = part_stats(reader, PartFilter(since_wall=START_WALL, until_wall=until))
    assert "by whole hours only" in found.missing


def test_the_records_say_how_far_back_they_go(tmp_path: Path, clock: StepClock) -> None:
    with open_writer(tmp_path, NOTHING, clock) as writer:
        record(writer, 40)
        with RecordReader(tmp_path) as reader:
            assert records_kept(reader).parts_pruned == 0
            assert missing(reader, PartFilter()) == ""
        clock.wall += datetime.timedelta(hours=3)
        record(writer, 40, digest="02" * 32)
        all_upkeep(writer)
    with RecordReader(tmp_path) as reader:
        kept = records_kept(reader)
    rows = set(rows_of(tmp_path))
    assert kept.parts_pruned == 80 - len(rows)
    assert kept.complete_since is not None
    assert kept.latest_pruned is not None
    assert kept.complete_since >= kept.latest_pruned >= START_WALL + datetime.timedelta(hours=3)


def test_what_if_leaves_out_what_pruning_left_behind(tmp_path: Path, clock: StepClock) -> None:
    def chosen(wanted: PartFilter) -> tuple[PartFilter, str]:
        recipe = RecordedRecipe(recipe_id=1, digest=OLD, recipe=None)
        selection = Selection(data_dir=tmp_path, wanted=wanted, base=recipe, recipes={})
        with RecordReader(tmp_path) as reader:
            found, gone = complete(reader, selection)
        return found.wanted, gone

    with open_writer(tmp_path, NOTHING, clock) as writer:
        record(writer, 60, pictures=[5])
        new = record(writer, 60, digest="02" * 32)
        assert chosen(PartFilter()) == (PartFilter(), "")
        all_upkeep(writer)
    wanted, gone = chosen(PartFilter())
    assert wanted.from_part_id == new[-KEEP]
    assert "Older parts are left out" in gone
    assert chosen(PartFilter(from_part_id=new[-3])) == (PartFilter(from_part_id=new[-3]), "")


# --- age ----------------------------------------------------------------------------------------

YOUNG = RecordPolicy(max_bytes=10**12, max_days=10, keep_newest=KEEP)


def test_old_rows_go_by_age(tmp_path: Path, clock: StepClock) -> None:
    with open_writer(tmp_path, YOUNG, clock) as writer:
        old = record(writer, 30)
        clock.wall += datetime.timedelta(days=9)
        new = record(writer, 30, digest="02" * 32)
        assert all_upkeep(writer).parts_pruned == 0
        clock.wall += datetime.timedelta(days=2)
        clock.mono_ns += 60 * 10**9
        assert all_upkeep(writer).parts_pruned == len(old) - 1  # the last of its run
    assert rows_of(tmp_path) == [old[-1], *new]


def test_a_clock_that_nobody_set_removes_nothing(tmp_path: Path, clock: StepClock) -> None:
    with open_writer(tmp_path, YOUNG, clock) as writer:
        record(writer, 30)
        record(writer, 30, digest="02" * 32)
        clock.synchronized = False
        clock.wall += datetime.timedelta(days=10_000)
        assert all_upkeep(writer).parts_pruned == 0


def test_rows_with_a_wrong_time_go_with_what_came_after_them(
    tmp_path: Path, clock: StepClock
) -> None:
    with open_writer(tmp_path, YOUNG, clock) as writer:
        clock.synchronized = False
        clock.wall += datetime.timedelta(days=9_000)
        first = record(writer, 20)
        clock.synchronized = True
        clock.wall -= datetime.timedelta(days=9_000)
        record(writer, 20)
        clock.wall += datetime.timedelta(days=20)
        record(writer, 20, digest="02" * 32)
        clock.mono_ns += 60 * 10**9
        all_upkeep(writer)
    assert not set(first) & set(rows_of(tmp_path))


# --- links --------------------------------------------------------------------------------------


def sequence(data_dir: Path) -> dict[int, int]:
    return {int(p): int(n) for n, p in query(data_dir, "SELECT * FROM record_order")}  # type: ignore[call-overload]


@pytest.fixture
def aged(tmp_path: Path, clock: StepClock) -> Iterator[tuple[RecordWriter, list[int]]]:
    """A writer with 100 parts that are too old and some that are not; and the ids of the old."""
    with open_writer(tmp_path, YOUNG, clock) as writer:
        ids = record(writer, 100)
        clock.wall += datetime.timedelta(days=20)
        record(writer, 20, digest="02" * 32)
        yield writer, ids


def test_what_a_link_has_not_passed_on_stays(
    tmp_path: Path, aged: tuple[RecordWriter, list[int]]
) -> None:
    writer, ids = aged
    cursors = LinkCursors(tmp_path)
    number = sequence(tmp_path)
    cursors.move("mqtt", number[ids[49]])
    cursors.move("rest", number[ids[19]])
    upkeep = all_upkeep(writer)
    assert (upkeep.parts_pruned, upkeep.pruned_unsent) == (20, 0)
    assert "link rest" in upkeep.troubles[FaultName.RECORDS_HELD]
    cursors.move("rest", number[ids[9]])  # never back
    cursors.forget("rest")
    assert all_upkeep(writer).parts_pruned == 30


def test_a_link_that_never_moves_is_held_for_up_to_twice_the_budget(
    tmp_path: Path, clock: StepClock
) -> None:
    policy = RecordPolicy(max_bytes=300_000, max_days=None, keep_newest=KEEP)
    LinkCursors(tmp_path).move("dead", 0)
    held = 0
    with open_writer(tmp_path, policy, clock) as writer:
        for number in range(60):
            record(writer, 50, digest=f"{number:064x}")
            upkeep = all_upkeep(writer)
            held += FaultName.RECORDS_HELD in upkeep.troubles
            if number < 3:
                assert upkeep.parts_pruned == 0
        assert held
        assert query(
            tmp_path, "SELECT pruned_unsent > 0, pruned_unsent = parts_pruned FROM retention"
        ) == [(1, 1)]


def test_cursors_that_cannot_be_read_hold_everything(
    tmp_path: Path, aged: tuple[RecordWriter, list[int]]
) -> None:
    (tmp_path / CURSORS_DATABASE).write_bytes(b"not a database" * 100)
    with pytest.raises(StorageFault):
        LinkCursors(tmp_path).lowest()
    upkeep = all_upkeep(aged[0])
    assert upkeep.parts_pruned == 0
    assert "cannot be read" in upkeep.troubles[FaultName.RECORDS_HELD]


def test_labels_that_cannot_be_read_hold_everything(
    tmp_path: Path, aged: tuple[RecordWriter, list[int]]
) -> None:
    (tmp_path / LABELS_DATABASE).write_bytes(b"not a database" * 100)
    upkeep = all_upkeep(aged[0])
    assert upkeep.parts_pruned == 0
    assert "labels cannot be read" in upkeep.troubles[FaultName.RECORDS_HELD]


def test_numbers_rise_in_the_order_of_recording_and_across_databases(
    tmp_path: Path, clock: StepClock
) -> None:
    with open_writer(tmp_path, RecordPolicy(), clock) as writer:
        first, second, third = list(writer.reserve_part_ids(3))
        for part_id in (third, first, second):
            writer.write([RecordEntry(sample_record(part_id))])
        number = sequence(tmp_path)
        assert number[third] < number[first] < number[second]
        writer.write([RecordEntry(sample_record(second))])  # again, as after a fault
        assert sequence(tmp_path) == number
    for path in tmp_path.glob(f"{DATABASE_NAME}*"):
        path.unlink()
    with RecordWriter(tmp_path, clock=clock, reserve_bytes=0) as writer:
        (later,) = writer.reserve_part_ids(1)
        writer.write([RecordEntry(dataclasses.replace(sample_record(1), part_id=later))])
        assert sequence(tmp_path)[later] > max(number.values())


# --- space --------------------------------------------------------------------------------------


def test_space_goes_back_to_the_file_system(tmp_path: Path, clock: StepClock) -> None:
    policy = RecordPolicy(max_bytes=20_000_000, max_days=10, keep_newest=KEEP)
    with open_writer(tmp_path, policy, clock) as writer:
        for _ in range(10):
            record(writer, 1000)
    before = (tmp_path / DATABASE_NAME).stat().st_size
    with open_writer(tmp_path, policy, clock) as writer:
        clock.wall += datetime.timedelta(days=20)
        record(writer, 10, digest="02" * 32)
        assert all_upkeep(writer).troubles == {}
    assert (tmp_path / DATABASE_NAME).stat().st_size < before / 2


def begun_without_auto_vacuum(data_dir: Path, clock: StepClock, parts: int) -> None:
    with open_writer(data_dir, RecordPolicy(), clock) as writer:
        record(writer, parts)
    connection = sqlite3.connect(data_dir / DATABASE_NAME, isolation_level=None)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA auto_vacuum = NONE")
    connection.execute("VACUUM")
    connection.close()


def test_a_small_earlier_database_is_remade_while_the_station_runs(
    tmp_path: Path, clock: StepClock
) -> None:
    begun_without_auto_vacuum(tmp_path, clock, 50)
    with open_writer(tmp_path, RecordPolicy(), clock) as writer:
        record(writer, 5)
        all_upkeep(writer)
        record(writer, 5)
    assert query(tmp_path, "PRAGMA auto_vacuum") == [(2,)]
    assert len(rows_of(tmp_path)) == 60


def test_a_large_earlier_database_is_remade_by_a_command(
    tmp_path: Path, clock: StepClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "REMADE_BYTES", 0)
    begun_without_auto_vacuum(tmp_path, clock, 500)
    with open_writer(tmp_path, NOTHING, clock) as writer:
        record(writer, 20, digest="02" * 32)
        all_upkeep(writer)
        with pytest.raises(StationBusy):
            compact(tmp_path)
    assert query(tmp_path, "PRAGMA auto_vacuum") == [(0,)]
    kept = rows_of(tmp_path)
    before, after = compact(tmp_path)
    assert after < before
    assert query(tmp_path, "PRAGMA auto_vacuum") == [(2,)]
    assert rows_of(tmp_path) == kept


def test_a_short_disk_prunes_before_the_budget_asks(
    tmp_path: Path, clock: StepClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = RecordPolicy(max_bytes=10**9, max_days=None, keep_newest=KEEP, min_free_bytes=10**6)
    monkeypatch.setattr(retention, "_LEAST_BYTES", 0)
    with open_writer(tmp_path, policy, clock) as writer:
        record(writer, 1000)
        record(writer, 20, digest="02" * 32)
        monkeypatch.setattr(retention, "free_bytes", lambda folder: 600_000)
        assert all_upkeep(writer).parts_pruned == 0
        monkeypatch.setattr(retention, "free_bytes", lambda folder: 300_000)
        first = writer.maintain()
        assert "disk has" in first.troubles[FaultName.RECORDS_SHORT_OF_SPACE]
        upkeep = all_upkeep(writer)
        assert 100 < first.parts_pruned + upkeep.parts_pruned < 900
        assert FaultName.RECORDS_SHORT_OF_SPACE not in upkeep.troubles
    with RecordReader(tmp_path) as reader:
        assert records_kept(reader).pruned_for_space > 100


def test_upkeep_that_fails_waits_before_it_tries_again(
    tmp_path: Path, clock: StepClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.DatabaseError("disk I/O error")

    with open_writer(tmp_path, NOTHING, clock) as writer:
        record(writer, 40)
        record(writer, 40, digest="02" * 32)
        with monkeypatch.context() as broken:
            broken.setattr(retention, "roll_up", fail)
            with pytest.raises(StorageFault):
                writer.maintain()
            assert writer.maintain() == Upkeep()
        record(writer, 1, digest="02" * 32)
        clock.mono_ns += 61 * 10**9
        assert all_upkeep(writer).parts_pruned > 0


def test_damaged_scores_are_left_out_of_the_histogram(tmp_path: Path, clock: StepClock) -> None:
    with open_writer(tmp_path, NOTHING, clock) as writer:
        record(writer, 40)
        record(writer, 40, digest="02" * 32)
        query_writer(tmp_path, "UPDATE parts SET scores = 'damaged' WHERE part_id % 4 = 0")
        pruned = all_upkeep(writer).parts_pruned
    (counted,) = query(tmp_path, "SELECT sum(parts) FROM rollup_counts")[0]
    assert counted == pruned > 20


def test_gate_outcomes_and_doubts_are_counted(tmp_path: Path, clock: StepClock) -> None:
    with open_writer(tmp_path, NOTHING, clock) as writer:
        ids = record(writer, 40)
        record(writer, 40, digest="02" * 32)
        all_upkeep(writer)
    rows = set(rows_of(tmp_path))
    gone = [sample_record(part_id) for part_id in ids if part_id not in rows]
    expected = Counter((one.verdict.reason, one.gate_outcome.value) for one in gone)
    found = query(
        tmp_path,
        "SELECT reason, gate_outcome, sum(parts) FROM rollup_counts JOIN recipes USING (recipe_id)"
        f" WHERE digest = '{OLD}' GROUP BY 1, 2",
    )
    assert {(reason, outcome): parts for reason, outcome, parts in found} == dict(expected)
