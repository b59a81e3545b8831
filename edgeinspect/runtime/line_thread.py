"""The line thread: owns the core, feeds it one queue of events, carries its actions out.

``LineShell`` is everything but the thread: ``step`` handles one item and returns, so tests drive
it on a clock of their own. Other threads only ever call ``post`` and the listeners.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from edgeinspect.control.feed import EventFeed
from edgeinspect.faults import FaultName
from edgeinspect.line import messages as m
from edgeinspect.line.config import LineConfig
from edgeinspect.part import PartRecord
from edgeinspect.ports import Clock, Output
from edgeinspect.runtime.camera_thread import CameraThread
from edgeinspect.runtime.driven_core import Core
from edgeinspect.runtime.fault_board import FaultBoard, drive_output
from edgeinspect.runtime.finished_part import FinishedPart, without_score_map
from edgeinspect.runtime.inspection import InspectionWorkers
from edgeinspect.runtime.latency import StageLatencies
from edgeinspect.runtime.line_view import LineView, Picture
from edgeinspect.runtime.mailboxes import EncoderMailbox, StopMailbox
from edgeinspect.runtime.passing import PassWatch
from edgeinspect.runtime.pulse_thread import PulseThread
from edgeinspect.runtime.queues import BoundedQueue
from edgeinspect.runtime.recipe_swap import SwapRecipe
from edgeinspect.runtime.recorder_thread import RecorderThread

PICTURES_WAITING = 64
"""While more records than this wait for the disk, they wait without their pictures."""
HEARTBEAT_HALF_PERIOD_NS = 50_000_000
PULSE_SILENCE_NS = 500_000_000
"""The pulse thread shows itself ten times in this span; silent for longer, it hangs."""
_PICTURES_KEPT = 8


Item = m.Event | SwapRecipe | EncoderMailbox | StopMailbox


class LineShell:
    """Joins the core to the threads around it.

    The simulated line and ``replay`` carry out the same actions on virtual time. They share
    ``PulseSchedule.carry_out`` with each other and nothing with this shell, where every action
    ends in a queue, a thread or a device.

    Args:
        able_to_inspect: While it returns False the heartbeat pauses.
    """

    def __init__(
        self,
        *,
        core: Core,
        config: LineConfig,
        clock: Clock,
        camera: CameraThread,
        workers: InspectionWorkers,
        pulse: PulseThread,
        recorder: RecorderThread[FinishedPart],
        faults: FaultBoard,
        feed: EventFeed,
        queue: BoundedQueue[Item],
        heartbeat: Output | None = None,
        line_stop: Output | None = None,
        able_to_inspect: Callable[[], bool] = lambda: True,
    ) -> None:
        self._core = core
        self._config = config
        self._clock = clock
        self._camera = camera
        self._workers = workers
        self._pulse = pulse
        self._recorder = recorder
        self._faults = faults
        self._feed = feed
        self._queue = queue
        self._heartbeat = heartbeat
        self._heartbeat_level = False
        self._heartbeat_mono_ns = 0
        self._line_stop = line_stop
        self._able_to_inspect = able_to_inspect
        self._line_stop_wanted = False
        self._overflows: deque[m.QueueOverflow] = deque(maxlen=256)
        self._encoder = EncoderMailbox()
        self._stopped_level = StopMailbox()
        self._deadlines: dict[int, int] = {}
        self._stopping = False
        self._failed = False
        self.drained = threading.Event()
        self._actions: dict[type, Callable[[Any], None]] = {
            m.Capture: self._capture,
            m.Inspect: self._inspect,
            m.Arm: self._arm,
            m.Release: self._release,
            m.RejectEverything: lambda a: pulse.reject_everything(a.until_mono_ns),
            m.EndRejectEverything: lambda a: pulse.end_reject_everything(),
            m.RenewLease: lambda a: pulse.renew_lease(a.until_mono_ns),
            m.Record: self._record,
            m.RaiseAlarm: self._raise_alarm,
            m.RequestLineStop: self._request_line_stop,
        }
        self._passing = PassWatch()
        self.latencies = StageLatencies()
        self.pictures: deque[Picture] = deque(maxlen=_PICTURES_KEPT)
        self.view = LineView(recipe_digest=config.recipe_digest)
        self.last_step_mono_ns = 0

    # --- for other threads ------------------------------------------------------------------

    def post_swap(self, swap: SwapRecipe) -> bool:
        """Queue a change of recipe; False if there is no room, which loses no event."""
        return self._queue.offer(swap)

    def post(self, item: m.Event) -> bool:
        """Queue an event. If there is no room, it is lost, counted, and reported to the core."""
        if self._queue.offer(item):
            return True
        self._faults.count(FaultName.EVENTS_LOST, f"no space for {type(item).__name__}")
        part_id = getattr(item, "part_id", None)
        self._overflows.append(m.QueueOverflow(part_id, self._queue.name))
        return False

    def post_encoder(self, count: int, edge_mono_ns: int) -> None:
        """However fast it counts, one entry waits at a time, with all that has been counted."""
        if self._encoder.put(count, edge_mono_ns):
            self._queue.force(self._encoder)

    def post_line_stopped(self, stopped: bool, edge_mono_ns: int) -> None:
        """No stop is lost, nor the newest level, and one entry waits at a time."""
        if self._stopped_level.put(stopped, edge_mono_ns):
            self._queue.force(self._stopped_level)

    def post_lock(self, event: m.Lock | m.Unlock | m.AnnounceMaster | m.DemandChallenge) -> None:
        """A lock is never lost for want of room."""
        self._queue.force(event)

    def post_stop(self, *, at_once: bool = False) -> None:
        """Ask the core to end; see ``drained``."""
        self._queue.force(m.Stop(at_once=at_once))

    def record_what_is_left(self) -> None:
        """Once the thread has ended: whatever it ended of, the parts on the belt get a record."""
        self.step(m.Stop(at_once=True))

    def fail(self) -> None:
        """The station has failed: no further heartbeat, and the belt is asked to stop."""
        self._failed = True
        self._drive(self._line_stop, True, FaultName.LINE_STOP_OUTPUT_FAILED)

    def stop(self) -> None:
        """Let ``run`` return."""
        self._stopping = True
        self._queue.wake()

    # --- the thread ---------------------------------------------------------------------------

    def run(self) -> None:
        """Start the core and handle events until stopped."""
        self.start()
        while not self._stopping:
            wait_ns = self._core.next_wake_mono_ns - self._clock.now_mono_ns()
            if wait_ns > 0:
                item = self._queue.take(wait_ns / 1e9)
                if item is not None:
                    self.step(item)
                continue
            # The core's tick says that all earlier events have been handled: make it true.
            for _ in range(len(self._queue)):
                item = self._queue.take(0)
                if item is not None:
                    self.step(item)
            self.step(m.Tick())

    def start(self) -> None:
        """Carry out the core's first actions."""
        now_mono_ns = self._clock.now_mono_ns()
        self._carry_out(self._core.start(now_mono_ns))
        self._note_progress(now_mono_ns)

    def step(self, item: Item) -> None:
        """Handle one item and everything that follows from it."""
        self._report_overflows()
        if isinstance(item, SwapRecipe):
            self._swap(item)
        elif isinstance(item, EncoderMailbox | StopMailbox):
            for event in item.take():
                self._handle(event)
        else:
            self._handle(item)
        if isinstance(item, m.AcknowledgeAlarms):
            self._end_line_stop()
        if isinstance(item, m.Tick):
            self._note_progress(self._clock.now_mono_ns())

    def _handle(self, event: m.Event) -> None:
        self._carry_out(self._core.handle(event, self._clock.now_mono_ns()))
        self._report_overflows()

    def _report_overflows(self) -> None:
        while self._overflows:
            overflow = self._overflows.popleft()
            self._carry_out(self._core.handle(overflow, self._clock.now_mono_ns()))

    def _swap(self, swap: SwapRecipe) -> None:
        actions: list[m.Action] = []

        def put_into_force() -> str:
            recipe = swap.recipe
            if not self._camera.apply(recipe.controls):
                return "The camera is too busy to accept the recipe's settings."
            self._workers.add(recipe.inspectors)
            actions.extend(
                self._core.handle(m.ApplyConfig(recipe.config), self._clock.now_mono_ns())
            )
            self._config = recipe.config
            self._feed.publish(event="recipe", recipe_digest=recipe.config.recipe_digest)
            self._update_view()  # a caller that gets the answer must also see the change
            return ""

        swap.settle(put_into_force)
        self._carry_out(actions)
        self._report_overflows()

    # --- carrying out the core's actions --------------------------------------------------------

    def _carry_out(self, actions: Sequence[m.Action]) -> None:
        for action in actions:
            self._actions[type(action)](action)

    def _capture(self, action: m.Capture) -> None:
        if not self._camera.request(action):
            self._overflows.append(m.QueueOverflow(action.part_id, self._camera.queue.name))

    def _inspect(self, action: m.Inspect) -> None:
        deadline = self._deadlines.get(action.part_id)
        if not self._workers.submit(action, deadline_mono_ns=deadline):
            self._overflows.append(m.QueueOverflow(action.part_id, self._workers.queue.name))
        # Hands the interpreter lock to the worker now, not when this thread next waits: its
        # inspection starts some 60 us earlier.
        time.sleep(0)

    def _arm(self, action: m.Arm) -> None:
        margin_ns = self._config.gate.decision_margin_ns
        self._deadlines[action.part_id] = action.start_mono_ns - margin_ns
        self._pulse.arm(action.part_id, action.start_mono_ns, action.end_mono_ns)

    def _release(self, action: m.Release) -> None:
        if not self._pulse.release(action.part_id):
            late = m.ReleaseTooLate(action.part_id)
            self._carry_out(self._core.handle(late, self._clock.now_mono_ns()))

    def _record(self, action: m.Record) -> None:
        record, frame = action.record, action.frame
        self._deadlines.pop(record.part_id, None)
        self.latencies.add(record)
        inspection = record.inspection
        if frame is not None:
            score_map = inspection.score_map if inspection is not None else None
            self.pictures.append(Picture(record, frame, score_map))
        record = without_score_map(record)
        if frame is not None and len(self._recorder) >= PICTURES_WAITING:
            self._faults.count(FaultName.PICTURES_DROPPED, "the disk is slower than the line")
            frame = None
        if not self._recorder.put(FinishedPart(record, frame)):
            self._overflows.append(m.QueueOverflow(record.part_id, "records"))
        self._watch_records()
        self._watch_passing(record)
        self._feed.publish(
            event="part",
            part_id=record.part_id,
            verdict=record.verdict.kind.value,
            reason=record.verdict.reason,
            score=record.verdict.score,
            gate_outcome=record.gate_outcome.value,
        )

    def _watch_passing(self, record: PartRecord) -> None:
        self._passing.note(record)
        nothing = self._passing.found
        if nothing is None:
            self._faults.end(FaultName.NOTHING_PASSES)
        else:
            self._faults.begin(FaultName.NOTHING_PASSES, nothing.cause)

    def _watch_records(self) -> None:
        """Let no part pass for whose record there may be no room, or no place."""
        waiting, capacity = len(self._recorder), self._recorder.capacity
        room_needed = min(self._config.max_parts_in_flight + 1, capacity // 2)
        if waiting >= capacity - room_needed:
            self._pulse.hold(FaultName.RECORDS_QUEUE_FULL)
            self._faults.begin(
                FaultName.RECORDS_QUEUE_FULL, f"{waiting} records are waiting for the disk"
            )
        elif waiting < capacity // 2 and self._faults.is_active(FaultName.RECORDS_QUEUE_FULL):
            self._pulse.unhold(FaultName.RECORDS_QUEUE_FULL)
            self._faults.end(FaultName.RECORDS_QUEUE_FULL)
        if self._faults.is_active(FaultName.DATA_FILES_DISPLACED):
            self._pulse.hold(FaultName.DATA_FILES_DISPLACED)
        else:
            self._pulse.unhold(FaultName.DATA_FILES_DISPLACED)

    def _raise_alarm(self, action: m.RaiseAlarm) -> None:
        self._faults.count(FaultName.ALARM, action.detail, subject=action.name.value)
        self._feed.publish(
            event="alarm", name=action.name.value, part_id=action.part_id, detail=action.detail
        )

    def _request_line_stop(self, action: m.RequestLineStop) -> None:
        self._feed.publish(event="line_stop", reason=action.reason)
        self._line_stop_wanted = True
        self._drive(self._line_stop, True, FaultName.LINE_STOP_OUTPUT_FAILED)

    def _end_line_stop(self) -> None:
        if self._line_stop_wanted and not self._failed:
            self._line_stop_wanted = False
            self._drive(self._line_stop, False, FaultName.LINE_STOP_OUTPUT_FAILED)

    # --- proof of life ------------------------------------------------------------------------

    def _note_progress(self, now_mono_ns: int) -> None:
        self.last_step_mono_ns = now_mono_ns
        self._watch_records()
        self._update_view()
        if self._core.drained:
            self.drained.set()
        if now_mono_ns - self._heartbeat_mono_ns >= HEARTBEAT_HALF_PERIOD_NS:
            self._beat(now_mono_ns)

    def _update_view(self) -> None:
        self.view = LineView(
            counts=dict(self._core.status),
            holds=self._core.holds,
            open_alarms=tuple(alarm.value for alarm in self._core.open_alarms),
            parts_in_flight=self._core.parts_in_flight,
            belt_is_steady=self._core.belt_is_steady,
            recipe_digest=self._config.recipe_digest,
            nothing_passes=self._passing.found,
            lock_state=self._core.lock_state,
        )

    def _beat(self, now_mono_ns: int) -> None:
        """Toggle the heartbeat, unless the station cannot inspect, or its gate cannot reject."""
        pulse_hangs = now_mono_ns - self._pulse.last_step_mono_ns > PULSE_SILENCE_NS
        if self._failed or pulse_hangs or self._faults.is_active(FaultName.GATE_OUTPUT_FAILED):
            return
        if not self._able_to_inspect():
            return
        self._heartbeat_mono_ns = now_mono_ns
        self._heartbeat_level = not self._heartbeat_level
        self._drive(self._heartbeat, self._heartbeat_level, FaultName.HEARTBEAT_OUTPUT_FAILED)

    def _drive(self, output: Output | None, active: bool, fault: FaultName) -> None:
        if output is not None:
            drive_output(output, active, self._faults, fault)
