"""A running station: its threads started and stopped, its commands, its state and its faults."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence

from edgeinspect.control.feed import EventFeed
from edgeinspect.errors import LineFault, RecipeNotTaken
from edgeinspect.faults import FaultName
from edgeinspect.hw.opened import Drivers
from edgeinspect.line import messages as m
from edgeinspect.line.config import LineConfig
from edgeinspect.line.core import LineCore
from edgeinspect.line.parts_lock import LockState
from edgeinspect.ports import Clock
from edgeinspect.runtime.driven_core import Core
from edgeinspect.runtime.fault_board import Fault, FaultBoard
from edgeinspect.runtime.finished_part import FinishedPart
from edgeinspect.runtime.line_view import Picture
from edgeinspect.runtime.recipe_swap import (
    PreparedRecipe,
    SwapRecipe,
    refuse_misfit,
    refuse_rewiring,
)
from edgeinspect.runtime.recorder_thread import RecorderThread, RecordSink
from edgeinspect.runtime.sensors import listen_to_sensors
from edgeinspect.runtime.stages import build_stages
from edgeinspect.runtime.station_status import (
    STATUS_VERSION,
    StationState,
    exit_code_for,
    faults_as_json,
    lights_for,
    stops_inspection,
)
from edgeinspect.runtime.station_stop import StationStop, take_every_step
from edgeinspect.runtime.supervisor import Supervisor
from edgeinspect.runtime.threads import StationThread
from edgeinspect.undo import undo_on_error

SWITCH_INTERVAL_S = 0.0005
"""A thread that computes in Python gives way this soon to one that must act on time."""
_FLUSH_S = 10.0

CoreFactory = Callable[[LineConfig, int, int], Core]


def _line_core(config: LineConfig, next_part_id: int, now_mono_ns: int) -> Core:
    return LineCore(config, next_part_id=next_part_id, now_mono_ns=now_mono_ns)


class Station:
    """One station: ``start`` it once, then ``stop`` it once.

    Args:
        recipe: The first one; ``apply_recipe`` brings others. It decides how many inspection
            threads there are.
        sink: Makes records durable.
        maintain: Takes a small step of upkeep of the records, between their batches.
        next_part_id: The first id of a durable reservation.
        uncovered_faults: Faults that can pass as the station is wired, for the status.
        want_map: Keep the score maps of the last parts for the live view.
        locked: Start locked; see ``lock``.
        ask_for_punctuality: Ask for real-time priority for the pulse thread and locked memory.
        pulse_core: The processor core that the pulse thread runs on; None for any.

    Raises:
        UsageError: The drivers do not fit the configuration.
    """

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
        refuse_misfit(recipe.config, drivers)
        self._recipe = recipe
        self._drivers = drivers
        self._clock = clock
        self._uncovered_faults = tuple(uncovered_faults)
        self._started_mono_ns = clock.now_mono_ns()
        self._old_switch_interval_s = sys.getswitchinterval()
        self._starting = True
        self._stopping = False
        self._stop_requested = threading.Event()
        self._applying = threading.Lock()
        self.feed = EventFeed()
        self.faults = FaultBoard(clock.now_mono_ns, on_change=self._publish_fault)
        self._stages = build_stages(
            recipe,
            drivers,
            core=core_factory(recipe.config, next_part_id, clock.now_mono_ns()),
            recorder=RecorderThread(
                sink=sink, faults=self.faults, capacity=record_capacity, maintain=maintain
            ),
            clock=clock,
            faults=self.faults,
            feed=self.feed,
            want_map=want_map,
            ask_for_punctuality=ask_for_punctuality,
            pulse_core=pulse_core,
        )
        self._line = self._stages.line
        self.challenge_status: Mapping[str, object] = {}
        if locked:
            self.lock()  # before any trigger: first in, first out
        self._supervisor = Supervisor(
            watches=self._stages.watches(lambda: self._stopping),
            clock=clock,
            faults=self.faults,
            lights=drivers.lights,
            lights_now=self._lights_now,
        )
        loops = self._stages.loops() | {"supervisor": self._supervisor.run}
        self._threads = {
            name: StationThread(name, loop, self.thread_died) for name, loop in loops.items()
        }
        self._stop = StationStop(
            self._stages,
            drivers=drivers,
            clock=clock,
            faults=self.faults,
            supervisor=self._supervisor,
            threads=self._threads,
        )

    # --- starting ---------------------------------------------------------------------------

    def start(self) -> None:
        """Open the camera, start every thread, then listen to the sensors.

        Raises:
            HardwareError: A driver could not be opened; everything is closed again.
        """
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        with undo_on_error(self._give_up):
            self._stages.camera.open()
            for name in self._stages.loops():
                self._threads[name].start()
            listen_to_sensors(
                self._drivers,
                self._line,
                self._clock,
                on_lost=self.edges_lost,
                on_failed=self.input_failed,
            )
            self._threads["supervisor"].start()
        self._starting = False

    def _give_up(self) -> None:
        self._stop.at_once.set()
        self.stop()

    # --- commands ---------------------------------------------------------------------------

    def trigger(self) -> bool:
        """Trigger a part now; returns False if the event queue is full."""
        return self._line.post(m.TriggerEdge(self._clock.now_mono_ns()))

    def pause(self) -> bool:
        """Reject everything until ``resume``; returns False if the event queue is full."""
        return self._line.post(m.Pause())

    def resume(self) -> bool:
        """End a pause; returns False if the event queue is full."""
        return self._line.post(m.Resume())

    def lock(self) -> None:
        """Reject every part until ``unlock``, except announced masters."""
        self._line.post_lock(m.Lock())

    def unlock(self) -> None:
        """Inspect parts again."""
        self._line.post_lock(m.Unlock())

    def announce_master(self) -> None:
        """Announce that the next part is a master; ``lock_state`` shows whether it is accepted."""
        self._line.post_lock(m.AnnounceMaster())

    def demand_challenge(self, detail: str) -> None:
        """Raise the alarm that a challenge is due."""
        self._line.post_lock(m.DemandChallenge(detail))

    def acknowledge(self) -> bool:
        """Close the alarms: a person has seen them and cleared their cause."""
        return self._line.post(m.AcknowledgeAlarms())

    def apply_recipe(
        self,
        recipe: PreparedRecipe,
        *,
        timeout_s: float = 5.0,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Inspect the parts that are triggered from now on under ``recipe``.

        Parts on the belt keep the recipe that they were triggered under. The station owns the
        recipe's inspectors from now on; if this raises, they stay the caller's, and the recipe
        never comes into force.

        Args:
            recipe: The recipe with its opened inspectors.
            timeout_s: How long to wait for the line, in seconds.
            wanted: Asked at the moment of the change; False gives it up. Must not wait.

        Raises:
            UsageError: The recipe does not fit the running station, which keeps the old one.
            RecipeNotTaken: The line could not take it in time, or nobody wants it any more.
        """
        refuse_rewiring(recipe, running=self._recipe, drivers=self._drivers)
        with self._applying:
            swap = SwapRecipe(recipe, wanted=wanted)
            full = "The event queue is full."
            why_not = swap.wait(timeout_s) if self._line.post_swap(swap) else full
            if why_not:
                raise RecipeNotTaken(
                    f"{why_not} The recipe in force stays active.",
                    next_action="Check edgeinspect status, then try again.",
                )
            self._recipe = recipe
        self._stages.workers.release_retired()

    # --- stopping ---------------------------------------------------------------------------

    def request_stop(self, *, immediate: bool = False) -> None:
        """Let ``wait`` return; safe in a signal handler.

        Args:
            immediate: Do not wait until the belt is empty.
        """
        if immediate:
            self._stop.at_once.set()
        self._stop_requested.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until a stop is requested; returns False after the time-out."""
        return self._stop_requested.wait(timeout_s)

    def stop(self, *, flush_s: float = _FLUSH_S) -> None:
        """Record every part, flush the records and close everything, the gate last.

        Stopping twice is allowed. See ``StationStop``.
        """
        if self._stopping:
            return
        self._stopping = True
        self._stop.run(self._recipe.config, flush_s=flush_s)
        sys.setswitchinterval(self._old_switch_interval_s)

    # --- state and status ----------------------------------------------------------------------

    @property
    def state(self) -> StationState:
        """The state in one word; a fault that stops inspection comes before a pause or a lock."""
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
        """Shape of the last frame: (height, width) or (height, width, 3); None before it."""
        return self._stages.camera.frame_shape

    @property
    def lock_state(self) -> LockState:
        """Whether parts are locked out, and how far an announced master is."""
        return self._line.view.lock_state

    @property
    def belt_is_steady(self) -> bool:
        """Whether the belt runs at its full speed."""
        return self._line.view.belt_is_steady

    @property
    def parts_in_flight(self) -> int:
        """How many parts are between the trigger and the end of their window."""
        return self._line.view.parts_in_flight

    @property
    def exit_code(self) -> int:
        """1 if a thread died, 4 if an input or the gate failed, 6 if records were lost, else 0."""
        return exit_code_for(self.faults.snapshot())

    @property
    def progress_mono_ns(self) -> int:
        """When the line thread last made a full round; 0 before its first."""
        return self._line.last_step_mono_ns

    def lasting_faults(self) -> Mapping[str, Fault]:
        """Return the faults that are active now."""
        faults = self.faults.snapshot()
        return {name: fault for name, fault in faults.items() if fault.active}

    def sentence(self) -> str:
        """Return the state and the active faults in a few words."""
        names = ", ".join(name.replace("_", " ") for name in sorted(self.lasting_faults()))
        return f"{self.state.value}: {names}" if names else self.state.value

    def pictures(self) -> list[Picture]:
        """Return the last inspected parts with their frames, newest last."""
        return list(self._line.pictures.copy())

    def status(self) -> dict[str, object]:
        """Return a JSON-safe snapshot; see docs/reference/control-socket.md for every field."""
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
            "queues": self._stages.queue_depths(),
            "records_acknowledged": self._stages.recorder.acknowledged,
            "stage_latency_us": self._line.latencies.snapshot_us(),
        }

    def _lights_now(self) -> Mapping[str, bool]:
        faults = self.faults.snapshot()
        return lights_for(
            self.state,
            alarm_is_open=bool(self._line.view.open_alarms),
            degraded=any(fault.active for fault in faults.values()),
        )

    # --- what the threads report ------------------------------------------------------------------

    def _publish_fault(self, name: str, fault: Fault) -> None:
        self.feed.publish(event="fault", name=name, active=fault.active, detail=fault.detail)

    def edges_lost(self, name: str, count: int) -> None:
        """Count lost edges, in a driver's thread: a part may have passed unseen."""
        self.faults.count(
            FaultName.EDGES_LOST, f"{count} edges arrived too fast", subject=name, times=count
        )
        self._line.post(m.QueueOverflow(None, f"{name}_edges"))

    def input_failed(self, name: str, error: LineFault) -> None:
        """Let nothing pass any more, in a driver's thread: one input is dead."""
        if self._stopping:
            return
        self._stages.pulse.latch_reject()
        self.faults.begin(FaultName.INPUT_FAILED, str(error), subject=name)
        self._line.fail()

    def thread_died(self, name: str, error: BaseException) -> None:
        """Let nothing pass any more, in the dying thread, whichever it is."""
        pulse = self._stages.pulse
        reject = pulse.reject_now if name == "pulse" else pulse.latch_reject
        take_every_step(
            self.faults,
            reject,
            lambda: self.faults.begin(
                FaultName.THREAD_DIED, f"{type(error).__name__}: {error}", subject=name
            ),
            self._line.fail,
        )
