"""The simulated line's physics."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.line.config import GateKind
from edgeinspect.sim.agenda import Agenda, Belt
from edgeinspect.sim.presets import MS, SECOND, LineGeometry
from edgeinspect.sim.world import End, SimPart, World


class OnePart:
    def make(self, number: int) -> tuple[bool, float]:
        return False, 0.1


class Wires:
    """A station that notes what its inputs say and drives nothing."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object, int]] = []

    def of(self, name: str) -> list[int]:
        return [now for what, _, now in self.calls if what == name]

    def trigger_edge(self, now_ns: int) -> bool:
        self.calls.append(("trigger", None, now_ns))
        return True

    def guard_edge(self, now_ns: int) -> None:
        self.calls.append(("guard", None, now_ns))

    def confirm_edge(self, now_ns: int) -> None:
        self.calls.append(("confirm", None, now_ns))

    def set_line_stopped(self, stopped: bool, now_ns: int) -> None:
        self.calls.append(("stopped" if stopped else "started", None, now_ns))

    def encoder_count(self, count: int, now_ns: int) -> None:
        self.calls.append(("count", count, now_ns))

    def acknowledge(self, now_ns: int) -> None:
        self.calls.append(("acknowledge", None, now_ns))


EXACT = LineGeometry(slip_ns=0)
GATE_FROM_NS = EXACT.to_gate_ns - EXACT.part_half_ns
GATE_TO_NS = EXACT.to_gate_ns + EXACT.part_half_ns


class Rig:
    """One part on an exact belt; a heart that beats until told otherwise."""

    def __init__(
        self, kind: GateKind, *, guarded: bool = False, encoder: bool = False, count: int = 1
    ) -> None:
        self.agenda = Agenda()
        self.wires = Wires()
        self.world = World(
            agenda=self.agenda,
            rng=Random(1),
            kind=kind,
            parts=OnePart(),
            count=count,
            geometry=EXACT,
            guarded=guarded,
            encoder=encoder,
        )
        self.world.attach(self.wires)
        self.alive = True
        self.world.start(first_part_ns=0)
        self._beat(0)
        self.agenda.run_until(100 * MS)
        self.sensor_ns = self.agenda.now_ns

    def _beat(self, now_ns: int) -> None:
        if self.alive:
            self.world.control.beat(now_ns)
            self.agenda.at(now_ns + 100 * MS, self._beat)

    @property
    def part(self) -> SimPart:
        return self.world.parts[0]

    def output(self, *, active: bool, after_ns: int) -> None:
        at_ns = self.sensor_ns + after_ns
        self.agenda.at(at_ns, lambda t: self.world.set_output(active, t))

    def finish(self) -> SimPart:
        self.agenda.run_until(self.agenda.now_ns + 30 * SECOND)
        return self.part


REJECTING, PASSING = GateKind.NORMALLY_REJECTING, GateKind.NORMALLY_PASSING


def test_the_trigger_is_stamped_when_the_part_reaches_the_sensor() -> None:
    rig = Rig(REJECTING)
    assert rig.wires.of("trigger") == [rig.sensor_ns]
    assert rig.part.sensor_ns == rig.sensor_ns
    assert rig.part.edge_delivered


def test_without_any_output_each_gate_does_what_its_name_says() -> None:
    assert Rig(REJECTING).finish().end is End.REJECTED
    assert Rig(PASSING).finish().end is End.LEFT


@pytest.mark.parametrize(
    ("on_ns", "off_ns", "end"),
    [
        (GATE_FROM_NS, GATE_TO_NS + 1, End.LEFT),
        (GATE_FROM_NS + MS, GATE_TO_NS + MS, End.REJECTED),
        (GATE_FROM_NS - MS, GATE_TO_NS - MS, End.REJECTED),
        (GATE_TO_NS + MS, GATE_TO_NS + 2 * MS, End.REJECTED),
    ],
)
def test_a_normally_rejecting_gate_passes_only_what_it_is_open_for_throughout(
    on_ns: int, off_ns: int, end: End
) -> None:
    rig = Rig(REJECTING)
    rig.output(active=True, after_ns=on_ns)
    rig.output(active=False, after_ns=off_ns)
    assert rig.finish().end is end


@given(
    on_ns=st.integers(GATE_FROM_NS - 60 * MS, GATE_TO_NS + 60 * MS),
    length_ns=st.integers(1, 150 * MS),
)
def test_a_normally_passing_gate_rejects_only_what_it_covers_throughout(
    on_ns: int, length_ns: int
) -> None:
    rig = Rig(PASSING)
    rig.output(active=True, after_ns=on_ns)
    rig.output(active=False, after_ns=on_ns + length_ns)
    covered = on_ns <= GATE_FROM_NS and on_ns + length_ns > GATE_TO_NS
    edge = on_ns + length_ns == GATE_TO_NS or on_ns == GATE_FROM_NS
    if not edge:
        assert rig.finish().end is (End.REJECTED if covered else End.LEFT)


def test_a_stuck_gate_ignores_its_output_until_it_is_freed() -> None:
    rig = Rig(REJECTING)
    rig.world.stick_gate(True, rig.agenda.now_ns)
    assert rig.world.gate_open
    rig.world.set_output(False, rig.agenda.now_ns)
    assert rig.world.gate_open
    rig.world.stick_gate(None, rig.agenda.now_ns)
    assert not rig.world.gate_open


def test_a_rejected_part_falls_past_the_confirm_sensor() -> None:
    rig = Rig(REJECTING)
    rig.finish()
    (edge_ns,) = rig.wires.of("confirm")
    fall_ns = edge_ns - (rig.sensor_ns + GATE_TO_NS)
    assert EXACT.chute_ns[0] <= fall_ns <= EXACT.chute_ns[1]


def test_the_guard_sensor_sees_the_part_before_the_gate() -> None:
    rig = Rig(PASSING, guarded=True)
    rig.finish()
    assert rig.wires.of("guard") == [rig.sensor_ns + EXACT.to_guard_ns]


def test_sensors_that_do_not_see_the_part_stay_silent() -> None:
    rig = Rig(REJECTING, guarded=True)
    rig.part.guard_sees = rig.part.confirm_sees = False
    rig.finish()
    assert rig.wires.of("guard") == rig.wires.of("confirm") == []


@pytest.mark.parametrize(
    ("offset_ns", "seen", "placed"),
    [
        (0, True, True),
        (EXACT.view_tolerance_ns, True, True),
        (EXACT.view_tolerance_ns + 1, True, False),
        (-EXACT.view_early_ns - 1, True, False),
        (EXACT.view_ns + 1, False, False),
    ],
)
def test_the_camera_sees_what_stands_before_the_lens(
    offset_ns: int, seen: bool, placed: bool
) -> None:
    rig = Rig(REJECTING)
    rig.agenda.run_until(rig.sensor_ns + EXACT.to_lens_ns + offset_ns)
    view = rig.world.look(rig.agenda.now_ns)
    assert (view.part is rig.part) is seen
    assert view.placed is placed
    if seen:
        assert view.offset_ns == offset_ns


def test_nothing_moves_while_the_belt_stands() -> None:
    rig = Rig(REJECTING)
    stop_ns = rig.sensor_ns + 300 * MS
    rig.agenda.at(stop_ns, lambda t: rig.world.control.stop_for(2 * SECOND, t))
    part = rig.finish()
    assert rig.wires.of("stopped") == [stop_ns]
    assert rig.wires.of("started") == [stop_ns + 2 * SECOND]
    # An even change of speed takes half as much longer as it lasts.
    lost_ns = 2 * SECOND - EXACT.coast_ns + EXACT.coast_ns // 2 + EXACT.restart_ns // 2
    assert part.end_ns == rig.sensor_ns + GATE_TO_NS + lost_ns


def test_a_stop_signal_may_come_late_and_bounce() -> None:
    rig = Rig(REJECTING)
    control = rig.world.control
    control.stop_signal_late_ns, control.signal_bounces = 15 * MS, 2
    stop_ns = rig.sensor_ns + 300 * MS
    rig.agenda.at(stop_ns, lambda t: control.stop_for(SECOND, t))
    rig.finish()
    levels = [(what, t) for what, _, t in rig.wires.calls if what in ("stopped", "started")]
    assert levels[0] == ("stopped", stop_ns + 15 * MS)
    assert [what for what, _ in levels[:-1]] == ["stopped", "started"] * 2 + ["stopped"]
    assert levels[-2][1] <= stop_ns + 15 * MS + 4 * EXACT.stop_bounce_ns
    assert levels[-1] == ("started", stop_ns + SECOND)


@pytest.mark.parametrize("stands_ns", [10 * MS, 100 * MS])
def test_a_belt_that_is_stopped_while_it_gathers_speed_begins_again(stands_ns: int) -> None:
    rig = Rig(REJECTING)
    control = rig.world.control
    first_ns = rig.sensor_ns + 100 * MS
    rig.agenda.at(first_ns, lambda t: control.stop_for(SECOND, t))
    again_ns = first_ns + SECOND + EXACT.restart_ns // 2
    rig.agenda.at(again_ns, lambda t: control.stop_for(stands_ns, t))
    rig.agenda.run_until(again_ns)
    belt = rig.agenda.belt
    assert belt.speed(again_ns) == pytest.approx(0.5)
    rig.agenda.run_until(again_ns + stands_ns)
    slowest = belt.speed(again_ns + stands_ns)
    assert slowest == pytest.approx(0.4 if stands_ns < EXACT.coast_ns else 0.0)
    steady_ns = again_ns + stands_ns + EXACT.restart_ns
    rig.agenda.run_until(steady_ns)
    assert belt.speed(steady_ns - MS) < 1.0 == belt.speed(steady_ns)


def test_an_upstream_stop_leaves_the_outfeed_alone() -> None:
    rig = Rig(PASSING)
    at_ns = rig.sensor_ns + GATE_TO_NS + SECOND
    rig.agenda.at(at_ns, lambda t: rig.world.control.stop_for(2 * SECOND, t))
    assert rig.finish().end is End.LEFT
    assert rig.wires.of("acknowledge") == []


def test_a_requested_stop_recalls_the_outfeed_and_repairs_the_gate() -> None:
    rig = Rig(PASSING)
    rig.world.stick_gate(True, rig.agenda.now_ns)
    at_ns = rig.sensor_ns + GATE_TO_NS + SECOND
    rig.agenda.at(at_ns, rig.world.control.request_stop)
    assert rig.finish().end is End.RECALLED
    assert rig.world.gate_stuck is None
    (acknowledged_ns,) = rig.wires.of("acknowledge")
    assert rig.wires.of("started") == [acknowledged_ns + SECOND]
    assert rig.world.control.stops == {"requested by the station": 1}


def test_a_lost_heartbeat_stops_the_belt_until_the_heart_beats_again() -> None:
    rig = Rig(PASSING)
    rig.agenda.run_until(rig.sensor_ns + GATE_TO_NS + SECOND)
    last_ns = rig.agenda.now_ns
    rig.alive = False
    rig.agenda.run_until(last_ns + 20 * SECOND)
    (stopped_ns,) = rig.wires.of("stopped")
    assert stopped_ns - last_ns <= EXACT.heartbeat_timeout_ns + 1
    assert rig.wires.of("started") == []
    assert rig.part.end is None
    rig.alive = True
    rig._beat(rig.agenda.now_ns)
    assert rig.finish().end is End.RECALLED


def test_a_part_in_the_gate_when_the_outfeed_is_cleared_is_recalled_too() -> None:
    rig = Rig(PASSING)
    rig.agenda.at(rig.sensor_ns + GATE_FROM_NS - 20 * MS, rig.world.control.request_stop)
    assert rig.finish().end is End.RECALLED


def test_the_encoder_counts_travel_not_time() -> None:
    rig = Rig(REJECTING, encoder=True)
    rig.agenda.at(rig.sensor_ns + 100 * MS, lambda t: rig.world.control.stop_for(SECOND, t))
    rig.agenda.run_until(rig.sensor_ns + 190 * MS)
    before = len(rig.wires.of("count"))
    rig.agenda.run_until(rig.sensor_ns + 100 * MS + SECOND - 1)
    assert len(rig.wires.of("count")) == before
    rig.finish()
    counts = [count for what, count, _ in rig.wires.calls if what == "count"]
    assert counts == list(range(1, len(counts) + 1))


@given(stops=st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), max_size=5))
def test_belt_callbacks_come_at_their_travel_whatever_the_belt_does(
    stops: list[tuple[int, int]],
) -> None:
    agenda = Agenda()
    seen: list[tuple[int, int]] = []
    for travel in (10, 60, 120):
        agenda.at_travel(travel, lambda t, travel=travel: seen.append((travel, t)))  # type: ignore[misc]
    clock, stood, moved = 0, 0, 0
    for run, stand in stops:
        clock += run
        moved += run
        agenda.run_until(clock)
        agenda.halt_belt(clock)
        clock += stand
        stood += stand
        agenda.run_until(clock)
        agenda.move_belt(clock)
        assert agenda.travel_ns(clock) == moved
    agenda.run_until(clock + 1000)
    assert [travel for travel, _ in seen] == [10, 60, 120]
    assert all(time >= travel for travel, time in seen)
    assert seen[-1][1] <= 120 + stood


@given(
    changes=st.lists(st.tuples(st.integers(1, 400), st.integers(0, 300)), max_size=6),
    travel_ms=st.integers(1, 2_000),
)
def test_the_belt_is_where_its_time_says_whatever_its_speed(
    changes: list[tuple[int, int]], travel_ms: int
) -> None:
    belt, now_ns, speed = Belt(), 0, 1
    for after_ms, within_ms in changes:
        now_ns += after_ms * MS
        before_ns = belt.travel_ns(now_ns)
        speed = 1 - speed
        belt.change(speed, now_ns, within_ns=within_ms * MS)
        assert belt.travel_ns(now_ns) == before_ns
    wanted_ns = belt.travel_ns(now_ns) + travel_ms * MS
    due_ns = belt.time_of(wanted_ns)
    if due_ns is None:
        assert belt.travel_ns(now_ns + 10**12) < wanted_ns
    else:
        assert due_ns >= now_ns
        assert abs(belt.travel_ns(due_ns) - wanted_ns) <= 2  # ns, rounded


def test_the_agenda_runs_equal_times_in_the_order_of_planning() -> None:
    agenda = Agenda()
    seen: list[str] = []
    agenda.at(5, lambda t: seen.append("first"))
    agenda.at(5, lambda t: seen.append("second"))
    agenda.at(1, lambda t: seen.append("before"))
    while agenda.run_next():
        pass
    assert seen == ["before", "first", "second"]
    assert agenda.next_ns() is None
