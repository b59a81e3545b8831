"""The rule of the station, on the core alone: whatever is in doubt is rejected and named."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from edgeinspect.errors import Misaligned
from edgeinspect.line import messages as m
from edgeinspect.line.config import (
    AlarmConfig,
    FrameChecks,
    GateConfig,
    GateKind,
    LineConfig,
    ReviewAction,
)
from edgeinspect.part import (
    CameraControls,
    Doubt,
    FrameQuality,
    GateOutcome,
    PartRecord,
    VerdictKind,
)
from tests.helpers.core_samples import BOTH_GATES, T, was_rejected
from tests.helpers.line_bench import (
    GOOD_QUALITY,
    MS,
    RESTART_NS,
    Bench,
    line_config,
    seen,
    with_confirm,
    with_guard,
)


def only_record(bench: Bench) -> PartRecord:
    assert len(bench.records) == 1, bench.records
    return bench.records[0]


@BOTH_GATES
def test_good_part_in_time_passes(kind: GateKind) -> None:
    bench = Bench(line_config(kind))
    bench.good_part(T, 1)
    bench.until(T + 2_000 * MS)
    record = only_record(bench)
    assert record.verdict.kind is VerdictKind.PASS
    assert record.gate_outcome is GateOutcome.PASSED
    assert record.recipe_digest == "r1"
    assert not was_rejected(bench, T)


@BOTH_GATES
@pytest.mark.parametrize(
    ("score", "kind_of_verdict"),
    [(0.7, VerdictKind.REJECT), (1.0, VerdictKind.REJECT), (0.5, VerdictKind.REVIEW)],
)
def test_score_at_a_threshold_is_over_it(
    kind: GateKind, score: float, kind_of_verdict: VerdictKind
) -> None:
    bench = Bench(line_config(kind))
    bench.good_part(T, 1, score=score)
    bench.until(T + 2_000 * MS)
    record = only_record(bench)
    assert (record.verdict.kind, record.verdict.defect_class) == (kind_of_verdict, "scratch")
    assert record.gate_outcome is GateOutcome.REJECTED
    assert was_rejected(bench, T)


@BOTH_GATES
def test_review_passes_only_where_the_station_says_so(kind: GateKind) -> None:
    bench = Bench(line_config(kind, review_action=ReviewAction.PASS))
    bench.good_part(T, 1, score=0.6)
    bench.until(T + 2_000 * MS)
    assert only_record(bench).gate_outcome is GateOutcome.PASSED


@BOTH_GATES
@pytest.mark.parametrize("score", [float("nan"), float("inf"), -0.1, 1.1])
def test_impossible_score_is_an_engine_fault(kind: GateKind, score: float) -> None:
    bench = Bench(line_config(kind))
    bench.good_part(T, 1, score=score)
    bench.until(T + 2_000 * MS)
    assert only_record(bench).verdict.doubt is Doubt.ENGINE_FAILED
    assert was_rejected(bench, T)


@BOTH_GATES
def test_nothing_after_the_trigger_rejects(kind: GateKind) -> None:
    bench = Bench(line_config(kind))
    bench.trigger(T)
    bench.until(T + 2_000 * MS)
    assert only_record(bench).verdict.doubt is Doubt.NO_FRAME
    assert was_rejected(bench, T)


@BOTH_GATES
def test_frame_exposed_before_the_part_reached_the_lens_is_stale(kind: GateKind) -> None:
    bench = Bench(line_config(kind))
    bench.trigger(T)
    asked_again = bench.frame(T + 60 * MS - 1, T + 70 * MS)
    assert [type(action) for action in asked_again] == [m.Capture]
    bench.until(T + 2_000 * MS)
    assert only_record(bench).verdict.doubt is Doubt.STALE
    assert was_rejected(bench, T)


def test_stale_frame_is_answered_by_the_fresh_one_that_follows() -> None:
    bench = Bench(line_config())
    bench.trigger(T)
    bench.frame(T - 10 * MS, T + 62 * MS)
    assert [a.part_id for a in bench.frame(T + 60 * MS, T + 75 * MS)] == [1]  # type: ignore[union-attr]
    bench.give(m.Inspected(1, seen(0.1)), T + 90 * MS)
    bench.until(T + 2_000 * MS)
    assert only_record(bench).verdict.kind is VerdictKind.PASS


def test_camera_that_only_delivers_stale_frames_is_not_asked_for_ever() -> None:
    bench = Bench(line_config())
    bench.trigger(T)
    for nth in range(50):
        bench.frame(T - 50 * MS + nth, T + 70 * MS)
    assert len(bench.of(m.Capture)) <= 6


@BOTH_GATES
def test_frame_exposed_after_the_part_left_the_view(kind: GateKind) -> None:
    bench = Bench(line_config(kind))
    bench.trigger(T)
    bench.frame(T + 90 * MS + 1, T + 95 * MS)
    bench.until(T + 2_000 * MS)
    assert only_record(bench).verdict.doubt is Doubt.MISALIGNED
    assert was_rejected(bench, T)


@BOTH_GATES
@pytest.mark.parametrize(
    ("exposed_ms", "doubt"), [(60, Doubt.STALE), (61.9, Doubt.STALE), (88.1, Doubt.MISALIGNED)]
)
def test_a_frame_counts_only_if_it_is_fresh_by_more_than_its_stamp_may_be_off(
    kind: GateKind, exposed_ms: float, doubt: Doubt
) -> None:
    bench = Bench(line_config(kind))
    bench.trigger(T)
    bench.frame(T + round(exposed_ms * MS), T + 95 * MS, error_ns=2 * MS)
    bench.until(T + 2_000 * MS)
    assert only_record(bench).verdict.doubt is doubt
    assert was_rejected(bench, T)


@pytest.mark.parametrize("exposed_ms", [62, 88])
def test_a_frame_that_is_fresh_whatever_its_stamp_is_off_counts(exposed_ms: int) -> None:
    bench = Bench(line_config())
    bench.trigger(T)
    bench.frame(T + exposed_ms * MS, T + 95 * MS, error_ns=2 * MS)
    bench.give(m.Inspected(1, seen(0.1)), T + 120 * MS)
    bench.until(T + 2_000 * MS)
    frame = only_record(bench).frame
    assert frame is not None and frame.exposure_error_ns == 2 * MS
    assert only_record(bench).gate_outcome is GateOutcome.PASSED


def test_a_stamp_that_is_later_by_less_than_the_errors_is_no_new_exposure() -> None:
    bench = Bench(line_config())
    bench.trigger(T)
    bench.frame(T + 65 * MS, T + 70 * MS, error_ns=MS)
    bench.give(m.Inspected(1, seen(0.1)), T + 75 * MS)
    bench.trigger(T + 150 * MS)
    bench.frame(T + 67 * MS, T + 155 * MS, error_ns=MS)
    assert bench.core.status["frame_repeated"] == 1
    bench.frame(T + 67 * MS + 1, T + 156 * MS, error_ns=MS)
    assert bench.core.status["frame_repeated"] == 1
    assert bench.core.status["frame_stale"] == 1


@BOTH_GATES
def test_a_new_stamp_under_an_old_number_is_repeated(kind: GateKind) -> None:
    bench = Bench(line_config(kind))
    bench.sequence = 7
    bench.good_part(T, 1)
    bench.trigger(T + 200 * MS)
    bench.sequence = 3
    bench.frame(T + 265 * MS, T + 270 * MS)
    bench.until(T + 2_500 * MS)
    assert [r.verdict.doubt for r in bench.records] == [None, Doubt.REPEATED]
    assert was_rejected(bench, T + 200 * MS)


@BOTH_GATES
def test_same_frame_twice_serves_one_part_only(kind: GateKind) -> None:
    bench = Bench(line_config(kind))
    bench.good_part(T, 1)
    bench.trigger(T + 200 * MS)
    again = replace(bench.make_frame(T + 265 * MS, T + 270 * MS))
    bench.give(m.FrameArrived(again), T + 270 * MS)  # the sequence number did not move
    bench.until(T + 2_500 * MS)
    assert [r.verdict.doubt for r in bench.records] == [None, Doubt.REPEATED]
    assert was_rejected(bench, T + 200 * MS)


@BOTH_GATES
def test_same_picture_with_a_new_stamp_is_frozen(kind: GateKind) -> None:
    bench = Bench(line_config(kind))
    bench.trigger(T)
    bench.frame(T + 65 * MS, T + 70 * MS, content=7)
    bench.give(m.Inspected(1, seen(0.1)), T + 90 * MS)
    bench.trigger(T + 200 * MS)
    bench.frame(T + 265 * MS, T + 270 * MS, content=7)
    bench.until(T + 2_500 * MS)
    assert [r.verdict.doubt for r in bench.records] == [None, Doubt.FROZEN]
    assert was_rejected(bench, T + 200 * MS)


@BOTH_GATES
@pytest.mark.parametrize("age", [17, 300])
def test_a_picture_of_long_ago_is_frozen(kind: GateKind, age: int) -> None:
    bench = Bench(line_config(kind))
    for nth in range(age):
        bench.good_part(T + nth * 200 * MS, nth + 1)
    last = T + age * 200 * MS
    bench.trigger(last)
    bench.frame(last + 65 * MS, last + 70 * MS, content=1)
    bench.until(last + 2_500 * MS)
    assert [r.verdict.doubt for r in bench.records] == [*[None] * age, Doubt.FROZEN]
    assert bench.core.status["doubt_frozen"] == 1
    assert was_rejected(bench, last)


def test_frame_stamped_in_the_future_is_not_believed() -> None:
    bench = Bench(line_config())
    bench.trigger(T)
    bench.frame(T + 80 * MS, T + 70 * MS)
    bench.until(T + 2_000 * MS)
    assert only_record(bench).verdict.doubt is Doubt.STALE


@BOTH_GATES
def test_scores_after_the_deadline_are_late(kind: GateKind) -> None:
    bench = Bench(line_config(kind))
    bench.trigger(T)
    bench.frame(T + 65 * MS, T + 70 * MS)
    bench.give(m.Inspected(1, seen(0.1)), T + 855 * MS)
    bench.until(T + 2_000 * MS)
    assert only_record(bench).verdict.doubt is Doubt.LATE
    assert was_rejected(bench, T)
    assert bench.core.status["unexpected_inspection"] == 1


def test_scores_just_before_the_deadline_count() -> None:
    bench = Bench(line_config())
    bench.trigger(T)
    bench.frame(T + 65 * MS, T + 70 * MS)
    bench.give(m.Inspected(1, seen(0.1)), T + 855 * MS - 1)
    bench.until(T + 2_000 * MS)
    assert only_record(bench).gate_outcome is GateOutcome.PASSED


@BOTH_GATES
def test_release_that_the_pulse_thread_could_not_honour(kind: GateKind) -> None:
    bench = Bench(line_config(kind))
    bench.trigger(T)
    bench.frame(T + 65 * MS, T + 70 * MS)
    bench.schedule.arm(1, T + 80 * MS, T + 940 * MS)
    bench.give(m.Inspected(1, seen(0.1)), T + 90 * MS)
    bench.until(T + 2_000 * MS)
    assert only_record(bench).verdict.doubt is Doubt.LATE


@pytest.mark.parametrize(
    ("event", "doubt"),
    [
        (m.InspectionFailed(1, "boom"), Doubt.ENGINE_FAILED),
        (m.InspectionFailed.because(1, ValueError("x"), "x"), Doubt.ENGINE_FAILED),
        (m.InspectionFailed.because(1, Misaligned("x"), "x"), Doubt.MISALIGNED),
        (m.QueueOverflow(1, "inspect"), Doubt.OVERFLOW),
    ],
)
@BOTH_GATES
def test_failures_during_inspection(kind: GateKind, event: m.Event, doubt: Doubt) -> None:
    bench = Bench(line_config(kind))
    bench.trigger(T)
    bench.frame(T + 65 * MS, T + 70 * MS)
    bench.give(event, T + 80 * MS)
    bench.give(m.Inspected(1, seen(0.1)), T + 90 * MS)
    bench.until(T + 2_000 * MS)
    assert only_record(bench).verdict.doubt is doubt
    assert was_rejected(bench, T)


def test_camera_that_fails_is_named_with_its_words() -> None:
    bench = Bench(line_config())
    bench.trigger(T)
    bench.give(m.CaptureFailed(1, "cable pulled"), T + 80 * MS)
    bench.until(T + 2_000 * MS)
    verdict = only_record(bench).verdict
    assert (verdict.doubt, verdict.detail) == (Doubt.CAMERA_FAILED, "cable pulled")


QUALITY_CASES = [
    (FrameChecks(limits={"mean_min": 130.0}), Doubt.TOO_DARK),
    (FrameChecks(limits={"mean_max": 110.0}), Doubt.TOO_BRIGHT),
    (FrameChecks(limits={"focus_min": 91.0}), Doubt.BLURRED),
    (FrameChecks(controls=CameraControls(exposure_us=500.0)), Doubt.EXPOSURE_OFF_RECIPE),
    (FrameChecks(controls=CameraControls(gain=2.0)), Doubt.GAIN_OFF_RECIPE),
]


@pytest.mark.parametrize(("checks", "doubt"), QUALITY_CASES)
def test_picture_off_the_recipe_is_not_judged(checks: FrameChecks, doubt: Doubt) -> None:
    bench = Bench(line_config(checks=checks))
    bench.good_part(T, 1)
    bench.until(T + 2_000 * MS)
    assert only_record(bench).verdict.doubt is doubt
    assert was_rejected(bench, T)


def test_clipping_is_judged_by_share() -> None:
    quality = FrameQuality(mean=120.0, clipped_low=0.2, clipped_high=0.3, focus=90.0)
    cases = [
        (FrameChecks(limits={"clipped_low_max": 0.1}), Doubt.TOO_DARK),
        (FrameChecks(limits={"clipped_high_max": 0.1}), Doubt.SATURATED),
        (FrameChecks(limits={"clipped_low_max": 0.2, "clipped_high_max": 0.3}), None),
    ]
    for checks, doubt in cases:
        bench = Bench(line_config(checks=checks))
        bench.trigger(T)
        bench.frame(T + 65 * MS, T + 70 * MS)
        bench.give(m.Inspected(1, seen(0.1, quality=quality)), T + 90 * MS)
        bench.until(T + 2_000 * MS)
        assert only_record(bench).verdict.doubt is doubt


def test_not_a_number_in_the_quality_is_a_doubt() -> None:
    quality = replace(GOOD_QUALITY, focus=float("nan"))
    bench = Bench(line_config(checks=FrameChecks(limits={"focus_min": 10.0})))
    bench.trigger(T)
    bench.frame(T + 65 * MS, T + 70 * MS)
    bench.give(m.Inspected(1, seen(0.1, quality=quality)), T + 90 * MS)
    bench.until(T + 2_000 * MS)
    assert only_record(bench).verdict.doubt is Doubt.BLURRED


def test_bounce_makes_no_part() -> None:
    bench = Bench(line_config())
    bench.trigger(T)
    for offset in (1, 2, 4):
        bench.trigger(T + offset * MS)
    assert bench.core.parts_in_flight == 1
    assert bench.core.status["bounce"] == 3


@BOTH_GATES
def test_second_edge_inside_the_pitch_is_rejected_and_takes_its_neighbour_along(
    kind: GateKind,
) -> None:
    bench = Bench(line_config(kind))
    bench.trigger(T)
    bench.trigger(T + 50 * MS)
    bench.frame(T + 65 * MS, T + 70 * MS)
    bench.give(m.Inspected(1, seen(0.1)), T + 90 * MS)
    bench.until(T + 2_500 * MS)
    assert [r.verdict.doubt for r in bench.records] == [None, Doubt.TOO_CLOSE]
    assert bench.records[0].gate_outcome is not GateOutcome.PASSED
    assert was_rejected(bench, T + 50 * MS)


@BOTH_GATES
def test_several_parts_in_flight_keep_their_own_verdicts(kind: GateKind) -> None:
    bench = Bench(line_config(kind))
    scores = [0.1, 0.9, 0.1, 0.1, 0.6, 0.1]
    for nth, score in enumerate(scores):
        bench.good_part(T + nth * 200 * MS, nth + 1, score)
    assert bench.core.parts_in_flight >= 4
    bench.until(T + 4_000 * MS)
    assert [r.part_id for r in bench.records] == [1, 2, 3, 4, 5, 6]
    passed = [r.gate_outcome is GateOutcome.PASSED for r in bench.records]
    assert passed == [True, False, True, True, False, True]


@BOTH_GATES
def test_silent_core_lets_the_gate_reject_everything(kind: GateKind) -> None:
    """A released part is rejected again once the core hangs: nobody watches any more."""
    bench = Bench(line_config(kind))
    bench.good_part(T, 1)
    now = bench.now
    while now < T + 1_500 * MS:  # the schedule lives on alone
        now = bench.schedule.next_change_mono_ns() or T + 1_500 * MS
        bench.schedule.advance(now)
        if now > T + 400 * MS:
            assert bench.schedule.active is (kind is GateKind.NORMALLY_PASSING)


@pytest.mark.parametrize("gap_ms", [0, 100, 500])
def test_start_rejects_what_is_already_on_the_belt(gap_ms: int) -> None:
    bench = Bench(line_config(GateKind.NORMALLY_PASSING))
    assert bench.core.holds == ("starting",)
    cleared = RESTART_NS + (900 + 40) * MS
    bench.until(cleared - MS)
    assert bench.schedule.active
    bench.until(cleared + gap_ms)
    assert not bench.schedule.active
    assert bench.core.holds == () or bench.core.next_wake_mono_ns > bench.now


@BOTH_GATES
def test_belt_stop_with_fixed_delay_makes_every_part_unknown(kind: GateKind) -> None:
    bench = Bench(line_config(kind))
    bench.good_part(T, 1)
    bench.give(m.LineStopped(True, T + 300 * MS), T + 300 * MS)
    assert only_record(bench).verdict.doubt is Doubt.LINE_STOPPED
    bench.give(m.LineStopped(False, T + 5_000 * MS), T + 5_000 * MS)
    for late in (860, 900, 939, 939 + RESTART_NS // MS):
        bench.until(T + (5_000 + late) * MS)
        assert bench.schedule.active is (kind is GateKind.NORMALLY_PASSING)
    bench.good_part(T + 7_000 * MS, 2)
    bench.until(T + 9_000 * MS)
    assert bench.records[1].gate_outcome is GateOutcome.PASSED


def test_part_triggered_while_the_belt_stands_is_not_trusted() -> None:
    bench = Bench(line_config())
    bench.give(m.LineStopped(True, T), T)
    bench.trigger(T + 10 * MS)
    bench.give(m.LineStopped(False, T + 100 * MS), T + 100 * MS)
    bench.until(T + 2_000 * MS)
    assert only_record(bench).verdict.doubt is Doubt.LINE_STOPPED


@BOTH_GATES
def test_pause_rejects_and_resume_inspects_again(kind: GateKind) -> None:
    bench = Bench(line_config(kind))
    bench.give(m.Pause(), T)
    bench.good_part(T + 10 * MS, 1)
    bench.until(T + 1_500 * MS)
    bench.give(m.Resume(), T + 1_600 * MS)
    bench.good_part(T + 1_700 * MS, 2)
    bench.until(T + 4_000 * MS)
    assert [r.verdict.doubt for r in bench.records] == [Doubt.PAUSED, None]
    assert was_rejected(bench, T + 10 * MS)
    assert not was_rejected(bench, T + 1_700 * MS)


@BOTH_GATES
def test_guard_sensor_rejects_a_part_nobody_triggered(kind: GateKind) -> None:
    bench = Bench(with_guard(line_config(kind)))
    bench.good_part(T, 1)
    bench.give(m.GuardEdge(T + 750 * MS), T + 750 * MS)
    stranger = T + 950 * MS
    bench.give(m.GuardEdge(stranger), stranger)
    bench.until(T + 3_000 * MS)
    assert [r.verdict.doubt for r in bench.records] == [None, Doubt.UNTRIGGERED]
    assert bench.records[0].gate_outcome is GateOutcome.PASSED
    assert was_rejected(bench, stranger - 750 * MS)
    assert m.AlarmName.UNTRIGGERED_PART in bench.core.open_alarms


def test_part_that_never_reached_the_guard_is_lost() -> None:
    bench = Bench(with_guard(line_config()))
    bench.good_part(T, 1)
    bench.until(T + 3_000 * MS)
    assert only_record(bench).gate_outcome is GateOutcome.LOST
    assert m.AlarmName.PART_LOST in bench.core.open_alarms


def test_one_guard_edge_serves_one_part() -> None:
    bench = Bench(with_guard(line_config()))
    bench.good_part(T, 1)
    bench.give(m.GuardEdge(T + 740 * MS), T + 740 * MS)
    bench.give(m.GuardEdge(T + 760 * MS), T + 760 * MS)
    assert bench.core.status["untriggered"] == 1


def test_confirmed_and_unconfirmed_rejects() -> None:
    bench = Bench(with_confirm(line_config()))
    bench.good_part(T, 1, score=0.9)
    bench.give(m.ConfirmEdge(T + 950 * MS), T + 950 * MS)
    bench.good_part(T + 1_000 * MS, 2, score=0.9)
    bench.until(T + 3_000 * MS)
    outcomes = [r.gate_outcome for r in bench.records]
    assert outcomes == [GateOutcome.REJECT_CONFIRMED, GateOutcome.REJECT_UNCONFIRMED]
    assert m.AlarmName.REJECT_UNCONFIRMED in bench.core.open_alarms
    assert len(bench.of(m.RequestLineStop)) == 1
    bench.give(m.AcknowledgeAlarms())
    assert bench.core.open_alarms == ()


def test_confirm_edge_without_a_reject_raises_an_alarm() -> None:
    bench = Bench(with_confirm(line_config()))
    bench.until(T)
    bench.give(m.ConfirmEdge(T))
    assert bench.core.open_alarms == (m.AlarmName.UNEXPECTED_CONFIRM,)


def test_passed_part_seen_in_the_reject_chute_is_not_called_passed() -> None:
    bench = Bench(with_confirm(line_config()))
    bench.good_part(T, 1)
    bench.give(m.ConfirmEdge(T + 950 * MS), T + 950 * MS)
    bench.until(T + 3_000 * MS)
    assert only_record(bench).gate_outcome is GateOutcome.REJECT_CONFIRMED


def test_runs_of_rejects_and_of_doubts_raise_one_alarm_each() -> None:
    alarms = AlarmConfig(consecutive_rejects=3, consecutive_cannot_inspect=2)
    bench = Bench(line_config(alarms=alarms))
    for nth in range(4):
        bench.good_part(T + nth * 200 * MS, nth + 1, score=0.9)
    bench.until(T + 2_500 * MS)
    for nth in range(3):
        bench.trigger(T + 3_000 * MS + nth * 200 * MS)
    bench.until(T + 6_000 * MS)
    names = [alarm.name for alarm in bench.of(m.RaiseAlarm)]
    assert names == [m.AlarmName.CONSECUTIVE_REJECTS, m.AlarmName.CONSECUTIVE_CANNOT_INSPECT]


def test_recipe_changes_between_two_parts() -> None:
    bench = Bench(line_config())
    bench.trigger(T)
    strict = replace(line_config(), recipe_digest="r2")
    strict = replace(strict, thresholds=(replace(strict.thresholds[0], review=0.01, reject=0.05),))
    bench.give(m.ApplyConfig(strict), T + 10 * MS)
    bench.frame(T + 65 * MS, T + 70 * MS)
    bench.give(m.Inspected(1, seen(0.1)), T + 90 * MS)
    bench.good_part(T + 200 * MS, 2)
    bench.until(T + 3_000 * MS)
    assert [(r.recipe_digest, r.verdict.kind) for r in bench.records] == [
        ("r1", VerdictKind.PASS),
        ("r2", VerdictKind.REJECT),
    ]


def test_recipe_cannot_turn_the_gate_round() -> None:
    bench = Bench(line_config(GateKind.NORMALLY_PASSING))
    bench.give(m.ApplyConfig(line_config(GateKind.NORMALLY_REJECTING)), T)
    assert bench.core.status["configs_refused"] == 1
    bench.trigger(T + MS)
    bench.until(T + 2_000 * MS)
    assert was_rejected(bench, T + MS)


@BOTH_GATES
def test_stop_closes_every_record_and_rejects_what_comes_after(kind: GateKind) -> None:
    bench = Bench(line_config(kind))
    bench.good_part(T, 1)
    bench.give(m.Stop(), T + 100 * MS)
    bench.trigger(T + 200 * MS)
    assert not bench.core.drained
    bench.until(T + 4_000 * MS)
    assert bench.core.drained
    assert [(r.part_id, r.verdict.doubt) for r in bench.records] == [(1, None), (2, Doubt.STOPPED)]
    assert bench.records[0].gate_outcome is GateOutcome.PASSED


def test_more_parts_than_the_ledger_may_hold_are_rejected_by_name() -> None:
    bench = Bench(line_config(max_parts_in_flight=2))
    for nth in range(4):
        bench.trigger(T + nth * 200 * MS)
    bench.until(T + 4_000 * MS)
    doubts = [r.verdict.doubt for r in bench.records]
    assert doubts == [Doubt.NO_FRAME, Doubt.NO_FRAME, Doubt.OVERFLOW, Doubt.OVERFLOW]


def test_gate_that_may_not_be_held_long_enough_stops_the_line() -> None:
    gate = GateConfig(kind=GateKind.NORMALLY_PASSING, max_on_ns=50 * MS, lease_ns=200 * MS)
    bench = Bench(line_config(gate=gate))
    bench.until(1_500 * MS)
    bench.good_part(T, 1, score=0.9)
    bench.until(T + 2_000 * MS)
    assert only_record(bench).gate_outcome is GateOutcome.GATE_LIMITED
    assert len(bench.of(m.RequestLineStop)) == 1


@pytest.mark.parametrize("lease_ms", [60, 600, 60_000])
def test_a_long_lease_is_renewed_as_often_as_one_that_a_hang_can_be_distinguished_from(
    lease_ms: int,
) -> None:
    gate = GateConfig(kind=GateKind.NORMALLY_PASSING, lease_ns=lease_ms * MS)
    bench = Bench(line_config(gate=gate))
    bench.until(T)
    renewed = [a.until_mono_ns - lease_ms * MS for a in bench.of(m.RenewLease)]
    apart = {later - earlier for earlier, later in pairwise(renewed[1:])}
    assert apart == {min(lease_ms * MS // 3, 250 * MS)}


def test_every_event_for_an_unknown_part_is_harmless() -> None:
    bench = Bench(line_config())
    for event in (
        m.CaptureFailed(99, ""),
        m.Inspected(99, seen(0.1)),
        m.InspectionFailed(99, ""),
        m.ReleaseTooLate(99),
        m.QueueOverflow(99, "inspect"),
        m.QueueOverflow(None, "events"),
    ):
        assert not [a for a in bench.give(event, T) if isinstance(a, m.Release)]
    assert bench.records == []


def config_with_encoder() -> LineConfig:
    from edgeinspect.line.config import TrackConfig, Tracking, TriggerConfig

    track = TrackConfig(
        tracking=Tracking.ENCODER,
        to_lens=60,
        exposure_window=30,
        to_gate=900,
        window_before=40,
        window_after=40,
        encoder_max_counts_per_s=10_000,
    )
    trigger = TriggerConfig(debounce_ns=5 * MS, min_pitch=150)
    return line_config(track=track, trigger=trigger)


class Belt:
    """Moves an encoder at one count per ``ns_per_count`` and keeps the bench informed."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.count = 0

    def move(self, counts: int, ns_per_count: int = MS) -> None:
        for _ in range(counts):
            self.count += 1
            at = self.bench.now + ns_per_count
            self.bench.give(m.EncoderCount(self.count, at), at)


def test_encoder_follows_a_belt_that_slows_down() -> None:
    bench = Bench(config_with_encoder())
    belt = Belt(bench)
    belt.move(1_000)
    assert bench.core.holds == ()
    trigger = bench.now
    bench.trigger(trigger)
    belt.move(65)
    bench.frame(bench.now - MS, bench.now)
    bench.give(m.Inspected(1, seen(0.9)))
    belt.move(400, 2 * MS)
    belt.move(380, 3 * MS)
    assert not bench.schedule.active
    begun = bench.now
    belt.move(30, 3 * MS)
    assert bench.schedule.active
    belt.move(70, 3 * MS)
    assert not bench.schedule.active
    assert bench.spans[-1][0] - begun < 60 * MS
    bench.until(bench.now + 100 * MS)
    assert only_record(bench).gate_outcome is GateOutcome.REJECTED


def test_standing_belt_keeps_the_part_and_the_gate_waiting() -> None:
    bench = Bench(config_with_encoder())
    belt = Belt(bench)
    belt.move(1_000)
    bench.trigger(bench.now)
    belt.move(65)
    bench.frame(bench.now - MS, bench.now)
    bench.give(m.Inspected(1, seen(0.9)))
    belt.move(300)
    bench.until(bench.now + 60_000 * MS)
    assert bench.records == []
    assert not bench.schedule.active
    belt.move(600)
    bench.until(bench.now + 100 * MS)
    assert only_record(bench).gate_outcome is GateOutcome.REJECTED


def test_triggers_without_encoder_counts_reject_everything() -> None:
    bench = Bench(config_with_encoder())
    belt = Belt(bench)
    belt.move(1_000)
    bench.until(bench.now + 1_000 * MS)
    bench.trigger(bench.now)
    bench.trigger(bench.now + 300 * MS)
    assert bench.core.holds == ()  # counts that say otherwise could still be on their way
    bench.until(bench.now + 300 * MS)
    assert bench.core.holds == ("clearing",)
    bench.until(bench.now + 10_000 * MS)
    assert bench.schedule.active
    assert m.AlarmName.ENCODER_STALLED in bench.core.open_alarms
    belt.move(939)
    assert bench.schedule.active
    belt.move(2)
    assert not bench.schedule.active


@pytest.mark.parametrize("jump", [5_000, -500])
def test_encoder_that_jumps_is_not_believed(jump: int) -> None:
    bench = Bench(config_with_encoder())
    belt = Belt(bench)
    belt.move(1_000)
    bench.trigger(bench.now)
    belt.count += jump
    belt.move(1)
    assert only_record(bench).verdict.doubt is Doubt.ENCODER_STALLED
    assert bench.core.holds == ("clearing",)
    assert bench.schedule.active


@BOTH_GATES
def test_a_lock_has_no_end_whatever_else_holds(kind: GateKind) -> None:
    """A hold that ends by itself must not end what only a person ends."""
    bench = Bench(line_config(kind))
    bench.give(m.Lock(), T)
    bench.give(m.QueueOverflow(None, "events"), T + MS)
    assert bench.of(m.RejectEverything)[-1].until_mono_ns is None
    bench.until(T + 60_000 * MS)
    assert bench.core.holds == ("locked",)
    assert bench.schedule.active is (kind is GateKind.NORMALLY_PASSING)
    bench.give(m.Unlock(), T + 60_001 * MS)
    bench.until(T + 60_002 * MS)
    assert bench.core.holds == ()
    assert not bench.schedule.active


def test_an_overruled_part_counts_as_one_to_be_rejected() -> None:
    """So that a gate which lets it through all the same stops the line."""
    bench = Bench(line_config(GateKind.NORMALLY_PASSING))
    bench.good_part(T, 1)
    bench.until(T + 859 * MS)
    bench.core.handle(m.ReleaseTooLate(1), bench.now)
    bench.until(T + 1_000 * MS)
    record = only_record(bench)
    assert record.verdict.doubt is Doubt.LATE
    assert record.gate_outcome is GateOutcome.GATE_LIMITED
    assert [a.name for a in bench.of(m.RaiseAlarm)] == [m.AlarmName.GATE_LIMITED]
    assert len(bench.of(m.RequestLineStop)) == 1
