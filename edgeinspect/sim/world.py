"""The physical line: belt, parts, sensors, gate, outfeed, line control and operator.

The world knows nothing of the station. It calls a ``Station``'s sensors, and the station sets the
gate's output, beats its heartbeat and asks for a stop. All times are integer nanoseconds on the
simulation's clock; places are nanoseconds of belt travel behind the trigger sensor.

Wherever physics is in doubt the world takes the worse case for the station: a normally passing
gate that rejects during only a part of a part's passage lets it through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Protocol

from typing_extensions import override

from edgeinspect.line.config import GateKind
from edgeinspect.sim.agenda import Agenda
from edgeinspect.sim.line_control import LineControl
from edgeinspect.sim.presets import MS, NS_PER_COUNT, LineGeometry

NOMINAL_INFEED_NS = 100 * MS
"""A part is placed on the belt this far before the trigger sensor."""


class End(StrEnum):
    """How a part left the line."""

    LEFT = "left"
    REJECTED = "rejected"
    RECALLED = "recalled"


@dataclass(slots=True, eq=False)
class SimPart:
    """One part and the truth about it.

    Attributes:
        number: 0, 1, 2 … in order of arrival.
        defective: whether the part really is defective.
        score: the defect score of a sharp, well placed picture of it, [0, 1].
        sensor_travel_ns: belt travel at which it reaches the trigger sensor.
        slip_ns: its delay at guard and gate.
        sensor_ns: when it really passed the trigger sensor.
        trigger_sees, guard_sees, confirm_sees: whether that sensor answers for this part.
        bounces_ns: delays of the extra edges that follow the trigger edge.
        edge_delivered: the station was alive and received its trigger edge.
        end, end_ns: how and when it left the line.
    """

    number: int
    defective: bool
    score: float
    sensor_travel_ns: int
    slip_ns: int = 0
    sensor_ns: int | None = None
    trigger_sees: bool = True
    guard_sees: bool = True
    confirm_sees: bool = True
    bounces_ns: tuple[int, ...] = ()
    edge_delivered: bool = False
    end: End | None = None
    end_ns: int | None = None
    gate_open_any: bool = False
    gate_open_all: bool = True
    on_outfeed: bool = False


class PartSource(Protocol):
    """Decides which parts come onto the belt."""

    def make(self, number: int) -> tuple[bool, float]:
        """Whether part ``number`` is defective, and its true defect score in [0, 1]."""


class DrawnParts(PartSource):
    """Parts with scores drawn from a seed: mostly clear, a few between the thresholds."""

    def __init__(
        self,
        rng: Random,
        *,
        defect_rate: float = 0.05,
        review_rate: float = 0.004,
        overkill_rate: float = 0.002,
    ) -> None:
        self._rng = rng
        self._defect_rate = defect_rate
        self._review_rate = review_rate
        self._overkill_rate = overkill_rate

    @override
    def make(self, number: int) -> tuple[bool, float]:
        rng = self._rng
        kind = rng.random()
        if rng.random() < self._defect_rate:
            return True, rng.uniform(0.42, 0.58) if kind < 0.05 else rng.uniform(0.65, 0.99)
        if kind < self._overkill_rate:
            return False, rng.uniform(0.65, 0.8)
        if kind < self._overkill_rate + self._review_rate:
            return False, rng.uniform(0.42, 0.58)
        return False, rng.uniform(0.01, 0.35)


@dataclass(frozen=True, slots=True)
class LensView:
    """The view of the lens at one instant.

    Attributes:
        part: the part in the picture; None for the empty belt.
        offset_ns: belt travel of the part's centre beyond the lens.
        placed: whether the part stands where the recipe expects it.
    """

    part: SimPart | None
    offset_ns: int = 0
    placed: bool = False


class Station(Protocol):
    """Receives the world's signals. Every call happens at the moment of the signal."""

    def trigger_edge(self, now_ns: int) -> bool:
        """The part-present sensor; True if a live station took note."""

    def guard_edge(self, now_ns: int) -> None:
        """The guard sensor saw a part."""

    def confirm_edge(self, now_ns: int) -> None:
        """The confirm sensor saw a part."""

    def set_line_stopped(self, stopped: bool, now_ns: int) -> None:
        """The line-stopped contact changed."""

    def encoder_count(self, count: int, now_ns: int) -> None:
        """The encoder counted."""

    def acknowledge(self, now_ns: int) -> None:
        """The operator acknowledges all alarms."""


class World:
    """The conveyor. Create it, ``attach`` a station, then run the agenda.

    Args:
        agenda: shared with whatever else runs on the same clock.
        rng: the only source of chance.
        kind: how the gate is built.
        parts: what to put on the belt.
        count: how many parts; the world stops adding parts after that.
        guarded: whether the second sensor is wired.
        encoder: whether the encoder is wired.
        on_infeed: called with every part before it reaches the trigger sensor.
    """

    def __init__(
        self,
        *,
        agenda: Agenda,
        rng: Random,
        kind: GateKind,
        parts: PartSource,
        count: int,
        geometry: LineGeometry | None = None,
        guarded: bool = False,
        encoder: bool = False,
        on_infeed: Callable[[SimPart, int], None] | None = None,
    ) -> None:
        self.agenda = agenda
        self.rng = rng
        self.geometry = geometry or LineGeometry()
        self.parts: list[SimPart] = []
        self.moving: list[SimPart] = []
        self.outfeed: list[SimPart] = []
        self.gate_stuck: bool | None = None
        self.encoder_stalled = False
        self.encoder_extra = 0
        self.on_event: Callable[[str, SimPart | None, int], None] | None = None
        self._kind = kind
        self._source = parts
        self._to_come = count
        self._held_back = False
        self._count = 0
        self._guarded = guarded
        self._encoder = encoder
        self._on_infeed = on_infeed
        self._station: Station | None = None
        self._output_active = False
        self._gate_open = kind is GateKind.NORMALLY_PASSING
        self._in_gate: list[SimPart] = []
        self.control = LineControl(self)

    def attach(self, station: Station) -> None:
        """Send all signals to this station."""
        self._station = station

    def start(self, *, first_part_ns: int) -> None:
        """Plan the first part, this many nanoseconds of travel from now, and the encoder."""
        travel_ns = self.agenda.travel_ns(self.agenda.now_ns)
        self.agenda.at_travel(travel_ns + first_part_ns, self._infeed)
        if self._encoder:
            self.agenda.at_travel(travel_ns + NS_PER_COUNT, self._encoder_step)
        self.control.start(self.agenda.now_ns)

    @property
    def station(self) -> Station:
        """The attached station. Raises RuntimeError if there is none."""
        if self._station is None:
            raise RuntimeError("no station is attached to the simulated line")
        return self._station

    @property
    def counted(self) -> int:
        """The encoder's real count, whether or not the station has received it."""
        return self._count

    @property
    def empty(self) -> bool:
        """No part is on the belt and none will come."""
        return self._to_come == 0 and not self.moving and not self.outfeed

    def stop_feeding(self) -> None:
        """Put no more parts on the belt."""
        self._to_come = 0

    def hold_back(self, held: bool) -> None:
        """Put no parts on the belt for a while, but for ``put_on``."""
        self._held_back = held

    def put_on(self, now_ns: int) -> None:
        """Put the source's next part on the belt, whatever is held back."""
        self._place(now_ns)

    @property
    def gate_open(self) -> bool:
        """Whether a part at the gate would pass right now."""
        return self._gate_open

    def look(self, now_ns: int) -> LensView:
        """What a camera that exposes now sees."""
        geometry = self.geometry
        lens_ns = self.agenda.travel_ns(now_ns) - geometry.to_lens_ns
        for part in self.moving:
            offset_ns = lens_ns - part.sensor_travel_ns
            if -geometry.view_ns <= offset_ns <= geometry.view_ns:
                placed = -geometry.view_early_ns <= offset_ns <= geometry.view_tolerance_ns
                return LensView(part, offset_ns, placed)
        return LensView(None)

    def set_output(self, active: bool, now_ns: int) -> None:
        """The station drives the gate's output."""
        self._output_active = active
        self._move_gate(now_ns)

    def stick_gate(self, open_: bool | None, now_ns: int) -> None:
        """Jam the gate open or shut, or free it with None."""
        self.gate_stuck = open_
        self._move_gate(now_ns)

    def clear_outfeed(self, now_ns: int) -> None:
        """Remove every part from the outfeed, and the part in the gate."""
        for part in (*self.outfeed, *self._in_gate):
            self._finish(part, End.RECALLED, now_ns)
        self.moving = [part for part in self.moving if part.end is None]
        self.outfeed.clear()
        self._in_gate.clear()

    def clear_line(self, now_ns: int) -> None:
        """The operator takes everything off the line, and nothing more is put on it."""
        self.stop_feeding()
        for part in self.moving:
            self._finish(part, End.RECALLED, now_ns)
        self.moving.clear()
        self._in_gate.clear()
        self.clear_outfeed(now_ns)

    def _move_gate(self, now_ns: int) -> None:
        opens = self._kind is GateKind.NORMALLY_REJECTING
        wanted = self._output_active if opens else not self._output_active
        self._gate_open = wanted if self.gate_stuck is None else self.gate_stuck
        for part in self._in_gate:
            self._note_gate(part)

    def _note_gate(self, part: SimPart) -> None:
        part.gate_open_any |= self._gate_open
        part.gate_open_all &= self._gate_open

    def _infeed(self, now_ns: int) -> None:
        if self._to_come == 0:
            return
        if not self._held_back:
            self._place(now_ns)
        if self._to_come:
            extra_ns = self.geometry.pitch_mean_ns - self.geometry.pitch_min_ns
            pitch_ns = self.geometry.pitch_min_ns + int(self.rng.expovariate(1.0) * extra_ns)
            travel_ns = self.agenda.travel_ns(now_ns)
            self.agenda.at_travel(travel_ns + pitch_ns, self._infeed)

    def _place(self, now_ns: int) -> None:
        number = len(self.parts)
        defective, score = self._source.make(number)
        geometry, rng, agenda = self.geometry, self.rng, self.agenda
        travel_ns = agenda.travel_ns(now_ns)
        slip_ns = int(rng.uniform(-geometry.slip_ns, geometry.slip_ns))
        part = SimPart(number, defective, score, travel_ns + NOMINAL_INFEED_NS, slip_ns)
        self.parts.append(part)
        self.moving.append(part)
        self._to_come = max(0, self._to_come - 1)
        if self._on_infeed is not None:
            self._on_infeed(part, now_ns)
        agenda.at_travel(part.sensor_travel_ns, lambda t: self._at_sensor(part, t))

    def _at_sensor(self, part: SimPart, now_ns: int) -> None:
        part.sensor_ns = now_ns
        at_gate_ns = part.sensor_travel_ns + self.geometry.to_gate_ns + part.slip_ns
        half_ns = self.geometry.part_half_ns
        self.agenda.at_travel(at_gate_ns - half_ns, lambda t: self._into_gate(part, t))
        self.agenda.at_travel(at_gate_ns + half_ns, lambda t: self._out_of_gate(part, t))
        if self._guarded:
            at_guard_ns = part.sensor_travel_ns + self.geometry.to_guard_ns + part.slip_ns
            self.agenda.at_travel(at_guard_ns, lambda t: self._at_guard(part, t))
        if part.trigger_sees:
            part.edge_delivered = self.station.trigger_edge(now_ns)
            for delay_ns in part.bounces_ns:
                self.agenda.at(now_ns + delay_ns, self._spurious_trigger)
        self._report("sensor", part, now_ns)

    def _spurious_trigger(self, now_ns: int) -> None:
        self.station.trigger_edge(now_ns)

    def spurious_trigger_at(self, time_ns: int) -> None:
        """An edge that no part makes."""
        self.agenda.at(time_ns, self._spurious_trigger)

    def spurious_confirm_at(self, time_ns: int) -> None:
        """An edge of the confirm sensor that no part makes."""
        self.agenda.at(time_ns, self.station.confirm_edge)

    def _at_guard(self, part: SimPart, now_ns: int) -> None:
        if part.guard_sees:
            self.station.guard_edge(now_ns)

    def _into_gate(self, part: SimPart, now_ns: int) -> None:
        self._in_gate.append(part)
        self._note_gate(part)

    def _out_of_gate(self, part: SimPart, now_ns: int) -> None:
        if part.end is not None:
            return
        self._in_gate.remove(part)
        self.moving.remove(part)
        opens = self._kind is GateKind.NORMALLY_REJECTING
        if part.gate_open_all if opens else part.gate_open_any:
            part.on_outfeed = True
            self.outfeed.append(part)
            end_ns = part.sensor_travel_ns + self.geometry.to_end_ns
            self.agenda.at_travel(end_ns, lambda t: self._leave(part, t))
            self._report("outfeed", part, now_ns)
            return
        self._finish(part, End.REJECTED, now_ns)
        if part.confirm_sees:
            fall_ns = self.rng.randint(*self.geometry.chute_ns)
            self.agenda.at(now_ns + fall_ns, self.station.confirm_edge)

    def _leave(self, part: SimPart, now_ns: int) -> None:
        if part.end is None:
            self.outfeed.remove(part)
            self._finish(part, End.LEFT, now_ns)

    def _finish(self, part: SimPart, end: End, now_ns: int) -> None:
        part.end, part.end_ns = end, now_ns
        self._report(end.value, part, now_ns)

    def _report(self, what: str, part: SimPart | None, now_ns: int) -> None:
        if self.on_event is not None:
            self.on_event(what, part, now_ns)

    def _encoder_step(self, now_ns: int) -> None:
        self.agenda.at_travel(self.agenda.travel_ns(now_ns) + NS_PER_COUNT, self._encoder_step)
        if self.empty or self.encoder_stalled:
            return
        self._count += 1 + self.encoder_extra
        self.encoder_extra = 0
        self.station.encoder_count(self._count, now_ns)
