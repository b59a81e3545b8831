"""A belt of fixed speed that stops, slows down and gathers speed: nothing passes on a wrong guess.

The core and its schedule run against a belt whose speed is known here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from edgeinspect.line import messages as m
from edgeinspect.line.config import ASSUMED_RESTART_NS, GateKind, LineConfig, TrackConfig
from edgeinspect.part import Doubt, GateOutcome, PartRecord, VerdictKind
from edgeinspect.sim.agenda import Belt
from tests.helpers.line_bench import (
    MS,
    RESTART_NS,
    Bench,
    line_config,
    seen,
    with_confirm,
    with_guard,
)

BOTH_GATES = pytest.mark.parametrize("kind", list(GateKind))
PASSING, REJECTING = GateKind.NORMALLY_PASSING, GateKind.NORMALLY_REJECTING
STEP = MS
PART_HALF = 15 * MS
"""Travel from the middle of a part to its edge; the gate's window has room around it."""
STOP = 3_000 * MS
START = 3_600 * MS


def restarting(kind: GateKind, restart_ns: int = RESTART_NS) -> LineConfig:
    config = line_config(kind)
    return replace(config, track=replace(config.track, restart_ns=restart_ns))


@dataclass
class Line:
    """One defective part on a belt, with a camera and an engine that answer at once.

    Attributes:
        changes: (time, speed, time it takes) of the belt.
        signals: (time, stopped) of the line-stopped input.
        at_sensor: when the part reaches the trigger sensor, if the belt ran all along.
    """

    config: LineConfig
    changes: list[tuple[int, int, int]]
    signals: list[tuple[int, bool]]
    at_sensor: int
    gate: list[bool] = field(default_factory=list)
    exposed_at: list[int] = field(default_factory=list)

    def run(self, until: int = 12_000 * MS) -> PartRecord:
        bench, belt = Bench(self.config), Belt()
        # The belt's travel is the part's place: it is at the sensor when the travel reaches this.
        pending = {t: (speed, within) for t, speed, within in self.changes}
        signals = dict(self.signals)
        captures: list[m.Capture] = []
        sensor_travel = self.at_sensor
        triggered = False
        for now in range(0, until, STEP):
            bench.until(now)
            if now in pending:
                speed, within = pending[now]
                belt.change(speed, now, within_ns=within)
            if now in signals:
                bench.give(m.LineStopped(signals[now], now), now)
            place = belt.travel_ns(now) - sensor_travel
            if not triggered and place >= 0:
                triggered = True
                captures += _captures(bench.trigger(now))
            for capture in [c for c in captures if now >= c.not_before_mono_ns]:
                captures.remove(capture)
                self.exposed_at.append(place)
                for action in bench.frame(now, now):
                    if isinstance(action, m.Inspect):
                        defect_in_view = 50 * MS <= place <= 95 * MS
                        score = 0.9 if defect_in_view else 0.1
                        bench.give(m.Inspected(action.part_id, seen(score)), now)
            if abs(place - 900 * MS) <= PART_HALF:
                self.gate.append(bench.schedule.active)
            if place > 950 * MS and bench.records:
                break
        (record,) = bench.records
        return record

    @property
    def rejected(self) -> bool:
        assert self.gate, "the part never came to the gate"
        passing = self.config.gate.kind is PASSING
        return all(self.gate) if passing else not all(self.gate)


def _captures(actions: list[m.Action]) -> list[m.Capture]:
    return [action for action in actions if isinstance(action, m.Capture)]


def stop_and_start(*, coast: int = 0, ramp: int = 0) -> list[tuple[int, int, int]]:
    return [(STOP, 0, coast), (START, 1, ramp)]


SIGNALS = [(STOP, True), (START, False)]


@BOTH_GATES
@pytest.mark.parametrize("ramp_ms", [0, 50, 200, 900])
@pytest.mark.parametrize("before_ms", [1, 61, 300, 850, 890, 915])
def test_a_part_on_the_belt_at_the_stop_is_rejected_however_slowly_the_belt_starts(
    kind: GateKind, ramp_ms: int, before_ms: int
) -> None:
    line = Line(
        restarting(kind, ramp_ms * MS),
        stop_and_start(coast=30 * MS, ramp=ramp_ms * MS),
        SIGNALS,
        at_sensor=STOP - before_ms * MS,
    )
    record = line.run()
    assert line.rejected
    on_its_way = before_ms < 860
    assert (record.verdict.doubt is Doubt.LINE_STOPPED) is on_its_way


@BOTH_GATES
@pytest.mark.parametrize("ramp_ms", [100, 400, 900])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 0.98])
def test_a_part_that_comes_while_the_belt_gathers_speed_is_rejected(
    kind: GateKind, ramp_ms: int, share: float
) -> None:
    ramp = ramp_ms * MS
    stood_at = STOP
    travel_in_ramp = int(share * share * ramp / 2)
    line = Line(
        restarting(kind, ramp),
        stop_and_start(ramp=ramp),
        SIGNALS,
        at_sensor=stood_at + travel_in_ramp,
    )
    record = line.run()
    assert record.verdict.doubt is Doubt.LINE_STOPPED
    assert line.rejected


@BOTH_GATES
def test_the_core_says_whether_the_belt_has_its_speed(kind: GateKind) -> None:
    bench = Bench(restarting(kind))
    bench.until(RESTART_NS - MS)
    before = bench.core.belt_is_steady
    bench.until(RESTART_NS + MS)
    bench.give(m.Tick())
    running = bench.core.belt_is_steady
    bench.give(m.LineStopped(stopped=True, edge_mono_ns=bench.now))
    assert (before, running, bench.core.belt_is_steady) == (False, True, False)


@BOTH_GATES
def test_a_part_that_comes_once_the_belt_has_its_speed_is_inspected(kind: GateKind) -> None:
    line = Line(
        restarting(kind), stop_and_start(ramp=RESTART_NS), SIGNALS, at_sensor=STOP + RESTART_NS
    )
    record = line.run()
    assert record.verdict.kind is VerdictKind.REJECT
    assert line.rejected


@BOTH_GATES
@pytest.mark.parametrize("stands_ms", [20, 200])
@pytest.mark.parametrize("runs_ms", [20, 100, 199])
@pytest.mark.parametrize("before_ms", [-60, 20, 400])
def test_a_belt_that_stops_again_while_it_gathers_speed(
    kind: GateKind, stands_ms: int, runs_ms: int, before_ms: int
) -> None:
    again, ends = START + runs_ms * MS, START + (runs_ms + stands_ms) * MS
    line = Line(
        restarting(kind),
        [*stop_and_start(ramp=RESTART_NS), (again, 0, 50 * MS), (ends, 1, RESTART_NS)],
        [*SIGNALS, (again, True), (ends, False)],
        at_sensor=STOP - before_ms * MS,
    )
    line.run()
    assert line.rejected


@BOTH_GATES
@pytest.mark.parametrize("starts_with_a_stop", [True, False])
def test_a_stop_signal_that_bounces_leaves_the_belt_doubted(
    kind: GateKind, starts_with_a_stop: bool
) -> None:
    bounces = [(STOP + n * 2 * MS, (n % 2 == 0) is starts_with_a_stop) for n in range(6)]
    signals = [*bounces, (STOP + 40 * MS, True), (START, False), (START + 3 * MS, True)]
    line = Line(
        restarting(kind),
        stop_and_start(coast=30 * MS, ramp=RESTART_NS),
        [*signals, (START + 5 * MS, False)],
        at_sensor=STOP - 20 * MS,
    )
    record = line.run()
    assert record.verdict.doubt is Doubt.LINE_STOPPED
    assert line.rejected


@BOTH_GATES
@pytest.mark.parametrize("before_ms", [20, 900, 918, 935])
@pytest.mark.parametrize("late_ms", [10, 25, 40])
def test_a_stop_signal_that_is_late_by_no_more_than_stated(
    kind: GateKind, before_ms: int, late_ms: int
) -> None:
    """``settings.compile`` makes the window longer by what the station file states."""
    config = restarting(kind)
    delayed = config.track.window_after + 40 * MS
    config = replace(config, track=replace(config.track, window_after=delayed))
    line = Line(
        config,
        stop_and_start(coast=late_ms * MS, ramp=RESTART_NS),
        [(STOP + late_ms * MS, True), (START, False)],
        at_sensor=STOP - before_ms * MS,
    )
    line.run()
    assert line.rejected


@BOTH_GATES
def test_a_start_nobody_announced_a_stop_for_is_doubted_too(kind: GateKind) -> None:
    line = Line(
        restarting(kind),
        stop_and_start(coast=50 * MS, ramp=RESTART_NS),
        [(START, False)],
        at_sensor=STOP + RESTART_NS // 4,
    )
    record = line.run()
    assert record.verdict.doubt is Doubt.LINE_STOPPED
    assert line.rejected


@BOTH_GATES
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_station_that_starts_while_the_belt_gathers_speed(kind: GateKind, share: float) -> None:
    ramp = 800 * MS
    line = Line(
        restarting(kind, ramp),
        [(0, 0, 0), (MS, 1, ramp)],
        [],
        at_sensor=int(share * share * ramp / 2),
    )
    record = line.run(4_000 * MS)
    assert record.verdict.doubt is Doubt.LINE_STOPPED
    assert line.rejected


def test_an_edge_is_judged_by_its_stamp_not_by_when_it_is_handled() -> None:
    bench = Bench(line_config())
    bench.give(m.LineStopped(True, STOP), STOP)
    bench.give(m.LineStopped(False, START), START)
    edge = START + RESTART_NS - 1
    bench.give(m.TriggerEdge(edge), START + RESTART_NS + 50 * MS)
    bench.trigger(START + RESTART_NS + 200 * MS)
    bench.until(START + 4_000 * MS)
    assert [r.verdict.doubt for r in bench.records] == [Doubt.LINE_STOPPED, Doubt.NO_FRAME]


def test_a_belt_whose_restart_nobody_has_stated_is_given_a_second() -> None:
    track = TrackConfig(to_lens=1, exposure_window=1, to_gate=9, window_before=1, window_after=1)
    assert track.restart_ns == ASSUMED_RESTART_NS == 1_000 * MS


@BOTH_GATES
@pytest.mark.parametrize(
    ("edge_ms", "handled_ms", "score", "asked"),
    [
        (930, 950, 0.9, True),
        (930, 1_100, 0.9, True),  # the part is recorded by then
        (930, 934, 0.9, False),  # within the window's own tolerance
        (945, 990, 0.9, False),  # its pulse had ended before
        (900, 930, 0.9, False),  # its pulse still lasts, and the hold goes on from there
        (930, 950, 0.1, False),  # it may pass
    ],
)
def test_a_stop_that_is_heard_of_late_recalls_what_may_have_passed(
    kind: GateKind, edge_ms: int, handled_ms: int, score: float, asked: bool
) -> None:
    bench = Bench(line_config(kind))
    bench.good_part(STOP, 1, score=score)
    bench.give(m.LineStopped(True, STOP + edge_ms * MS), STOP + handled_ms * MS)
    requests = [r for r in bench.of(m.RequestLineStop) if "reported" in r.reason]
    assert len(requests) == asked
    alarms = [a for a in bench.of(m.RaiseAlarm) if a.name is m.AlarmName.GATE_LIMITED]
    assert [a.detail for a in alarms] == [r.reason for r in requests]


@BOTH_GATES
@pytest.mark.parametrize("after_ms", [-900, -50, 100, 650, 790])
def test_a_stop_does_not_make_the_station_miss_parts_in_the_chute(
    kind: GateKind, after_ms: int
) -> None:
    """They fall later than expected; an alarm would stop the belt anew after every restart."""
    bench = Bench(with_confirm(line_config(kind)))
    if after_ms < 0:
        bench.good_part(STOP + after_ms * MS, 1, score=0.9)
    bench.give(m.LineStopped(True, STOP), STOP)
    if 0 < after_ms < 600:
        bench.trigger(STOP + after_ms * MS)
    bench.give(m.LineStopped(False, START), START)
    if after_ms > 600:
        bench.trigger(STOP + after_ms * MS)
    bench.until(START + 5_000 * MS)
    (record,) = bench.records
    assert record.gate_outcome is GateOutcome.REJECTED
    assert bench.of(m.RaiseAlarm) == []
    assert bench.of(m.RequestLineStop) == []


@BOTH_GATES
def test_a_part_of_the_steady_belt_is_missed_in_the_chute(kind: GateKind) -> None:
    bench = Bench(with_confirm(line_config(kind)))
    bench.give(m.LineStopped(True, STOP), STOP)
    bench.give(m.LineStopped(False, START), START)
    bench.good_part(START + RESTART_NS + 100 * MS, 1, score=0.9)
    bench.until(START + 5_000 * MS)
    assert bench.records[0].gate_outcome is GateOutcome.REJECT_UNCONFIRMED
    assert len(bench.of(m.RequestLineStop)) == 1


def test_a_part_that_the_guard_sees_on_a_starting_belt_is_not_missed_in_the_chute() -> None:
    bench = Bench(with_confirm(with_guard(line_config(PASSING))))
    bench.give(m.LineStopped(True, STOP), STOP)
    bench.give(m.LineStopped(False, START), START)
    bench.give(m.GuardEdge(START + 50 * MS), START + 50 * MS)
    bench.until(START + 5_000 * MS)
    (record,) = bench.records
    assert record.gate_outcome is GateOutcome.REJECTED
    assert bench.of(m.RequestLineStop) == []
