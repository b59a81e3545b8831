"""A new recipe takes nothing back that holds for what came under the old one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeinspect.line import messages as m
from edgeinspect.line.clearing import DistancesOnBelt
from edgeinspect.line.config import GateKind, LineConfig
from edgeinspect.line.holds import Holds
from edgeinspect.line.track import DelayTrack
from edgeinspect.part import Doubt, GateOutcome, VerdictKind
from tests.helpers.line_bench import MS, RESTART_NS, Bench, line_config, seen, with_confirm

T = 20_000 * MS
LONG, SHORT = 5_000, 900
WINDOW_AFTER_MS = 40


def with_way(to_gate_ms: int, config: LineConfig | None = None) -> LineConfig:
    config = config or line_config(GateKind.NORMALLY_PASSING)
    track = replace(config.track, to_gate=to_gate_ms * MS)
    return replace(config, track=track, recipe_digest=f"way-{to_gate_ms}")


def hold_end(bench: Bench) -> int | None:
    """When the gate is free to pass parts again; None: open-ended."""
    last = [a for a in bench.actions if isinstance(a, m.RejectEverything | m.EndRejectEverything)]
    assert isinstance(last[-1], m.RejectEverything)
    return last[-1].until_mono_ns


def lose_a_trigger(bench: Bench, at: int) -> None:
    bench.give(m.QueueOverflow(None, "events"), at)


def apply(bench: Bench, to_gate_ms: int, at: int) -> None:
    bench.give(m.ApplyConfig(with_way(to_gate_ms)), at)


def end_ms(at: int, to_gate_ms: int) -> int:
    return at + (to_gate_ms + WINDOW_AFTER_MS) * MS


@pytest.mark.parametrize("applied_ms", [-4_000, -1, 1])
@pytest.mark.parametrize("shorter", [SHORT, 4_999])
def test_a_shorter_way_holds_for_what_came_under_the_longer_one(
    applied_ms: int, shorter: int
) -> None:
    bench = Bench(with_way(LONG))
    if applied_ms > 0:
        lose_a_trigger(bench, T)
    apply(bench, shorter, T + applied_ms * MS)
    lose_a_trigger(bench, T + 2 * MS)
    assert hold_end(bench) == end_ms(T + 2 * MS, LONG)


def test_the_longer_way_is_forgotten_once_its_parts_have_left() -> None:
    bench = Bench(with_way(LONG))
    apply(bench, SHORT, T)
    lose_a_trigger(bench, T + (LONG + WINDOW_AFTER_MS) * MS + MS)
    assert hold_end(bench) == end_ms(T + (LONG + WINDOW_AFTER_MS) * MS + MS, SHORT)


def test_several_recipes_leave_the_longest_way() -> None:
    bench = Bench(with_way(2_000))
    for nth, to_gate in enumerate((LONG, SHORT, 1_500, SHORT)):
        apply(bench, to_gate, T + nth * MS)
    lose_a_trigger(bench, T + 10 * MS)
    assert hold_end(bench) == end_ms(T + 10 * MS, LONG)


def test_a_standing_belt_brings_nothing_nearer_to_the_gate() -> None:
    bench = Bench(with_way(LONG))
    apply(bench, SHORT, T)
    bench.give(m.LineStopped(True, T + MS), T + MS)
    restarted = T + 60_000 * MS
    bench.give(m.LineStopped(False, restarted), restarted)
    assert hold_end(bench) == end_ms(restarted + RESTART_NS, LONG)
    lose_a_trigger(bench, restarted + RESTART_NS + 1_000 * MS)
    assert hold_end(bench) == end_ms(restarted + RESTART_NS + 1_000 * MS, LONG)


def test_a_lost_trigger_does_not_shorten_the_hold_after_a_restart() -> None:
    bench = Bench(line_config(GateKind.NORMALLY_PASSING))
    bench.give(m.LineStopped(True, T), T)
    bench.give(m.LineStopped(False, T + 500 * MS), T + 500 * MS)
    cleared = hold_end(bench)
    lose_a_trigger(bench, T + 510 * MS)
    assert hold_end(bench) == cleared == end_ms(T + 500 * MS + RESTART_NS, SHORT)


def test_a_shorter_restart_time_does_not_end_the_restart_that_is_under_way() -> None:
    bench = Bench(line_config(GateKind.NORMALLY_PASSING))
    bench.give(m.LineStopped(True, T), T)
    bench.give(m.LineStopped(False, T + 500 * MS), T + 500 * MS)
    cleared = hold_end(bench)
    config = line_config(GateKind.NORMALLY_PASSING)
    quick = replace(config, track=replace(config.track, restart_ns=0))
    bench.give(m.ApplyConfig(quick), T + 501 * MS)
    bench.trigger(T + 510 * MS)
    lose_a_trigger(bench, T + 520 * MS)
    assert hold_end(bench) == cleared
    bench.until(T + 3_000 * MS)
    assert bench.records[0].verdict.doubt is Doubt.LINE_STOPPED


def test_a_part_in_flight_keeps_its_own_gate() -> None:
    bench = Bench(with_way(LONG))
    bench.good_part(T, 1, score=0.9)
    apply(bench, SHORT, T + 200 * MS)
    bench.good_part(T + 300 * MS, 2)
    bench.until(T + 8_000 * MS)
    first = next(r for r in bench.records if r.part_id == 1)
    assert first.window_start_mono_ns == T + (LONG - 40) * MS
    assert first.gate_outcome is GateOutcome.REJECTED
    assert bench.gate_was_active(T + (LONG - 40) * MS, T + (LONG + 40) * MS)


@pytest.mark.parametrize("kind", list(GateKind))
def test_stopping_waits_for_parts_of_a_longer_way_and_for_their_confirmation(
    kind: GateKind,
) -> None:
    config = with_confirm(line_config(kind))
    bench = Bench(with_way(LONG, config))
    bench.good_part(T, 1)
    bench.good_part(T + 300 * MS, 2, score=0.9)
    bench.give(m.ApplyConfig(with_way(SHORT, config)), T + 500 * MS)
    bench.give(m.Stop(), T + 600 * MS)
    bench.until(T + (LONG + 300) * MS)
    assert [r.gate_outcome for r in bench.records] == [GateOutcome.PASSED]
    bench.give(m.ConfirmEdge(T + (LONG + 400) * MS), T + (LONG + 400) * MS)
    bench.until(T + (LONG + 1_000) * MS)
    assert [r.gate_outcome for r in bench.records][1:] == [GateOutcome.REJECT_CONFIRMED]
    assert bench.core.drained


def test_a_thousand_recipes_are_not_remembered_one_by_one() -> None:
    distances = DistancesOnBelt()
    for nth in range(1_000):
        distances.replace(100 + nth % 3, nth)
    assert len(vars(distances)["_until"]) == 3
    assert distances.longest(50, 999) == 102
    assert distances.longest(50, 2_000) == 50


def test_a_hold_is_never_shortened() -> None:
    holds = Holds()
    holds.until_time("clearing", 100)
    holds.until_time("clearing", 60)
    assert holds.until_mono_ns == 100
    holds.until_time("clearing", 130)
    assert holds.until_mono_ns == 130


def test_a_belt_has_come_no_further_than_it_went_at_its_speed() -> None:
    belt = DelayTrack()
    belt.start(1_000, 200)
    assert belt.least_travel(1_100) - belt.least_travel(1_000) == 0
    before = belt.least_travel(1_200)
    assert belt.least_travel(1_500) - before == 300
    belt.stop(1_500)
    assert belt.least_travel(9_000) - before == 300
    belt.start(9_000, 200)
    assert belt.least_travel(9_300) - before == 400


def test_only_the_verdict_of_its_own_recipe_lets_a_part_pass() -> None:
    bench = Bench(with_way(SHORT))
    bench.trigger(T)
    bench.frame(T + 65 * MS, T + 70 * MS)
    strict = with_way(SHORT)
    limits = tuple(replace(each, review=0.05, reject=0.06) for each in strict.thresholds)
    bench.give(m.ApplyConfig(replace(strict, thresholds=limits)), T + 75 * MS)
    bench.give(m.Inspected(1, seen(0.1)), T + 90 * MS)
    bench.until(T + 2_000 * MS)
    assert bench.records[0].verdict.kind is VerdictKind.PASS
