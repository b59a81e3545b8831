"""A station that inspects and rejects every part for one reason says so."""

from __future__ import annotations

import dataclasses

import pytest

from edgeinspect.part import Doubt, GateOutcome, PartRecord, Verdict, VerdictKind
from edgeinspect.runtime.passing import FOR_NS, PARTS_IN_A_ROW, NothingPasses, PassWatch
from edgeinspect.runtime.station_status import state_words
from tests.helpers.line_records import record

SECOND = 1_000_000_000
DETAIL = "The region of interest (0, 0, 900, 900) is not inside the frame of 480 x 360 px."


def part(
    number: int,
    *,
    at_s: float,
    doubt: Doubt | None = Doubt.ENGINE_FAILED,
    outcome: GateOutcome = GateOutcome.REJECTED,
    digest: str = "recipe-1",
) -> PartRecord:
    kind = VerdictKind.PASS if doubt is None else VerdictKind.CANNOT_INSPECT
    return dataclasses.replace(
        record(number),
        trigger_mono_ns=round(at_s * SECOND),
        verdict=Verdict(kind, doubt=doubt, detail="" if doubt is None else DETAIL),
        gate_outcome=outcome,
        recipe_digest=digest,
    )


def watched(parts: list[PartRecord]) -> NothingPasses | None:
    watch = PassWatch()
    for one in parts:
        watch.note(one)
    return watch.found


def test_ten_parts_over_ten_seconds_without_a_pass_are_reported_with_their_reason() -> None:
    parts = [part(number, at_s=2 * number) for number in range(9)]
    parts += [part(10, at_s=18, doubt=Doubt.LATE)]
    assert watched(parts[: PARTS_IN_A_ROW - 1]) is None
    found = watched(parts)
    assert found == NothingPasses(
        parts=10, seconds=18.0, reason="engine_failed", share=0.9, detail=DETAIL
    )
    assert found.cause == f"engine failed: {DETAIL}"


def test_many_parts_in_a_short_time_are_not_yet_long() -> None:
    fast = [part(number, at_s=number / 100) for number in range(200)]
    assert watched(fast) is None
    assert watched([*fast, part(201, at_s=FOR_NS / SECOND)]) is not None


@pytest.mark.parametrize("change", ["a part passes", "another recipe"])
def test_it_begins_anew(change: str) -> None:
    parts = [part(number, at_s=2 * number) for number in range(20)]
    assert watched(parts) is not None
    if change == "a part passes":
        parts.append(part(21, at_s=41, doubt=None, outcome=GateOutcome.PASSED))
    else:
        parts.append(part(21, at_s=41, digest="recipe-2"))
    assert watched(parts) is None


@pytest.mark.parametrize("doubt", [Doubt.PAUSED, Doubt.LOCKED, Doubt.STOPPED])
def test_parts_that_somebody_wants_rejected_do_not_count(doubt: Doubt) -> None:
    assert watched([part(number, at_s=2 * number, doubt=doubt) for number in range(50)]) is None


def test_good_parts_that_the_gate_rejects_are_named_by_what_it_did() -> None:
    found = watched([part(number, at_s=2 * number, doubt=None) for number in range(10)])
    assert found is not None and (found.reason, found.share) == ("rejected", 1.0)


def test_the_first_words_say_what_is_wrong() -> None:
    nothing = {"reason": "engine_failed"}
    assert state_words({"state": "inspecting", "nothing_passes": None}) == "inspecting"
    assert state_words({"state": "paused"}) == "paused"
    reported = state_words({"state": "inspecting", "nothing_passes": nothing})
    assert reported == "inspecting, but nothing passes: engine failed"
