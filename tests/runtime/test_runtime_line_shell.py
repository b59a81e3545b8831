"""The line shell against a scripted core: what it does with each action, and with too much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from edgeinspect.control.feed import EventFeed
from edgeinspect.errors import LineFault
from edgeinspect.faults import FaultName
from edgeinspect.hw.fake_camera import FakeCamera
from edgeinspect.hw.fake_io import FakeOutput
from edgeinspect.line import messages as m
from edgeinspect.line.parts_lock import LockState
from edgeinspect.part import CameraControls
from edgeinspect.runtime.camera_thread import CameraThread
from edgeinspect.runtime.fault_board import FaultBoard
from edgeinspect.runtime.finished_part import FinishedPart
from edgeinspect.runtime.inspection import InspectionWorkers, InspectorSet
from edgeinspect.runtime.line_thread import PICTURES_WAITING, Item, LineShell
from edgeinspect.runtime.pulse_thread import PulseThread
from edgeinspect.runtime.queues import BoundedQueue
from edgeinspect.runtime.recorder_thread import RecorderThread
from tests.helpers.line_records import record
from tests.helpers.pulse_bench import MS, ManualClock
from tests.helpers.runtime_rig import (
    MemorySink,
    ShadeInspector,
    inspection,
    line_config,
    make_frame,
)


class ScriptedCore:
    """Answers each kind of event with the actions a test gives it; remembers the events."""

    def __init__(self) -> None:
        self.events: list[m.Event] = []
        self.answers: dict[type, Sequence[m.Action]] = {}
        self.next_wake_mono_ns = 0
        self.drained = False
        self.parts_in_flight = 0
        self.belt_is_steady = True
        self.status: Mapping[str, int] = {}
        self.holds: tuple[str, ...] = ()
        self.open_alarms: tuple[m.AlarmName, ...] = ()
        self.lock_state = LockState.OPEN

    def start(self, now_mono_ns: int) -> list[m.Action]:
        return [m.RenewLease(now_mono_ns + 100 * MS)]

    def handle(self, event: m.Event, now_mono_ns: int) -> list[m.Action]:
        del now_mono_ns
        self.events.append(event)
        return list(self.answers.get(type(event), ()))


class Bench:
    def __init__(self, *, events: int = 8, records: int = 8, heartbeat: FakeOutput | None = None):
        self.clock = ManualClock()
        self.faults = FaultBoard(self.clock.now_mono_ns)
        self.core = ScriptedCore()
        self.queue: BoundedQueue[Item] = BoundedQueue("events", events)
        self.gate, self.line_stop = FakeOutput(), FakeOutput()
        self.heartbeat = heartbeat or FakeOutput()
        config = line_config()
        common: dict[str, Any] = {"clock": self.clock, "faults": self.faults}

        def ignore(report: object) -> None:
            del report

        self.camera = CameraThread(
            camera=FakeCamera(), controls=CameraControls(), report=ignore, capacity=2, **common
        )
        self.workers = InspectionWorkers(
            inspectors=InspectorSet(recipe_digest="recipe-1", inspectors=[ShadeInspector()]),
            report=ignore,
            **common,
        )
        self.pulse = PulseThread(
            config=config.gate,
            output=self.gate,
            report=ignore,
            ask_for_punctuality=False,
            **common,
        )
        self.recorder: RecorderThread[FinishedPart] = RecorderThread(
            sink=MemorySink(),
            faults=self.faults,
            capacity=records,
        )
        self.feed = EventFeed()
        self.shell = LineShell(
            core=self.core,
            config=config,
            camera=self.camera,
            workers=self.workers,
            pulse=self.pulse,
            recorder=self.recorder,
            feed=self.feed,
            queue=self.queue,
            heartbeat=self.heartbeat,
            line_stop=self.line_stop,
            **common,
        )
        self.shell.start()

    def tick(self, after_ms: int = 0) -> None:
        self.clock.now += after_ms * MS
        self.pulse.step()
        self.shell.step(m.Tick())


def test_lost_events_reach_the_core_by_name() -> None:
    bench = Bench(events=1)
    assert bench.shell.post(m.TriggerEdge(1))
    assert not bench.shell.post(m.TriggerEdge(2))
    assert not bench.shell.post(m.InspectionFailed(7, "x"))
    bench.shell.step(m.Tick())
    assert bench.core.events[:2] == [
        m.QueueOverflow(None, "events"),
        m.QueueOverflow(7, "events"),
    ]
    assert bench.faults.snapshot()[FaultName.EVENTS_LOST].count == 2


def test_full_camera_and_inspection_queues_are_reported_to_the_core_at_once() -> None:
    bench = Bench()
    frame = make_frame(sequence=1, exposure_mono_ns=0)
    bench.core.answers[m.TriggerEdge] = [m.Capture(n, 0, 1) for n in range(3)]
    bench.core.answers[m.FrameArrived] = [m.Inspect(n, frame, "recipe-1") for n in range(9)]
    bench.shell.step(m.TriggerEdge(0))
    bench.shell.step(m.FrameArrived(frame))
    overflows = [event for event in bench.core.events if isinstance(event, m.QueueOverflow)]
    assert overflows == [m.QueueOverflow(2, "camera"), m.QueueOverflow(8, "inspection")]


def test_one_entry_brings_every_encoder_count_in_its_order() -> None:
    bench = Bench(events=1)
    for count in range(1000):
        bench.shell.post_encoder(count, count * 10)
    assert len(bench.queue) == 1
    item = bench.queue.take(0)
    assert item is not None
    bench.shell.step(item)
    (event,) = bench.core.events
    assert isinstance(event, m.EncoderCount)
    assert event.readings == tuple((count, count * 10) for count in range(1000))
    bench.shell.post_encoder(1000, 10_000)
    assert len(bench.queue) == 1


def test_counts_that_an_earlier_entry_brought_along_are_not_told_again() -> None:
    bench = Bench(events=2)
    bench.shell.post_encoder(1, 10)
    item = bench.queue.take(0)
    assert item is not None
    bench.shell.step(item)
    bench.shell.step(item)  # as if the reader had posted while the entry was being taken
    assert bench.core.events == [m.EncoderCount(1, 10)]


def test_a_line_stop_gets_through_a_full_queue() -> None:
    bench = Bench(events=1)
    bench.shell.post(m.TriggerEdge(1))
    bench.shell.post_line_stopped(True, 5)
    items = [bench.queue.take(0), bench.queue.take(0)]
    for item in items:
        assert item is not None
        bench.shell.step(item)
    assert bench.core.events[-1] == m.LineStopped(True, 5)


@pytest.mark.parametrize(
    ("levels", "heard"),
    [
        ([(True, 5), (False, 6)], [(True, 5), (False, 6)]),
        ([(True, 5), (False, 6), (True, 7), (False, 8)], [(True, 5), (False, 8)]),
        ([(True, 5), (False, 6), (True, 7)], [(True, 5)]),
        ([(False, 4), (True, 5)], [(True, 5)]),
        ([(True, 5), (False, 4)], [(True, 5)]),  # the level at the start, told last
        ([(False, 4)], [(False, 4)]),
    ],
)
def test_the_core_hears_of_every_stop_however_short(
    levels: list[tuple[bool, int]], heard: list[tuple[bool, int]]
) -> None:
    bench = Bench(events=1)
    for stopped, edge_mono_ns in levels:
        bench.shell.post_line_stopped(stopped, edge_mono_ns)
    assert len(bench.queue) == 1
    item = bench.queue.take(0)
    assert item is not None
    bench.shell.step(item)
    assert bench.core.events == [m.LineStopped(*each) for each in heard]


def test_a_release_that_comes_too_late_goes_back_to_the_core() -> None:
    bench = Bench()
    now = bench.clock.now
    bench.core.answers[m.TriggerEdge] = [m.Arm(1, now, now + MS), m.Release(1)]
    bench.shell.step(m.TriggerEdge(0))
    assert bench.core.events[-1] == m.ReleaseTooLate(1)


def test_records_carry_the_frame_and_lose_the_map() -> None:
    bench = Bench()
    frame = make_frame(sequence=1, exposure_mono_ns=0)
    bench.core.answers[m.Tick] = [m.Record(record(1, inspection=inspection(0.2)), frame)]
    bench.shell.step(m.Tick())
    (entry,) = bench.recorder.waiting()
    assert entry.frame is frame
    assert entry.record.inspection == inspection(0.2)
    assert bench.shell.pictures[0].frame is frame


def test_a_slow_disk_costs_pictures_before_memory() -> None:
    bench = Bench(records=4 * PICTURES_WAITING)
    frame = make_frame(sequence=1, exposure_mono_ns=0)
    for part_id in range(PICTURES_WAITING + 2):
        bench.core.answers[m.Tick] = [m.Record(record(part_id), frame)]
        bench.shell.step(m.Tick())
    kept = [entry.frame is not None for entry in bench.recorder.waiting()]
    assert kept == [True] * PICTURES_WAITING + [False] * 2
    assert bench.faults.snapshot()[FaultName.PICTURES_DROPPED].count == 2


def test_no_part_passes_whose_record_may_find_no_room() -> None:
    bench = Bench(records=4)
    bench.core.answers[m.Tick] = [m.Record(record(1))]
    bench.tick()
    assert not bench.faults.is_active(FaultName.RECORDS_QUEUE_FULL)
    bench.tick()
    assert bench.faults.is_active(FaultName.RECORDS_QUEUE_FULL)
    now = bench.clock.now
    bench.pulse.arm(5, now + MS, now + 2 * MS)
    assert bench.pulse.release(5)
    bench.clock.now += MS
    bench.pulse.step()
    assert not bench.gate.active
    bench.core.answers.clear()
    assert bench.recorder.write(bench.recorder.waiting())
    bench.tick()
    assert not bench.faults.is_active(FaultName.RECORDS_QUEUE_FULL)


def test_no_part_passes_while_the_records_are_not_in_their_place() -> None:
    bench = Bench()
    bench.faults.begin(FaultName.DATA_FILES_DISPLACED, "records.sqlite3 was deleted")
    bench.tick()
    for part_id, active in ((5, False), (6, True)):
        now = bench.clock.now
        bench.pulse.arm(part_id, now + MS, now + 2 * MS)
        assert bench.pulse.release(part_id)
        bench.clock.now += MS
        bench.pulse.step()
        assert bench.gate.active is active
        bench.faults.end(FaultName.DATA_FILES_DISPLACED)
        bench.tick(after_ms=5)


def test_the_heartbeat_needs_ticks_and_a_living_pulse_thread() -> None:
    bench = Bench()
    for _ in range(4):
        bench.tick(after_ms=50)
    assert bench.heartbeat.levels == [True, False, True, False]
    bench.shell.step(m.TriggerEdge(0))
    assert len(bench.heartbeat.levels) == 4
    bench.clock.now += 600 * MS
    bench.shell.step(m.Tick())
    assert len(bench.heartbeat.levels) == 4
    bench.tick()
    assert len(bench.heartbeat.levels) == 5


def test_a_broken_heartbeat_output_is_named_and_the_line_goes_on() -> None:
    bench = Bench(heartbeat=FakeOutput(errors=[LineFault("loose")]))
    bench.tick(after_ms=50)
    assert bench.faults.is_active(FaultName.HEARTBEAT_OUTPUT_FAILED)
    bench.tick(after_ms=50)
    assert not bench.faults.is_active(FaultName.HEARTBEAT_OUTPUT_FAILED)


def test_the_belt_is_asked_to_stop_until_somebody_acknowledges() -> None:
    bench = Bench()
    bench.core.answers[m.Tick] = [m.RequestLineStop("gate stuck")]
    bench.tick()
    assert bench.line_stop.active
    bench.core.answers.clear()
    bench.tick()
    assert bench.line_stop.active
    bench.shell.step(m.AcknowledgeAlarms())
    assert not bench.line_stop.active


def test_a_failed_station_cannot_be_acknowledged_away() -> None:
    bench = Bench()
    bench.shell.fail()
    bench.shell.step(m.AcknowledgeAlarms())
    bench.tick(after_ms=50)
    assert bench.line_stop.active
    assert bench.heartbeat.levels == []


@pytest.mark.parametrize("alarm", [m.AlarmName.PART_LOST, m.AlarmName.GATE_LIMITED])
def test_alarms_are_counted_and_published(alarm: m.AlarmName) -> None:
    bench = Bench()
    bench.core.answers[m.Tick] = [m.RaiseAlarm(alarm, 3, "look")]
    bench.tick()
    assert bench.faults.snapshot()[f"alarm_{alarm.value}"].count == 1
    _, entries = bench.feed.read(0, 10)
    assert entries[-1].fields == {
        "event": "alarm",
        "name": alarm.value,
        "part_id": 3,
        "detail": "look",
    }
