"""The lock in the core: nothing passes but an announced master, whatever happens."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeinspect.line import messages as m
from edgeinspect.line.config import GateKind
from edgeinspect.line.parts_lock import LockState
from edgeinspect.part import Doubt, GateOutcome, VerdictKind
from tests.helpers.core_samples import BOTH_GATES, T, was_rejected
from tests.helpers.line_bench import MS, Bench, line_config, seen, with_confirm

ENOUGH = 2_000 * MS


@BOTH_GATES
def test_locked_parts_are_rejected_by_name_and_unlocked_ones_pass(kind: GateKind) -> None:
    bench = Bench(line_config(kind))
    bench.give(m.Lock(), T)
    assert bench.core.holds == ("locked",)
    bench.good_part(T + 10 * MS, 1)
    bench.give(m.Unlock(), T + ENOUGH)
    bench.good_part(T + ENOUGH + 10 * MS, 2)
    bench.until(T + 3 * ENOUGH)
    assert [r.verdict.doubt for r in bench.records] == [Doubt.LOCKED, None]
    assert was_rejected(bench, T + 10 * MS)
    assert not was_rejected(bench, T + ENOUGH + 10 * MS)
    assert bench.core.holds == ()


@BOTH_GATES
def test_part_that_came_just_before_the_unlocking_stays_rejected(kind: GateKind) -> None:
    bench = Bench(line_config(kind))
    bench.give(m.Lock(), T)
    bench.trigger(T + 10 * MS)
    bench.give(m.Unlock(), T + 20 * MS)
    bench.until(T + ENOUGH)
    assert [r.verdict.doubt for r in bench.records] == [Doubt.LOCKED]
    assert was_rejected(bench, T + 10 * MS)


@BOTH_GATES
def test_announced_master_goes_the_way_of_any_part_and_the_next_one_does_not(
    kind: GateKind,
) -> None:
    bench = Bench(line_config(kind))
    bench.give(m.Lock(), T)
    bench.give(m.AnnounceMaster())
    assert bench.core.lock_state is LockState.AWAITING_MASTER
    assert bench.core.holds == ("locked",)
    bench.good_part(T + 10 * MS, 1)
    assert bench.core.lock_state is LockState.MASTER_IN_FLIGHT
    bench.good_part(T + 210 * MS, 2)
    bench.until(T + ENOUGH)
    assert bench.core.lock_state is LockState.LOCKED
    assert [r.verdict.kind for r in bench.records] == [
        VerdictKind.PASS,
        VerdictKind.CANNOT_INSPECT,
    ]
    assert not was_rejected(bench, T + 10 * MS)
    assert was_rejected(bench, T + 210 * MS)
    assert bench.records[0].gate_outcome is GateOutcome.PASSED
    bench.until(T + 2 * ENOUGH)
    shut = bench.gate_was_active(T + ENOUGH, T + 2 * ENOUGH - 1)  # what no sensor has seen, too
    assert shut == (kind is GateKind.NORMALLY_PASSING)


def test_bad_master_is_rejected_and_confirmed() -> None:
    bench = Bench(with_confirm(line_config()))
    bench.give(m.Lock(), T)
    bench.give(m.AnnounceMaster())
    bench.good_part(T + 10 * MS, 1, score=0.9)
    bench.give(m.ConfirmEdge(T + 960 * MS), T + 960 * MS)
    bench.until(T + ENOUGH)
    assert bench.records[0].gate_outcome is GateOutcome.REJECT_CONFIRMED
    assert bench.core.holds == ("locked",)


def test_a_master_is_refused_while_parts_are_on_the_belt_or_nothing_is_locked() -> None:
    bench = Bench(line_config())
    bench.give(m.AnnounceMaster(), T)
    assert (bench.core.lock_state, bench.core.status["masters_refused"]) == (LockState.OPEN, 1)
    bench.trigger(T + 10 * MS)
    bench.give(m.Lock())
    bench.give(m.AnnounceMaster())
    assert (bench.core.lock_state, bench.core.status["masters_refused"]) == (LockState.LOCKED, 2)


def test_locking_again_withdraws_the_announcement() -> None:
    bench = Bench(line_config())
    bench.give(m.Lock(), T)
    bench.give(m.AnnounceMaster())
    bench.give(m.Lock())
    bench.good_part(T + 10 * MS, 1)
    bench.until(T + ENOUGH)
    assert bench.records[0].verdict.doubt is Doubt.LOCKED


def test_new_recipe_leaves_the_lock_closed() -> None:
    bench = Bench(line_config())
    bench.give(m.Lock(), T)
    bench.give(m.ApplyConfig(line_config(recipe_digest="r2")))
    bench.good_part(T + 10 * MS, 1)
    bench.until(T + ENOUGH)
    assert bench.records[0].verdict.doubt is Doubt.LOCKED
    assert bench.records[0].recipe_digest == "r2"


def test_a_challenge_that_is_due_raises_one_alarm() -> None:
    bench = Bench(line_config())
    bench.give(m.DemandChallenge("a shift has begun"), T)
    bench.give(m.DemandChallenge("a shift has begun"))
    assert bench.core.open_alarms == (m.AlarmName.CHALLENGE_DUE,)
    assert [a.detail for a in bench.of(m.RaiseAlarm)] == ["a shift has begun"]


EVENTS = ("part", "pause", "resume", "announce", "lock", "stopped", "moving", "overflow", "wait")
scripts = st.lists(
    st.tuples(st.sampled_from(EVENTS), st.integers(0, 900), st.floats(0.0, 1.0)), max_size=25
)


@settings(max_examples=120)
@given(kind=st.sampled_from(list(GateKind)), script=scripts)
def test_while_locked_nothing_passes_but_masters(
    kind: GateKind, script: list[tuple[str, int, float]]
) -> None:
    bench = Bench(line_config(kind))
    now = T
    bench.give(m.Lock(), now)
    masters = set()
    next_id = 1
    for what, delay_ms, number in script:
        now = max(now, bench.now) + delay_ms * MS
        match what:
            case "part":
                awaited = bench.core.lock_state is LockState.AWAITING_MASTER
                before = len(bench.of(m.Arm))
                bench.trigger(now)
                if len(bench.of(m.Arm)) > before:
                    if awaited:
                        masters.add(next_id)
                    bench.frame(now + 65 * MS, now + 70 * MS)
                    bench.give(m.Inspected(next_id, seen(number)), now + 90 * MS)
                    next_id += 1
                now += 90 * MS
            case "announce":
                bench.give(m.AnnounceMaster(), now)
            case "lock":
                bench.give(m.Lock(), now)
            case "pause":
                bench.give(m.Pause(), now)
            case "resume":
                bench.give(m.Resume(), now)
            case "stopped" | "moving":
                bench.give(m.LineStopped(what == "stopped", now), now)
            case "overflow":
                bench.give(m.QueueOverflow(None, "drawn"), now)
            case _:
                bench.until(now)
    bench.until(now + 5_000 * MS)
    for record in bench.records:
        if record.part_id not in masters:
            assert record.verdict.doubt is not None
            assert record.gate_outcome is not GateOutcome.PASSED
            if kind is GateKind.NORMALLY_PASSING and record.verdict.doubt is Doubt.LOCKED:
                start, end = record.window_start_mono_ns, record.window_end_mono_ns
                assert start is not None and end is not None
                assert bench.gate_was_active(start + 5 * MS, end - 5 * MS)
    assert bench.core.parts_in_flight == 0
