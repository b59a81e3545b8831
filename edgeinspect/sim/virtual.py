"""The station on virtual time: the same core as on a real station, without a thread.

``VirtualLine`` joins the physical world, the devices, the durable store and the process that can
hang, die and come back. One ``Agenda`` orders everything and one seed decides all chance, so a
run repeats exactly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any, Protocol

from edgeinspect.line import messages as m
from edgeinspect.line.config import LineConfig
from edgeinspect.line.core import LineCore
from edgeinspect.line.reject import PulseSchedule
from edgeinspect.part import PartRecord
from edgeinspect.sim.agenda import Agenda
from edgeinspect.sim.devices import CodedEye, CodedJudge, Eye, Judge, VirtualCamera, VirtualEngine
from edgeinspect.sim.injected_faults import FAULTS
from edgeinspect.sim.presets import GATES, MS, SECOND, LineGeometry, line_config
from edgeinspect.sim.truth import Account, TruthLog, settle
from edgeinspect.sim.world import DrawnParts, PartSource, SimPart, World

ID_BLOCK = 1000
FIRST_PART_NS = SECOND + SECOND // 2
LONGEST_STAND_NS = 600 * SECOND
INPUTS: Mapping[str, tuple[type, ...]] = {
    "trigger": (m.TriggerEdge,),
    "encoder": (m.EncoderCount,),
    "guard": (m.GuardEdge,),
    "confirm": (m.ConfirmEdge,),
    "gate": (m.GateActivated,),
}
"""Inputs that may be late, including the gate's own report, and their events. The station file
states how late the stop signal of a belt of fixed speed may be: ``late_stop_signal``."""
DROPPABLE = (m.TriggerEdge, m.GuardEdge, m.ConfirmEdge, m.FrameArrived, m.Inspected)


class CoreFactory(Protocol):
    """``LineCore`` is one."""

    def __call__(self, config: LineConfig, *, next_part_id: int, now_mono_ns: int) -> LineCore:
        """Make the core of a new process."""


class Store:
    """Durable records and part ids; survives the process.

    A database that is deleted while the process has it open has lost its name: its content is
    durable only if the process restores the name before it dies.

    Attributes:
        refuse_until_ns: the disk is full until then.
        wall_offset_ns: offset of the wall clock from the monotonic one; nothing may depend on it.
        nameless: records of the open file that no name leads to; None while it has its name.
    """

    def __init__(self, truth: TruthLog) -> None:
        self.refuse_until_ns = 0
        self.wall_offset_ns = 0
        self.nameless: list[PartRecord] | None = None
        self._noticed = False
        self._truth = truth
        self._reserved_to = 1

    def reserve_part_ids(self) -> int:
        """The first of ``ID_BLOCK`` ids that were never given out before."""
        first = self._reserved_to
        self._reserved_to += ID_BLOCK
        return first

    def keep_ahead_of(self, part_id: int) -> None:
        """Reserve another block before the running process needs it."""
        if part_id + ID_BLOCK // 2 > self._reserved_to:
            self._reserved_to += ID_BLOCK

    def write(self, records: list[PartRecord], now_ns: int) -> bool:
        """Make all of them durable, in a file that can be found; False if that cannot be."""
        if now_ns < self.refuse_until_ns or not self._has_its_name():
            return False
        self._truth.records.extend(records)
        self._truth.acknowledged.extend(record.part_id for record in records)
        return True

    def delete(self) -> None:
        """Somebody deletes or replaces the database that the process has open."""
        if self.nameless is None:
            self.nameless, self._truth.records = self._truth.records, []
            self._noticed = False

    def lose_nameless(self) -> list[PartRecord]:
        """The process dies; the records that went with it."""
        lost, self.nameless = self.nameless or [], None
        return lost

    def _has_its_name(self) -> bool:
        """As ``RecordWriter`` does it: the first use notices, the next one puts it back."""
        if self.nameless is None:
            return True
        if not self._noticed:
            self._noticed = True
            return False
        self._truth.records, self.nameless = self.nameless, None
        return True


class LateInputs:
    """Holds back the events of an input whose reader stalls, and delivers them in a burst.

    Stamps keep their values: only the delivery is late, as behind a thread without a processor.
    """

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._until_ns: dict[str, int] = {}
        self._kept: dict[str, deque[tuple[Process, m.Event]]] = {}

    def stand_still(self, name: str, until_ns: int) -> None:
        """The reader of an input takes nothing up until then."""
        self._until_ns[name] = max(until_ns, self._until_ns.get(name, 0))
        self._agenda.at(until_ns, lambda t: self._catch_up(name, t))

    def keeps(self, process: Process, event: m.Event, now_ns: int) -> bool:
        """Take an event that cannot be delivered now; False: it can."""
        for name, until_ns in self._until_ns.items():
            if isinstance(event, INPUTS[name]) and (now_ns < until_ns or self._kept.get(name)):
                self._kept.setdefault(name, deque()).append((process, event))
                return True
        return False

    def _catch_up(self, name: str, now_ns: int) -> None:
        if now_ns < self._until_ns[name]:
            return
        kept = self._kept.pop(name, deque())
        for process, event in kept:
            process.take(event, now_ns)


class Process:
    """One life of the station's process: core, pulse schedule and recorder queue."""

    def __init__(self, line: VirtualLine, config: LineConfig, *, number: int, now_ns: int) -> None:
        self.number = number
        self.alive = True
        self.core = line.core_factory(
            config, next_part_id=line.store.reserve_part_ids(), now_mono_ns=now_ns
        )
        self.unwritten: list[PartRecord] = []
        self._line = line
        self._schedule = PulseSchedule(config.gate)
        self._inbox: deque[m.Event] = deque()
        self._busy = False
        self._hung_until_ns = 0
        self._tick_ns = -1
        self._pulse_ns = -1
        self._flushing = False
        self._replan = True
        self._do: dict[type, Callable[[Any, int], None]] = {
            m.Capture: lambda a, t: line.camera.capture(a, self.post, t),
            m.Inspect: lambda a, t: line.engine.inspect(a, self.post, t),
            m.Arm: self._arm,
            m.Release: self._move_gate,
            m.RejectEverything: self._move_gate,
            m.EndRejectEverything: self._move_gate,
            m.RenewLease: self._renew_lease,
            m.Record: self._record,
            m.RaiseAlarm: line.raise_alarm,
            m.RequestLineStop: lambda a, t: line.world.control.request_stop(t),
        }

    def start(self, now_ns: int) -> None:
        """Start the core, and report whether the belt is stopped."""
        self._carry_out(self.core.start(now_ns), now_ns)
        self.post(m.LineStopped(self._line.world.control.stopped, now_ns), now_ns)
        self._drain(now_ns)

    def post(self, event: m.Event, now_ns: int) -> None:
        """Queue an event for the core, now or, where its input is late, when that catches up."""
        if not self._line.late_inputs.keeps(self, event, now_ns):
            self.take(event, now_ns)

    def take(self, event: m.Event, now_ns: int) -> None:
        """Queue an event for the core, which takes it at once unless it hangs."""
        if not self.alive:
            return
        if self._line.drop_next_event and isinstance(event, DROPPABLE):
            event = self._line.drop(event)
        self._inbox.append(event)
        if not self._busy:
            self._drain(now_ns)

    def hang(self, duration_ns: int, now_ns: int) -> None:
        """Stall the line thread, but not the pulse thread."""
        self._hung_until_ns = max(self._hung_until_ns, now_ns + duration_ns)
        self._line.agenda.at(self._hung_until_ns, self._drain)

    def die(self) -> None:
        """Nothing that this process planned happens any more."""
        self.alive = False
        self._inbox.clear()

    def _drain(self, now_ns: int) -> None:
        if not self.alive or now_ns < self._hung_until_ns:
            return
        self._busy = True
        inbox, handle = self._inbox, self.core.handle
        while True:
            while inbox:
                self._carry_out(handle(inbox.popleft(), now_ns), now_ns)
            if not self._replan:
                break
            self._advance_gate(now_ns)
        self._busy = False
        self._plan_tick(now_ns)

    def _carry_out(self, actions: list[m.Action], now_ns: int) -> None:
        for action in actions:
            self._do[type(action)](action, now_ns)

    def _plan_tick(self, now_ns: int) -> None:
        wake_ns = self.core.next_wake_mono_ns
        if wake_ns is None or self._tick_ns == wake_ns:
            return
        self._tick_ns = max(wake_ns, now_ns)
        self._line.agenda.at(self._tick_ns, self._tick)

    def _tick(self, now_ns: int) -> None:
        if self.alive and now_ns == self._tick_ns:
            self._tick_ns = -1
            self.post(m.Tick(), now_ns)

    def _advance_gate(self, now_ns: int) -> None:
        self._replan = False
        for span in self._schedule.advance(now_ns):
            if not self._line.late_inputs.keeps(self, span, now_ns):
                self._inbox.append(span)
            self._line.world.set_output(self._schedule.active, now_ns)
        change_ns = self._schedule.next_change_mono_ns()
        if change_ns is not None and change_ns != self._pulse_ns:
            self._pulse_ns = change_ns
            self._line.agenda.at(change_ns, self._pulse)

    def _pulse(self, now_ns: int) -> None:
        if not self.alive or now_ns != self._pulse_ns:
            return
        self._pulse_ns = -1
        self._advance_gate(now_ns)
        if self._inbox and not self._busy:
            self._drain(now_ns)

    def _arm(self, action: m.Arm, now_ns: int) -> None:
        self._line.store.keep_ahead_of(action.part_id)
        self._move_gate(action, now_ns)

    def _renew_lease(self, action: m.RenewLease, now_ns: int) -> None:
        self._move_gate(action, now_ns)
        self._line.world.control.beat(now_ns)

    def _move_gate(self, action: m.GateAction, now_ns: int) -> None:
        if not self._schedule.carry_out(action, now_ns) and isinstance(action, m.Release):
            self._inbox.append(m.ReleaseTooLate(action.part_id))
        self._replan = True

    def _record(self, action: m.Record, now_ns: int) -> None:
        self.unwritten.append(action.record)
        if not self._flushing:
            self._flushing = True
            self._line.agenda.at(now_ns + 5 * MS, self._flush)

    def _flush(self, now_ns: int) -> None:
        if not self.alive:
            return
        if self._line.store.write(self.unwritten, now_ns):
            self.unwritten = []
            self._flushing = False
        else:
            self._line.agenda.at(now_ns + SECOND // 2, self._flush)


class VirtualLine:
    """A whole simulated line with its station, on virtual time.

    Args:
        parts: how many parts to run.
        seed: decides everything.
        gate: a key of ``edgeinspect.sim.presets.GATES``.
        tracking: "delay" or "encoder".
        rates: faults by name with their probability per part.
        core_factory: makes the core of each process; tests give broken ones.
        store_factory: makes the store; tests give broken ones.
        source: the parts; by default with known scores.
        eye: the camera's view of them; by default coded pixels.
        judge: turns pixels into scores.
        config: the core's configuration.
    """

    def __init__(
        self,
        *,
        parts: int,
        seed: int,
        gate: str,
        tracking: str = "delay",
        rates: Mapping[str, float] | None = None,
        core_factory: CoreFactory = LineCore,
        store_factory: Callable[[TruthLog], Store] = Store,
        source: PartSource | None = None,
        eye: Eye | None = None,
        judge: Judge | None = None,
        config: LineConfig | None = None,
        geometry: LineGeometry | None = None,
    ) -> None:
        kind, guarded = GATES[gate]
        self.agenda = Agenda()
        self.rng = Random(seed)  # noqa: S311 - a simulation, not a secret
        self.truth = TruthLog()
        self.late_inputs = LateInputs(self.agenda)
        self.store = store_factory(self.truth)
        self.core_factory = core_factory
        self.drop_next_event = False
        self.process: Process | None = None
        self._gate, self._tracking, self._seed = gate, tracking, seed
        self._guarded, self._encoder = guarded, tracking == "encoder"
        self._lives = 0
        self._rates = [(FAULTS[name], rate) for name, rate in (rates or {}).items()]
        self._config = config or line_config(gate=gate, tracking=tracking)
        self._other_config = self._changed(self._config)
        for each in (self._config, self._other_config):
            self.truth.configs[each.recipe_digest] = each
        self.world = World(
            agenda=self.agenda,
            rng=self.rng,
            kind=kind,
            parts=source or DrawnParts(self.rng),
            count=parts,
            geometry=geometry,
            guarded=guarded,
            encoder=self._encoder,
            on_infeed=self._infeed,
        )
        self.world.attach(self)
        self.camera = VirtualCamera(
            world=self.world,
            rng=self.rng,
            eye=eye or CodedEye(),
            truth=self.truth,
            agenda=self.agenda,
            checks=self._config.checks,
        )
        self.engine = VirtualEngine(rng=self.rng, judge=judge or CodedJudge(), agenda=self.agenda)

    def run(self, progress: Callable[[int], None] | None = None) -> Account:
        """Run all parts to their end and settle the account.

        Args:
            progress: called now and then with the number of parts so far.
        """
        self.world.start(first_part_ns=FIRST_PART_NS)
        self._boot(0)
        reported = 0
        while not self.world.empty and self.agenda.run_next():
            so_far = len(self.world.parts)
            if progress is not None and so_far >= reported + 500:
                reported = so_far
                progress(so_far)
        self._close()
        self.truth.parts = self.world.parts
        self.truth.line_stops.update(self.world.control.stops)
        self.truth.unsteady = self.world.control.unsteady
        return settle(
            self.truth,
            gate=self._gate,
            tracking=self._tracking,
            seed=self._seed,
            simulated_s=round(self.agenda.now_ns / SECOND, 3),
        )

    # --- what the faults use ------------------------------------------------------------------

    def crash(self, now_ns: int) -> None:
        """The process dies; its output falls to the idle level and its memory is lost."""
        process = self.process
        if process is None:
            return
        process.die()
        self.process = None
        truth = self.truth
        truth.deaths[process.number] = now_ns
        truth.died += process.unwritten
        if now_ns < self.store.refuse_until_ns + SECOND // 2:
            truth.died_while_refused.update(record.part_id for record in process.unwritten)
        deleted = self.store.lose_nameless()
        truth.died += deleted
        truth.deleted.update(record.part_id for record in deleted)
        self.world.set_output(False, now_ns)
        self.agenda.at(now_ns + self.rng.randint(600 * MS, 4 * SECOND), self._boot)

    def delete_records(self, now_ns: int) -> None:
        """Somebody deletes the database under the process, which looks every half second."""
        if self.process is not None:
            self.store.delete()
            self.agenda.at(now_ns + self.rng.randint(0, SECOND // 2), self._look_after_records)

    def hang(self, duration_ns: int, now_ns: int) -> None:
        """Stall the line thread for this time."""
        if self.process is not None:
            self.process.hang(duration_ns, now_ns)

    def pause_for(self, duration_ns: int, now_ns: int) -> None:
        """Pause inspection for this time."""
        self._post(m.Pause(), now_ns)
        self.agenda.at(now_ns + duration_ns, lambda t: self._post(m.Resume(), t))

    def change_recipe(self, now_ns: int) -> None:
        """Apply the other recipe."""
        self._config, self._other_config = self._other_config, self._config
        self._post(m.ApplyConfig(self._config), now_ns)

    def drop(self, event: m.Event) -> m.Event:
        """A full queue drops the event and reports it."""
        self.drop_next_event = False
        if isinstance(event, m.TriggerEdge):
            self.truth.edges.remove((event.edge_mono_ns, self._lives))
            self.truth.dropped_edges += 1
        elif isinstance(event, m.FrameArrived):
            self.camera.lost(event.frame)
        return m.QueueOverflow(None, "events")

    def free_gate(self, now_ns: int) -> None:
        """Repair a stuck gate."""
        self.world.stick_gate(None, now_ns)

    def delay(self, name: str, duration_ns: int, now_ns: int) -> None:
        """Deliver this input's events to the station only after this time."""
        self.late_inputs.stand_still(name, now_ns + duration_ns)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs that are wired, the gate's own report among them."""
        missing = set() if self._encoder else {"encoder"}
        missing |= set() if self._guarded else {"guard"}
        return tuple(name for name in INPUTS if name not in missing)

    def mend_encoder(self, now_ns: int) -> None:
        """Repair a silent encoder."""
        self.world.encoder_stalled = False

    def raise_alarm(self, action: m.RaiseAlarm, now_ns: int) -> None:
        """The operator comes and acknowledges."""
        self.truth.alarms[action.name.value] += 1
        self.agenda.at(now_ns + 5 * SECOND, self.acknowledge)

    # --- the world's Station --------------------------------------------------------------------

    def trigger_edge(self, now_ns: int) -> bool:
        """Report a trigger edge to the station; return whether it was alive."""
        if self.process is None:
            return False
        self.truth.edges.append((now_ns, self.process.number))
        self.truth.counts[now_ns] = self.world.counted
        self.process.post(m.TriggerEdge(now_ns), now_ns)
        return True

    def guard_edge(self, now_ns: int) -> None:
        """Report an edge of the guard sensor to the station."""
        self._post(m.GuardEdge(now_ns), now_ns)

    def confirm_edge(self, now_ns: int) -> None:
        """Report an edge of the confirm sensor to the station."""
        self._post(m.ConfirmEdge(now_ns), now_ns)

    def set_line_stopped(self, stopped: bool, now_ns: int) -> None:
        """Report a change of the line-stopped contact to the station."""
        self._post(m.LineStopped(stopped, now_ns), now_ns)

    def encoder_count(self, count: int, now_ns: int) -> None:
        """Report a count of the encoder to the station."""
        self._post(m.EncoderCount(count, now_ns), now_ns)

    def acknowledge(self, now_ns: int) -> None:
        """Acknowledge all alarms of the station."""
        self._post(m.AcknowledgeAlarms(), now_ns)

    # --- the rest ---------------------------------------------------------------------------------

    def _post(self, event: m.Event, now_ns: int) -> None:
        if self.process is not None:
            self.process.post(event, now_ns)

    def _infeed(self, part: SimPart, now_ns: int) -> None:
        random = self.rng.random
        for fault, rate in self._rates:
            if random() < rate:
                self.truth.injected[fault.name] += 1
                fault.strike(self, part, now_ns)

    def _look_after_records(self, now_ns: int) -> None:
        if self.process is None or self.store.nameless is None:
            return
        if not self.store.write([], now_ns):
            self.agenda.at(now_ns + SECOND, self._look_after_records)

    def _boot(self, now_ns: int) -> None:
        self._lives += 1
        if self._lives > 1:
            self.camera.reopen(now_ns)
            self.engine.restart(now_ns)
        self.process = Process(self, self._config, number=self._lives, now_ns=now_ns)
        self.process.start(now_ns)

    def _close(self) -> None:
        """Let a process that is hung or dead come back, stop it, and wait for its last record."""
        agenda = self.agenda
        agenda.run_until(agenda.now_ns + 10 * SECOND)
        self._post(m.Stop(), agenda.now_ns)
        limit_ns = agenda.now_ns + LONGEST_STAND_NS
        while agenda.now_ns < limit_ns and not self._finished():
            if not agenda.run_next():
                break

    def _finished(self) -> bool:
        process = self.process
        if process is None or self.store.nameless is not None:
            return False
        return process.core.drained and not process.unwritten

    @staticmethod
    def _changed(config: LineConfig) -> LineConfig:
        """Another recipe: the same line, stricter thresholds."""
        thresholds = tuple(
            replace(each, review=each.review * 0.95, reject=each.reject * 0.95)
            for each in config.thresholds
        )
        return replace(config, thresholds=thresholds, recipe_digest=config.recipe_digest + "-b")
