"""Counts, edges and frames that reach the core late or in another order than they were stamped."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeinspect.line import messages as m
from edgeinspect.line.config import GateKind, LineConfig, TrackConfig, Tracking, TriggerConfig
from edgeinspect.part import Doubt, GateOutcome, VerdictKind
from tests.helpers.line_bench import MS, Bench, line_config, seen

START_MS = 960
TO_LENS, TO_GUARD, TO_GATE = 60, 750, 900
BOTH_GATES = pytest.mark.parametrize("kind", list(GateKind))


def config(kind: GateKind = GateKind.NORMALLY_PASSING, **track: Any) -> LineConfig:
    wired = TrackConfig(
        tracking=Tracking.ENCODER,
        to_lens=TO_LENS,
        exposure_window=30,
        to_gate=TO_GATE,
        window_before=40,
        window_after=40,
    )
    return line_config(
        kind,
        track=replace(wired, **track),
        trigger=TriggerConfig(debounce_ns=5 * MS, min_pitch=150),
    )


class Line:
    """A belt that moves one count a millisecond, and a camera that sees where it exposes.

    Attributes:
        travel: counts that the belt has really come.
        stands: the belt stands.
        late: counts are kept back, and come in a burst when this ends.
        part_at: the travel at which the one part was triggered.
        exposed_at: how far the part had really come at each exposure.
        gate: whether the output was active at each count of the part's true passage.
    """

    def __init__(self, kind: GateKind = GateKind.NORMALLY_PASSING, **track: Any) -> None:
        self.bench = Bench(config(kind, **track))
        self.travel = 0
        self.stands = self.late = False
        self.part_at: int | None = None
        self.score = 0.1
        self.exposed_at: list[int] = []
        self.gate: list[bool] = []
        self._kept: deque[tuple[int, int]] = deque()
        self._captures: list[m.Capture] = []
        self._scores: deque[tuple[int, m.Inspected]] = deque()
        self.run(START_MS)

    def run(self, ms: int) -> None:
        for _ in range(ms):
            self._millisecond()

    def trigger(self, *, stamped_ms_ago: int = 0) -> None:
        self.part_at = self.travel - stamped_ms_ago
        self._take(self.bench.give(m.TriggerEdge(self.bench.now - stamped_ms_ago * MS)))

    def hold_counts_back(self, ms: int) -> None:
        self.late = True
        self.run(ms)
        self.late = False

    def _millisecond(self) -> None:
        bench = self.bench
        seen_actions = len(bench.actions)
        bench.until(bench.now + MS)
        self._take(bench.actions[seen_actions:])
        if not self.stands:
            self.travel += 1
            self._kept.append((self.travel, bench.now))
        while self._kept and not self.late:
            self._take(bench.give(m.EncoderCount(*self._kept.popleft())))
        self._expose()
        while self._scores and self._scores[0][0] <= bench.now:
            self._take(bench.give(self._scores.popleft()[1]))
        if self.part_at is not None and abs(self.travel - self.part_at - TO_GATE) <= 20:
            self.gate.append(bench.schedule.active)

    def _expose(self) -> None:
        for capture in list(self._captures):
            if self.bench.now >= capture.not_before_mono_ns:
                self._captures.remove(capture)
                self.exposed_at.append(self.travel - (self.part_at or 0))
                self._take(self.bench.frame(self.bench.now, self.bench.now))

    def _take(self, actions: list[m.Action]) -> None:
        for action in actions:
            if isinstance(action, m.Capture):
                self._captures.append(action)
            elif isinstance(action, m.Inspect):
                in_place = TO_LENS - 6 <= self.exposed_at[-1] <= TO_LENS + 32
                score = self.score if in_place else 0.0  # an empty belt shows no defect
                answer = m.Inspected(action.part_id, seen(score))
                self._scores.append((self.bench.now + 5 * MS, answer))

    @property
    def passed(self) -> bool:
        """Whether the part got through, in the worst case for the station."""
        opens = self.bench.opens_to_pass
        return all(self.gate) if opens else not all(self.gate)


@BOTH_GATES
@pytest.mark.parametrize("behind_ms", [1, 10, 80])
@pytest.mark.parametrize("lag_ms", [0, 12, 25, 60, 120, 240])
def test_no_lag_of_the_counts_lets_a_defective_part_pass(
    lag_ms: int, behind_ms: int, kind: GateKind
) -> None:
    line = Line(kind)
    line.score = 0.9
    line.late = lag_ms > 0
    line.run(max(0, lag_ms - behind_ms))
    line.trigger()
    line.run(min(lag_ms, behind_ms))
    line.late = False
    line.run(1_300)
    (record,) = line.bench.records
    assert record.verdict.kind is not VerdictKind.PASS
    assert not line.passed
    assert line.bench.core.parts_in_flight == 0


def test_a_little_lag_costs_no_good_part() -> None:
    line = Line()
    line.hold_counts_back(25)
    line.late = True
    line.trigger()
    line.run(20)
    line.late = False
    line.run(1_300)
    (record,) = line.bench.records
    assert record.verdict.kind is VerdictKind.PASS
    assert record.gate_outcome is GateOutcome.PASSED
    assert record.encoder_count == line.part_at
    assert line.passed


def test_a_part_that_moves_is_armed_anew_and_its_frame_asked_for_again() -> None:
    bench = Bench(config())
    for count in range(1, 1_001):
        bench.give(m.EncoderCount(count, count * MS), count * MS)
    first = bench.give(m.TriggerEdge(1_010 * MS), 1_010 * MS)
    (capture,) = [action for action in first if isinstance(action, m.Capture)]
    assert capture.not_before_mono_ns == 1_070 * MS
    # The belt has slowed down: only five counts were made up to the edge.
    then = bench.give(m.EncoderCount(1_005, 1_009 * MS), 1_011 * MS)
    assert not [action for action in then if isinstance(action, m.Capture)]
    then = bench.give(m.EncoderCount(1_006, 1_012 * MS), 1_012 * MS)
    (again,) = [action for action in then if isinstance(action, m.Capture)]
    assert again.not_before_mono_ns > capture.not_before_mono_ns
    assert [action for action in then if isinstance(action, m.Arm)]


def test_a_part_that_moves_too_far_is_doubted_by_name() -> None:
    line = Line()
    line.late = True
    line.run(150)
    line.stands = True
    line.run(45)
    line.trigger()  # the station takes the belt for one that moves
    line.late = False
    line.run(1)
    line.stands = False
    line.run(1_300)
    (record,) = line.bench.records
    assert record.verdict.doubt is Doubt.POSITION_UNCERTAIN
    assert "counts from its estimated position" in record.verdict.detail
    assert line.bench.core.status["doubt_position_uncertain"] == 1
    assert not line.passed


def test_a_frame_waits_until_it_is_known_where_the_belt_was() -> None:
    line = Line()
    line.trigger()
    line.run(60)
    line.late = True
    line.run(10)
    inspects = [action for action in line.bench.actions if isinstance(action, m.Inspect)]
    assert (len(line.exposed_at), len(inspects)) == (1, 1)
    line = Line()
    line.trigger()
    line.run(55)
    line.late = True
    line.run(30)
    assert len(line.exposed_at) == 1
    assert not [action for action in line.bench.actions if isinstance(action, m.Inspect)]
    line.late = False
    line.run(1)
    assert [action for action in line.bench.actions if isinstance(action, m.Inspect)]
    line.run(1_300)
    assert line.bench.records[0].verdict.kind is VerdictKind.PASS


def test_a_part_whose_frame_never_gets_a_place_is_doubted_by_name() -> None:
    line = Line(encoder_timeout_ns=5_000 * MS)
    line.trigger()
    line.run(55)
    line.late = True
    line.run(1_300)
    assert not line.passed
    line.late = False
    line.run(300)
    (record,) = line.bench.records
    assert record.verdict.doubt is Doubt.POSITION_UNCERTAIN


def test_a_belt_that_stops_between_exposure_and_count_costs_no_part() -> None:
    line = Line()
    line.trigger()
    line.run(61)
    line.stands = True
    line.run(30_000)
    assert not line.bench.records
    line.stands = False
    line.run(1_300)
    (record,) = line.bench.records
    assert record.verdict.kind is VerdictKind.PASS
    assert line.passed


def test_a_part_that_stops_before_the_lens_is_seen_when_the_belt_goes_on() -> None:
    line = Line()
    line.trigger()
    line.run(50)
    line.stands = True
    line.run(1_000)
    line.stands = False
    line.run(1_300)
    (record,) = line.bench.records
    assert record.verdict.kind is VerdictKind.PASS
    assert TO_LENS <= line.exposed_at[-1] <= TO_LENS + 30


def test_counts_later_than_the_belt_is_taken_to_stand_stop_the_line() -> None:
    line = Line()
    line.trigger()
    line.run(300)
    line.hold_counts_back(400)
    line.run(1)
    assert line.bench.core.holds == ("clearing",)
    assert line.bench.of(m.RequestLineStop)
    assert line.bench.records[0].verdict.doubt is Doubt.ENCODER_STALLED


def test_a_core_that_hung_takes_its_own_sleep_for_no_silence_of_the_encoder() -> None:
    bench = Bench(config())
    for count in range(1, 1_000):
        bench.give(m.EncoderCount(count, count * MS), count * MS)
    bench.trigger(999 * MS)
    bench.core.handle(m.Tick(), 2_000 * MS)
    bench.core.handle(m.Tick(), 2_001 * MS)
    earlier = tuple((count, count * MS) for count in range(1_000, 2_000))
    actions = bench.core.handle(m.EncoderCount(2_000, 2_000 * MS, earlier), 2_002 * MS)
    assert not [action for action in actions if isinstance(action, m.RequestLineStop)]
    assert bench.core.status["encoder_distrusted"] == 0


def test_a_released_part_keeps_no_gate_open_for_its_follower_while_counts_are_late() -> None:
    """A good part is in its window when the counts stop; the belt may be faster than before."""
    line = Line(GateKind.NORMALLY_REJECTING)
    line.trigger()
    line.run(TO_GATE)
    assert line.bench.schedule.active
    line.late = True
    line.run(38)
    assert line.bench.schedule.active
    line.run(5)
    assert not line.bench.schedule.active
    line.late = False
    line.run(200)
    assert line.bench.records[0].gate_outcome is GateOutcome.PASSED


@pytest.mark.parametrize("late_ms", [20, 60, 150, 400])
def test_a_late_trigger_edge_is_put_where_it_was_stamped(late_ms: int) -> None:
    line = Line()
    line.score = 0.9
    line.run(late_ms)
    line.trigger(stamped_ms_ago=late_ms)
    line.run(1_300)
    (record,) = line.bench.records
    assert record.encoder_count == line.part_at
    assert record.verdict.kind is not VerdictKind.PASS
    assert not line.passed


def test_an_edge_older_than_all_memory_is_doubted_by_name() -> None:
    line = Line()
    line.bench.give(m.TriggerEdge(0))
    line.run(100)
    (record,) = line.bench.records
    assert record.verdict.doubt is Doubt.POSITION_UNCERTAIN


def test_a_part_before_the_first_count_is_doubted_by_name() -> None:
    bench = Bench(config(GateKind.NORMALLY_REJECTING))
    bench.trigger(100 * MS)
    for count in range(1, 1_200):
        bench.give(m.EncoderCount(count, (200 + count) * MS), (200 + count) * MS)
    (record,) = bench.records
    assert record.verdict.doubt is Doubt.POSITION_UNCERTAIN
    assert not bench.schedule.active


def test_parts_although_the_encoder_has_never_counted_stop_the_line() -> None:
    bench = Bench(config())
    bench.trigger(1_000 * MS)
    bench.trigger(1_400 * MS)
    bench.until(2_000 * MS)
    assert bench.of(m.RequestLineStop)
    assert bench.schedule.active


def test_two_parts_of_one_burst_of_late_counts_are_distinguished() -> None:
    line = Line()
    line.late = True
    line.run(20)
    line.trigger()
    line.run(160)
    line.trigger()
    line.run(15)
    line.late = False
    line.run(1_500)
    assert not [r for r in line.bench.records if r.verdict.doubt is Doubt.TOO_CLOSE]
    places = [record.encoder_count for record in line.bench.records]
    assert places == [START_MS + 20, START_MS + 180]


def test_two_parts_too_close_are_found_out_when_the_late_counts_come() -> None:
    line = Line()
    line.late = True
    line.trigger()
    line.run(80)
    line.trigger()
    assert not line.bench.of(m.Release)
    line.late = False
    line.run(1_500)
    assert line.bench.records[1].verdict.doubt is Doubt.TOO_CLOSE


def guarded() -> Line:
    return Line(to_guard=TO_GUARD, guard_tolerance=20)


@pytest.mark.parametrize("lag_ms", [0, 15, 60])
def test_a_guard_edge_finds_its_part_when_the_counts_have_come(lag_ms: int) -> None:
    line = guarded()
    line.trigger()
    line.run(TO_GUARD - lag_ms)
    line.late = lag_ms > 0
    line.run(lag_ms)
    line.bench.give(m.GuardEdge(line.bench.now))
    line.run(20)
    line.late = False
    line.run(600)
    (record,) = line.bench.records
    assert record.gate_outcome is GateOutcome.PASSED
    assert line.bench.core.status["untriggered"] == 0


def test_a_guard_edge_that_no_count_explains_in_time_rejects_its_part() -> None:
    line = guarded()
    line.late = True
    line.part_at = line.travel - TO_GUARD
    line.bench.give(m.GuardEdge(line.bench.now))
    line.run(105)
    assert line.bench.core.status["untriggered"] == 1
    line.late = False
    line.run(300)
    assert not line.passed
    assert line.bench.records[0].verdict.doubt is Doubt.UNTRIGGERED


def test_a_hold_ends_where_the_belt_was_when_it_began_not_where_it_seemed_to_be() -> None:
    line = Line()
    line.hold_counts_back(1)
    line.late = True
    line.run(150)
    began_at = line.travel
    line.bench.give(m.QueueOverflow(None, "events"))
    line.late = False
    line.run(TO_GATE + 39)
    assert line.travel == began_at + TO_GATE + 39
    assert line.bench.core.holds == ("clearing",)
    line.run(2)
    assert line.bench.core.holds == ()


def test_a_hold_is_not_shortened_by_a_recipe_with_a_shorter_way() -> None:
    line = Line()
    began_at = line.travel
    line.bench.give(m.QueueOverflow(None, "events"))
    line.run(10)
    line.bench.give(m.ApplyConfig(config(to_gate=200)))
    line.bench.give(m.QueueOverflow(None, "events"))
    line.run(TO_GATE + 29)
    assert line.travel == began_at + TO_GATE + 39
    assert line.bench.core.holds == ("clearing",)
    line.run(12)
    assert line.bench.core.holds == ()


lateness_ms = st.integers(0, 150)


@settings(max_examples=12, deadline=None)
@given(
    triggers=st.lists(st.tuples(st.integers(160, 300), lateness_ms), min_size=1, max_size=4),
    stalls=st.lists(st.tuples(st.integers(0, 2_000), lateness_ms), max_size=6),
)
def test_in_whatever_order_edges_and_counts_arrive_a_part_is_where_it_was(
    triggers: list[tuple[int, int]], stalls: list[tuple[int, int]]
) -> None:
    """The encoder's reader stalls now and then, and each trigger edge comes late by itself."""
    events: list[tuple[int, int, m.Event]] = []
    ready_ms = 0
    for at_ms in range(1, 3_600):
        stalled = [start + length for start, length in stalls if start <= at_ms < start + length]
        ready_ms = max([ready_ms, at_ms, *stalled])
        events.append((ready_ms, len(events), m.EncoderCount(at_ms, at_ms * MS)))
    edge_ms, edges = 1_000, []
    for pitch_ms, late_ms in triggers:
        edge_ms += pitch_ms
        edges.append(edge_ms)
        events.append((edge_ms + late_ms, len(events), m.TriggerEdge(edge_ms * MS)))
    bench = Bench(config())
    for told_ms, _, event in sorted(events, key=lambda each: each[:2]):
        bench.give(event, told_ms * MS)
    places = {record.trigger_mono_ns // MS: record.encoder_count for record in bench.records}
    assert places == {edge_ms: edge_ms for edge_ms in edges}
    assert not bench.of(m.RequestLineStop)
