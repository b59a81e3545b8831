"""The simulated line on the real clock: drivers for a real station, fed by one world thread.

The world keeps its own time, CLOCK_MONOTONIC: everything on the line happens at its exact due
time and edges carry that time as a kernel would stamp them, however late the thread is woken.
What the station does to the line counts from the moment at which its thread did it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from random import Random

from typing_extensions import override

from edgeinspect.errors import CameraFault
from edgeinspect.hw.opened import Drivers
from edgeinspect.line.config import LineConfig
from edgeinspect.part import PartRecord
from edgeinspect.sim.agenda import Agenda, Callback
from edgeinspect.sim.devices import CodedEye, Eye
from edgeinspect.sim.live_drivers import (
    SimCamera,
    SimEdgeInput,
    SimEncoderInput,
    SimLevelInput,
    SimOutput,
)
from edgeinspect.sim.presets import GATES, MS, SECOND, LineGeometry
from edgeinspect.sim.truth import Account, TruthLog, settle
from edgeinspect.sim.world import DrawnParts, End, LensView, PartSource, SimPart, Station, World

EVENTS_KEPT = 12
IN_CHUTE_NS = SECOND // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOnLine:
    """A part on the belt, for the live view.

    Attributes:
        number: number of the part.
        at_ns: belt travel beyond the trigger sensor, in nanoseconds of travel.
        sensor_mono_ns: when it passed the trigger sensor (its record's trigger); None before.
        defective: whether the part really is defective.
        in_chute: whether it was rejected and falls.
    """

    number: int
    at_ns: int
    sensor_mono_ns: int | None
    defective: bool
    in_chute: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSnapshot:
    """One moment of the line, for a view.

    Attributes:
        parts: on the belt, on the outfeed and in the chute.
        belt_moves, gate_open: right now.
        parts_placed: parts that have been put on the belt so far.
        events: what happened last, oldest first: time, what, part number or None.
    """

    parts: tuple[PartOnLine, ...]
    belt_moves: bool
    gate_open: bool
    parts_placed: int
    events: tuple[tuple[int, str, int | None], ...]


class LiveLine(Station):
    """The simulated line on the real clock, with the drivers of a station that is wired to it.

    Args:
        parts: how many parts to run.
        seed: decides parts, pitches and jitter; what the station does with them is real time.
        gate: a key of ``edgeinspect.sim.presets.GATES``.
        source: the parts that come down the belt.
        eye: the camera's view of them; coded pixels by default.
        encoder: whether an encoder is wired.

    Attributes:
        camera, trigger, guard, confirm, line_stopped, encoder: inputs of the station; ``guard``
            and ``encoder`` are None where not wired.
        gate, heartbeat, line_stop: outputs of the station.
        on_acknowledge: called when the operator acknowledges alarms, from the world's thread.
    """

    def __init__(
        self,
        *,
        parts: int,
        seed: int,
        gate: str = "normally-rejecting",
        source: PartSource | None = None,
        eye: Eye | None = None,
        encoder: bool = False,
        geometry: LineGeometry | None = None,
    ) -> None:
        kind, guarded = GATES[gate]
        rng = Random(seed)  # noqa: S311 - a simulation, not a secret
        self.truth = TruthLog()
        self.geometry = geometry or LineGeometry()
        self.trigger = SimEdgeInput()
        self.confirm = SimEdgeInput()
        self.guard = SimEdgeInput() if guarded else None
        self.line_stopped = SimLevelInput()
        self.encoder = SimEncoderInput() if encoder else None
        self.gate = SimOutput(self._drive_gate)
        self.heartbeat = SimOutput(self._beat)
        self.line_stop = SimOutput(self._request_stop)
        self.camera = SimCamera(
            self.look_at,
            eye or CodedEye(),
            rng=Random(seed + 1),  # noqa: S311
            frames=self.truth.frames,
        )
        self.on_acknowledge: Callable[[], None] | None = None
        self._name, self._seed = gate, seed
        self._tracking = "encoder" if encoder else "delay"
        self._agenda = Agenda(now_ns=time.monotonic_ns())
        self._world = World(
            agenda=self._agenda,
            rng=rng,
            kind=kind,
            parts=source or DrawnParts(rng),
            count=parts,
            geometry=self.geometry,
            guarded=guarded,
            encoder=encoder,
        )
        self._world.attach(self)
        self._world.on_event = self._note
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._inbox: deque[tuple[int, Callback]] = deque()
        self._events: deque[tuple[int, str, int | None]] = deque(maxlen=EVENTS_KEPT)
        self._falling: deque[tuple[int, SimPart]] = deque(maxlen=EVENTS_KEPT)
        self._stopping = False
        self._began_ns = 0
        self._thread = threading.Thread(target=self._run, name="simulated-line", daemon=True)
        self.finished = threading.Event()
        """Set once every part has left the line."""

    @property
    def drivers(self) -> Drivers:
        """Everything that is wired to the station."""
        return Drivers(
            camera=self.camera,
            trigger=self.trigger,
            gate=self.gate,
            confirm=self.confirm,
            guard=self.guard,
            line_stopped=self.line_stopped,
            encoder=self.encoder,
            heartbeat=self.heartbeat,
            line_stop=self.line_stop,
        )

    def start(self, *, first_part_ns: int = SECOND + SECOND // 2) -> None:
        """Start the belt; the first part is placed on it after this travel.

        Start the station first: the line's control watches its heartbeat from now on.
        """
        self._began_ns = time.monotonic_ns()
        self._agenda.run_until(self._began_ns)
        self._world.start(first_part_ns=first_part_ns)
        self._thread.start()

    def stop(self) -> None:
        """Freeze the line for good; the operator takes off whatever is still on it."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            self._world.clear_line(self._agenda.now_ns)

    def stop_feeding(self) -> None:
        """Put no more parts on the belt; ``finished`` is set once those on it have left."""
        with self._lock:
            self._world.stop_feeding()
        self._wake.set()

    def hold_back(self, held: bool) -> None:
        """Put no parts on the belt for a while, but for ``put_on``."""
        with self._lock:
            self._world.hold_back(held)

    @property
    def belt_is_empty(self) -> bool:
        """Whether no part is on its way to the gate."""
        with self._lock:
            return not self._world.moving

    def put_on(self) -> None:
        """Put the source's next part on the belt now."""
        self._enter(time.monotonic_ns(), self._world.put_on)

    def look_at(self, exposure_mono_ns: int) -> LensView:
        """Wait until then and return the view of the lens. Raises CameraFault."""
        answer: SimpleQueue[LensView] = SimpleQueue()
        self._enter(exposure_mono_ns, lambda t: answer.put(self._world.look(t)))
        wait_s = max(0, exposure_mono_ns - time.monotonic_ns()) / SECOND
        try:
            return answer.get(timeout=wait_s + 1.0)
        except Empty:
            raise CameraFault("The simulated line is stopped.") from None

    def snapshot(self) -> LineSnapshot:
        """The line right now."""
        with self._lock:
            now_ns = time.monotonic_ns()
            travel_ns = self._agenda.travel_ns(max(now_ns, self._agenda.now_ns))
            world = self._world
            falling = [part for end_ns, part in self._falling if now_ns - end_ns < IN_CHUTE_NS]
            return LineSnapshot(
                parts=tuple(
                    PartOnLine(
                        number=part.number,
                        at_ns=(
                            self.geometry.to_gate_ns
                            if part in falling
                            else travel_ns - part.sensor_travel_ns
                        ),
                        sensor_mono_ns=part.sensor_ns,
                        defective=part.defective,
                        in_chute=part in falling,
                    )
                    for part in (*world.outfeed, *world.moving, *falling)
                ),
                belt_moves=self._agenda.moving,
                gate_open=world.gate_open,
                parts_placed=len(world.parts),
                events=tuple(self._events),
            )

    def account(self, records: Iterable[PartRecord], *, configs: Iterable[LineConfig]) -> Account:
        """Settle the truth account against the station's records, after the line has stopped.

        Args:
            records: every durable record of this run.
            configs: every configuration that was in force.
        """
        with self._lock:
            truth = self.truth
            truth.records = list(records)
            truth.configs = {config.recipe_digest: config for config in configs}
            truth.parts = self._world.parts
            truth.line_stops.update(self._world.control.stops)
            truth.unsteady = self._world.control.unsteady
            return settle(
                truth,
                gate=self._name,
                tracking=self._tracking,
                seed=self._seed,
                simulated_s=round((self._agenda.now_ns - self._began_ns) / SECOND, 3),
            )

    # --- the world's Station, in the world's thread ---------------------------------------------

    @override
    def trigger_edge(self, now_ns: int) -> bool:
        taken = self.trigger.edge(now_ns)
        if taken:
            self.truth.edges.append((now_ns, 1))
        return taken

    @override
    def guard_edge(self, now_ns: int) -> None:
        if self.guard is not None:
            self.guard.edge(now_ns)

    @override
    def confirm_edge(self, now_ns: int) -> None:
        self.confirm.edge(now_ns)

    @override
    def set_line_stopped(self, stopped: bool, now_ns: int) -> None:
        self._note("belt stops" if stopped else "belt starts", None, now_ns)
        self.line_stopped.change(stopped, now_ns)

    @override
    def encoder_count(self, count: int, now_ns: int) -> None:
        if self.encoder is not None:
            self.encoder.move_to(count, now_ns)

    @override
    def acknowledge(self, now_ns: int) -> None:
        self._note("alarms acknowledged", None, now_ns)
        if self.on_acknowledge is not None:
            self.on_acknowledge()

    # --- inside ---------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            with self._lock:
                self._take_inbox()
                self._agenda.run_until(time.monotonic_ns())
                if self._world.empty:
                    self.finished.set()
                due_ns = self._agenda.next_ns()
            if not self._inbox:
                wait_ns = 50 * MS if due_ns is None else due_ns - time.monotonic_ns()
                if wait_ns > 0:
                    self._wake.wait(min(wait_ns, SECOND) / SECOND)

    def _take_inbox(self) -> None:
        while self._inbox:
            self._agenda.at(*self._inbox.popleft())

    def _enter(self, time_ns: int, callback: Callback) -> None:
        self._inbox.append((time_ns, callback))
        self._wake.set()

    def _drive_gate(self, active: bool) -> None:
        self._enter(time.monotonic_ns(), lambda t: self._world.set_output(active, t))

    def _beat(self, active: bool) -> None:
        del active
        self._enter(time.monotonic_ns(), self._world.control.beat)

    def _request_stop(self, active: bool) -> None:
        if active:
            self._enter(time.monotonic_ns(), self._world.control.request_stop)

    def _note(self, what: str, part: SimPart | None, now_ns: int) -> None:
        self._events.append((now_ns, what, part.number if part is not None else None))
        if what == End.REJECTED and part is not None:
            self._falling.append((now_ns, part))
