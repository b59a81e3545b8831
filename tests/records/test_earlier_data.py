"""A data folder of an earlier edgeinspect, after the update to this one and after going back.

``earlier/2026-11-22`` was written by the program of that evening: station file, recipe, and
its records as SQL. The database is the first schema's; it has a column that was dropped before
any release, as a later version's rows might. ``earlier/schema-4`` holds the records of
``sample_record`` for parts 1 to 8, as the last program with that schema wrote them.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from edgeinspect.bundle.directory import load_bundle
from edgeinspect.errors import DataFromNewerVersion
from edgeinspect.part import CameraControls
from edgeinspect.records import RecordEntry, RecordReader, RecordWriter, database, schema
from edgeinspect.records.retention import RecordPolicy
from edgeinspect.runtime.plan import make_plan
from edgeinspect.settings.recipe_store import RecipeStore
from edgeinspect.settings.station_file import load_station
from tests.helpers.records_samples import StepClock, sample_record

EARLIER = Path(__file__).parent / "earlier" / "2026-11-22"
MODEL = Path(__file__).parents[2] / "models" / "sim-surface"
VERDICTS = {"PASS": 4, "REJECT": 1, "CANNOT_INSPECT": 4}
LATER_STEP = "ALTER TABLE parts ADD COLUMN later TEXT; CREATE TABLE later (a INTEGER) STRICT"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data directory as the earlier program left it; the station file is beside it."""
    shutil.copy(EARLIER / "station.yaml", tmp_path)
    folder = tmp_path / "data"
    shutil.copytree(EARLIER / "recipes", folder / "recipes")
    connection = sqlite3.connect(folder / "records.sqlite3")
    connection.executescript((EARLIER / "records.sql").read_text())
    connection.close()
    return folder


def verdicts(data: Path) -> dict[str, int]:
    connection = sqlite3.connect(f"{(data / 'records.sqlite3').as_uri()}?mode=ro", uri=True)
    found = Counter(row[0] for row in connection.execute("SELECT verdict FROM parts"))
    connection.close()
    return dict(found)


def updated(monkeypatch: pytest.MonkeyPatch, step: str = LATER_STEP) -> None:
    """From here on this program is the next version, with one more step of the schema."""
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
    for module in (schema, database):
        monkeypatch.setattr(module, "SCHEMA_VERSION", len(schema.MIGRATIONS))


def everything(data: Path) -> dict[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(f"{(data / 'records.sqlite3').as_uri()}?mode=ro", uri=True)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE sql <> ''")]
    found = {
        name: connection.execute(f"SELECT * FROM {name}").fetchall()
        for name in names
        if not name.startswith(("parts_", "images_"))
    }
    connection.close()
    return found


def test_records_are_read_and_gone_on_with(data: Path) -> None:
    before = verdicts(data)
    assert before == VERDICTS
    with RecordWriter(
        data, clock=StepClock(), reserve_bytes=100_000, draw=lambda below: 0
    ) as writer:
        assert writer.report.integrity == "ok"
        first = writer.reserve_part_ids(10)[0]
        assert first == 93  # the earlier program's counter
        writer.write([RecordEntry(sample_record(first))])
    with RecordReader(data) as reader:
        assert len(list(reader.parts())) == sum(VERDICTS.values()) + 1


def test_the_previous_schemas_records_are_read_and_gone_on_with(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "records.sqlite3")
    connection.executescript((EARLIER.with_name("schema-4") / "records.sql").read_text())
    connection.close()
    with RecordWriter(tmp_path, clock=StepClock(), reserve_bytes=0, draw=lambda below: 0) as writer:
        new = writer.reserve_part_ids(1)[0]
        writer.write([RecordEntry(sample_record(new))])
    with RecordReader(tmp_path) as reader:
        *old, last = [part.record for part in reader.parts()]
    assert last == sample_record(new)
    assert [record.part_id for record in old] == list(range(1, 9))
    for found in old:
        sample = sample_record(found.part_id)
        assert found.frame is not None and sample.frame is not None
        # What schema 4 did not keep is None now, and everything else is as it was recorded.
        kept = CameraControls(exposure_us=500.0, gain=1.5)
        assert found == replace(sample, frame=replace(sample.frame, controls=kept))


def test_station_file_and_active_recipe_still_make_a_plan(data: Path) -> None:
    station = load_station(data.parent / "station.yaml")
    recipe = RecipeStore(station.recipes_dir).active(station.product)
    assert (recipe.revision, recipe.author) == (1, "edgeinspect")
    plan = make_plan(station, recipe, load_bundle(MODEL))
    assert plan.recipe == recipe


def test_the_next_versions_step_loses_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(data)
    updated(monkeypatch)
    database.open_for_writing(data).connection.close()
    after = everything(data)
    assert after.pop("later") == []
    assert [row[: len(old)] for row, old in zip(after["parts"], before["parts"], strict=True)] == (
        before["parts"]
    )
    assert after["images"] == before["images"]
    assert after["starts"] == before["starts"]
    assert verdicts(data) == VERDICTS


def test_a_step_that_fails_leaves_the_version_before(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.open_for_writing(data).connection.close()
    before = everything(data)
    with monkeypatch.context() as next_version:
        updated(next_version, f"{LATER_STEP}; INSERT INTO no_such_table VALUES (1)")
        with pytest.raises(Exception, match="no_such_table"):
            database.open_for_writing(data)
    assert everything(data) == before
    assert verdicts(data) == VERDICTS


def test_going_back_to_the_older_system_is_refused_and_changes_nothing(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as next_version:
        updated(next_version)
        database.open_for_writing(data).connection.close()
    before = everything(data)
    for attempt in (RecordReader, database.open_for_writing):
        with pytest.raises(
            DataFromNewerVersion, match="has version 6; this edgeinspect supports versions up to 5"
        ):
            attempt(data)
    assert everything(data) == before
    # what there is to inspect with is not touched by the records' version
    assert load_station(data.parent / "station.yaml").id == "sim-normally-rejecting"


def test_a_migration_reads_no_row_of_the_parts(data: Path) -> None:
    """For a station migrates when it starts, and there may be gigabytes of them."""
    steps = []
    for copies in (0, 2_000):
        folder = data.with_name(f"copies-{copies}")
        shutil.copytree(data, folder)
        connection = sqlite3.connect(folder / "records.sqlite3", isolation_level=None)
        connection.execute("BEGIN")
        (columns,) = connection.execute(
            "SELECT group_concat(name) FROM pragma_table_info('parts') WHERE name <> 'part_id'"
        ).fetchone()
        for number in range(copies):
            connection.execute(
                f"INSERT INTO parts (part_id, {columns}) SELECT ?, {columns} FROM parts LIMIT 1",
                (1000 + number,),
            )
        connection.execute("COMMIT")
        taken = 0

        def count() -> None:
            nonlocal taken
            taken += 1

        connection.set_progress_handler(count, 1)
        schema.migrate(connection)
        connection.close()
        steps.append(taken)
        database.open_for_writing(folder).connection.close()
        assert sum(verdicts(folder).values()) == sum(VERDICTS.values()) + copies
    assert steps[1] <= steps[0] + 20


def test_an_earlier_databases_rows_are_pruned_and_counted(data: Path) -> None:
    policy = RecordPolicy(max_bytes=0, max_days=None, keep_newest=2)
    with RecordWriter(data, clock=StepClock(), record_policy=policy, reserve_bytes=0) as writer:
        ids = writer.reserve_part_ids(3)
        part_ids = range(1_000, 1_003)
        assert ids.stop >= 96
        writer.write([RecordEntry(sample_record(part_id)) for part_id in part_ids])
        while writer.maintain().more:
            pass
    found = everything(data)
    counted = sum(row[-1] for row in found["rollup_counts"] if isinstance(row[-1], int))
    assert counted + len(found["parts"]) == sum(VERDICTS.values()) + 3
    assert counted > 0


def test_going_back_without_a_step_between_goes_on(data: Path) -> None:
    for _ in range(2):  # the newer system, the older one
        database.open_for_writing(data).connection.close()
        assert verdicts(data) == VERDICTS
