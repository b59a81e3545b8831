"""The gate's plan, nanosecond by nanosecond: limits of the actuator, edges of windows, waking."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.line import messages as m
from edgeinspect.line.config import GateConfig, GateKind
from edgeinspect.line.reject import FOREVER_NS, PulseSchedule

PASSING, REJECTING = GateKind.NORMALLY_PASSING, GateKind.NORMALLY_REJECTING
Window = tuple[int, int, bool]
"""Start, end, released."""


def _planned(config: GateConfig, *windows: Window, lease_ns: int = FOREVER_NS) -> PulseSchedule:
    schedule = PulseSchedule(config)
    schedule.renew_lease(lease_ns)
    for part_id, (start, end, released) in enumerate(windows):
        schedule.arm(part_id, start, end)
        if released:
            assert schedule.release(part_id, 0)
    return schedule


def _active(schedule: PulseSchedule, until: int, *, begin: int = 0) -> list[tuple[int, int]]:
    """The spans in which the output is active, asked at every nanosecond."""
    spans: list[tuple[int, int]] = []
    since: int | None = None
    for now in range(begin, until):
        for span in schedule.advance(now):
            if span.end_mono_ns is not None:
                assert span.start_mono_ns == since, "the report and the level disagree"
                spans.append((span.start_mono_ns, span.end_mono_ns))
                since = None
            else:
                since = span.start_mono_ns
        assert schedule.active is (since is not None)
    return spans if since is None else [*spans, (since, until)]


def _woken(schedule: PulseSchedule, until: int) -> list[tuple[int, int]]:
    """The same, asked only when the schedule wants to be."""
    spans: list[tuple[int, int]] = []
    now: int | None = 0
    since: int | None = None
    while now is not None and now < until:
        for span in schedule.advance(now):
            since = span.start_mono_ns if span.end_mono_ns is None else None
            if span.end_mono_ns is not None:
                spans.append((span.start_mono_ns, span.end_mono_ns))
        coming = schedule.next_change_mono_ns()
        assert coming is None or coming > now
        now = coming
    return spans if since is None else [*spans, (since, until)]


def _config(kind: GateKind, **limits: int | None) -> GateConfig:
    keys: dict[str, Any] = {"timing_tolerance_ns": 0, **limits}
    return GateConfig(kind=kind, **keys)


plans = st.lists(
    st.tuples(st.integers(1, 60), st.integers(1, 20), st.booleans()).map(
        lambda w: (w[0], w[0] + w[1], w[2])
    ),
    max_size=5,
)


@given(
    kind=st.sampled_from(GateKind),
    plan=plans,
    min_off=st.integers(0, 12),
    max_on=st.integers(1, 25) | st.none(),
    lease=st.integers(1, 90) | st.just(FOREVER_NS),
    hold=st.integers(1, 90) | st.none(),
)
def test_waking_when_asked_to_misses_no_change(
    kind: GateKind,
    plan: list[Window],
    min_off: int,
    max_on: int | None,
    lease: int,
    hold: int | None,
) -> None:
    config = _config(kind, min_off_ns=min_off, max_on_ns=max_on)
    always, woken = (_planned(config, *plan, lease_ns=lease) for _ in range(2))
    if hold is not None:
        always.reject_everything(hold)
        woken.reject_everything(hold)
    assert _woken(woken, 120) == _active(always, 120)


@pytest.mark.parametrize(
    ("limits", "windows", "spans"),
    [
        # Rejects that are too near for the actuator to rest are rejected in one go.
        ({"min_off_ns": 5}, [(10, 20, False), (24, 30, False)], [(10, 30)]),
        ({"min_off_ns": 5}, [(10, 20, False), (25, 30, False)], [(10, 20), (25, 30)]),
        ({"min_off_ns": 5}, [(10, 20, False), (20, 30, False)], [(10, 30)]),
        # A released part in between is let through.
        ({"min_off_ns": 5}, [(10, 20, False), (22, 30, True)], [(10, 20)]),
        # At most ``max_on``, then a rest, then the rest of the window.
        ({"max_on_ns": 10}, [(10, 20, False)], [(10, 20)]),
        ({"max_on_ns": 10, "min_off_ns": 5}, [(10, 32, False)], [(10, 20), (25, 32)]),
    ],
)
def test_a_passing_gate_keeps_the_actuators_limits(
    limits: dict[str, int], windows: list[Window], spans: list[tuple[int, int]]
) -> None:
    assert _active(_planned(_config(PASSING, **limits), *windows), 60) == spans


def test_a_reject_that_comes_during_the_rest_waits_for_its_end() -> None:
    schedule = _planned(_config(PASSING, min_off_ns=5), (10, 20, False))
    assert _active(schedule, 21) == [(10, 20)]
    schedule.arm(1, 22, 40)
    assert _active(schedule, 60, begin=21) == [(25, 40)]


@pytest.mark.parametrize(
    ("limits", "windows", "spans"),
    [
        ({}, [(10, 20, True)], [(10, 20)]),
        ({}, [(10, 20, False)], []),
        ({}, [(10, 20, True), (20, 30, True)], [(10, 30)]),
        # An unreleased neighbour that touches the window does not overlap it.
        ({}, [(10, 20, True), (20, 30, False)], [(10, 20)]),
        ({}, [(2, 10, False), (10, 20, True)], [(10, 20)]),
        ({}, [(10, 20, True), (19, 30, False)], []),
        ({}, [(2, 11, False), (10, 20, True)], []),
        # A third part far away changes nothing.
        ({}, [(10, 20, True), (40, 50, False)], [(10, 20)]),
        ({}, [(10, 20, True), (40, 50, True), (2, 5, False)], [(10, 20), (40, 50)]),
        # The gate may be held for at most ``max_on``: a longer window would jam its part.
        ({"max_on_ns": 10}, [(10, 20, True)], [(10, 20)]),
        ({"max_on_ns": 9}, [(10, 20, True)], []),
        # It does not open late into a part: not even because it had to rest.
        ({"min_off_ns": 3}, [(10, 20, True), (23, 30, True)], [(10, 20), (23, 30)]),
        ({"min_off_ns": 4}, [(10, 20, True), (23, 30, True)], [(10, 20)]),
        (
            {"min_off_ns": 4, "timing_tolerance_ns": 1},
            [(10, 20, True), (23, 30, True)],
            [(10, 20), (24, 30)],
        ),
    ],
)
def test_a_rejecting_gate_opens_for_whole_windows_alone(
    limits: dict[str, int], windows: list[Window], spans: list[tuple[int, int]]
) -> None:
    assert _active(_planned(_config(REJECTING, **limits), *windows), 60) == spans


@pytest.mark.parametrize(("late_ns", "spans"), [(5, [(15, 30)]), (6, [])])
def test_a_gate_that_wakes_late_opens_within_the_tolerance(
    late_ns: int, spans: list[tuple[int, int]]
) -> None:
    schedule = _planned(_config(REJECTING, timing_tolerance_ns=5), (10, 30, True))
    assert schedule.advance(0) == []
    assert _active(schedule, 60, begin=10 + late_ns) == spans


def test_an_open_gate_closes_when_a_part_that_must_be_rejected_enters() -> None:
    schedule = _planned(_config(REJECTING), (10, 30, True))
    assert _active(schedule, 15) == [(10, 15)]
    schedule.arm(1, 18, 25)
    schedule.advance(17)
    assert schedule.active
    schedule.advance(18)
    assert not schedule.active


def test_before_the_first_lease_everything_is_rejected() -> None:
    passing, rejecting = PulseSchedule(_config(PASSING)), PulseSchedule(_config(REJECTING))
    rejecting.arm(1, 5, 10)
    assert rejecting.release(1, 0) is True
    for now in range(12):
        passing.advance(now)
        rejecting.advance(now)
        assert passing.active is True
        assert rejecting.active is False


def test_a_release_is_for_parts_whose_window_has_not_begun() -> None:
    schedule = _planned(_config(PASSING), (10, 20, False))
    assert schedule.release(7, 0) is False
    assert schedule.release(0, 10) is False
    assert schedule.release(0, 9) is True


def test_an_id_that_is_armed_again_after_its_window_has_no_release() -> None:
    schedule = _planned(_config(PASSING), (10, 20, True))
    assert _active(schedule, 21) == []
    schedule.arm(0, 30, 40)
    assert _active(schedule, 60, begin=21) == [(30, 40)]


def test_a_window_that_ends_now_is_over() -> None:
    schedule = _planned(_config(PASSING), (10, 20, True))
    schedule.advance(20)
    schedule.arm(0, 30, 40)
    assert _active(schedule, 60, begin=21) == [(30, 40)]


def test_a_window_that_passed_between_two_looks_is_missed() -> None:
    schedule = _planned(_config(PASSING), (10, 20, False), (12, 16, False), (30, 60, True))
    assert schedule.missed(19) == 4
    assert schedule.missed(20) == 10
    assert schedule.missed(70) == 10
    schedule.advance(5)
    assert schedule.missed(9) == 0
    assert schedule.missed(20) == 10


def test_what_began_before_the_last_look_or_has_not_ended_is_not_missed() -> None:
    schedule = _planned(_config(PASSING), (10, 20, False))
    schedule.advance(10)
    assert schedule.active and schedule.missed(30) == 0
    resting = _planned(_config(PASSING, min_off_ns=50), (1, 3, False))
    for now in (1, 3):
        resting.advance(now)
    resting.arm(1, 10, 20)
    resting.advance(10)
    assert not resting.active  # it rests
    assert resting.missed(25) == 0  # the look at its start was not late


def test_the_first_window_of_all_can_be_missed() -> None:
    schedule = PulseSchedule(_config(PASSING))
    schedule.arm(0, 1, 5)
    assert schedule.missed(5) == 4


def test_only_an_idle_passing_gate_misses() -> None:
    rejecting = _planned(_config(REJECTING), (10, 20, False))
    rejecting.advance(0)
    assert rejecting.missed(30) == 0
    active = _planned(_config(PASSING), (10, 40, False), (50, 60, False))
    active.advance(15)
    assert active.active and active.missed(70) == 0


def test_a_hold_wakes_at_its_end() -> None:
    schedule = _planned(_config(PASSING))
    schedule.reject_everything(30)
    schedule.advance(1)
    assert schedule.next_change_mono_ns() == 30
    schedule.end_reject_everything()
    schedule.advance(2)
    schedule.advance(3)
    assert not schedule.active and schedule.next_change_mono_ns() is None


def test_a_dead_core_rejects_for_ever_whatever_the_actuator_must_rest() -> None:
    schedule = _planned(_config(PASSING, max_on_ns=10), lease_ns=5)
    assert _woken(schedule, 40) == [(5, 15), (16, 26), (27, 37), (38, 40)]


def test_a_lease_is_never_shortened() -> None:
    schedule = _planned(_config(PASSING), lease_ns=50)
    schedule.renew_lease(20)
    schedule.advance(30)
    assert not schedule.active


@pytest.mark.parametrize(
    "action",
    [
        m.Arm(1, 30, 40),
        m.RejectEverything(None, "a reason"),
        m.EndRejectEverything(),
        m.RenewLease(50),
    ],
)
def test_only_a_release_can_come_too_late(
    action: m.Arm | m.RejectEverything | m.EndRejectEverything | m.RenewLease,
) -> None:
    schedule = _planned(_config(GateKind.NORMALLY_REJECTING), (10, 20, False))
    assert schedule.carry_out(action, 5) is True
    assert schedule.carry_out(m.Release(0), 15) is False
