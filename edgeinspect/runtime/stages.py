"""The stages that the threads of a station run: camera, inspection, line, pulse and recorder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgeinspect.control.feed import EventFeed
from edgeinspect.hw.opened import Drivers
from edgeinspect.line import messages as m
from edgeinspect.ports import Clock
from edgeinspect.runtime.camera_thread import CameraThread
from edgeinspect.runtime.driven_core import Core
from edgeinspect.runtime.fault_board import FaultBoard
from edgeinspect.runtime.finished_part import FinishedPart
from edgeinspect.runtime.inspection import InspectionWorkers
from edgeinspect.runtime.line_thread import Item, LineShell
from edgeinspect.runtime.pulse_thread import PulseThread
from edgeinspect.runtime.queues import BoundedQueue
from edgeinspect.runtime.recipe_swap import PreparedRecipe
from edgeinspect.runtime.recorder_thread import RecorderThread
from edgeinspect.runtime.station_status import stops_inspection
from edgeinspect.runtime.supervisor import Watch

_EVENTS_CAPACITY = 4096
_HANG_NS = 750_000_000
"""With the supervisor's period a stuck stage is named within a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """The stages of one station, joined around its core. Each runs in its own thread."""

    queue: BoundedQueue[Item]
    camera: CameraThread
    workers: InspectionWorkers
    line: LineShell
    pulse: PulseThread
    recorder: RecorderThread[FinishedPart]

    @property
    def worker_names(self) -> tuple[str, ...]:
        """The names of the inspection threads."""
        return tuple(f"inspection-{worker}" for worker in range(self.workers.count))

    def loops(self) -> dict[str, Callable[[], None]]:
        """Return the function that each thread runs, in the order in which they start."""

        def inspect(worker: int) -> Callable[[], None]:
            return lambda: self.workers.run(worker)

        return {
            "recorder": self.recorder.run,
            **{name: inspect(worker) for worker, name in enumerate(self.worker_names)},
            "camera": self.camera.run,
            "pulse": self.pulse.run,
            "line": self.line.run,
        }

    def watches(self, is_stopping: Callable[[], bool]) -> tuple[Watch, ...]:
        """Return a watch for each stage that must not hang; none reports a stopping station."""

        def since(read: Callable[[], int | None]) -> Callable[[], int | None]:
            return lambda: None if is_stopping() else read() or None

        busy_since: dict[str, Callable[[], int | None]] = {
            "line": lambda: self.line.last_step_mono_ns,
            "pulse": lambda: self.pulse.last_step_mono_ns,
            "camera": lambda: self.camera.busy_until_mono_ns,
            "inspection": self._inspecting_since_mono_ns,
        }
        return tuple(
            Watch(name=name, stuck_since_mono_ns=since(read), limit_ns=_HANG_NS)
            for name, read in busy_since.items()
        )

    def _inspecting_since_mono_ns(self) -> int | None:
        since = min(self.workers.busy_since_mono_ns().values(), default=None)
        # A slow board that is always in time does not hang.
        usual_ns = self.workers.longest_in_time_ns
        slow_ns = usual_ns if usual_ns > _HANG_NS // 3 else 0
        return None if since is None else since + slow_ns

    def queue_depths(self) -> dict[str, object]:
        """Return how full each queue is, JSON-safe."""
        queues = (self.queue, self.camera.queue, self.workers.queue)
        depths = {queue.name: (len(queue), queue.capacity) for queue in queues}
        depths["records"] = (len(self.recorder), self.recorder.capacity)
        return {name: {"waiting": n, "capacity": limit} for name, (n, limit) in depths.items()}


def build_stages(
    recipe: PreparedRecipe,
    drivers: Drivers,
    *,
    core: Core,
    recorder: RecorderThread[FinishedPart],
    clock: Clock,
    faults: FaultBoard,
    feed: EventFeed,
    want_map: bool,
    ask_for_punctuality: bool,
    pulse_core: int | None,
) -> Stages:
    """Build the stages and join them; nothing runs yet. See ``Station`` for the arguments."""

    def report(event: m.Event) -> None:
        line.post(event)

    queue: BoundedQueue[Item] = BoundedQueue("events", _EVENTS_CAPACITY)
    pulse = PulseThread(
        config=recipe.config.gate,
        output=drivers.gate,
        clock=clock,
        faults=faults,
        report=report,
        ask_for_punctuality=ask_for_punctuality,
        core=pulse_core,
    )
    camera = CameraThread(
        camera=drivers.camera,
        controls=recipe.controls,
        clock=clock,
        faults=faults,
        report=report,
    )
    workers = InspectionWorkers(
        inspectors=recipe.inspectors,
        clock=clock,
        faults=faults,
        report=report,
        want_map=want_map,
    )
    line = LineShell(
        core=core,
        config=recipe.config,
        clock=clock,
        camera=camera,
        workers=workers,
        pulse=pulse,
        recorder=recorder,
        faults=faults,
        feed=feed,
        queue=queue,
        heartbeat=drivers.heartbeat,
        line_stop=drivers.line_stop,
        able_to_inspect=lambda: not stops_inspection(faults.snapshot()),
    )
    return Stages(
        queue=queue, camera=camera, workers=workers, line=line, pulse=pulse, recorder=recorder
    )
