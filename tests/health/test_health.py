"""Health: what is found in records and machine, and what the technician is told to do."""

from __future__ import annotations

import datetime
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeinspect.cli.application import run_command_line
from edgeinspect.cli.main import application
from edgeinspect.health.compare import Health, HealthItem, HealthState, parts_health
from edgeinspect.health.machine_health import machine_health
from edgeinspect.health.station_health import station_health, worst_first
from edgeinspect.hw.board_health import FakeBoard
from edgeinspect.part import PartRecord
from edgeinspect.ports import BoardState
from edgeinspect.records import RecordReader
from edgeinspect.records.baseline import (
    BASELINE_PARTS,
    BLOCK_IDS,
    Sample,
    Samples,
    clock_jump_s,
    read_samples,
)
from tests.evidence.drift_rate import draw
from tests.helpers.health_samples import good_parts, write_parts
from tests.helpers.records_samples import StepClock

WHOLE = BASELINE_PARTS + 3 * BLOCK_IDS
"""Parts 1 to this one: the baseline, and whole blocks after it."""


def items(data_dir: Path) -> dict[str, HealthItem]:
    with RecordReader(data_dir) as reader:
        return {item.name: item for item in parts_health(read_samples(reader))}


def then(count: int = 2 * BLOCK_IDS, **changes: float) -> list[PartRecord]:
    """A usual baseline, then ``count`` changed parts."""
    return [
        *good_parts(BASELINE_PARTS + BLOCK_IDS),
        *good_parts(count, first=BASELINE_PARTS + BLOCK_IDS + 1, seed=2, **changes),
    ]


def sample(parts: int, *, seed: int, passed: float = 1.0, **changes: float) -> Sample:
    """Without a database; ``changes`` as in ``good_parts``."""
    generator = np.random.default_rng(seed)

    def noisy(name: str, usual: float) -> NDArray[np.float64]:
        return usual * changes.get(name, 1.0) * generator.normal(1.0, 0.05, parts)

    return Sample(
        first_part_id=1,
        last_part_id=parts,
        passed=(np.arange(parts) % 100 < passed * 100).astype(np.float64),
        score=draw(generator, parts, shift=changes.get("shift", 0.0)),
        focus=noisy("focus", 100),
        light=noisy("light", 120),
        invoke_ms=noisy("invoke_ms", 12),
        left_ms=noisy("left_ms", 400),
        allowed_ms=np.full(parts, 500.0),
    )


def changed(**changes: float) -> dict[str, HealthItem]:
    """What is said of a latest block that differs from its baseline in ``changes``."""
    samples = Samples(
        baseline=sample(BASELINE_PARTS, seed=1), latest=sample(BLOCK_IDS, seed=2, **changes)
    )
    return {item.name: item for item in parts_health(samples)}


def test_an_unchanged_line_is_well(tmp_path: Path) -> None:
    write_parts(tmp_path, then())
    found = items(tmp_path)
    assert {name: item.state for name, item in found.items()} == dict.fromkeys(
        ("score drift", "yield", "focus", "light", "model time", "time left"), HealthState.OK
    )
    assert not any(item.next_action for item in found.values())


@pytest.mark.parametrize(
    ("change", "ill", "state", "words"),
    [
        ({"shift": 0.6}, "score drift", HealthState.BAD, "thresholds"),
        ({"shift": 0.34}, "score drift", HealthState.WARN, "thresholds"),
        ({"focus": 0.7}, "focus", HealthState.WARN, "lens"),
        ({"focus": 0.5}, "focus", HealthState.BAD, "lens"),
        ({"light": 0.85}, "light", HealthState.WARN, "lamp"),
        ({"light": 1.3}, "light", HealthState.BAD, "lamp"),
        ({"invoke_ms": 1.5}, "model time", HealthState.WARN, "throttling"),
        ({"invoke_ms": 2.5}, "model time", HealthState.BAD, "throttling"),
        ({"left_ms": 0.1}, "time left", HealthState.WARN, "ROI"),
        ({"left_ms": -0.1}, "time left", HealthState.BAD, "ROI"),
    ],
)
def test_what_has_changed_is_named_with_its_next_action(
    change: dict[str, float], ill: str, state: HealthState, words: str
) -> None:
    found = changed(**change)
    assert [name for name, item in found.items() if item.state is not HealthState.OK] == [ill]
    assert found[ill].state is state
    assert words in found[ill].next_action


def test_a_sharper_picture_is_no_fault() -> None:
    assert changed(focus=1.6)["focus"].state is HealthState.OK


def test_a_yield_that_falls_is_named() -> None:
    found = changed(passed=0.8)
    assert found["yield"].state is HealthState.WARN
    assert "parts stats" in found["yield"].next_action
    assert found["score drift"].state is HealthState.OK


def test_without_good_parts_drift_is_unknown_and_yield_bad() -> None:
    found = changed(passed=0.0)
    assert found["score drift"].state is HealthState.UNKNOWN
    assert found["yield"].state is HealthState.BAD


@pytest.mark.parametrize(
    ("parts", "words"), [(0, "0 of 2,048"), (700, "700 of 2,048"), (2048, "first block")]
)
def test_too_few_parts_are_said_to_be_too_few(tmp_path: Path, parts: int, words: str) -> None:
    write_parts(tmp_path, good_parts(parts))
    (only,) = items(tmp_path).values()
    assert only.state is HealthState.UNKNOWN
    assert words in only.detail


def test_a_new_recipe_begins_a_new_baseline(tmp_path: Path) -> None:
    other = "e2" * 32
    write_parts(tmp_path, good_parts(3000))
    after = [replace(part, recipe_digest=other) for part in good_parts(WHOLE, first=3001, shift=1)]
    write_parts(tmp_path, after, digest=other)
    with RecordReader(tmp_path) as reader:
        samples = read_samples(reader)
    assert samples.baseline is not None
    assert (samples.baseline.first_part_id, samples.baseline.parts) == (3001, BASELINE_PARTS)
    assert items(tmp_path)["score drift"].state is HealthState.OK


def test_the_latest_block_is_whole_and_does_not_move_with_each_part(tmp_path: Path) -> None:
    seen = set()
    parts = itertools.chain(good_parts(WHOLE))
    write_parts(tmp_path, itertools.islice(parts, WHOLE - 200))
    for _ in range(5):
        write_parts(tmp_path, list(itertools.islice(parts, 40)))
        with RecordReader(tmp_path) as reader:
            latest = read_samples(reader).latest
        assert latest is not None
        assert latest.parts == BLOCK_IDS
        assert latest.first_part_id % BLOCK_IDS == 0
        seen.add(latest.first_part_id)
    assert len(seen) <= 2


def test_ids_skipped_by_a_crash_and_an_almost_empty_block_do_no_harm(tmp_path: Path) -> None:
    records = then()
    far = 2_000_000 // BLOCK_IDS * BLOCK_IDS
    records += good_parts(20, first=far, seed=3)
    records += good_parts(5, first=far + BLOCK_IDS, seed=4)
    write_parts(tmp_path, records)
    with RecordReader(tmp_path) as reader:
        samples = read_samples(reader)
    assert samples.latest is not None
    assert samples.latest.last_part_id < far
    assert samples.baseline is not None
    assert samples.baseline.first_part_id == 1


class SetForward(StepClock):
    """Its wall clock is put forward by a minute half-way; a record reads it up to ten times."""

    def now_wall(self) -> datetime.datetime:
        wall = super().now_wall()
        self.readings = getattr(self, "readings", 0) + 1
        return wall + datetime.timedelta(seconds=60 if self.readings > 200 else 0)


def test_a_moved_wall_clock_is_noticed(tmp_path: Path) -> None:
    write_parts(tmp_path / "steady", good_parts(40))
    write_parts(tmp_path / "moved", good_parts(40), clock=SetForward(), batch_parts=1)
    with RecordReader(tmp_path / "steady") as steady, RecordReader(tmp_path / "moved") as moved:
        assert clock_jump_s(steady) < 1
        assert clock_jump_s(moved) == pytest.approx(60, abs=1)


# --- the machine --------------------------------------------------------------------------------

WELL = BoardState(
    temperature_c=55.0,
    under_voltage=False,
    under_voltage_before=False,
    throttled=False,
    throttled_before=False,
)


def machine(
    board: BoardState = WELL,
    *,
    free_bytes: int | None = 10**10,
    synchronized: bool = True,
    jump_s: float = 0.0,
) -> dict[str, HealthItem]:
    found = machine_health(
        board,
        free_bytes=free_bytes,
        min_free_bytes=200_000_000,
        clock_synchronized=synchronized,
        clock_jump_s=jump_s,
    )
    return {item.name: item for item in found}


def test_a_machine_that_is_well() -> None:
    found = machine()
    assert {item.state for item in found.values()} == {HealthState.OK}
    assert list(found) == ["temperature", "throttling", "supply voltage", "disk", "clock"]


@pytest.mark.parametrize(
    ("board", "name", "state"),
    [
        (BoardState(temperature_c=76.0), "temperature", HealthState.WARN),
        (BoardState(temperature_c=80.0), "temperature", HealthState.BAD),
        (BoardState(throttled=True), "throttling", HealthState.BAD),
        (BoardState(throttled=False, throttled_before=True), "throttling", HealthState.WARN),
        (BoardState(under_voltage=True), "supply voltage", HealthState.BAD),
        (
            BoardState(under_voltage=False, under_voltage_before=True),
            "supply voltage",
            HealthState.WARN,
        ),
    ],
)
def test_an_ill_board_is_named(board: BoardState, name: str, state: HealthState) -> None:
    item = machine(board)[name]
    assert item.state is state
    assert item.next_action


def test_a_board_that_does_not_tell_alarms_nobody() -> None:
    found = machine(BoardState())
    assert [found[name].state for name in ("temperature", "throttling", "supply voltage")] == [
        HealthState.UNKNOWN
    ] * 3
    assert Health(tuple(found.values())).state is HealthState.OK


@pytest.mark.parametrize(
    ("free_bytes", "state"),
    [
        (200_000_000, HealthState.OK),
        (199_000_000, HealthState.WARN),
        (49_000_000, HealthState.BAD),
        (None, HealthState.BAD),
    ],
)
def test_the_disk(free_bytes: int | None, state: HealthState) -> None:
    item = machine(free_bytes=free_bytes)["disk"]
    assert item.state is state
    assert bool(item.next_action) == (state is not HealthState.OK)


def test_the_clock() -> None:
    assert machine(synchronized=False)["clock"].state is HealthState.WARN
    moved = machine(jump_s=90.0)["clock"]
    assert (moved.state, "90 s" in moved.detail) == (HealthState.WARN, True)


# --- together -----------------------------------------------------------------------------------


def test_a_folder_without_records_is_an_item_and_no_error(tmp_path: Path) -> None:
    health = station_health(tmp_path / "none", board=FakeBoard([WELL]), clock=StepClock())
    found = {item.name: item for item in health.items}
    assert "No records" in found["records"].detail
    assert found["disk"].state is HealthState.BAD
    assert health.state is HealthState.BAD
    assert worst_first(health.items)[0].name == "disk"


def test_everything_together_as_json(tmp_path: Path) -> None:
    write_parts(tmp_path, then(focus=0.5))
    hot = BoardState(temperature_c=90.0)
    health = station_health(tmp_path, board=FakeBoard([hot]), clock=StepClock())
    reported = json.loads(json.dumps(health.as_dict()))
    assert reported["state"] == "bad"
    states = {item["name"]: item["state"] for item in reported["items"]}
    assert (states["focus"], states["temperature"], states["clock"]) == ("bad", "bad", "ok")


def test_status_shows_health_even_if_no_station_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_parts(tmp_path, then(light=0.5))
    code = run_command_line(
        application, program="edgeinspect", arguments=["status", "--data-dir", str(tmp_path)]
    )
    shown = capsys.readouterr()
    assert code == 4
    assert "No station answers" in shown.err
    assert "Check the lamp" in shown.out
