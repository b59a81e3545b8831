"""The gate's plan: what must be rejected is covered, and the actuator's limits are kept."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.line.config import GateConfig, GateKind
from edgeinspect.line.messages import GateActivated
from edgeinspect.line.reject import FOREVER_NS, PulseSchedule

Window = tuple[int, int, bool]

windows = st.lists(
    st.tuples(st.integers(1, 2_000), st.integers(1, 120), st.booleans()).map(
        lambda w: (w[0], w[0] + w[1], w[2])
    ),
    max_size=8,
)


def run(schedule: PulseSchedule, until: int) -> list[tuple[int, int]]:
    """Advance through every change; return the activations."""
    spans: list[tuple[int, int]] = []
    now = 0
    while now <= until:
        for span in schedule.advance(now):
            if span.end_mono_ns is not None:
                spans.append((span.start_mono_ns, span.end_mono_ns))
        coming = schedule.next_change_mono_ns()
        if coming is None:
            break
        assert coming > now
        now = coming
    return spans


def planned(config: GateConfig, plan: list[Window], *, lease_ns: int = FOREVER_NS) -> PulseSchedule:
    schedule = PulseSchedule(config)
    schedule.renew_lease(lease_ns)
    for part_id, (start, end, released) in enumerate(plan):
        schedule.arm(part_id, start, end)
        if released:
            assert schedule.release(part_id, 0)
    return schedule


@given(plan=windows, min_off=st.integers(0, 60))
def test_normally_passing_covers_every_window_that_was_not_released(
    plan: list[Window], min_off: int
) -> None:
    config = GateConfig(kind=GateKind.NORMALLY_PASSING, min_off_ns=min_off)
    spans = run(planned(config, plan), 3_000)
    for start, end, released in plan:
        covered = any(on <= start and end <= off for on, off in spans)
        assert covered or released
    assert all(after[0] - before[1] >= min_off for before, after in pairwise(spans))


@given(plan=windows)
def test_normally_passing_activates_for_nothing_else(plan: list[Window]) -> None:
    spans = run(planned(GateConfig(kind=GateKind.NORMALLY_PASSING), plan), 3_000)
    rejected = {t for start, end, released in plan if not released for t in range(start, end)}
    active = {t for on, off in spans for t in range(on, off)}
    assert active == rejected


@given(plan=windows, min_off=st.integers(0, 60), max_on=st.integers(1, 200) | st.none())
def test_normally_rejecting_opens_for_released_parts_alone(
    plan: list[Window], min_off: int, max_on: int | None
) -> None:
    config = GateConfig(kind=GateKind.NORMALLY_REJECTING, min_off_ns=min_off, max_on_ns=max_on)
    spans = run(planned(config, plan), 3_000)
    rejected = {t for start, end, released in plan if not released for t in range(start, end)}
    released_times = {t for start, end, released in plan if released for t in range(start, end)}
    for on, off in spans:
        assert rejected.isdisjoint(range(on, off))
        assert released_times.issuperset(range(on, off))
        assert max_on is None or off - on <= max_on
    assert all(after[0] - before[1] >= min_off for before, after in pairwise(spans))


@given(starts=st.lists(st.integers(0, 20), min_size=1, max_size=6, unique=True))
def test_released_parts_apart_from_each_other_all_get_an_open_gate(starts: list[int]) -> None:
    plan = [(1 + 100 * start, 61 + 100 * start, True) for start in sorted(starts)]
    config = GateConfig(kind=GateKind.NORMALLY_REJECTING, min_off_ns=40, max_on_ns=60)
    spans = run(planned(config, plan), 3_000)
    assert spans == [(start, end) for start, end, _ in plan]


@given(on_for=st.integers(1, 50), min_off=st.integers(1, 30))
def test_held_output_rests_as_the_actuator_demands(on_for: int, min_off: int) -> None:
    config = GateConfig(kind=GateKind.NORMALLY_PASSING, max_on_ns=on_for, min_off_ns=min_off)
    schedule = planned(config, [(10, 400, False)])
    spans = run(schedule, 600)
    assert spans
    assert all(off - on <= on_for for on, off in spans)
    assert all(after[0] - before[1] == min_off for before, after in pairwise(spans))


@pytest.mark.parametrize("kind", list(GateKind))
def test_release_after_the_window_began_is_refused(kind: GateKind) -> None:
    schedule = planned(GateConfig(kind=kind), [(100, 200, False)])
    schedule.advance(100)
    assert not schedule.release(0, 100)
    assert not schedule.release(7, 0)
    assert schedule.active is (kind is GateKind.NORMALLY_PASSING)


def test_gate_never_opens_late_into_a_part() -> None:
    config = GateConfig(kind=GateKind.NORMALLY_REJECTING, timing_tolerance_ns=5)
    schedule = planned(config, [(100, 200, True)])
    assert schedule.advance(106) == []
    punctual = planned(config, [(100, 200, True)])
    assert punctual.advance(105) == [GateActivated(105, None)]


@pytest.mark.parametrize("kind", list(GateKind))
def test_hold_wins_over_any_release_and_ends_on_request(kind: GateKind) -> None:
    config = GateConfig(kind=kind, timing_tolerance_ns=5)
    schedule = planned(config, [(100, 200, True), (300, 400, True)])
    rejecting = kind is GateKind.NORMALLY_PASSING
    schedule.reject_everything(None)
    schedule.advance(150)
    assert schedule.active is rejecting
    schedule.end_reject_everything()
    schedule.advance(300)
    assert schedule.active is not rejecting
    schedule.reject_everything(350)
    schedule.advance(310)
    assert schedule.active is rejecting
    schedule.advance(350)
    assert schedule.active is False


@pytest.mark.parametrize("kind", list(GateKind))
def test_lease_that_ran_out_rejects_and_a_new_one_ends_that(kind: GateKind) -> None:
    schedule = PulseSchedule(GateConfig(kind=kind))
    schedule.arm(1, 0, 1_000)
    schedule.arm(2, 0, 1_000)
    rejecting = kind is GateKind.NORMALLY_PASSING
    schedule.advance(5)
    assert schedule.active is rejecting, "nobody has granted a lease yet"
    schedule = planned(GateConfig(kind=kind), [(10, 1_000, True)], lease_ns=500)
    schedule.advance(10)
    assert schedule.active is not rejecting
    assert schedule.next_change_mono_ns() == 500
    schedule.advance(500)
    assert schedule.active is rejecting


def test_moved_window_keeps_its_release() -> None:
    schedule = planned(GateConfig(kind=GateKind.NORMALLY_PASSING), [(100, 200, True)])
    schedule.arm(0, 150, 250)
    assert run(schedule, 400) == []


def test_window_that_waits_for_the_belt_wakes_nobody() -> None:
    schedule = planned(
        GateConfig(kind=GateKind.NORMALLY_PASSING), [(FOREVER_NS, FOREVER_NS, False)]
    )
    schedule.advance(10)
    assert schedule.next_change_mono_ns() is None
