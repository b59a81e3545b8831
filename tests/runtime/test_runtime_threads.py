"""The recorder, the workers, the boards and the foreground run."""

from __future__ import annotations

import dataclasses
import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.assembly.run_until_stopped import run_until_stopped
from edgeinspect.control.client import ControlClient
from edgeinspect.control.feed import EventFeed
from edgeinspect.control.server import ControlServer
from edgeinspect.errors import CameraFault, DataDisplaced, DiskFull
from edgeinspect.faults import FaultName
from edgeinspect.hw.fake_camera import FakeCamera
from edgeinspect.hw.fake_io import FakeOutput
from edgeinspect.line.config import GateKind
from edgeinspect.line.messages import Inspect, Inspected, InspectionFailed
from edgeinspect.part import Frame, Inspection, StageTimes, VerdictKind
from edgeinspect.runtime.fault_board import FaultBoard
from edgeinspect.runtime.finished_part import FinishedPart
from edgeinspect.runtime.inspection import InspectionWorkers, InspectorSet
from edgeinspect.runtime.latency import Reservoir, StageLatencies
from edgeinspect.runtime.queues import BoundedQueue
from edgeinspect.runtime.recipe_swap import PreparedRecipe, SwapRecipe
from edgeinspect.runtime.recorder_thread import RecorderThread
from edgeinspect.runtime.station_status import StationState, lights_for, stops_inspection
from edgeinspect.runtime.supervisor import Supervisor, Watch
from edgeinspect.runtime.threads import StationThread
from edgeinspect.terminal.signals import stop_on_signals
from tests.helpers.line_records import record
from tests.helpers.pulse_bench import MS, ManualClock
from tests.helpers.runtime_rig import (
    DEADLINE_S,
    MemorySink,
    RealClock,
    Rig,
    ShadeInspector,
    inspection,
    line_config,
    make_frame,
)
from tests.helpers.station_clock import StationClock


def entries(*part_ids: int) -> list[FinishedPart]:
    return [FinishedPart(record(part_id)) for part_id in part_ids]


class RecorderBench:
    def __init__(self, clock: StationClock, *, capacity: int = 10) -> None:
        self.faults = FaultBoard(clock.now_mono_ns)
        self.sink = MemorySink()
        self.recorder: RecorderThread[FinishedPart] = RecorderThread(
            sink=self.sink,
            faults=self.faults,
            capacity=capacity,
            batch_size=3,
        )

    def written(self) -> list[int]:
        return [entry.record.part_id for entry in self.sink.written]


def test_recorder_writes_in_batches_and_ends_when_told(clock: StationClock) -> None:
    bench = RecorderBench(clock)
    for entry in entries(1, 2, 3, 4, 5):
        assert bench.recorder.put(entry)
    bench.recorder.stop()
    bench.recorder.run()
    assert bench.written() == [1, 2, 3, 4, 5]
    assert (bench.recorder.acknowledged, len(bench.recorder)) == (5, 0)


def test_recorder_keeps_what_the_disk_refuses_and_writes_it_later(clock: StationClock) -> None:
    bench = RecorderBench(clock)
    bench.sink.error = DiskFull("No space left.")
    for entry in entries(1, 2, 3, 4):
        bench.recorder.put(entry)
    thread = clock.thread(bench.recorder.run)
    thread.start()
    clock.wait_until(lambda: bench.sink.failures >= 3)
    assert bench.faults.is_active(FaultName.RECORDS_NOT_WRITTEN)
    assert bench.faults.snapshot()[FaultName.RECORDS_NOT_WRITTEN].count == 1
    assert (bench.written(), len(bench.recorder)) == ([], 4)
    bench.sink.error = None
    bench.recorder.stop()
    thread.join()
    assert bench.written() == [1, 2, 3, 4]
    assert not bench.faults.is_active(FaultName.RECORDS_NOT_WRITTEN)


def test_an_idle_recorder_notices_that_the_files_were_moved(clock: StationClock) -> None:
    bench = RecorderBench(clock)
    bench.sink.error = DataDisplaced("records.sqlite3 was deleted.")
    thread = clock.thread(bench.recorder.run)
    thread.start()
    clock.wait_until(lambda: bench.faults.is_active(FaultName.DATA_FILES_DISPLACED))
    assert stops_inspection(bench.faults.snapshot()) == [FaultName.DATA_FILES_DISPLACED]
    bench.sink.error = None
    clock.wait_until(lambda: not bench.faults.is_active(FaultName.DATA_FILES_DISPLACED))
    bench.recorder.stop()
    thread.join()
    assert bench.faults.snapshot()[FaultName.DATA_FILES_DISPLACED].count == 1
    assert (bench.written(), bench.recorder.acknowledged) == ([], 0)


def test_recorder_counts_what_it_must_give_up(clock: StationClock) -> None:
    bench = RecorderBench(clock, capacity=2)
    assert [bench.recorder.put(entry) for entry in entries(1, 2, 3)] == [True, True, False]
    assert bench.faults.snapshot()[FaultName.RECORDS_LOST].count == 1
    bench.recorder.abandon()
    bench.recorder.run()
    assert bench.faults.snapshot()[FaultName.RECORDS_LOST].count == 3
    assert bench.written() == []


class WorkerBench:
    def __init__(self, inspector: ShadeInspector, workers: int = 1) -> None:
        self.clock = ManualClock()
        self.faults = FaultBoard(self.clock.now_mono_ns)
        self.reports: list[Inspected | InspectionFailed] = []
        self.closed: list[str] = []
        self.workers = InspectionWorkers(
            inspectors=self.set_of("recipe-1", [inspector] * workers),
            clock=self.clock,
            faults=self.faults,
            report=self.reports.append,
        )

    def set_of(self, digest: str, inspectors: list[ShadeInspector]) -> InspectorSet:
        return InspectorSet(
            recipe_digest=digest,
            inspectors=inspectors,
            close=lambda: self.closed.append(digest),
        )

    def run(self, digest: str = "recipe-1", deadline_ms: int | None = None) -> object:
        frame = make_frame(sequence=1, exposure_mono_ns=0, shade=51)
        deadline = None if deadline_ms is None else self.clock.now + deadline_ms * MS
        assert self.workers.submit(Inspect(4, frame, digest), deadline_mono_ns=deadline)
        job = self.workers.queue.take(0)
        assert job is not None
        return self.workers.outcome(0, job)


def test_worker_inspects_under_the_parts_own_recipe() -> None:
    bench = WorkerBench(ShadeInspector())
    assert bench.run() == Inspected(4, inspection(0.2))
    assert bench.run("recipe-9") == InspectionFailed(4, "its recipe is no longer loaded")


def test_worker_does_not_begin_what_is_late() -> None:
    inspector = ShadeInspector()
    bench = WorkerBench(inspector)
    assert bench.run(deadline_ms=-1) == InspectionFailed(
        4, "its deadline passed while it waited in the queue"
    )
    assert inspector.frames == []
    assert isinstance(bench.run(deadline_ms=0), Inspected)


def test_three_recipes_stay_loaded_and_older_ones_are_released() -> None:
    bench = WorkerBench(ShadeInspector())
    for number in (2, 3, 4):
        bench.workers.add(bench.set_of(f"recipe-{number}", [ShadeInspector()]))
        bench.workers.release_retired()
    assert bench.closed == ["recipe-1"]
    assert isinstance(bench.run("recipe-2"), Inspected)
    assert isinstance(bench.run("recipe-1"), InspectionFailed)
    with pytest.raises(ValueError, match="expected 1 inspectors"):
        bench.workers.add(bench.set_of("recipe-5", []))
    bench.workers.close()
    assert sorted(bench.closed) == ["recipe-1", "recipe-2", "recipe-3", "recipe-4"]


def test_engines_that_a_recipe_replaces_are_released_once() -> None:
    bench = WorkerBench(ShadeInspector())
    bench.workers.add(bench.set_of("recipe-1", [ShadeInspector()]))
    assert bench.closed == []  # nobody waits for it in the line thread
    bench.workers.release_retired()
    bench.workers.release_retired()
    assert bench.closed == ["recipe-1"]
    assert isinstance(bench.run("recipe-1"), Inspected)


def test_engines_in_use_are_released_when_their_picture_is_done() -> None:
    inspector = ShadeInspector()
    bench = WorkerBench(inspector)

    def look(frame: Frame, *, want_map: bool = False) -> Inspection:
        del want_map
        bench.workers.add(bench.set_of("recipe-1", [ShadeInspector()]))
        bench.workers.release_retired()
        assert bench.closed == []
        return ShadeInspector().inspect(frame)

    inspector.inspect = look  # type: ignore[method-assign]
    assert isinstance(bench.run("recipe-1"), Inspected)
    assert bench.closed == ["recipe-1"]


def test_engines_that_cannot_be_released_are_counted_and_harm_nobody() -> None:
    bench = WorkerBench(ShadeInspector())

    def broken() -> None:
        raise RuntimeError("the driver hangs")

    stuck = InspectorSet(recipe_digest="recipe-2", inspectors=[ShadeInspector()], close=broken)
    bench.workers.add(stuck)
    bench.workers.close()
    assert bench.closed == ["recipe-1"]
    fault = bench.faults.snapshot()["driver_did_not_close"]
    assert fault.detail == "an engine: RuntimeError: the driver hangs"


def swap(**options: Any) -> SwapRecipe:
    inspectors = InspectorSet(recipe_digest="recipe-2", inspectors=[ShadeInspector()])
    recipe = PreparedRecipe(config=line_config(digest="recipe-2"), inspectors=inspectors)
    return SwapRecipe(recipe, **options)


def test_a_recipe_that_was_given_up_never_comes_into_force() -> None:
    change = swap()
    assert "did not apply the recipe within 0 s" in change.wait(0)
    change.settle(lambda: pytest.fail("it was answered with an error"))
    assert "did not apply the recipe within 0 s" in change.wait(0)


def test_a_recipe_that_nobody_wants_any_more_is_not_taken() -> None:
    change = swap(wanted=lambda: False)
    change.settle(lambda: pytest.fail("nobody wants it"))
    assert change.wait(0) == "The client that requested the recipe has disconnected."


@pytest.mark.parametrize("why_not", ["", "The camera is too busy."])
def test_a_recipe_is_answered_as_it_was_settled(why_not: str) -> None:
    change = swap()
    change.settle(lambda: why_not)
    change.settle(lambda: pytest.fail("it was settled before"))
    assert change.wait(0) == why_not


def test_bounded_queue_refuses_and_keeps_the_order() -> None:
    queue: BoundedQueue[int] = BoundedQueue("numbers", 2)
    assert [queue.offer(n) for n in (1, 2, 3)] == [True, True, False]
    queue.force(4)
    assert [queue.take(0) for _ in range(4)] == [1, 2, 4, None]
    queue.wake()
    assert queue.take(DEADLINE_S) is None


def test_thread_death_is_reported_with_its_cause() -> None:
    deaths: list[tuple[str, BaseException]] = []

    def die() -> None:
        raise KeyboardInterrupt("odd")

    thread = StationThread("victim", die, lambda name, error: deaths.append((name, error)))
    thread.start()
    assert thread.join(DEADLINE_S)
    ((name, error),) = deaths
    assert name == "victim" and isinstance(error, KeyboardInterrupt) and thread.error is error


def test_faults_are_counted_once_while_they_last() -> None:
    camera, late = FaultName.CAMERA_FAILED, FaultName.INSPECTION_FAILED
    clock = ManualClock()
    changes: list[str] = []
    board = FaultBoard(clock.now_mono_ns, on_change=lambda name, fault: changes.append(name))
    for _ in range(3):
        board.begin(camera, "gone")
    board.begin(camera, "still gone")
    assert board.snapshot()[camera].count == 1
    assert board.snapshot()[camera].detail == "still gone"
    board.end(camera)
    board.end(camera)
    assert not board.is_active(camera)
    board.begin(camera, "gone")
    board.count(late, "x" * 9999, times=3)
    assert board.snapshot()[camera].count == 2
    assert board.snapshot()[late].count == 3
    assert len(board.snapshot()[late].detail) == 500
    assert changes == [camera, camera, camera, camera, late]


@given(st.integers(1, 20), st.integers(0, 60), st.integers(0, 70), st.integers(1, 10))
def test_feed_tells_what_it_has_and_how_much_is_gone(
    capacity: int, published: int, start: int, limit: int
) -> None:
    feed = EventFeed(capacity)
    for number in range(published):
        feed.publish(number=number)
    missed, found = feed.read(start, limit)
    oldest = max(start, published - capacity)
    expected = list(range(oldest, min(published, oldest + limit)))
    assert [entry.sequence for entry in found] == expected
    assert [entry.fields["number"] for entry in found] == expected
    assert missed == (oldest - start if expected else 0)
    assert feed.next_sequence == published


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=200))
def test_percentiles_are_values_that_occurred_and_in_order(values: list[int]) -> None:
    reservoir = Reservoir(capacity=100)
    for value in values:
        reservoir.add(value)
    kept = values[-100:]
    found = reservoir.percentiles()
    assert found["samples"] == len(kept)
    assert found["max"] == max(kept)
    assert {found["p50"], found["p90"], found["p99"]} <= set(kept)
    assert min(kept) <= found["p50"] <= found["p90"] <= found["p99"] <= found["max"]


def test_latencies_split_a_parts_time() -> None:
    latencies = StageLatencies()
    times = StageTimes(preprocess_ns=1_000, invoke_ns=5_000, postprocess_ns=2_000, quality_ns=500)

    seen = dataclasses.replace(inspection(0.1), times=times)
    latencies.add(
        record(
            1,
            inspection=seen,
            frame_mono_ns=10_000,
            verdict_mono_ns=20_000,
            deadline_mono_ns=50_000,
        )
    )
    medians = {stage: found["p50"] for stage, found in latencies.snapshot_us().items()}
    assert medians == {
        "trigger_to_frame": 10.0,
        "preprocess": 1.0,
        "invoke": 5.0,
        "postprocess": 2.0,
        "quality": 0.5,
        "frame_to_verdict": 10.0,
        "queue_and_hops": 1.5,
        "margin": 30.0,
    }


def test_supervisor_names_what_hangs_and_shows_lights() -> None:
    clock = ManualClock()
    faults = FaultBoard(clock.now_mono_ns)
    since: list[int | None] = [None]
    lights = {"red": FakeOutput(), "green": FakeOutput()}
    wanted = {"green": True}
    supervisor = Supervisor(
        watches=(Watch(name="camera", stuck_since_mono_ns=lambda: since[0], limit_ns=MS),),
        clock=clock,
        faults=faults,
        lights=lights,
        lights_now=lambda: wanted,
    )
    supervisor.step()
    supervisor.step()
    assert lights["green"].levels == [True] and lights["red"].levels == []
    since[0] = clock.now
    clock.now += MS + 1
    wanted = {"red": True}
    supervisor.step()
    assert faults.is_active(FaultName.HANGS, subject="camera")
    assert lights["green"].levels == [True, False] and lights["red"].levels == [True]
    since[0] = None
    supervisor.step()
    assert not faults.is_active(FaultName.HANGS, subject="camera")


@pytest.mark.parametrize("state", list(StationState))
def test_at_most_one_of_red_and_green_shines(state: StationState) -> None:
    lights = lights_for(state, alarm_is_open=False, degraded=False)
    assert lights["green"] == (state is StationState.INSPECTING)
    assert lights["red"] == (state is StationState.FAULTED)
    assert not lights["beacon"]


def run_rig(
    rig: Rig, *, control: ControlServer | None = None, **options: Callable[[], None]
) -> int:
    def stop() -> int:
        rig.station.stop()
        if control is not None:
            control.stop()
        return rig.station.exit_code

    def start() -> None:
        rig.start()
        if control is not None:
            control.start()

    return run_until_stopped(rig.station, start=start, stop=stop, watch_period_s=0.01, **options)


@pytest.fixture
def not_under_nohup() -> Iterator[None]:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("not_under_nohup")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_run_gracefully(clock: StationClock, number: signal.Signals) -> None:
    rig = Rig(clock)
    before = signal.getsignal(number)

    def ready() -> None:
        rig.part()
        rig.wait_for_frames(1)
        signal.raise_signal(number)

    assert run_rig(rig, on_ready=ready) == 0
    assert [entry.record.part_id for entry in rig.sink.written] == [1]
    assert rig.gate.is_closed
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("kind", list(GateKind))
def test_a_second_signal_stops_at_once_and_records_what_is_on_the_belt(
    clock: StationClock, kind: GateKind
) -> None:
    rig = Rig(clock, config=line_config(kind=kind, to_gate_ms=60_000))

    def ready() -> None:
        for number in range(3):
            rig.part()
            rig.wait_for_frames(number + 1)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    assert run_rig(rig, on_ready=ready) == 0
    assert rig.gate.is_closed
    assert [entry.record.part_id for entry in rig.sink.written] == [1, 2, 3]


@pytest.mark.usefixtures("not_under_nohup")
def test_the_signals_of_a_lost_terminal_still_let_the_belt_empty() -> None:
    asked: list[bool] = []
    with stop_on_signals(lambda *, immediate: asked.append(immediate)):
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
    assert asked == [False, False, False, True]


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals(lambda *, immediate: pytest.fail("it was ignored")):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_who_is_told_cannot_stop_the_station(clock: StationClock) -> None:
    rig = Rig(clock)
    reported = 0

    def broken() -> None:
        nonlocal reported
        reported += 1
        if reported == 5:
            rig.part()
            rig.wait_for_records(1)
            rig.station.request_stop()
        raise BrokenPipeError("nobody reads")

    assert run_rig(rig, on_ready=broken, on_stopping=broken, watch=broken) == 0
    assert reported == 6
    assert rig.station.faults.snapshot()["reporting_failed"].count == 6
    assert rig.sink.written[0].record.verdict.kind is VerdictKind.PASS
    assert rig.gate.is_closed


def test_the_socket_serves_the_run_and_can_end_it(tmp_path: Path) -> None:
    rig = Rig(RealClock())
    control = ControlServer(path=tmp_path / "s", controlled=rig.station)
    seen: list[dict[str, object]] = []

    def talk() -> None:
        with ControlClient(control.path, timeout_s=DEADLINE_S) as client:
            client.call("trigger")
            rig.wait_for_records(1)
            rig.wait_until(lambda: client.status()["state"] == "inspecting")
            seen.append(dict(client.status()))
            client.call("stop")

    talker = threading.Thread(target=talk)
    assert run_rig(rig, control=control, on_ready=talker.start) == 0
    talker.join(DEADLINE_S)
    assert seen[0]["records_acknowledged"] == 1
    json.dumps(seen[0], allow_nan=False)
    assert not control.path.exists()


def test_a_run_that_cannot_start_closes_what_it_opened(clock: StationClock) -> None:
    rig = Rig(clock, camera=FakeCamera(open_errors=[CameraFault("no camera")]))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(CameraFault):
        run_rig(rig)
    assert rig.gate.is_closed
    assert signal.getsignal(signal.SIGTERM) is before
