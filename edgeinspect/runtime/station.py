"""The station: builds the threads around one core, starts them, stops them in the right order."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edgeinspect.control.feed import EventFeed
from edgeinspect.errors import LineFault, RecipeNotTaken, UsageError
from edgeinspect.faults import FaultName
from edgeinspect.hw.input_faults import TellsFaults
from edgeinspect.hw.opened import Drivers
from edgeinspect.line import messages as m
from edgeinspect.line.config import LineConfig, Tracking
from edgeinspect.line.core import LineCore
from edgeinspect.line.parts_lock import LockState
from edgeinspect.ports import CameraControls, Clock
from edgeinspect.runtime.camera_thread import CameraThread
from edgeinspect.runtime.fault_board import Fault, FaultBoard
from edgeinspect.runtime.inspection import InspectionWorkers, InspectorSet
from edgeinspect.runtime.line_thread import Core, FinishedPart, Item, LineShell, Picture, SwapRecipe
from edgeinspect.runtime.pulse_thread import PulseThread
from edgeinspect.runtime.queues import BoundedQueue
from edgeinspect.runtime.recorder_thread import RecorderThread, RecordSink
from edgeinspect.runtime.station_status import (
    STATUS_VERSION,
    StationState,
    faults_as_json,
    lights_for,
    stops_inspection,
)
from edgeinspect.runtime.supervisor import Supervisor, Watch
from edgeinspect.runtime.threads import StationThread

SWITCH_INTERVAL_S = 0.0005
"""A thread that computes in Python gives way this soon to one that must act on time."""
_EVENTS_CAPACITY = 4096
_HANG_NS = 750_000_000
"""With the supervisor's period a stuck stage is named within a second."""
_JOIN_S = 2.0
_FLUSH_S = 10.0
_AT_ONCE_S = 1.0
"""How long a stop at once may take for the records of the parts on the belt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRecipe:
    """A recipe whose model is loaded and checked, ready to be taken between two parts."""

    config: LineConfig
    inspectors: InspectorSet
    controls: CameraControls = field(default_factory=CameraControls)


CoreFactory = Callable[[LineConfig, int, int], Core]


def _line_core(config: LineConfig, next_part_id: int, now_mono_ns: int) -> Core:
    return LineCore(config, next_part_id=next_part_id, now_mono_ns=now_mono_ns)


class Station:
    """One running station. ``start`` once, then ``stop`` once."""

    def __init__(
        self,
        *,
        recipe: PreparedRecipe,
        drivers: Drivers,
        sink: RecordSink[FinishedPart],
        maintain: Callable[[], bool] = lambda: False,
        clock: Clock,
        next_part_id: int,
        uncovered_faults: Sequence[str] = (),
        want_map: bool = False,
        locked: bool = False,
        ask_for_punctuality: bool = True,
        pulse_core: int | None = None,
        record_capacity: int = 4096,
        core_factory: CoreFactory = _line_core,
    ) -> None:
        """Args:
        recipe: the first one; ``apply_recipe`` brings others. Its number of inspectors is
            the number of inference workers.
        sink: where records become durable.
        maintain: a small step of upkeep of the records, taken between their batches.
        next_part_id: the first id of a durable reservation.
        uncovered_faults: which faults can pass as the station is wired, for the status.
        want_map: keep the score maps of the last parts for the live view.
        locked: start locked; see ``lock``.
        ask_for_punctuality: real-time priority for the pulse thread and locked memory.
        pulse_core: the core that the pulse thread is to run on.

        Raises:
            UsageError: the drivers do not fit the configuration.
        """
        _refuse_misfit(recipe.config, drivers)
        self._recipe = recipe
        self._drivers = drivers
        self._clock = clock
        self._uncovered_faults = tuple(uncovered_faults)
        self._started_mono_ns = clock.now_mono_ns()
        self._old_switch_interval_s = sys.getswitchinterval()
        self._starting = True
        self._stopping = False
        self._immediate = threading.Event()
        self._stop_requested = threading.Event()
        self._applying = threading.Lock()
        self.feed = EventFeed()
        self.faults = FaultBoard(clock.now_mono_ns, on_change=self._publish_fault)
        self._queue: BoundedQueue[Item] = BoundedQueue("events", _EVENTS_CAPACITY)
        self._pulse = PulseThread(
            config=recipe.config.gate,
            output=drivers.gate,
            clock=clock,
            faults=self.faults,
            report=self._report,
            ask_for_punctuality=ask_for_punctuality,
            core=pulse_core,
        )
        self._camera = CameraThread(
            camera=drivers.camera,
            controls=recipe.controls,
            clock=clock,
            faults=self.faults,
            report=self._report,
        )
        self._workers = InspectionWorkers(
            inspectors=recipe.inspectors,
            clock=clock,
            faults=self.faults,
            report=self._report,
            want_map=want_map,
        )
        self._recorder = RecorderThread(
            sink=sink, faults=self.faults, capacity=record_capacity, maintain=maintain
        )
        self._line = LineShell(
            core=core_factory(recipe.config, next_part_id, clock.now_mono_ns()),
            config=recipe.config,
            clock=clock,
            camera=self._camera,
            workers=self._workers,
            pulse=self._pulse,
            recorder=self._recorder,
            faults=self.faults,
            feed=self.feed,
            queue=self._queue,
            heartbeat=drivers.heartbeat,
            line_stop=drivers.line_stop,
            able_to_inspect=lambda: not stops_inspection(self.faults.snapshot()),
        )
        self.challenge_status: Mapping[str, object] = {}
        if locked:
            self.lock()  # before any trigger: first in, first out
        self._supervisor = Supervisor(
            watches=self._watches(),
            clock=clock,
            faults=self.faults,
            lights=drivers.lights,
            lights_now=self._lights_now,
        )
        self._threads = self._make_threads()

    # --- starting ---------------------------------------------------------------------------

    def start(self) -> None:
        """Open the camera, start every thread, then listen to the sensors.

        Raises:
            HardwareError: a driver could not be opened; everything is closed again.
        """
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        try:
            self._camera.open()
            for name in ("recorder", *self._worker_names(), "camera", "pulse", "line"):
                self._threads[name].start()
            self._listen()
            self._threads["supervisor"].start()
        except BaseException:
            self._immediate.set()
            self.stop()
            raise
        self._starting = False

    def _listen(self) -> None:
        drivers, line = self._drivers, self._line
        for name, driver in drivers.inputs().items():
            if isinstance(driver, TellsFaults):
                driver.tell_faults(_InputWatch(self, name))
        if drivers.encoder is not None:
            drivers.encoder.start(line.post_encoder)
        if drivers.line_stopped is not None:
            before_mono_ns = self._clock.now_mono_ns()  # so that no later change is undone by it
            stopped = drivers.line_stopped.start(line.post_line_stopped)
            line.post_line_stopped(stopped, before_mono_ns)
        if drivers.confirm is not None:
            drivers.confirm.start(lambda edge: self._report(m.ConfirmEdge(edge)))
        if drivers.guard is not None:
            drivers.guard.start(lambda edge: self._report(m.GuardEdge(edge)))
        drivers.trigger.start(lambda edge: self._report(m.TriggerEdge(edge)))

    def _make_threads(self) -> Mapping[str, StationThread]:
        targets: dict[str, Callable[[], None]] = {
            "recorder": self._recorder.run,
            "camera": self._camera.run,
            "pulse": self._pulse.run,
            "line": self._line.run,
            "supervisor": self._supervisor.run,
        }
        for worker, name in enumerate(self._worker_names()):
            targets[name] = lambda worker=worker: self._workers.run(worker)  # type: ignore[misc]
        return {
            name: StationThread(name, target, self.thread_died) for name, target in targets.items()
        }

    def _worker_names(self) -> tuple[str, ...]:
        return tuple(f"inspection-{worker}" for worker in range(self._workers.count))

    # --- commands ---------------------------------------------------------------------------

    def trigger(self) -> bool:
        """A software trigger, now; False if the event queue is full."""
        return self._post(m.TriggerEdge(self._clock.now_mono_ns()))

    def pause(self) -> bool:
        """Reject everything until ``resume``; False if the event queue is full."""
        return self._post(m.Pause())

    def resume(self) -> bool:
        return self._post(m.Resume())

    def lock(self) -> None:
        """Reject every part until ``unlock``, but for announced masters."""
        self._line.post_lock(m.Lock())

    def unlock(self) -> None:
        self._line.post_lock(m.Unlock())

    def announce_master(self) -> None:
        """The next part is a master; ``lock_state`` says whether it was accepted."""
        self._line.post_lock(m.AnnounceMaster())

    def demand_challenge(self, detail: str) -> None:
        """Raise the alarm that a challenge is due."""
        self._line.post_lock(m.DemandChallenge(detail))

    def acknowledge(self) -> bool:
        """A person has seen the alarms and cleared their cause."""
        return self._post(m.AcknowledgeAlarms())

    def apply_recipe(
        self,
        recipe: PreparedRecipe,
        *,
        timeout_s: float = 5.0,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Parts triggered from now on are inspected under ``recipe``.

        Parts on their way keep the recipe that they were triggered under. The station owns the
        recipe's inspectors from now on; if this raises, they stay the caller's and the recipe
        never comes into force.

        Args:
            wanted: asked in the moment of the change; False gives it up. Must not wait.

        Raises:
            UsageError: the recipe does not fit the running station, which keeps the old one.
            RecipeNotTaken: the line could not take it in time, or nobody wants it any more.
        """
        old, new = self._recipe.config, recipe.config
        if new.gate != old.gate or new.track.tracking != old.track.tracking:
            raise UsageError(
                "The recipe changes the gate or the tracking, which belong to the wiring.",
                next_action="Restart the station to use it.",
            )
        _refuse_misfit(new, self._drivers)
        if len(recipe.inspectors.inspectors) != self._workers.count:
            raise UsageError(
                f"The recipe brings {len(recipe.inspectors.inspectors)} inspectors, and the "
                f"station runs {self._workers.count}."
            )
        with self._applying:
            swap = SwapRecipe(new, recipe.controls, recipe.inspectors, wanted=wanted)
            full = "The event queue is full."
            why_not = swap.wait(timeout_s) if self._line.post_swap(swap) else full
            if why_not:
                raise RecipeNotTaken(
                    f"{why_not} The recipe in force stays.",
                    next_action="Look at: edgeinspect status. Then try again.",
                )
            self._recipe = recipe
        self._workers.release_retired()

    # --- stopping ---------------------------------------------------------------------------

    def request_stop(self, *, immediate: bool = False) -> None:
        """Let ``wait`` return; safe in a signal handler. Immediate: do not wait for the belt."""
        if immediate:
            self._immediate.set()
        self._stop_requested.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until a stop is requested; False if it was not in time."""
        return self._stop_requested.wait(timeout_s)

    def stop(self, *, flush_s: float = _FLUSH_S) -> None:
        """Record every part, flush the records, close everything; the gate last.

        Triggers are still taken while the belt empties, so that such parts are rejected and
        recorded as ``stopped``. Stopping twice is allowed.
        """
        if self._stopping:
            return
        self._stopping = True
        self._each(
            self._empty_the_belt,
            self._pulse.latch_reject,
            lambda: self._note_failures(self._drivers.close_inputs()),
            self._camera.stop,
            self._workers.stop,
            self._line.stop,
            self._end_the_line,
        )
        camera_ended = self._join("camera")
        workers_ended = False not in [self._join(name) for name in self._worker_names()]
        self._each(
            lambda: self._flush(flush_s),
            self._supervisor.stop,
            lambda: self._join("supervisor"),
            self._pulse.stop,
            lambda: self._join("pulse"),
            lambda: self._note_failures(self._drivers.close_outputs()),
        )
        try:
            self._pulse.close()
        except BaseException as error:  # noqa: BLE001  the rest is closed all the same
            self.faults.count(FaultName.GATE_DID_NOT_CLOSE, _words(error))
        # A driver or an engine that still hangs would hang whoever closes it, too.
        if camera_ended:
            self._each(self._camera.close)
        if workers_ended:
            self._each(self._workers.close)
        sys.setswitchinterval(self._old_switch_interval_s)

    def _each(self, *steps: Callable[[], object]) -> None:
        """Take every step, whatever becomes of the others; what fails is counted."""
        for step in steps:
            try:
                step()
            except BaseException as error:  # noqa: BLE001  an interrupt, too, comes after the gate
                self.faults.count(FaultName.DRIVER_DID_NOT_CLOSE, _words(error))

    def _empty_the_belt(self) -> None:
        """Until it is empty, or somebody insists: then its parts are recorded as they are."""
        thread = self._threads["line"]
        if not thread.is_alive:
            return
        self._line.post_stop()
        self._wait_for(self._line.drained, self._travel_s(), thread)
        if not self._line.drained.is_set():
            self._pulse.latch_reject()
            self._line.post_stop(at_once=True)
            self._line.drained.wait(_AT_ONCE_S)

    def _end_the_line(self) -> None:
        if self._join("line") and self._threads["line"].error is not None:
            self._line.record_what_is_left()

    def _flush(self, flush_s: float) -> None:
        thread = self._threads["recorder"]
        self._recorder.stop()
        if thread.is_alive:
            self._wait_for(threading.Event(), flush_s, thread)
            thread.join(_AT_ONCE_S)
        if thread.is_alive or len(self._recorder):
            self._recorder.abandon()
            thread.join(_JOIN_S)

    def _wait_for(self, event: threading.Event, timeout_s: float, thread: StationThread) -> None:
        """Until the event, the thread's end, the time-out, or an order to stop immediately."""
        deadline_mono_ns = self._clock.now_mono_ns() + int(timeout_s * 1e9)
        while not event.wait(0.02):
            if self._immediate.is_set() or not thread.is_alive:
                return
            if self._clock.now_mono_ns() >= deadline_mono_ns:
                return

    def _travel_s(self) -> float:
        """Longer than the core needs to empty the belt after ``Stop``."""
        track, gate = self._recipe.config.track, self._recipe.config.gate
        encoder = track.tracking is Tracking.ENCODER
        way_ns = 2_000_000_000 if encoder else track.to_gate + track.window_after
        return (way_ns + gate.settle_ns) / 1e9 + 2.0

    def _join(self, name: str) -> bool:
        return self._threads[name].join(_JOIN_S)

    def _note_failures(self, sentences: Sequence[str]) -> None:
        for sentence in sentences:
            self.faults.count(FaultName.DRIVER_DID_NOT_CLOSE, sentence)

    # --- what it says of itself -----------------------------------------------------------------

    @property
    def state(self) -> StationState:
        if self._stopping:
            return StationState.STOPPING
        if stops_inspection(self.faults.snapshot()):
            return StationState.FAULTED
        if "paused" in self._line.view.holds:
            return StationState.PAUSED
        if self._line.view.lock_state is not LockState.OPEN:
            return StationState.LOCKED
        if self._starting or "starting" in self._line.view.holds:
            return StationState.STARTING
        return StationState.INSPECTING

    @property
    def frame_shape(self) -> tuple[int, ...] | None:
        """Of the camera's last frame: (height, width), or with colours; None before the first."""
        return self._camera.frame_shape

    @property
    def lock_state(self) -> LockState:
        return self._line.view.lock_state

    @property
    def belt_is_steady(self) -> bool:
        return self._line.view.belt_is_steady

    @property
    def parts_in_flight(self) -> int:
        return self._line.view.parts_in_flight

    @property
    def exit_code(self) -> int:
        """0; 1: a thread has died; 4: an input or the gate has failed; 6: records were lost."""
        faults = self.faults.snapshot()
        if any(name.startswith(FaultName.THREAD_DIED) for name in faults):
            return 1
        if FaultName.GATE_DID_NOT_CLOSE in faults or any(
            name.startswith(FaultName.INPUT_FAILED) for name in faults
        ):
            return LineFault.exit_code
        return 6 if FaultName.RECORDS_LOST in faults else 0

    @property
    def progress_mono_ns(self) -> int:
        """When the line thread last made a full round; 0 before its first."""
        return self._line.last_step_mono_ns

    def lasting_faults(self) -> Mapping[str, Fault]:
        """The faults that are active now."""
        faults = self.faults.snapshot()
        return {name: fault for name, fault in faults.items() if fault.active}

    def sentence(self) -> str:
        """How the station is, in a few words."""
        names = ", ".join(name.replace("_", " ") for name in sorted(self.lasting_faults()))
        return f"{self.state.value}: {names}" if names else self.state.value

    def pictures(self) -> list[Picture]:
        """The last inspected parts with their frames, newest last."""
        return list(self._line.pictures.copy())

    def status(self) -> dict[str, object]:
        """A JSON-safe snapshot; see docs/reference/control-socket.md for every field."""
        view = self._line.view
        nothing = view.nothing_passes
        return {
            "version": STATUS_VERSION,
            "state": self.state.value,
            "uptime_s": (self._clock.now_mono_ns() - self._started_mono_ns) / 1e9,
            "wall_clock_synchronized": self._clock.is_synchronized(),
            "recipe_digest": view.recipe_digest,
            "engine": self._recipe.inspectors.description,
            "counts": dict(sorted(view.counts.items())),
            "rejecting_everything": [*view.holds],
            "open_alarms": [*view.open_alarms],
            "nothing_passes": None if nothing is None else nothing.as_dict(),
            "challenge": dict(self.challenge_status),
            "faults": faults_as_json(self.faults.snapshot()),
            "uncovered_faults": [*self._uncovered_faults],
            "parts_in_flight": view.parts_in_flight,
            "queues": self._queues(),
            "records_acknowledged": self._recorder.acknowledged,
            "stage_latency_us": self._line.latencies.snapshot_us(),
        }

    def _queues(self) -> dict[str, object]:
        queues = (self._queue, self._camera.queue, self._workers.queue)
        depths = {queue.name: (len(queue), queue.capacity) for queue in queues}
        depths["records"] = (len(self._recorder), self._recorder.capacity)
        return {name: {"waiting": n, "capacity": limit} for name, (n, limit) in depths.items()}

    def _lights_now(self) -> Mapping[str, bool]:
        faults = self.faults.snapshot()
        return lights_for(
            self.state,
            alarm_is_open=bool(self._line.view.open_alarms),
            degraded=any(fault.active for fault in faults.values()),
        )

    # --- what the threads report ------------------------------------------------------------------

    def _post(self, event: m.Event) -> bool:
        return self._line.post(event)

    def _report(self, event: m.Event) -> None:
        self._line.post(event)

    def _publish_fault(self, name: str, fault: object) -> None:
        active, detail = getattr(fault, "active", False), getattr(fault, "detail", "")
        self.feed.publish(event="fault", name=name, active=active, detail=detail)

    def edges_lost(self, name: str, count: int) -> None:
        """In a driver's thread: a part may have come by that nobody knows of."""
        self.faults.count(
            FaultName.EDGES_LOST, f"{count} edges came too fast", subject=name, times=count
        )
        self._post(m.QueueOverflow(None, f"{name}_edges"))

    def input_failed(self, name: str, error: LineFault) -> None:
        """In a driver's thread: the station is deaf on one ear, so nothing may pass any more."""
        if self._stopping:
            return
        self._pulse.latch_reject()
        self.faults.begin(FaultName.INPUT_FAILED, str(error), subject=name)
        self._line.fail()

    def thread_died(self, name: str, error: BaseException) -> None:
        """In the dying thread: whatever it was for, nothing may pass any more."""
        reject = self._pulse.reject_now if name == "pulse" else self._pulse.latch_reject
        self._each(
            reject,
            lambda: self.faults.begin(
                FaultName.THREAD_DIED, f"{type(error).__name__}: {error}", subject=name
            ),
            self._line.fail,
        )

    def _watches(self) -> tuple[Watch, ...]:
        def since(read: Callable[[], int | None]) -> Callable[[], int | None]:
            return lambda: None if self._stopping else read() or None

        def inspecting_since() -> int | None:
            since = min(self._workers.busy_since_mono_ns().values(), default=None)
            # A slow board that is always in time does not hang.
            usual_ns = self._workers.longest_in_time_ns
            slow_ns = usual_ns if usual_ns > _HANG_NS // 3 else 0
            return None if since is None else since + slow_ns

        stuck: dict[str, Callable[[], int | None]] = {
            "line": lambda: self._line.last_step_mono_ns,
            "pulse": lambda: self._pulse.last_step_mono_ns,
            "camera": lambda: self._camera.busy_until_mono_ns,
            "inspection": inspecting_since,
        }
        return tuple(
            Watch(name=name, stuck_since_mono_ns=since(read), limit_ns=_HANG_NS)
            for name, read in stuck.items()
        )


class _InputWatch:
    """Passes on what one input's driver says of itself."""

    def __init__(self, station: Station, name: str) -> None:
        self._station, self._name = station, name

    def edges_lost(self, count: int) -> None:
        self._station.edges_lost(self._name, count)

    def failed(self, error: LineFault) -> None:
        self._station.input_failed(self._name, error)


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _refuse_misfit(config: LineConfig, drivers: Drivers) -> None:
    if (config.track.tracking is Tracking.ENCODER) != (drivers.encoder is not None):
        raise UsageError("An encoder must be wired if, and only if, it tracks the parts.")
    if (config.track.to_guard is not None) != (drivers.guard is not None):
        raise UsageError("The guard sensor must be wired if, and only if, its place is given.")
    if (config.confirm is not None) != (drivers.confirm is not None):
        raise UsageError("The confirm sensor must be wired if, and only if, its times are given.")
