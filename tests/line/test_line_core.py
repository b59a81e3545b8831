"""The core to the nanosecond: when it wakes, what it does at each edge of time, what it counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeinspect.line import messages as m
from edgeinspect.line.config import (
    ClassThresholds,
    ConfirmConfig,
    GateConfig,
    GateKind,
    LineConfig,
    TrackConfig,
    Tracking,
    TriggerConfig,
)
from edgeinspect.line.core import FRAMES_WAITING, REARM_NS, STOP_PATIENCE_NS, LineCore
from edgeinspect.line.parts_lock import LockState
from edgeinspect.line.reject import FOREVER_NS
from edgeinspect.part import (
    Doubt,
    Frame,
    FrameMeta,
    GateOutcome,
    PartRecord,
    VerdictKind,
)
from tests.helpers.line_bench import MS, RESTART_NS, line_config, seen

PASSING, REJECTING = GateKind.NORMALLY_PASSING, GateKind.NORMALLY_REJECTING
LEASE_NS = 750 * MS
RENEWED_NS = 250 * MS
T = 1_000 * MS


class Shell:
    """Ticks the core exactly when it asks to be woken, and keeps what it does and when."""

    def __init__(self, config: LineConfig, *, now: int = 0) -> None:
        self.core = LineCore(config, next_part_id=1, now_mono_ns=now)
        self.now = now
        self.log: list[tuple[int, m.Action]] = []
        self._sequence = 0
        self._take(self.core.start(now))

    def until(self, mono_ns: int) -> Shell:
        while self.core.next_wake_mono_ns <= mono_ns:
            self.now = self.core.next_wake_mono_ns
            self._take(self.core.handle(m.Tick(), self.now))
            assert self.core.next_wake_mono_ns > self.now
        self.now = mono_ns
        return self

    def give(self, event: m.Event, at: int) -> list[m.Action]:
        """Everything that is due by then comes first."""
        self.until(at)
        return self._take(self.core.handle(event, at))

    def trigger(self, at: int) -> list[m.Action]:
        return self.give(m.TriggerEdge(at), at)

    def frame(self, exposed: int, at: int) -> list[m.Action]:
        self._sequence += 1
        pixels = np.frombuffer(self._sequence.to_bytes(8, "little"), np.uint8).reshape(2, 4)
        meta = FrameMeta(self._sequence, exposed, at)
        return self.give(m.FrameArrived(Frame(meta, pixels)), at)

    def good_part(self, at: int, part_id: int, score: float = 0.1) -> None:
        self.trigger(at)
        self.frame(at + 65 * MS, at + 70 * MS)
        self.give(m.Inspected(part_id, seen(score)), at + 90 * MS)

    def count(self, counts: Iterable[int]) -> None:
        """Each is stamped, and comes, at its number of milliseconds."""
        for count in counts:
            self.give(m.EncoderCount(count, count * MS), count * MS)

    def at(self, kind: type[m.Action]) -> list[int]:
        return [when for when, action in self.log if isinstance(action, kind)]

    @property
    def records(self) -> list[PartRecord]:
        return [action.record for _, action in self.log if isinstance(action, m.Record)]

    def _take(self, actions: list[m.Action]) -> list[m.Action]:
        self.log += [(self.now, action) for action in actions]
        return actions


def kinds(actions: list[m.Action]) -> list[type[m.Action]]:
    return [type(action) for action in actions]


def by_time(kind: GateKind = REJECTING, **changes: object) -> LineConfig:
    """Lens at 60 to 90 ms, gate at 860 to 940 ms; deadline at 855, record at 960."""
    gate = GateConfig(kind=kind, min_off_ns=10 * MS, lease_ns=LEASE_NS)
    return replace(line_config(kind), gate=gate, **changes)  # type: ignore[arg-type]


def by_count(kind: GateKind = REJECTING, **track: Any) -> LineConfig:
    """Lens at 6 to 9 counts, guard at 75, gate at 86 to 94."""
    wired = TrackConfig(
        tracking=Tracking.ENCODER,
        to_lens=6,
        exposure_window=3,
        to_gate=90,
        window_before=4,
        window_after=4,
        to_guard=75,
        guard_tolerance=2,
        frame_timeout_ns=30 * MS,
    )
    return LineConfig(
        trigger=TriggerConfig(debounce_ns=1, min_pitch=20),
        track=replace(wired, **track),
        gate=GateConfig(kind=kind, lease_ns=LEASE_NS),
        thresholds=(ClassThresholds(name="scratch", review=0.5, reject=0.7),),
    )


def moving(kind: GateKind = REJECTING, **track: Any) -> Shell:
    shell = Shell(by_count(kind, **track))
    shell.count(range(1, 501))
    shell.log.clear()
    return shell


# --- waking -------------------------------------------------------------------------------------


def test_a_core_that_has_not_started_wakes_for_its_lease_and_knows_the_time() -> None:
    core = LineCore(by_time(), next_part_id=1, now_mono_ns=T)
    assert core.next_wake_mono_ns == T + RENEWED_NS
    assert core.handle(m.Tick(), T - MS) == [m.RenewLease(T + LEASE_NS)]


def test_the_start_renews_the_lease_from_its_own_time() -> None:
    core = LineCore(by_time(), next_part_id=1, now_mono_ns=T)
    assert core.start(T + MS) == [m.RenewLease(T + MS + LEASE_NS)]
    assert core.next_wake_mono_ns == T + MS + RENEWED_NS


def test_the_start_of_a_normally_passing_gate_rejects_until_the_belt_is_clear() -> None:
    core = LineCore(by_time(PASSING), next_part_id=1, now_mono_ns=T)
    assert core.start(T) == [
        m.RejectEverything(T + RESTART_NS + 940 * MS, "starting"),
        m.RenewLease(T + LEASE_NS),
    ]


@pytest.mark.parametrize(("lease_ms", "every_ms"), [(90, 30), (750, 250), (900, 250)])
def test_the_lease_is_renewed_by_ticks_alone_three_times_while_it_lasts(
    lease_ms: int, every_ms: int
) -> None:
    config = by_time()
    shell = Shell(replace(config, gate=replace(config.gate, lease_ns=lease_ms * MS)))
    shell.give(m.Pause(), 10 * MS)
    shell.until(3 * every_ms * MS)
    assert shell.at(m.RenewLease) == [n * every_ms * MS for n in range(4)]
    assert shell.log[-1] == (shell.now, m.RenewLease(shell.now + lease_ms * MS))


def test_a_part_without_a_frame_is_judged_and_recorded_to_the_nanosecond() -> None:
    shell = Shell(by_time())
    actions = shell.trigger(T)
    assert actions == [
        m.Arm(1, T + 860 * MS, T + 940 * MS),
        m.Capture(1, T + 60 * MS, T + 190 * MS),
    ]
    shell.until(T + 2_000 * MS)
    (record,) = shell.records
    assert (record.verdict.doubt, record.verdict_mono_ns) == (Doubt.NO_FRAME, T + 190 * MS)
    assert (record.gate_outcome, shell.at(m.Record)) == (GateOutcome.REJECTED, [T + 960 * MS])


def test_a_part_without_an_answer_is_judged_at_its_deadline() -> None:
    shell = Shell(by_time())
    shell.trigger(T)
    shell.frame(T + 65 * MS, T + 70 * MS)
    shell.until(T + 2_000 * MS)
    (record,) = shell.records
    assert (record.verdict.doubt, record.verdict_mono_ns) == (Doubt.LATE, T + 855 * MS)
    assert record.frame_mono_ns == T + 70 * MS
    assert shell.at(m.Record) == [T + 960 * MS]


@pytest.mark.parametrize("late_ns", [-1, 0, 1])
def test_an_answer_at_the_deadline_is_late(late_ns: int) -> None:
    shell = Shell(by_time())
    shell.trigger(T)
    shell.frame(T + 65 * MS, T + 70 * MS)
    at = T + 855 * MS + late_ns
    actions = shell.core.handle(m.Inspected(1, seen(0.1)), at)
    assert kinds(actions) == ([m.Release] if late_ns < 0 else [])
    assert shell.core.status["unexpected_inspection"] == (0 if late_ns < 0 else 1)


@pytest.mark.parametrize("late_ns", [-1, 0])
def test_a_frame_at_its_deadline_is_too_late(late_ns: int) -> None:
    shell = Shell(by_time())
    shell.trigger(T)
    shell.until(T + 66 * MS)
    pixels = np.zeros((2, 4), np.uint8)
    frame = Frame(FrameMeta(1, T + 65 * MS, T + 66 * MS), pixels)
    actions = shell.core.handle(m.FrameArrived(frame), T + 190 * MS + late_ns)
    assert kinds(actions) == ([m.Inspect] if late_ns < 0 else [])


def test_a_hold_over_a_time_ends_by_itself_and_so_does_its_name() -> None:
    shell = Shell(by_time(PASSING))
    end = RESTART_NS + 940 * MS
    shell.until(end - 1)
    assert shell.core.holds == ("starting",)
    shell.until(end - 1 + RENEWED_NS)
    assert shell.core.holds == ()


def test_silences_of_the_encoder_are_noted_when_they_are_due() -> None:
    shell = moving()
    shell.trigger(500 * MS)
    assert shell.log[0] == (500 * MS, m.Arm(1, 586 * MS, 594 * MS))
    shell.log.clear()
    shell.until(504 * MS)
    assert shell.log == []
    overdue = 504 * MS + 1
    shell.until(overdue)
    assert shell.log[0] == (overdue, m.Arm(1, 586 * MS, FOREVER_NS))
    shell.until(700 * MS - 1)
    assert len(shell.at(m.Arm)) == 1
    shell.until(700 * MS)
    assert shell.log[-2] == (700 * MS, m.Arm(1, FOREVER_NS, FOREVER_NS))


def test_a_silence_is_noted_before_anything_else_is_handled() -> None:
    shell = moving()
    shell.trigger(500 * MS)
    overdue = 504 * MS + 1
    assert shell.core.handle(m.AcknowledgeAlarms(), overdue) == [m.Arm(1, 586 * MS, FOREVER_NS)]
    assert shell.core.handle(m.AcknowledgeAlarms(), overdue + 1) == []


@pytest.mark.parametrize(
    ("away_ns", "start_mono_ns"), [(2 * RENEWED_NS, FOREVER_NS), (2 * RENEWED_NS + 1, 586 * MS)]
)
def test_who_was_away_for_two_renewals_takes_no_silence_for_a_belt_that_stands(
    away_ns: int, start_mono_ns: int
) -> None:
    shell = moving()
    shell.trigger(500 * MS)
    actions = shell.core.handle(m.AcknowledgeAlarms(), 500 * MS + away_ns)
    assert actions == [m.Arm(1, start_mono_ns, FOREVER_NS)]


@pytest.mark.parametrize(("late_ns", "armed_again"), [(50_000, False), (50_001, True)])
def test_a_prediction_is_reported_again_once_an_end_of_the_window_has_moved_enough(
    late_ns: int, armed_again: bool
) -> None:
    """At 570 the window's end, 24 counts ahead, moves four times as far as the count is late."""
    shell = moving()
    shell.trigger(500 * MS)
    shell.count(range(501, 570))
    at = 570 * MS + late_ns
    actions = shell.give(m.EncoderCount(570, at), at)
    assert (m.Arm in kinds(actions)) is armed_again
    assert REARM_NS == 4 * 50_000


def test_a_part_whose_edge_no_count_has_settled_is_uncertain_and_not_without_a_frame() -> None:
    shell = moving()
    shell.trigger(500 * MS + MS // 2)
    shell.give(m.Stop(at_once=True), 600 * MS)
    (record,) = shell.records
    assert record.verdict.doubt is Doubt.POSITION_UNCERTAIN
    assert record.verdict_mono_ns == (586 - 5) * MS


@pytest.mark.parametrize(("early_ns", "seen"), [(1, False), (0, True)])
def test_a_belt_is_steady_from_the_moment_that_is_stated(early_ns: int, seen: bool) -> None:
    shell = Shell(by_time())
    assert (m.Capture in kinds(shell.trigger(RESTART_NS - early_ns))) is seen
    assert shell.core.belt_is_steady is seen


# --- what it counts -----------------------------------------------------------------------------


def test_everything_that_happens_is_counted_once() -> None:
    config = by_time(confirm=ConfirmConfig(earliest_ns=0, latest_ns=120 * MS))
    shell = Shell(config)
    shell.good_part(T, 1)
    shell.give(m.GateActivated(T + 850 * MS, T + 945 * MS), T + 946 * MS)
    shell.trigger(T + 1_000 * MS)
    shell.trigger(T + 1_001 * MS)
    shell.good_part(T + 2_000 * MS, 3, score=0.9)
    shell.give(m.Inspected(3, seen(0.9)), T + 2_091 * MS)
    shell.give(m.ConfirmEdge(T + 1_500 * MS), T + 2_100 * MS)
    shell.give(m.ApplyConfig(config), T + 2_110 * MS)
    shell.give(m.ApplyConfig(line_config()), T + 2_120 * MS)
    shell.give(m.AnnounceMaster(), T + 2_130 * MS)
    shell.frame(T + 100 * MS, T + 2_140 * MS)
    shell.give(m.QueueOverflow(99, "frames"), T + 2_150 * MS)
    shell.until(T + 4_000 * MS)
    shell.give(m.LineStopped(True, shell.now), shell.now)
    shell.give(m.LineStopped(False, shell.now), shell.now)
    assert dict(shell.core.status) == {
        "triggers": 3,
        "bounce": 1,
        "PASS": 1,
        "REJECT": 1,
        "CANNOT_INSPECT": 1,
        "doubt_no_frame": 1,
        "gate_passed": 1,
        "gate_reject_unconfirmed": 2,
        "unexpected_inspection": 1,
        "unexpected_confirm": 1,
        "configs_applied": 1,
        "configs_refused": 1,
        "masters_refused": 1,
        "frame_repeated": 1,
        "overflow_frames": 1,
        "line_stops": 1,
    }


def test_a_record_holds_frame_scores_and_times() -> None:
    shell = Shell(by_time())
    shell.good_part(T, 1, score=0.9)
    shell.until(T + 2_000 * MS)
    (record,) = shell.records
    assert record.inspection == seen(0.9)
    assert record.verdict.kind is VerdictKind.REJECT
    assert (record.frame_mono_ns, record.verdict_mono_ns) == (T + 70 * MS, T + 90 * MS)
    assert record.frame is not None
    assert record.frame.exposure_mono_ns == T + 65 * MS


# --- a part and its frame -----------------------------------------------------------------------


@pytest.mark.parametrize(("failed_ms", "doubt"), [(70, Doubt.CAMERA_FAILED), (200, Doubt.NO_FRAME)])
def test_a_capture_that_fails_is_reported_once_and_in_time(failed_ms: int, doubt: Doubt) -> None:
    shell = Shell(by_time())
    shell.trigger(T)
    shell.give(m.CaptureFailed(1, "unplugged"), T + failed_ms * MS)
    shell.until(T + 2_000 * MS)
    (record,) = shell.records
    assert record.verdict.doubt is doubt


def test_a_capture_that_fails_after_a_refused_frame_is_named_by_the_frame() -> None:
    shell = Shell(by_time())
    shell.trigger(T)
    shell.frame(T + 10 * MS, T + 65 * MS)
    shell.give(m.CaptureFailed(1, "six times"), T + 70 * MS)
    shell.until(T + 2_000 * MS)
    (record,) = shell.records
    assert (record.verdict.doubt, record.verdict.detail) == (Doubt.STALE, "six times")


def test_a_capture_that_fails_for_a_part_under_inspection_says_nothing_of_it() -> None:
    shell = Shell(by_time())
    shell.trigger(T)
    shell.frame(T + 65 * MS, T + 70 * MS)
    shell.give(m.CaptureFailed(1, "late"), T + 75 * MS)
    assert kinds(shell.give(m.Inspected(1, seen(0.1)), T + 80 * MS)) == [m.Release]


def test_six_frames_are_asked_for_a_part_and_no_more() -> None:
    shell = Shell(by_time())
    shell.trigger(T)
    for n in range(10):
        shell.frame(T + n, T + 65 * MS + n)
    assert len(shell.at(m.Capture)) == 6


def test_a_frame_exposed_after_the_view_settles_it_at_once() -> None:
    shell = Shell(by_time())
    shell.trigger(T)
    assert shell.frame(T + 91 * MS, T + 95 * MS) == []
    shell.until(T + 2_000 * MS)
    (record,) = shell.records
    assert (record.verdict.doubt, record.verdict_mono_ns) == (Doubt.MISALIGNED, T + 95 * MS)
    assert record.verdict.detail.startswith("exposed after")


def test_as_many_frames_may_wait_for_counts_as_there_is_room_for() -> None:
    shell = moving()
    shell.trigger(500 * MS)
    assert FRAMES_WAITING == 16
    for n in range(16):
        assert shell.frame(506 * MS + n, 507 * MS) == []
    assert "frame_position_uncertain" not in shell.core.status
    assert kinds(shell.frame(506 * MS + 100, 507 * MS)) == [m.Capture]
    assert shell.core.status["frame_position_uncertain"] == 1
    actions = shell.give(m.EncoderCount(507, 507 * MS), 508 * MS)
    assert m.Inspect not in kinds(actions), "501 to 507 are not told apart"


def test_a_frame_from_the_future_holds_up_no_other() -> None:
    shell = moving()
    shell.trigger(500 * MS)
    assert kinds(shell.frame(900 * MS, 506 * MS)) == [m.Capture]
    assert shell.core.status["frame_stale"] == 1
    assert shell.frame(507 * MS, 507 * MS) == []
    readings = tuple((n, n * MS) for n in range(501, 507))
    actions = shell.give(m.EncoderCount(507, 507 * MS, readings), 508 * MS)
    assert m.Inspect in kinds(actions)


# --- where a part is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edge_ms", "count", "detail"),
    [
        (503, 501, None),  # it was at 500: 3 counts behind
        (504, 501, "it was 4 counts from its estimated position"),
        (503, 504, None),  # it was somewhere from 500 to 503
        (503, 505, "it was 4 counts from its estimated position"),
        (502, 505, "it was 4 counts from its estimated position"),
    ],
)
def test_a_part_may_be_as_far_from_where_it_seemed_as_the_view_is_long(
    edge_ms: int, count: int, detail: str | None
) -> None:
    shell = moving()
    assert kinds(shell.trigger(edge_ms * MS)) == [m.Arm, m.Capture]
    actions = shell.give(m.EncoderCount(count, 505 * MS), 505 * MS)
    actions += shell.give(m.EncoderCount(count + 1, 506 * MS), 506 * MS)
    shell.give(m.Stop(at_once=True), 506 * MS)
    (record,) = shell.records
    if detail is None:
        assert record.verdict.doubt is Doubt.STOPPED
        assert (m.Capture in kinds(actions)) is (count == 501), "asked for anew where it moved"
    else:
        assert (record.verdict.doubt, record.verdict.detail) == (Doubt.POSITION_UNCERTAIN, detail)
        assert m.Capture not in kinds(actions)


def test_a_part_before_the_first_count_is_doubted_at_once_and_placed_by_that_count() -> None:
    shell = Shell(by_count())
    assert kinds(shell.trigger(50 * MS)) == [m.Arm]
    shell.until(400 * MS)
    shell.give(m.EncoderCount(5_000, 400 * MS), 400 * MS)
    shell.give(m.Stop(at_once=True), 400 * MS)
    (record,) = shell.records
    assert (record.verdict.doubt, record.verdict_mono_ns) == (
        Doubt.POSITION_UNCERTAIN,
        50 * MS,
    )
    assert (record.verdict.detail, record.encoder_count) == ("", 5_000)


def test_a_part_older_than_all_counts_is_doubted_by_name() -> None:
    shell = moving()
    shell.give(m.TriggerEdge(MS // 2), 500 * MS)
    shell.give(m.Stop(at_once=True), 500 * MS)
    (record,) = shell.records
    assert record.verdict.doubt is Doubt.POSITION_UNCERTAIN
    assert record.verdict.detail == "the encoder count at the part's trigger is unknown"


@pytest.mark.parametrize(
    ("kind", "d_ns", "armed"), [(REJECTING, 16_000, False), (REJECTING, 16_001, True)]
)
def test_the_gate_hears_of_predictions_that_moved_by_more_than_it_matters(
    kind: GateKind, d_ns: int, armed: bool
) -> None:
    """Its end is 92 counts ahead, and the speed is that of 8 intervals: 12.5 times as much."""
    assert REARM_NS == 200_000
    shell = moving(kind)
    shell.give(m.TriggerEdge(499 * MS), 500 * MS)
    actions = shell.give(m.EncoderCount(501, 501 * MS + d_ns), 501 * MS + d_ns)
    assert (m.Arm in kinds(actions)) is armed


def released_at_500() -> Shell:
    shell = moving()
    shell.trigger(500 * MS)
    shell.count(range(501, 508))
    shell.frame(507 * MS, 507 * MS)
    shell.count([508])
    assert m.Release in kinds(shell.give(m.Inspected(1, seen(0.1)), 508 * MS))
    shell.log.clear()
    return shell


def test_a_released_part_is_armed_for_what_is_surely_its_own() -> None:
    shell = released_at_500()
    overdue = 512 * MS + 1
    shell.until(overdue)
    assert shell.log[0] == (overdue, m.Arm(1, FOREVER_NS, 594 * MS))
    shell.count([513])
    assert isinstance(shell.log[-1][1], m.Arm)


def test_a_part_released_while_a_count_is_overdue_is_armed_before_it_is_released() -> None:
    shell = moving()
    shell.trigger(500 * MS)
    shell.count(range(501, 508))
    shell.frame(507 * MS, 507 * MS)
    shell.count([508])
    assert shell.give(m.Inspected(1, seen(0.1)), 512 * MS + 2) == [
        m.Arm(1, FOREVER_NS, 594 * MS),
        m.Release(1),
    ]


def test_a_part_that_a_silence_puts_under_the_lens_gets_its_frame_at_that_tick() -> None:
    shell = moving(to_lens=0, to_gate=900, to_guard=750)
    shell.trigger(503 * MS)
    shell.until(749 * MS)
    assert shell.at(m.Capture) == [503 * MS]
    shell.until(1_000 * MS)
    assert len(shell.at(m.Capture)) == 2, "the belt stood 3 counts before where it seemed to be"


def test_a_part_that_is_judged_while_the_belt_stands_asks_for_no_frame_any_more() -> None:
    shell = moving()
    shell.until(800 * MS)
    assert kinds(shell.trigger(800 * MS)) == [m.Arm]
    shell.give(m.QueueOverflow(1, "frames"), 810 * MS)
    shell.give(m.EncoderCount(501, 900 * MS), 900 * MS)
    shell.give(m.EncoderCount(502, 901 * MS), 901 * MS)
    assert shell.at(m.Capture) == []


def test_a_part_that_comes_while_the_belt_stands_gets_its_frame_when_it_moves() -> None:
    shell = moving()
    shell.until(800 * MS)
    shell.trigger(800 * MS)
    shell.give(m.EncoderCount(501, 900 * MS), 900 * MS)
    assert shell.at(m.Capture) == []
    shell.give(m.EncoderCount(502, 901 * MS), 901 * MS)
    assert shell.at(m.Capture) == [901 * MS]


# --- distrust and holds ---------------------------------------------------------------------------


@pytest.mark.parametrize(("early_ns", "recorded"), [(1, True), (0, False)])
def test_a_stop_takes_back_every_part_whose_window_has_not_begun(
    early_ns: int, recorded: bool
) -> None:
    shell = Shell(by_time())
    shell.good_part(T, 1)
    at = T + 860 * MS - early_ns
    shell.give(m.LineStopped(True, at), at)
    assert len(shell.records) == recorded
    if recorded:
        (record,) = shell.records
        assert (record.verdict.doubt, record.verdict_mono_ns) == (Doubt.LINE_STOPPED, at)
        assert record.gate_outcome is GateOutcome.REJECTED


def test_a_release_that_came_too_late_is_a_part_that_must_be_rejected() -> None:
    """The gate let nothing through it, so it is no fault of the gate's."""
    shell = Shell(by_time())
    shell.good_part(T, 1)
    assert shell.give(m.ReleaseTooLate(1), T + 861 * MS) == []
    shell.until(T + 2_000 * MS)
    (record,) = shell.records
    assert (record.verdict.doubt, record.verdict_mono_ns) == (Doubt.LATE, T + 861 * MS)
    assert record.gate_outcome is GateOutcome.REJECTED


def test_what_was_never_released_cannot_be_released_too_late() -> None:
    shell = Shell(by_time())
    shell.good_part(T, 1, score=0.9)
    shell.give(m.ReleaseTooLate(1), T + 861 * MS)
    shell.until(T + 2_000 * MS)
    assert shell.records[0].verdict.kind is VerdictKind.REJECT


def test_a_full_queue_is_no_doubt_about_a_part_that_is_judged() -> None:
    shell = Shell(by_time())
    shell.good_part(T, 1)
    shell.give(m.QueueOverflow(1, "records"), T + 95 * MS)
    shell.until(T + 2_000 * MS)
    assert shell.records[0].verdict.kind is VerdictKind.PASS
    assert shell.core.status["overflow_records"] == 1


def test_the_start_hold_of_an_unknown_belt_lasts_for_its_way_after_the_first_count() -> None:
    shell = Shell(by_count(PASSING))
    shell.until(1_000 * MS)
    shell.count(range(5_000, 5_094))
    assert shell.core.holds == ("starting",)
    shell.count([5_094])
    assert shell.core.holds == ()
    assert kinds([action for _, action in shell.log])[-1] is m.EndRejectEverything


def test_holds_begin_again_when_the_counts_do() -> None:
    shell = Shell(by_count(PASSING))
    shell.count(range(5_000, 5_050))
    for n in range(3, 100):
        shell.give(m.EncoderCount(n, (5_050 + n) * MS), (5_050 + n) * MS)
        if n == 3:
            assert shell.core.holds == ("starting", "clearing")
    assert shell.core.holds == ()
    assert shell.core.status["encoder_distrusted"] == 1
    assert shell.at(m.RequestLineStop) == [5_053 * MS]


def test_pause_and_lock_reach_the_gate_at_once() -> None:
    shell = Shell(by_time())
    assert shell.give(m.Pause(), T) == [m.RejectEverything(None, "paused")]
    assert shell.give(m.Lock(), T) == [m.RejectEverything(None, "paused, locked")]
    assert shell.give(m.Resume(), T) == [m.RejectEverything(None, "locked")]
    assert shell.give(m.AnnounceMaster(), T) == []
    assert shell.give(m.Unlock(), T) == [m.EndRejectEverything()]


def test_a_lock_has_no_end_in_time_whatever_else_holds() -> None:
    shell = Shell(by_time(PASSING))
    end = RESTART_NS + 940 * MS
    assert shell.give(m.Lock(), MS) == [m.RejectEverything(None, "starting, locked")]
    assert shell.give(m.Unlock(), MS) == [m.RejectEverything(end, "starting")]


def test_a_master_goes_its_way_and_the_part_behind_it_does_not() -> None:
    shell = Shell(by_time())
    shell.give(m.Lock(), T)
    shell.give(m.AnnounceMaster(), T)
    assert shell.core.lock_state is LockState.AWAITING_MASTER
    assert kinds(shell.trigger(T)) == [m.Arm, m.EndRejectEverything, m.Capture]
    assert kinds(shell.trigger(T + 200 * MS)) == [m.Arm]
    shell.until(T + 959 * MS)
    assert shell.core.holds == ()
    shell.until(T + 960 * MS)
    assert shell.core.holds == ("locked",)
    reported = [action for _, action in shell.log if isinstance(action, m.RejectEverything)]
    assert reported[-1] == m.RejectEverything(None, "locked")
    shell.until(T + 2_000 * MS)
    assert [record.verdict.doubt for record in shell.records] == [Doubt.NO_FRAME, Doubt.LOCKED]
    assert shell.at(m.RejectEverything) == [T, T + 960 * MS]


# --- the other sensors ----------------------------------------------------------------------------


def test_a_guard_edge_that_no_count_explains_is_a_part_before_it_is_at_the_gate() -> None:
    shell = moving()
    assert shell.give(m.GuardEdge(503 * MS), 503 * MS) == []
    due = (503 + 90 - 4 - 75 - 5) * MS
    shell.until(due - 1)
    assert shell.core.parts_in_flight == 0
    shell.until(due)
    assert (shell.core.parts_in_flight, shell.core.status["untriggered"]) == (1, 1)
    shell.give(m.EncoderCount(501, 520 * MS), 520 * MS)
    shell.give(m.Stop(at_once=True), 521 * MS)
    (record,) = shell.records
    assert record.verdict.doubt is Doubt.UNTRIGGERED
    assert (record.trigger_mono_ns, record.encoder_count) == (503 * MS, 500 - 75)


def test_a_guard_edge_where_no_guard_is_stated_is_a_part_at_the_trigger_sensor() -> None:
    shell = moving(to_guard=None)
    shell.give(m.GuardEdge(500 * MS), 500 * MS)
    assert shell.log == [(500 * MS, m.Arm(1, 586 * MS, 594 * MS))]
    shell.give(m.GuardEdge(503 * MS), 503 * MS)
    shell.until((503 + 86 - 5) * MS - 1)
    assert shell.core.status["untriggered"] == 1
    shell.until((503 + 86 - 5) * MS)
    assert shell.core.status["untriggered"] == 2


def test_a_part_that_the_guard_found_is_not_expected_there_again() -> None:
    shell = moving()
    shell.give(m.GuardEdge(500 * MS), 500 * MS)
    assert shell.core.status["untriggered"] == 1
    shell.count([501])
    shell.give(m.GuardEdge(501 * MS), 501 * MS)
    assert shell.core.status["untriggered"] == 2


def test_a_guard_edge_that_waits_keeps_a_station_from_having_stopped() -> None:
    shell = moving()
    shell.give(m.GuardEdge(503 * MS), 503 * MS)
    assert not shell.core.drained
    shell.give(m.Stop(), 503 * MS)
    assert not shell.core.drained
    shell.give(m.Stop(at_once=True), 504 * MS)
    assert shell.core.drained
    (record,) = shell.records
    assert (record.trigger_mono_ns, record.verdict.doubt) == (503 * MS, Doubt.UNTRIGGERED)


def test_what_falls_into_the_chute_is_expected_from_a_reject_or_while_all_is_rejected() -> None:
    config = by_time(confirm=ConfirmConfig(earliest_ns=0, latest_ns=100 * MS))
    shell = Shell(config)
    shell.trigger(T)
    assert shell.give(m.ConfirmEdge(T + 900 * MS), T + 900 * MS) == []
    assert kinds(shell.give(m.ConfirmEdge(T + 901 * MS), T + 901 * MS)) == [m.RaiseAlarm]
    shell.give(m.AcknowledgeAlarms(), T + 902 * MS)
    assert shell.core.open_alarms == ()
    shell.give(m.Pause(), T + 903 * MS)
    assert shell.give(m.ConfirmEdge(T + 904 * MS), T + 904 * MS) == []
    assert shell.core.status["unexpected_confirm"] == 1


# --- commands -----------------------------------------------------------------------------------


def test_neither_the_gate_nor_the_kind_of_tracking_changes_while_it_runs() -> None:
    shell = Shell(by_time())
    other_gate = replace(by_time(), gate=replace(by_time().gate, settle_ns=1))
    other_track = replace(by_time(), track=by_count().track)
    for config in (other_gate, other_track):
        shell.give(m.ApplyConfig(config), T)
    assert shell.core.status["configs_refused"] == 2
    shell.give(m.ApplyConfig(replace(by_time(), recipe_digest="r2")), T)
    assert shell.core.status["configs_applied"] == 1


def test_a_challenge_that_is_due_is_an_alarm() -> None:
    shell = Shell(by_time())
    assert shell.give(m.DemandChallenge("every shift"), T) == [
        m.RaiseAlarm(m.AlarmName.CHALLENGE_DUE, None, "every shift")
    ]
    assert shell.core.open_alarms == (m.AlarmName.CHALLENGE_DUE,)


def test_a_station_without_parts_has_stopped_when_it_is_asked_to() -> None:
    shell = Shell(by_time())
    assert not shell.core.drained
    shell.give(m.Stop(), T)
    assert shell.core.drained
    assert shell.core.next_wake_mono_ns == T + RENEWED_NS


def test_a_part_that_comes_after_the_stop_is_closed_when_the_belt_is_clear() -> None:
    shell = Shell(by_time())
    shell.give(m.Stop(), T)
    assert kinds(shell.trigger(T + 500 * MS)) == [m.Arm]
    shell.until(T + 3_000 * MS)
    (record,) = shell.records
    assert record.verdict.doubt is Doubt.STOPPED
    assert shell.at(m.Record) == [T + (940 + 20) * MS]


def test_a_station_stops_without_the_parts_on_a_belt_that_stands() -> None:
    shell = moving()
    shell.trigger(500 * MS)
    shell.give(m.Stop(), 501 * MS)
    shell.give(m.Stop(), 900 * MS)
    shell.until(10_000 * MS)
    assert shell.at(m.Record) == [501 * MS + STOP_PATIENCE_NS + 20 * MS]
    assert STOP_PATIENCE_NS == 2_000 * MS


def test_a_stop_waits_for_the_chutes_sensor_to_confirm_the_last_part() -> None:
    config = by_time(confirm=ConfirmConfig(earliest_ns=0, latest_ns=500 * MS))
    shell = Shell(config)
    shell.trigger(T)
    shell.give(m.Stop(), T)
    shell.give(m.ConfirmEdge(T + 1_400 * MS), T + 1_400 * MS)
    shell.until(T + 3_000 * MS)
    (record,) = shell.records
    assert record.gate_outcome is GateOutcome.REJECT_CONFIRMED
    assert shell.at(m.Record) == [T + (940 + 500) * MS]


def test_how_late_an_answer_was_is_reported_to_a_tenth_of_a_millisecond() -> None:
    config = by_time()
    far = replace(config.track, to_gate=900_000 * MS)
    shell = Shell(replace(config, track=far))
    shell.trigger(T)
    shell.frame(T + 65 * MS, T + 70 * MS)
    deadline = T + 900_000 * MS - 45 * MS
    shell.give(m.Inspected(1, seen(0.1)), deadline + MS)
    shell.until(T + 1_000_000 * MS)
    (record,) = shell.records
    assert record.verdict.detail == (
        "inference: came 1.0 ms after the deadline, 899886.0 ms after its frame arrived"
    )


def test_a_stop_at_once_closes_what_nobody_has_judged() -> None:
    shell = Shell(by_time())
    shell.trigger(T)
    shell.good_part(T + 200 * MS, 2, score=0.9)
    shell.give(m.Stop(at_once=True), T + 300 * MS)
    assert [r.verdict.doubt for r in shell.records] == [Doubt.NO_FRAME, None]
    shell.trigger(T + 310 * MS)
    assert shell.core.drained is False
    shell.until(T + 310 * MS + RENEWED_NS)
    assert [r.verdict.doubt for r in shell.records][2:] == [Doubt.STOPPED]


# --- what nobody could have seen in time ----------------------------------------------------------


def told_of_missed_rejects(shell: Shell, stopped: int, heard: int) -> bool:
    actions = shell.give(m.LineStopped(True, stopped), heard)
    alarms = [action for action in actions if isinstance(action, m.RaiseAlarm)]
    recalls = [action for action in actions if isinstance(action, m.RequestLineStop)]
    assert [alarm.name for alarm in alarms] == [m.AlarmName.GATE_LIMITED] * len(recalls)
    assert [alarm.detail for alarm in alarms] == [recall.reason for recall in recalls]
    return bool(recalls)


@pytest.mark.parametrize(
    ("stopped", "heard", "missed"),
    [
        (935 * MS, 940 * MS, False),  # no later than the window has room for
        (935 * MS - 1, 940 * MS, True),
        (930 * MS, 940 * MS - 1, False),  # the gate was still closed
        (940 * MS, 950 * MS, False),  # it had left before the belt stopped
        (940 * MS - 1, 950 * MS, True),
        (939 * MS, 970 * MS, True),  # it has its record already
    ],
)
@pytest.mark.parametrize("settle_ns", [0, 20 * MS])
def test_a_stop_heard_of_after_a_reject_s_pulse_had_ended(
    stopped: int, heard: int, missed: bool, settle_ns: int
) -> None:
    config = by_time()
    shell = Shell(replace(config, gate=replace(config.gate, settle_ns=settle_ns)))
    shell.trigger(T)
    assert told_of_missed_rejects(shell, T + stopped, T + heard) is missed


@pytest.mark.parametrize("heard_ms", [950, 970])
def test_a_released_part_is_no_missed_reject(heard_ms: int) -> None:
    shell = Shell(by_time())
    shell.good_part(T, 1)
    assert not told_of_missed_rejects(shell, T + 939 * MS, T + heard_ms * MS)


def test_a_part_that_a_stop_took_back_was_not_missed_at_its_old_window() -> None:
    shell = Shell(by_time())
    shell.trigger(T)
    shell.give(m.LineStopped(True, T + 100 * MS), T + 100 * MS)
    shell.give(m.LineStopped(False, T + 200 * MS), T + 200 * MS)
    assert not told_of_missed_rejects(shell, T + 930 * MS, T + 945 * MS)


def test_of_several_rejects_the_one_that_ended_last_is_remembered() -> None:
    """The second one came under a recipe with a shorter way, and was recorded first."""
    config = by_time()
    shell = Shell(config)
    shell.trigger(T)
    shorter = replace(config, track=replace(config.track, to_gate=200 * MS))
    shell.give(m.ApplyConfig(shorter), T + 10 * MS)
    shell.trigger(T + 735 * MS)
    shell.until(T + 970 * MS)
    assert [record.part_id for record in shell.records] == [1]
    shell.until(T + 999 * MS)
    assert [record.part_id for record in shell.records] == [1, 2]
    assert told_of_missed_rejects(shell, T + 974 * MS, T + 1_000 * MS)


@pytest.mark.parametrize(
    ("count", "distrusted"),
    [(501, True), (510, False)],  # it stood at 500; it was anywhere from 500 to 509
)
def test_parts_that_come_although_the_encoder_surely_stands_still(
    count: int, distrusted: bool
) -> None:
    shell = moving()
    shell.trigger(800 * MS)
    shell.trigger(900 * MS)
    actions = shell.give(m.EncoderCount(count, 950 * MS), 950 * MS)
    assert (m.RequestLineStop in kinds(actions)) is distrusted
    assert shell.core.status["encoder_distrusted"] == distrusted


def test_parts_too_close_on_a_belt_that_moves_are_the_parts_fault() -> None:
    shell = moving()
    shell.trigger(500 * MS)
    shell.count(range(501, 511))
    assert kinds(shell.trigger(510 * MS)) == [m.Arm]
    assert "encoder_distrusted" not in shell.core.status


def test_the_ledger_holds_as_many_parts_as_the_station_says() -> None:
    shell = Shell(by_time(max_parts_in_flight=2))
    for n in range(3):
        shell.trigger(T + n * 200 * MS)
    shell.until(T + 3_000 * MS)
    assert [r.verdict.doubt for r in shell.records] == [
        Doubt.NO_FRAME,
        Doubt.NO_FRAME,
        Doubt.OVERFLOW,
    ]
