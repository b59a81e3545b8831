"""The parts in flight: what the gate did with each, and which sensor edge belongs to which."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.line.config import (
    ConfirmConfig,
    GateConfig,
    GateKind,
    LineConfig,
    ReviewAction,
    TrackConfig,
    Tracking,
    TriggerConfig,
)
from edgeinspect.line.ledger import InFlight, Ledger, Stage, lets_pass
from edgeinspect.line.messages import GateActivated
from edgeinspect.line.track import Place
from edgeinspect.part import Doubt, GateOutcome, Verdict, VerdictKind

NOW = 1_000
BOTH_GATES = pytest.mark.parametrize("kind", list(GateKind))


def config(
    kind: GateKind = GateKind.NORMALLY_PASSING,
    *,
    guard: int | None = None,
    confirm: ConfirmConfig | None = None,
    timing_tolerance_ns: int = 1,
    tracking: Tracking = Tracking.DELAY,
) -> LineConfig:
    """Every distance and time is another small number, so that none can stand for another."""
    return LineConfig(
        trigger=TriggerConfig(debounce_ns=0, min_pitch=0),
        track=TrackConfig(
            tracking=tracking,
            to_lens=30,
            exposure_window=8,
            to_gate=200,
            window_before=3,
            window_after=5,
            to_guard=guard,
            guard_tolerance=2,
            frame_timeout_ns=13,
        ),
        gate=GateConfig(
            kind=kind,
            decision_margin_ns=7,
            timing_tolerance_ns=timing_tolerance_ns,
            settle_ns=11,
        ),
        thresholds=(),
        confirm=confirm,
        recipe_digest="r1",
    )


def in_window(start: int, end: int, line: LineConfig | None = None, part_id: int = 1) -> InFlight:
    part = InFlight(part_id, 0, 0, line or config())
    part.window_start_mono_ns, part.window_end_mono_ns = start, end
    return part


def ledger_of(*parts: InFlight) -> Ledger:
    ledger = Ledger()
    for part in parts:
        ledger.add(part)
    return ledger


class Belt:
    """Says twice the position for the soonest, and ten later for the likely time."""

    def place_at(self, mono_ns: int) -> Place:
        raise AssertionError(mono_ns)

    def soonest(self, position: int) -> int:
        return 2 * position

    def time_of(self, position: int) -> int:
        return 2 * position + 10


# --- predictions ----------------------------------------------------------------------------


def test_a_new_part_is_where_its_edge_was_and_owes_everything() -> None:
    part = InFlight(1, 100, 100, config())
    assert (part.position, part.slack, part.settled, part.travelled) == (100, 0, True, 0)
    assert part.must_be_rejected
    assert not (part.wants_frame or part.seen_by_guard or part.confirmed)
    assert part.captures_requested == 0
    assert part.due_mono_ns == 0
    part.stage = Stage.INSPECTING
    assert part.due_mono_ns == 0
    part.stage = Stage.JUDGED
    assert (part.window_start_mono_ns, part.due_mono_ns) == (0, 11)


def test_the_window_is_as_wide_as_the_doubt_about_where_the_part_is() -> None:
    part = InFlight(1, 0, 1_000, config(), slack=40)
    part.predict(Belt())
    assert part.window_start_mono_ns == 2 * (1_000 + 200 - 40 - 3)
    assert part.window_end_mono_ns == 2 * (1_000 + 200 + 5) + 10
    assert part.deadline_mono_ns == part.window_start_mono_ns - 7
    assert part.frame_deadline_mono_ns == 2 * (1_000 - 40 + 30 + 8) + 10 + 13


def test_no_frame_is_awaited_beyond_the_deadline_of_the_verdict() -> None:
    line = config()
    slow = replace(line, track=replace(line.track, frame_timeout_ns=10_000))
    part = InFlight(1, 0, 1_000, slow)
    part.predict(Belt())
    assert part.frame_deadline_mono_ns == part.deadline_mono_ns


def test_the_gate_knows_all_that_a_part_may_take_or_of_what_is_surely_its_own() -> None:
    part = InFlight(1, 0, 1_000, config(), slack=40)
    assert part.armed_mono_ns == (0, 0)
    part.predict(Belt())
    assert part.armed_mono_ns == (part.window_start_mono_ns, part.window_end_mono_ns)
    part.released = True
    part.predict(Belt())
    assert part.armed_mono_ns == (part.window_start_mono_ns + 10, part.window_end_mono_ns - 10)


@pytest.mark.parametrize("stage", [Stage.INSPECTING, Stage.JUDGED])
def test_a_part_that_has_its_frame_gets_no_other_deadline_for_it(stage: Stage) -> None:
    part = InFlight(1, 0, 1_000, config())
    part.frame_deadline_mono_ns, part.stage = 77, stage
    part.predict(Belt())
    assert part.frame_deadline_mono_ns == 77
    assert part.window_start_mono_ns == 2 * 1_197


@pytest.mark.parametrize(("latest_ns", "wait_ns"), [(None, 11), (10, 11), (12, 12)])
def test_a_part_is_finished_when_neither_gate_nor_chute_can_say_more(
    latest_ns: int | None, wait_ns: int
) -> None:
    confirm = None if latest_ns is None else ConfirmConfig(earliest_ns=1, latest_ns=latest_ns)
    part = in_window(100, 120, config(confirm=confirm))
    assert part.finished_mono_ns == 120 + wait_ns


def test_each_stage_waits_for_its_own_time() -> None:
    part = InFlight(1, 0, 1_000, config())
    part.predict(Belt())
    assert part.due_mono_ns == part.frame_deadline_mono_ns
    part.stage = Stage.INSPECTING
    assert part.due_mono_ns == part.deadline_mono_ns
    part.stage = Stage.JUDGED
    assert part.due_mono_ns == part.finished_mono_ns
    assert part.frame_deadline_mono_ns < part.deadline_mono_ns < part.finished_mono_ns


@pytest.mark.parametrize(("tracking", "count"), [(Tracking.DELAY, None), (Tracking.ENCODER, 1_000)])
def test_a_record_says_when_everything_was_and_which_count(
    tracking: Tracking, count: int | None
) -> None:
    part = InFlight(7, 1_003, 1_000, config(tracking=tracking))
    part.predict(Belt())
    part.verdict = Verdict(VerdictKind.REJECT, "scratch", 0.9)
    part.frame_mono_ns, part.verdict_mono_ns = 1_040, 1_050
    record = part.record(GateOutcome.REJECTED)
    assert (record.part_id, record.trigger_mono_ns) == (7, 1_003)
    assert (record.verdict, record.gate_outcome) == (part.verdict, GateOutcome.REJECTED)
    assert (record.frame_mono_ns, record.verdict_mono_ns) == (1_040, 1_050)
    assert record.deadline_mono_ns == part.deadline_mono_ns
    assert record.window_start_mono_ns == part.window_start_mono_ns
    assert record.window_end_mono_ns == part.window_end_mono_ns
    assert record.encoder_count == count
    assert (record.recipe_digest, record.frame, record.inspection) == ("r1", None, None)


# --- the gate -------------------------------------------------------------------------------

START, END, TOLERANCE = 20, 28, 2

activations = st.lists(st.tuples(st.integers(12, 36), st.integers(1, 9)), max_size=3)


def _one_after_another(drawn: list[tuple[int, int]]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for start, length in sorted(drawn):
        if not spans or start > spans[-1][1]:
            spans.append((start, start + length))
    return spans


@given(
    drawn=activations,
    goes_on=st.booleans(),
    kind=st.sampled_from(GateKind),
    released=st.booleans(),
)
def test_the_outcome_is_what_the_gate_did_in_the_window(
    drawn: list[tuple[int, int]], goes_on: bool, kind: GateKind, released: bool
) -> None:
    """Against the window's nanoseconds, counted one by one; the tolerance is left out of it."""
    ledger, spans = Ledger(), _one_after_another(drawn)
    for on, off in spans:
        ledger.note_gate(GateActivated(on, None))
        ledger.note_gate(GateActivated(on, off))
    if goes_on:
        since = spans[-1][1] + 3 if spans else 25
        ledger.note_gate(GateActivated(since, None))
        spans.append((since, NOW))
    part = in_window(START, END, config(kind, timing_tolerance_ns=TOLERANCE))
    part.released = released
    inner = set(range(START + TOLERANCE, END - TOLERANCE))
    covered = any(inner <= set(range(on, off)) for on, off in spans)
    touched = any(inner & set(range(on, off)) for on, off in spans)
    opens = kind is GateKind.NORMALLY_REJECTING
    if released and (covered if opens else not touched):
        expected = GateOutcome.PASSED
    elif not touched if opens else covered:
        expected = GateOutcome.REJECTED
    else:
        expected = GateOutcome.GATE_LIMITED
    assert ledger.outcome(part, NOW) is expected


@given(
    on=st.integers(0, 20),
    length=st.integers(1, 20),
    width=st.integers(1, 6),
    tolerance=st.integers(0, 6),
)
def test_an_activation_covers_a_window_if_neither_end_misses_by_more_than_the_tolerance(
    on: int, length: int, width: int, tolerance: int
) -> None:
    """Also where the window is no wider than the tolerance."""
    start, end, off = 10, 10 + width, on + length
    ledger = Ledger()
    ledger.note_gate(GateActivated(on, off))
    part = in_window(start, end, config(timing_tolerance_ns=tolerance))
    rejected = ledger.outcome(part, NOW) is GateOutcome.REJECTED
    assert rejected is (on - start <= tolerance and end - off <= tolerance)


def test_an_activation_that_ended_is_no_longer_going_on() -> None:
    ledger = Ledger()
    ledger.note_gate(GateActivated(10, None))
    ledger.note_gate(GateActivated(10, 15))
    assert ledger.outcome(in_window(20, 30), NOW) is GateOutcome.GATE_LIMITED


def test_an_old_activation_is_found_among_many_younger_ones() -> None:
    ledger = Ledger()
    for on in range(0, 2_000, 20):
        ledger.note_gate(GateActivated(on, on + 10))
    assert ledger.outcome(in_window(100, 110), 2_000) is GateOutcome.REJECTED
    assert ledger.outcome(in_window(110, 120), 2_000) is GateOutcome.GATE_LIMITED


@pytest.mark.parametrize(("younger", "known"), [(255, True), (256, False)])
def test_the_last_256_activations_are_known(younger: int, known: bool) -> None:
    ledger = Ledger()
    for nth in range(younger + 1):
        ledger.note_gate(GateActivated(20 * nth, 20 * nth + 10))
    expected = GateOutcome.REJECTED if known else GateOutcome.GATE_LIMITED
    assert ledger.outcome(in_window(0, 10), NOW) is expected


@BOTH_GATES
def test_a_part_that_must_be_rejected_never_counts_as_passed(kind: GateKind) -> None:
    ledger = Ledger()
    if kind is GateKind.NORMALLY_REJECTING:
        ledger.note_gate(GateActivated(0, 100))
    part = in_window(20, 28, config(kind))
    assert ledger.outcome(part, NOW) is GateOutcome.GATE_LIMITED
    part.released = True
    assert ledger.outcome(part, NOW) is GateOutcome.PASSED


@pytest.mark.parametrize(
    ("guard", "seen", "expected"),
    [
        (None, False, GateOutcome.PASSED),
        (100, True, GateOutcome.PASSED),
        (100, False, GateOutcome.LOST),
        (0, False, GateOutcome.LOST),
    ],
)
def test_a_released_part_that_the_guard_never_saw_is_lost(
    guard: int | None, seen: bool, expected: GateOutcome
) -> None:
    part = in_window(20, 28, config(guard=guard))
    part.released, part.seen_by_guard = True, seen
    assert Ledger().outcome(part, NOW) is expected


def test_a_part_seen_in_the_chute_was_rejected_whatever_the_gate_did() -> None:
    confirm = ConfirmConfig(earliest_ns=0, latest_ns=10)
    for part_seen, active in product((True, False), repeat=2):
        ledger = Ledger()
        if active:
            ledger.note_gate(GateActivated(10, 40))
        part = in_window(20, 28, config(confirm=confirm))
        part.confirmed = part_seen
        expected = GateOutcome.REJECT_UNCONFIRMED if active else GateOutcome.GATE_LIMITED
        assert ledger.outcome(part, NOW) is (
            GateOutcome.REJECT_CONFIRMED if part_seen else expected
        )


# --- the other sensors ------------------------------------------------------------------------


@given(
    belt=st.integers(140, 164),
    belt_slack=st.integers(0, 4),
    slack=st.integers(0, 4),
)
def test_the_guard_takes_a_part_only_where_it_surely_is(
    belt: int, belt_slack: int, slack: int
) -> None:
    """Wherever within their slack belt and part are, they differ by at most the tolerance."""
    part = InFlight(1, 0, 50, config(guard=100), slack=slack)
    surely = all(
        abs(at - was - 100) <= 2
        for at in range(belt - belt_slack, belt + 1)
        for was in range(50 - slack, 50 + 1)
    )
    found = ledger_of(part).note_guard(Place(belt, belt_slack))
    assert (found is part) is surely
    assert part.seen_by_guard is surely


def test_the_guard_passes_over_parts_that_it_cannot_mean() -> None:
    unwired = InFlight(1, 0, 50, config())
    seen = InFlight(2, 0, 50, config(guard=100), seen_by_guard=True)
    unsettled = InFlight(3, 0, 50, config(guard=100), settled=False)
    elsewhere = InFlight(4, 0, 500, config(guard=100))
    meant = InFlight(5, 0, 50, config(guard=100))
    ledger = ledger_of(unwired, seen, unsettled, elsewhere, meant)
    assert ledger.note_guard(Place(150)) is meant
    assert ledger.note_guard(Place(150)) is None
    assert not (unwired.seen_by_guard or unsettled.seen_by_guard or elsewhere.seen_by_guard)


@pytest.mark.parametrize("edge", range(20, 45))
def test_the_chute_confirms_from_the_earliest_to_the_latest_and_not_beside_it(edge: int) -> None:
    part = in_window(20, 28, config(confirm=ConfirmConfig(earliest_ns=4, latest_ns=10)))
    found = ledger_of(part).note_confirm(edge)
    assert (found is part) is (24 <= edge <= 38)
    assert part.confirmed is (found is part)


def test_the_chute_confirms_rejected_parts_first_then_the_oldest_and_each_once() -> None:
    line = config(confirm=ConfirmConfig(earliest_ns=0, latest_ns=10))
    unwired = in_window(20, 28, config(), part_id=1)
    released, first, second = (in_window(20, 28, line, part_id=n) for n in (2, 3, 4))
    released.released = True
    ledger = ledger_of(unwired, released, first, second)
    assert [ledger.note_confirm(25) for _ in range(4)] == [first, second, released, None]
    assert not unwired.confirmed


# --- policy -----------------------------------------------------------------------------------


@pytest.mark.parametrize("action", list(ReviewAction))
@pytest.mark.parametrize("kind", list(VerdictKind))
def test_policy_lets_pass_what_passed_and_reviews_only_by_the_station_s_word(
    kind: VerdictKind, action: ReviewAction
) -> None:
    part = InFlight(1, 0, 0, replace(config(), review_action=action))
    doubt = Doubt.LATE if kind is VerdictKind.CANNOT_INSPECT else None
    allowed = {VerdictKind.PASS} | ({VerdictKind.REVIEW} if action is ReviewAction.PASS else set())
    assert lets_pass(part, Verdict(kind, doubt=doubt)) is (kind in allowed)


def test_the_ledger_keeps_parts_oldest_first_and_forgets_those_that_are_recorded() -> None:
    parts = [in_window(0, 1, part_id=n) for n in (1, 2, 3)]
    ledger = ledger_of(*parts)
    parts[1].stage = Stage.JUDGED
    assert (len(ledger), list(ledger), ledger.get(2)) == (3, parts, parts[1])
    assert ledger.awaiting_frame() == [parts[0], parts[2]]
    for part in ledger:
        ledger.remove(part)
    assert (len(ledger), ledger.get(2)) == (0, None)
