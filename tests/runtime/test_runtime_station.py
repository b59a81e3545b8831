"""The station with strict fakes, on a clock that passes only while all its threads wait."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from typing import NoReturn

import pytest

from edgeinspect.errors import CameraFault, DiskFull, LineFault, RecipeNotTaken, UsageError
from edgeinspect.faults import FaultName
from edgeinspect.hw.fake_camera import FakeCamera
from edgeinspect.hw.fake_io import FakeEdgeInput, FakeOutput
from edgeinspect.line.config import GateKind
from edgeinspect.line.core import LineCore
from edgeinspect.part import CameraControls, Doubt, GateOutcome, VerdictKind
from edgeinspect.runtime.camera_thread import CameraThread
from edgeinspect.runtime.inspection import InspectionWorkers
from edgeinspect.runtime.pulse_thread import PulseThread
from edgeinspect.runtime.station_status import StationState
from tests.helpers.runtime_rig import (
    BAD,
    GOOD,
    RealClock,
    Rig,
    ShadeCamera,
    ShadeInspector,
    line_config,
    prepared,
    wide_config,
)
from tests.helpers.station_clock import Event, StationClock


@pytest.mark.parametrize("kind", list(GateKind))
def test_good_part_passes_and_bad_part_is_rejected(clock: StationClock, kind: GateKind) -> None:
    rig = Rig(clock, config=line_config(kind=kind), shades=[GOOD, BAD, GOOD])
    with rig:
        rig.wait_until(lambda: rig.station.state is StationState.INSPECTING)
        for _ in range(3):
            rig.part()
            done = len(rig.sink.written) + 1
            rig.wait_for_records(done)
        rig.station.stop()
    records = [entry.record for entry in rig.sink.written]
    assert [record.verdict.kind for record in records] == [
        VerdictKind.PASS,
        VerdictKind.REJECT,
        VerdictKind.PASS,
    ]
    assert [record.gate_outcome for record in records] == [
        GateOutcome.PASSED,
        GateOutcome.REJECTED,
        GateOutcome.PASSED,
    ]
    assert [record.part_id for record in records] == [1, 2, 3]
    assert rig.gate.is_closed
    assert rig.station.exit_code == 0


def test_several_parts_in_flight_keep_their_own_pictures(clock: StationClock) -> None:
    shades = [GOOD, BAD, BAD, GOOD, BAD, GOOD]
    rig = Rig(clock, shades=shades)
    with rig:
        for number in range(len(shades)):
            rig.part()
            rig.wait_for_frames(number + 1)
        rig.wait_for_records(len(shades))
    for entry, shade in zip(rig.sink.written, shades, strict=True):
        assert entry.record.verdict.score == pytest.approx(shade / 255)
        assert entry.frame is not None and entry.frame.pixels[0, 0] == shade


def test_a_raising_inspector_costs_its_part_and_no_other(clock: StationClock) -> None:
    def fail_once() -> None:
        if len(rig.inspector.frames) == 1:
            raise RuntimeError("bad luck")

    rig = Rig(clock, inspector=ShadeInspector(work=fail_once))
    with rig:
        for number in (1, 2):
            rig.part()
            rig.wait_for_records(number)
    first, second = (entry.record.verdict for entry in rig.sink.written)
    assert (first.doubt, second.kind) == (Doubt.ENGINE_FAILED, VerdictKind.PASS)
    assert "bad luck" in first.detail
    assert rig.station.faults.snapshot()["inspection_failed"].count == 1


def test_a_stuck_worker_rejects_in_time_and_is_named(clock: StationClock) -> None:
    go_on = clock.event()
    rig = Rig(clock, inspector=ShadeInspector(work=lambda: assert_set(go_on)))
    with rig:
        rig.part()
        rig.wait_for_records(1)
        rig.wait_until(lambda: rig.station.faults.is_active(FaultName.HANGS, subject="inspection"))
        assert rig.station.state is StationState.FAULTED
        rig.wait_until(lambda: rig.red.active)
        go_on.set()
        rig.wait_until(lambda: rig.station.state is StationState.INSPECTING)
    assert rig.sink.written[0].record.verdict.doubt is Doubt.LATE
    assert rig.sink.written[0].record.gate_outcome is GateOutcome.REJECTED
    assert not rig.gate.levels


def assert_set(event: Event) -> None:
    assert event.wait(60.0)


def test_camera_that_fails_is_reopened_while_parts_are_rejected(clock: StationClock) -> None:
    camera = FakeCamera([CameraFault("unplugged")] * 3, otherwise=ShadeCamera(clock).otherwise)
    rig = Rig(clock, camera=camera)
    with rig:
        for number in (1, 2, 3):
            rig.part()
            rig.wait_for_records(number)
        rig.wait_until(lambda: camera.opened == 2 and camera.is_open)
        rig.wait_until(lambda: not rig.station.faults.is_active(FaultName.CAMERA_FAILED))
        rig.part()
        rig.wait_for_records(4)
    verdicts = [entry.record.verdict for entry in rig.sink.written]
    assert [verdict.doubt for verdict in verdicts[:3]] == [Doubt.CAMERA_FAILED] * 3
    assert verdicts[3].kind is VerdictKind.PASS


@pytest.mark.parametrize("kind", list(GateKind))
@pytest.mark.parametrize("victim", ["line", "pulse", "camera", "recorder", "inspection-0"])
def test_a_dead_thread_rejects_everything_and_is_named(
    clock: StationClock, victim: str, kind: GateKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> NoReturn:
        raise SystemExit("killed by the test")

    rig = Rig(clock, config=line_config(kind=kind))
    station = rig.station
    with rig:
        rig.wait_until(lambda: station.state is StationState.INSPECTING)
        if victim == "line":
            monkeypatch.setattr(LineCore, "handle", die)
        elif victim == "pulse":
            monkeypatch.setattr(PulseThread, "step", die)
        elif victim == "camera":
            monkeypatch.setattr(CameraThread, "step", die)
            rig.part()
        elif victim == "recorder":
            rig.sink.write = die  # type: ignore[method-assign]
            rig.part()
        else:
            monkeypatch.setattr(InspectionWorkers, "outcome", die)
            rig.part()
        rig.wait_until(lambda: station.state is StationState.FAULTED)
        fault = station.faults.snapshot()[f"thread_died_{victim}"]
        assert "killed by the test" in fault.detail
        rejecting = kind is GateKind.NORMALLY_PASSING
        rig.wait_until(lambda: rig.gate.active is rejecting)
        assert rig.line_stop.active
        beats = len(rig.heartbeat.levels)
        if victim != "line":
            triggers = rig.counts().get("triggers", 0)
            rig.part()
            rig.wait_until(lambda: rig.counts().get("triggers", 0) > triggers)
        assert rig.gate.active is rejecting
        assert len(rig.heartbeat.levels) <= beats + 1
        station.request_stop(immediate=True)
        station.stop(flush_s=0.2)
    assert station.exit_code == 1
    assert rig.gate.is_closed


def test_disk_full_keeps_records_and_goes_on_inspecting(clock: StationClock) -> None:
    rig = Rig(clock)
    rig.sink.error = DiskFull("No space left.")
    with rig:
        rig.part()
        rig.wait_until(lambda: rig.sink.failures > 0)
        assert rig.station.faults.is_active(FaultName.RECORDS_NOT_WRITTEN)
        rig.part()
        rig.wait_for_frames(2)
        rig.sink.error = None
        rig.wait_for_records(2)
        rig.wait_until(lambda: not rig.station.faults.is_active(FaultName.RECORDS_NOT_WRITTEN))
    assert [entry.record.part_id for entry in rig.sink.written] == [1, 2]


def test_a_full_record_queue_rejects_what_could_not_be_recorded(clock: StationClock) -> None:
    rig = Rig(clock, record_capacity=4)
    rig.sink.error = DiskFull("No space left.")
    with rig:
        for number in (1, 2):
            rig.part()
            rig.wait_for_frames(number)
        rig.wait_until(lambda: rig.station.faults.is_active(FaultName.RECORDS_QUEUE_FULL))
        opened = len(rig.gate.levels)
        rig.part()
        rig.wait_until(lambda: rig.counts().get("PASS", 0) == 3)
        assert len(rig.gate.levels) == opened
        assert rig.station.state is StationState.FAULTED
        rig.sink.error = None
        rig.wait_until(lambda: rig.station.state is StationState.INSPECTING)
    third = rig.sink.written[2].record
    assert third.verdict.kind is VerdictKind.PASS
    assert third.gate_outcome is GateOutcome.REJECTED


def test_graceful_stop_lets_judged_parts_leave_and_records_all(clock: StationClock) -> None:
    rig = Rig(clock)
    with rig:
        rig.part()
        rig.wait_for_frames(1)
        rig.station.stop()
    (entry,) = rig.sink.written
    assert entry.record.gate_outcome is GateOutcome.PASSED
    assert rig.gate.levels == [True, False]
    assert rig.gate.is_closed and rig.trigger.is_closed and rig.heartbeat.is_closed
    assert not rig.camera.is_open


def test_immediate_stop_rejects_what_is_on_the_belt(clock: StationClock) -> None:
    rig = Rig(clock, config=line_config(to_gate_ms=60_000))
    with rig:
        rig.part()
        rig.wait_for_frames(1)
        rig.station.request_stop(immediate=True)
        rig.station.stop()
    assert rig.gate.levels == []
    assert rig.gate.is_closed


def test_a_station_that_cannot_start_closes_everything(clock: StationClock) -> None:
    rig = Rig(clock, camera=FakeCamera(open_errors=[CameraFault("no camera")]))
    with pytest.raises(CameraFault, match="no camera"):
        rig.station.start()
    assert rig.gate.is_closed and rig.heartbeat.is_closed


def test_a_trigger_line_that_cannot_be_opened_stops_the_start(clock: StationClock) -> None:
    rig = Rig(clock)
    broken = FakeEdgeInput(start_error=LineFault("GPIO17 is busy"))
    object.__setattr__(rig.drivers, "trigger", broken)
    with pytest.raises(LineFault, match="GPIO17 is busy"):
        rig.station.start()
    assert rig.gate.is_closed and not rig.camera.is_open


def test_recipe_change_misses_no_trigger_and_keeps_old_parts_on_the_old_recipe(
    clock: StationClock,
) -> None:
    rig = Rig(clock)
    strict = ShadeInspector()
    with rig:
        rig.part()
        rig.wait_for_frames(1)
        rig.station.apply_recipe(prepared(line_config(digest="recipe-2"), strict))
        rig.part()
        rig.wait_for_records(2)
    digests = [entry.record.recipe_digest for entry in rig.sink.written]
    assert digests == ["recipe-1", "recipe-2"]
    assert (len(rig.inspector.frames), len(strict.frames)) == (1, 1)
    assert rig.station.status()["recipe_digest"] == "recipe-2"


def test_recipe_changes_amid_a_stream_of_parts_lose_none(clock: StationClock) -> None:
    rig = Rig(clock)
    extra: list[ShadeInspector] = []

    def apply_both() -> None:
        for number in (2, 3):
            _apply(rig, number, extra)

    applying = clock.thread(apply_both)

    def inspected(count: int) -> bool:
        return sum(len(shown.frames) for shown in (rig.inspector, *extra)) >= count

    with rig:
        for number in range(24):
            if number == 8:
                applying.start()
            rig.part()
            rig.wait_until(partial(inspected, number + 1))
        applying.join()
        rig.wait_for_records(24)
    records = sorted((entry.record for entry in rig.sink.written), key=lambda r: r.part_id)
    assert [record.part_id for record in records] == list(range(1, 25))
    assert {record.verdict.kind for record in records} == {VerdictKind.PASS}
    digests = [record.recipe_digest for record in records]
    assert digests == sorted(digests)
    assert digests[0] == "recipe-1"
    assert [controls.exposure_us for controls in rig.camera.controls] == [None, 2.0, 3.0]


def _apply(rig: Rig, number: int, extra: list[ShadeInspector]) -> None:
    inspector = ShadeInspector()
    extra.append(inspector)
    recipe = prepared(line_config(digest=f"recipe-{number}"), inspector)
    controls = CameraControls(exposure_us=float(number))
    rig.station.apply_recipe(dataclasses.replace(recipe, controls=controls))


def test_a_recipe_that_changes_the_wiring_is_refused(clock: StationClock) -> None:
    rig = Rig(clock)
    other = line_config(kind=GateKind.NORMALLY_PASSING, digest="recipe-2")
    with rig:
        with pytest.raises(UsageError, match="are fixed while the station runs"):
            rig.station.apply_recipe(prepared(other, ShadeInspector()))
        assert rig.station.status()["recipe_digest"] == "recipe-1"


class StuckOutput(FakeOutput):
    """Blocks its driver until it is let go."""

    def __init__(self, clock: StationClock) -> None:
        super().__init__()
        self.free = clock.event()
        self.free.set()

    def drive(self, active: bool) -> None:
        assert_set(self.free)
        super().drive(active)


@pytest.mark.parametrize("digest", ["recipe-1", "recipe-2"])
def test_a_recipe_that_timed_out_does_not_come_later(clock: StationClock, digest: str) -> None:
    heartbeat = StuckOutput(clock)
    rig = Rig(clock, heartbeat=heartbeat)
    late = ShadeInspector()
    with rig:
        heartbeat.free.clear()  # the line thread will hang in its next beat
        rig.wait_until(lambda: "hangs_line" in rig.station.lasting_faults())
        with pytest.raises(RecipeNotTaken, match="did not apply the recipe"):
            rig.station.apply_recipe(prepared(line_config(digest=digest), late), timeout_s=0.05)
        heartbeat.free.set()
        rig.wait_until(lambda: "hangs_line" not in rig.station.lasting_faults())
        rig.part()
        rig.wait_for_records(1)
    (entry,) = rig.sink.written
    assert entry.record.recipe_digest == "recipe-1"
    assert entry.record.verdict.kind is VerdictKind.PASS
    assert (len(rig.inspector.frames), late.frames) == (1, [])


def test_a_recipe_whose_client_has_gone_is_not_taken(clock: StationClock) -> None:
    rig = Rig(clock)
    with rig:
        recipe = prepared(line_config(digest="recipe-2"), ShadeInspector())
        with pytest.raises(RecipeNotTaken, match="has disconnected"):
            rig.station.apply_recipe(recipe, wanted=lambda: False)
        assert rig.station.status()["recipe_digest"] == "recipe-1"


def test_pause_rejects_and_resume_inspects_again(clock: StationClock) -> None:
    rig = Rig(clock)
    with rig:
        rig.station.pause()
        rig.wait_until(lambda: rig.station.state is StationState.PAUSED)
        assert rig.station.trigger()
        rig.wait_for_records(1)
        rig.station.resume()
        rig.wait_until(lambda: rig.station.state is StationState.INSPECTING)
        rig.part()
        rig.wait_for_records(2)
    first, second = (entry.record.verdict for entry in rig.sink.written)
    assert (first.doubt, second.kind) == (Doubt.PAUSED, VerdictKind.PASS)


def test_heartbeat_beats_while_the_station_works_and_stops_with_a_broken_gate(
    clock: StationClock,
) -> None:
    broken = FakeOutput(errors=[LineFault("gate wire is loose")] * 10_000)
    rig = Rig(clock, gate=broken)
    with rig:
        rig.wait_until(lambda: len(rig.heartbeat.levels) > 3)
        assert rig.heartbeat.levels[:4] == [True, False, True, False]
        rig.part()
        rig.wait_until(lambda: rig.station.faults.is_active(FaultName.GATE_OUTPUT_FAILED))
        beats = len(rig.heartbeat.levels)
        rig.wait_for_records(1)
        assert len(rig.heartbeat.levels) <= beats + 1
        assert rig.station.state is StationState.FAULTED
    assert rig.sink.written[0].record.gate_outcome is not GateOutcome.PASSED


def test_status_is_json_and_counts(clock: StationClock) -> None:
    rig = Rig(clock, shades=[GOOD, BAD])
    with rig:
        for number in (1, 2):
            rig.part()
            rig.wait_for_records(number)
        rig.wait_until(lambda: rig.station.status()["records_acknowledged"] == 2)
        rig.wait_until(lambda: rig.station.status()["counts"].get("REJECT") == 1)  # type: ignore[attr-defined]
        status = json.loads(json.dumps(rig.station.status(), allow_nan=False))
    assert status["counts"]["PASS"] == 1
    assert status["queues"]["records"] == {"waiting": 0, "capacity": 4096}
    assert status["stage_latency_us"]["frame_to_verdict"]["samples"] == 2
    assert status["state"] == "inspecting"


def test_a_good_part_passes_in_real_time() -> None:
    rig = Rig(RealClock(), config=wide_config())
    with rig:
        rig.part()
        rig.wait_for_records(1)
        rig.station.stop()
    (entry,) = rig.sink.written
    assert entry.record.verdict.kind is VerdictKind.PASS
    assert entry.record.gate_outcome is GateOutcome.PASSED
    assert rig.gate.levels == [True, False]
