"""When an alarm is raised, how often, and what the numbers that a line is set up with mean."""

from __future__ import annotations

import dataclasses

import pytest

from edgeinspect.line.alarms import AlarmWatch
from edgeinspect.line.config import (
    AlarmConfig,
    ClassThresholds,
    FrameChecks,
    GateConfig,
    GateKind,
    LineConfig,
    TrackConfig,
    TriggerConfig,
)
from edgeinspect.line.messages import Action, AlarmName, RaiseAlarm, RequestLineStop
from edgeinspect.line.parts_lock import LockState, PartsLock
from edgeinspect.part import Doubt, GateOutcome, PartRecord, Verdict, VerdictKind
from tests.helpers.records_samples import sample_record

LIMITS = AlarmConfig(consecutive_rejects=3, consecutive_cannot_inspect=2, unconfirmed_rejects=2)
OFF = AlarmConfig(consecutive_rejects=0, consecutive_cannot_inspect=0, unconfirmed_rejects=0)
PASS = Verdict(VerdictKind.PASS, score=0.1)
REJECT = Verdict(VerdictKind.REJECT, "pit", 0.9)
REVIEW = Verdict(VerdictKind.REVIEW, "pit", 0.5)
BLURRED = Verdict(VerdictKind.CANNOT_INSPECT, doubt=Doubt.BLURRED)


def _record(verdict: Verdict, outcome: GateOutcome = GateOutcome.REJECTED) -> PartRecord:
    return dataclasses.replace(sample_record(7), verdict=verdict, gate_outcome=outcome)


def _note(
    watch: AlarmWatch,
    verdict: Verdict,
    outcome: GateOutcome = GateOutcome.REJECTED,
    *,
    must_be_rejected: bool = True,
    limits: AlarmConfig = LIMITS,
) -> list[Action]:
    return watch.note(_record(verdict, outcome), must_be_rejected=must_be_rejected, limits=limits)


def _raised(actions: list[Action]) -> list[AlarmName]:
    return [action.name for action in actions if isinstance(action, RaiseAlarm)]


def test_rejects_in_a_row_raise_one_alarm_at_the_limit() -> None:
    watch = AlarmWatch()
    assert _note(watch, REJECT) == _note(watch, REVIEW) == []
    (alarm,) = _note(watch, REJECT)
    assert isinstance(alarm, RaiseAlarm) and alarm.name is AlarmName.CONSECUTIVE_REJECTS
    assert alarm.part_id == 7 and "3 parts in a row" in alarm.detail
    assert _note(watch, REJECT) == []  # it is open already
    assert watch.open == (AlarmName.CONSECUTIVE_REJECTS,)


def test_a_pass_ends_the_run_and_a_doubt_too() -> None:
    watch = AlarmWatch()
    for verdict in (REJECT, REJECT, PASS, REJECT, REJECT, BLURRED, REVIEW, REVIEW):
        assert _note(watch, verdict) == []
    assert _raised(_note(watch, REVIEW)) == [AlarmName.CONSECUTIVE_REJECTS]


def test_doubts_in_a_row_raise_their_own_alarm_and_name_the_last_reason() -> None:
    watch = AlarmWatch()
    assert _note(watch, BLURRED) == []
    (alarm,) = _note(watch, BLURRED)
    assert isinstance(alarm, RaiseAlarm)
    assert alarm.name is AlarmName.CONSECUTIVE_CANNOT_INSPECT
    assert "2 parts in a row" in alarm.detail and "blurred" in alarm.detail


def test_acknowledging_closes_and_begins_to_count_anew() -> None:
    watch = AlarmWatch()
    for _ in range(3):
        _note(watch, REJECT)
    _note(watch, BLURRED)
    watch.acknowledge()
    assert watch.open == ()
    assert _note(watch, BLURRED) == []  # the one before does not count any more
    assert _note(watch, REJECT) == _note(watch, REJECT) == []
    assert _raised(_note(watch, REJECT)) == [AlarmName.CONSECUTIVE_REJECTS]


def test_a_limit_of_zero_leaves_an_alarm_out() -> None:
    watch = AlarmWatch()
    for verdict in (REJECT, REVIEW, BLURRED):
        for _ in range(20):
            assert _note(watch, verdict, GateOutcome.REJECT_UNCONFIRMED, limits=OFF) == []


def test_rejects_that_nobody_saw_fall_stop_the_line_at_the_limit() -> None:
    watch = AlarmWatch()
    unseen = GateOutcome.REJECT_UNCONFIRMED
    assert _note(watch, REJECT, unseen) == []
    raised = _note(watch, PASS, unseen)
    assert _raised(raised) == [AlarmName.REJECT_UNCONFIRMED]
    assert [a for a in raised if isinstance(a, RequestLineStop)]
    (again,) = _note(watch, PASS, unseen)  # open already, and the line is stopped once more
    assert isinstance(again, RequestLineStop)


def test_without_the_wish_the_line_is_not_stopped() -> None:
    watch = AlarmWatch()
    limits = dataclasses.replace(LIMITS, unconfirmed_rejects=1, stop_line_on_unconfirmed=False)
    raised = _note(watch, REJECT, GateOutcome.REJECT_UNCONFIRMED, limits=limits)
    assert [type(action) for action in raised] == [RaiseAlarm]


def test_a_reject_that_was_seen_ends_the_run_of_unseen_ones() -> None:
    watch = AlarmWatch()
    unseen, seen = GateOutcome.REJECT_UNCONFIRMED, GateOutcome.REJECT_CONFIRMED
    for outcome in (unseen, seen, unseen, seen):
        assert _note(watch, PASS, outcome) == []
    assert _note(watch, PASS, unseen) == []
    assert _raised(_note(watch, PASS, unseen)) == [AlarmName.REJECT_UNCONFIRMED]


def test_other_outcomes_leave_the_run_of_unseen_ones_alone() -> None:
    watch = AlarmWatch()
    assert _note(watch, PASS, GateOutcome.REJECT_UNCONFIRMED) == []
    assert _note(watch, PASS, GateOutcome.PASSED) == []
    raised = _note(watch, PASS, GateOutcome.REJECT_UNCONFIRMED)
    assert _raised(raised) == [AlarmName.REJECT_UNCONFIRMED]


def test_a_released_part_that_the_chute_did_not_see_is_no_unseen_reject() -> None:
    watch = AlarmWatch()
    for _ in range(5):
        found = _note(watch, PASS, GateOutcome.REJECT_UNCONFIRMED, must_be_rejected=False)
        assert found == []


def test_a_gate_that_could_not_cover_a_bad_part_stops_the_line_each_time() -> None:
    watch = AlarmWatch()
    alarm, stop = _note(watch, PASS, GateOutcome.GATE_LIMITED)
    assert isinstance(alarm, RaiseAlarm) and alarm.name is AlarmName.GATE_LIMITED
    assert isinstance(stop, RequestLineStop) and "part 7" in alarm.detail
    (again,) = _note(watch, PASS, GateOutcome.GATE_LIMITED)
    assert isinstance(again, RequestLineStop)
    assert _note(AlarmWatch(), PASS, GateOutcome.GATE_LIMITED, must_be_rejected=False) == []


def test_lost_and_untriggered_parts_have_alarms() -> None:
    watch = AlarmWatch()
    assert _raised(_note(watch, PASS, GateOutcome.LOST)) == [AlarmName.PART_LOST]
    untriggered = Verdict(VerdictKind.CANNOT_INSPECT, doubt=Doubt.UNTRIGGERED)
    assert _raised(_note(watch, untriggered)) == [AlarmName.UNTRIGGERED_PART]


def test_the_lock_closes_when_its_master_has_ended_and_for_no_other_part() -> None:
    lock = PartsLock()
    assert lock.end_of(1) is False
    lock.lock()
    lock.announce()
    assert lock.admits(5) is True
    assert lock.end_of(4) is False and lock.state is LockState.MASTER_IN_FLIGHT
    assert lock.end_of(5) is True and lock.state is LockState.LOCKED
    assert lock.end_of(5) is False
    lock.announce()
    assert lock.admits(6) is True and lock.admits(7) is False


def test_unlocking_forgets_a_master_on_its_way() -> None:
    lock = PartsLock()
    lock.lock()
    lock.announce()
    lock.admits(5)
    lock.unlock()
    assert lock.end_of(5) is False and lock.state is LockState.OPEN
    lock.lock()
    assert lock.state is LockState.LOCKED


@pytest.mark.parametrize("part_id", [0, 1, -1])
def test_no_master_is_no_part(part_id: int) -> None:
    lock = PartsLock()
    lock.lock()
    assert lock.end_of(part_id) is False and lock.state is LockState.LOCKED


def test_a_line_that_says_nothing_gets_the_documented_numbers() -> None:
    line = LineConfig(
        trigger=TriggerConfig(debounce_ns=1, min_pitch=1),
        track=TrackConfig(to_lens=1, exposure_window=1, to_gate=9, window_before=1, window_after=1),
        gate=GateConfig(kind=GateKind.NORMALLY_PASSING),
        thresholds=(ClassThresholds(name="pit", review=0.1, reject=0.2),),
    )
    gate, track, checks, alarms = line.gate, line.track, line.checks, line.alarms
    assert (gate.min_off_ns, gate.max_on_ns, gate.lease_ns) == (0, None, 100_000_000)
    assert (gate.decision_margin_ns, gate.timing_tolerance_ns) == (5_000_000, 5_000_000)
    assert gate.settle_ns == 20_000_000
    assert (track.guard_tolerance, track.frame_timeout_ns) == (0, 100_000_000)
    assert (track.encoder_timeout_ns, track.encoder_jitter_ns) == (200_000_000, 1_000_000)
    assert (checks.exposure_tolerance, checks.gain_tolerance) == (0.05, 0.05)
    assert (checks.white_balance_tolerance, checks.lens_tolerance) == (0.05, 0.1)
    assert checks == FrameChecks() and checks.reject_frozen is True
    assert (alarms.consecutive_rejects, alarms.consecutive_cannot_inspect) == (5, 5)
    assert (alarms.unconfirmed_rejects, alarms.stop_line_on_unconfirmed) == (1, True)
    assert line.max_parts_in_flight == 64
