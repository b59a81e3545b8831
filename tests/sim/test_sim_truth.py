"""The truth account: what it counts, and that nothing wrong goes uncounted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from edgeinspect.part import (
    Doubt,
    FrameMeta,
    FrameQuality,
    GateOutcome,
    Inspection,
    PartRecord,
    Verdict,
    VerdictKind,
)
from edgeinspect.sim.devices import CodedEye, CodedJudge
from edgeinspect.sim.presets import MS, SECOND, line_config
from edgeinspect.sim.rendered import RenderedParts
from edgeinspect.sim.truth import Account, FrameTruth, TruthLog, settle
from edgeinspect.sim.world import End, LensView, SimPart

REJECTING = "normally-rejecting"
PASS = Verdict(VerdictKind.PASS, score=0.1)
REJECT = Verdict(VerdictKind.REJECT, defect_class="defect", score=0.9)
NO_FRAME = Verdict(VerdictKind.CANNOT_INSPECT, doubt=Doubt.NO_FRAME)


class Story:
    """Parts, one a second, with what the station recorded of them."""

    def __init__(self) -> None:
        self.log = TruthLog(configs={"recipe-a": line_config(gate=REJECTING)})

    def part(self, end: End | None, *, defective: bool = False, triggered: bool = True) -> SimPart:
        number = len(self.log.parts)
        part = SimPart(number, defective, 0.1, 0, sensor_ns=(number + 1) * SECOND, end=end)
        part.trigger_sees = part.edge_delivered = triggered
        self.log.parts.append(part)
        if triggered:
            self.log.edges.append((part.sensor_ns or 0, 1))
        return part

    def record(
        self,
        part: SimPart,
        verdict: Verdict,
        *,
        shows: SimPart | None = None,
        outcome: GateOutcome = GateOutcome.PASSED,
        placed: bool = True,
        late_ns: int = 0,
        exposure_ns: int = 60 * MS,
    ) -> PartRecord:
        at_ns = part.sensor_ns or 0
        sequence = len(self.log.frames) + 1
        shown = part if shows is None else shows
        self.log.frames[sequence] = FrameTruth(shown.number, placed, at_ns + exposure_ns)
        quality = FrameQuality(mean=100, clipped_low=0, clipped_high=0, focus=100)
        record = PartRecord(
            part_id=part.number + 1,
            trigger_mono_ns=at_ns,
            verdict=verdict,
            gate_outcome=outcome,
            recipe_digest="recipe-a",
            frame=FrameMeta(sequence, at_ns + exposure_ns, at_ns + exposure_ns + 8 * MS),
            inspection=Inspection((verdict.score, 0.0), "defect", verdict.score, quality),
            verdict_mono_ns=at_ns + 100 * MS + late_ns,
            deadline_mono_ns=at_ns + 850 * MS,
        )
        self.log.records.append(record)
        return record

    def account(self, gate: str = REJECTING) -> Account:
        return settle(self.log, gate=gate, tracking="delay", seed=1, simulated_s=1.0)


def test_an_honest_day_adds_up() -> None:
    story = Story()
    story.record(story.part(End.LEFT), PASS)
    story.record(story.part(End.REJECTED, defective=True), REJECT)
    story.record(story.part(End.REJECTED), REJECT)
    story.record(story.part(End.REJECTED), NO_FRAME)
    story.part(End.REJECTED, triggered=False)
    account = story.account()
    assert account.good
    assert (account.parts, account.triggered, account.defective) == (5, 4, 1)
    assert (account.left, account.rejected) == (1, 4)
    assert (account.false_rejects, account.doubtful_rejects) == (1, 2)
    assert (account.cannot_inspect, account.missed_trigger) == (1, 1)
    assert account.doubts == {"no_frame": 1}
    assert account.escapes == account.lost == account.untriggered_passed == 0


@pytest.mark.parametrize(
    "how",
    [
        {"verdict": REJECT},
        {"verdict": NO_FRAME},
        {"late_ns": SECOND},
        {"placed": False},
        {"exposure_ns": -MS},
        {"verdict": replace(PASS, score=0.7)},
        {"verdict": Verdict(VerdictKind.REVIEW, defect_class="defect", score=0.5)},
    ],
)
def test_a_part_that_left_without_meeting_the_rule_is_wrongly_passed(
    how: dict[str, object],
) -> None:
    story = Story()
    story.record(story.part(End.LEFT), **({"verdict": PASS} | how))  # type: ignore[arg-type]
    account = story.account()
    assert account.wrongly_passed == 1
    assert not account.good
    assert account.findings


@pytest.mark.parametrize(
    ("exposure_ns", "out"),
    [(60 * MS - 1, 1), (60 * MS, 0), (90 * MS, 0), (90 * MS + 1, 1)],
)
@pytest.mark.parametrize("verdict", [PASS, REJECT, NO_FRAME])
def test_a_verdict_on_a_frame_exposed_outside_the_view_counts(
    exposure_ns: int, out: int, verdict: Verdict
) -> None:
    story = Story()
    story.record(story.part(End.REJECTED), verdict, exposure_ns=exposure_ns)
    judged = out if verdict is not NO_FRAME else 0
    account = story.account()
    assert account.out_of_view == judged
    assert account.good is not bool(judged)


@pytest.mark.parametrize("verdict", [PASS, REJECT])
def test_a_verdict_on_a_picture_that_is_shown_again_is_swapped(verdict: Verdict) -> None:
    story = Story()
    story.record(story.part(End.REJECTED), verdict)
    story.log.frames[1] = replace(story.log.frames[1], shown_again=True)
    account = story.account()
    assert account.swapped == 1
    assert not account.good


def test_a_part_that_left_without_any_record_is_wrongly_passed_and_lost() -> None:
    story = Story()
    story.part(End.LEFT, defective=True)
    account = story.account()
    assert account.wrongly_passed == account.lost == account.unaccounted == account.escapes == 1


def test_an_untriggered_part_that_left_is_named_and_excused_only_for_a_blind_gate() -> None:
    story = Story()
    story.part(End.LEFT, triggered=False)
    for gate, wrongly_passed in (
        (REJECTING, 1),
        ("normally-passing-guarded", 1),
        ("normally-passing", 0),
    ):
        account = story.account(gate)
        assert account.untriggered_passed == 1
        assert account.wrongly_passed == wrongly_passed


def test_a_record_of_another_part_is_swapped() -> None:
    story = Story()
    first, second = story.part(End.REJECTED), story.part(End.REJECTED)
    story.record(first, REJECT)
    story.record(second, REJECT, shows=first)
    assert story.account().swapped == 1


def test_a_pass_without_a_part_in_the_picture_is_swapped() -> None:
    story = Story()
    record = story.record(story.part(End.REJECTED), PASS)
    assert record.frame is not None
    story.log.frames[record.frame.sequence] = FrameTruth(None, False, 0)
    assert story.account().swapped == 1


def test_a_doubt_about_another_part_is_no_swap() -> None:
    story = Story()
    first, second = story.part(End.REJECTED), story.part(End.REJECTED)
    story.record(first, REJECT)
    story.record(second, NO_FRAME, shows=first)
    assert story.account().good


def test_ids_and_frames_are_used_once() -> None:
    story = Story()
    record = story.record(story.part(End.REJECTED), REJECT)
    story.log.records.append(replace(record, part_id=99))
    assert story.account().duplicated == 1
    story.log.records[-1] = replace(record, frame=None)
    assert story.account().duplicated == 1


def test_bounce_needs_no_record_but_a_second_edge_does() -> None:
    story = Story()
    part = story.part(End.REJECTED)
    story.record(part, REJECT)
    edge_ns = part.sensor_ns or 0
    story.log.edges += [(edge_ns + MS, 1), (edge_ns + 7 * MS, 1)]
    assert story.account().good
    story.log.edges.append((edge_ns + 8 * MS, 1))
    account = story.account()
    assert account.lost == account.unaccounted == 1


def test_what_died_with_the_station_is_named_unless_the_part_left() -> None:
    story = Story()
    part = story.part(End.RECALLED)
    record = story.record(part, PASS)
    story.log.records.clear()
    story.log.died.append(record)
    story.part(End.RECALLED)
    story.log.deaths[1] = 3 * SECOND
    account = story.account()
    assert account.good
    assert account.died_with_station == 2
    part.end = End.LEFT
    account = story.account()
    assert account.unaccounted == 1
    assert account.wrongly_passed == 0
    story.log.died_while_refused.add(record.part_id)
    account = story.account()
    assert account.unaccounted == 0
    assert account.died_unwritten_left == 1


def test_a_trigger_long_before_a_crash_did_not_die_in_it() -> None:
    story = Story()
    story.part(End.RECALLED)
    story.log.deaths[1] = 3600 * SECOND
    assert story.account().lost == 1


def test_a_part_without_an_end_is_unaccounted() -> None:
    story = Story()
    story.record(story.part(None), PASS)
    assert story.account().unaccounted == 1


def test_parts_that_the_ledger_calls_lost_are_lost() -> None:
    story = Story()
    story.record(story.part(End.LEFT), PASS, outcome=GateOutcome.LOST)
    account = story.account()
    assert account.lost == account.ledger_lost == 1
    assert account.good


def test_accounts_add_up_and_go_through_json() -> None:
    story = Story()
    story.record(story.part(End.REJECTED), NO_FRAME)
    one = replace(story.account(), failing_shards=((1, 2),))
    both = one + one
    assert both.parts == 2
    assert both.doubts == {"no_frame": 2}
    assert both.failing_shards == ((1, 2), (1, 2))
    assert both.seed == one.seed
    assert json.loads(json.dumps(both.as_dict()))["good"] is True


def test_the_judge_sees_nothing_but_pixels() -> None:
    eye, judge = CodedEye(), CodedJudge()
    part = SimPart(5, True, 0.75, 0)
    story = Story()
    frame_of = story.record(story.part(End.REJECTED), REJECT).frame
    assert frame_of is not None

    def inspect(view: LensView) -> Inspection:
        from edgeinspect.part import Frame

        return judge.inspect(Frame(frame_of, eye.expose(view, 1)))

    assert inspect(LensView(part, 0, True)).scores == (0.75, 0.0)
    assert inspect(LensView(part, 0, False)).scores == (0.0, 1.0)
    assert inspect(LensView(None)).quality.mean < 40
    first = eye.expose(LensView(part, 0, True), 1)
    assert not np.array_equal(first, eye.expose(LensView(part, 0, True), 2))


def test_rendered_parts_are_what_they_say_they_are() -> None:
    parts = RenderedParts(seed=3, defect_rate=0.5)
    made = [parts.make(number)[0] for number in range(20)]
    assert made == [bool(parts.defects_of(number)) for number in range(20)]
    assert 0 < sum(made) < 20
    part = SimPart(1, made[1], 0.0, 0)
    placed = parts.expose(LensView(part, 2 * MS, True), 5)
    moved = parts.expose(LensView(part, 60 * MS, False), 6)
    belt = parts.expose(LensView(None), 7)
    assert placed.shape == moved.shape == belt.shape
    assert placed.dtype == np.uint8
    assert not np.array_equal(placed, moved)
    assert belt.mean() < placed.mean()


@pytest.mark.parametrize(("counted", "mislocated"), [(100, 0), (102, 0), (103, 1), (90, 1)])
def test_a_part_judged_at_another_count_than_it_was_triggered_at_is_mislocated(
    counted: int, mislocated: int
) -> None:
    story = Story()
    part = story.part(End.LEFT)
    story.log.records.append(replace(story.record(part, PASS), encoder_count=counted))
    del story.log.records[0]
    story.log.counts[part.sensor_ns or 0] = 100
    account = story.account()
    assert account.mislocated == mislocated
    assert account.good is not bool(mislocated)


@pytest.mark.parametrize(("counted", "out_of_view"), [(111, 1), (112, 0), (118, 0), (119, 1)])
def test_with_an_encoder_a_frame_is_out_of_view_by_what_was_counted(
    counted: int, out_of_view: int
) -> None:
    """The lens is 12 counts behind the trigger sensor, and a part is in view for 6 more."""
    story = Story()
    story.log.configs["recipe-a"] = line_config(gate=REJECTING, tracking="encoder")
    part = story.part(End.LEFT)
    record = replace(story.record(part, PASS), encoder_count=100)
    story.log.records[:] = [record]
    story.log.counts[part.sensor_ns or 0] = 100
    assert record.frame is not None
    shown = story.log.frames[record.frame.sequence]
    story.log.frames[record.frame.sequence] = replace(shown, counted=counted)
    account = story.account()
    assert account.out_of_view == out_of_view
    assert account.good is not bool(out_of_view)
