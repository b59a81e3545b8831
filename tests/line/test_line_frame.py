"""Which part a frame shows: checked against every place where belt and part can have been."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.line.config import (
    FrameChecks,
    GateConfig,
    GateKind,
    LineConfig,
    TrackConfig,
    TriggerConfig,
)
from edgeinspect.line.frame import FrameMatcher, Match
from edgeinspect.line.ledger import InFlight
from edgeinspect.line.seen_pictures import PictureMemory
from edgeinspect.line.track import DelayTrack, Place
from edgeinspect.part import Doubt, Frame, FrameMeta

TO_LENS, WINDOW = 10, 5


def config(*, reject_frozen: bool = True, to_lens: int = TO_LENS) -> LineConfig:
    return LineConfig(
        trigger=TriggerConfig(debounce_ns=0, min_pitch=0),
        track=TrackConfig(
            to_lens=to_lens,
            exposure_window=WINDOW,
            to_gate=100,
            window_before=1,
            window_after=1,
        ),
        gate=GateConfig(kind=GateKind.NORMALLY_PASSING),
        thresholds=(),
        checks=FrameChecks(reject_frozen=reject_frozen),
    )


def frame(at: int, *, sequence: int = 1, error_ns: int = 0, content: int | None = None) -> Frame:
    value = sequence if content is None else content
    pixels = np.frombuffer(value.to_bytes(8, "little"), np.uint8).reshape(2, 4)
    return Frame(FrameMeta(sequence, at, at, exposure_error_ns=error_ns), pixels)


class Belt:
    """Two places: at the earliest and at the latest begin of an exposure at 100 +/- 1."""

    def __init__(self, first: Place, last: Place) -> None:
        self._places = {99: first, 101: last}

    def place_at(self, mono_ns: int) -> Place:
        return self._places[mono_ns]

    def time_of(self, position: int) -> int:
        raise AssertionError(position)

    soonest = time_of


@given(
    first=st.integers(55, 70),
    first_slack=st.integers(0, 3),
    moved=st.integers(0, 3),
    last_slack=st.integers(0, 3),
    slack=st.integers(0, 3),
)
def test_a_part_is_in_view_if_it_is_wherever_belt_and_part_can_have_been(
    first: int, first_slack: int, moved: int, last_slack: int, slack: int
) -> None:
    part = InFlight(1, 0, 50, config(), slack=slack)
    last = first + moved
    ways = [
        at - was for at in range(first - first_slack, last + 1) for was in range(50 - slack, 50 + 1)
    ]
    belt = Belt(Place(first, first_slack), Place(last, last_slack))
    found = FrameMatcher().match(frame(100, error_ns=1), [part], belt, 200)
    if all(TO_LENS <= way <= TO_LENS + WINDOW for way in ways):
        assert found == Match(part)
    elif max(ways) > TO_LENS + WINDOW:
        assert found == Match(None, Doubt.MISALIGNED)
    else:
        assert found == Match(None, Doubt.STALE)


def test_a_belt_that_may_have_reached_the_end_of_the_view_has_not_left_it() -> None:
    """The part surely was not at the lens yet; no more can be said against the frame."""
    part = InFlight(1, 0, 50, config())
    comes, goes = 50 + TO_LENS, 50 + TO_LENS + WINDOW
    for last, doubt in ((goes, Doubt.STALE), (goes + 1, Doubt.MISALIGNED)):
        belt = Belt(Place(comes - 1), Place(last))
        found = FrameMatcher().match(frame(100, error_ns=1), [part], belt, 200)
        assert found == Match(None, doubt)


@pytest.mark.parametrize(("exposed", "in_view"), [(48, False), (49, False), (50, True)])
def test_no_exposure_before_the_edge_shows_the_part(exposed: int, in_view: bool) -> None:
    """Where the lens is at the trigger sensor, so that the way alone would let it."""
    part = InFlight(1, 50, 45, config(to_lens=0))
    found = FrameMatcher().match(frame(exposed), [part], DelayTrack(), 60)
    assert found == (Match(part) if in_view else Match(None, Doubt.STALE))


def test_parts_that_cannot_be_meant_do_not_hide_the_one_that_is() -> None:
    unsettled = InFlight(1, 50, 50, config(), settled=False)
    gone = InFlight(2, 40, 40, config())
    later = InFlight(3, 70, 50, config())
    meant = InFlight(4, 50, 50, config())
    found = FrameMatcher().match(frame(62), [unsettled, gone, later, meant], DelayTrack(), 70)
    assert found == Match(meant)


def test_an_unsettled_part_is_not_misaligned() -> None:
    part = InFlight(1, 50, 50, config(), settled=False)
    assert FrameMatcher().match(frame(90), [part], DelayTrack(), 99) == Match(None, Doubt.STALE)


@pytest.mark.parametrize(
    ("error_ns", "now", "believed"), [(0, 61, False), (0, 62, True), (2, 60, True), (2, 59, False)]
)
def test_an_exposure_that_surely_began_after_now_is_not_believed(
    error_ns: int, now: int, believed: bool
) -> None:
    part = InFlight(1, 50, 49, config())
    found = FrameMatcher().match(frame(62, error_ns=error_ns), [part], DelayTrack(), now)
    assert found == (Match(part) if believed else Match(None, Doubt.STALE))


@pytest.mark.parametrize(
    ("sequence", "exposed", "repeated"),
    [(1, 64, True), (2, 62, True), (2, 61, True), (2, 63, False), (0, 63, True)],
)
def test_a_frame_that_is_not_later_by_number_and_stamp_is_repeated(
    sequence: int, exposed: int, repeated: bool
) -> None:
    matcher, part = FrameMatcher(), InFlight(1, 50, 50, config())
    assert matcher.match(frame(62), [], DelayTrack(), 99).doubt is Doubt.STALE
    again = frame(exposed, sequence=sequence, content=7)
    found = matcher.match(again, [part], DelayTrack(), 99)
    assert found == (Match(None, Doubt.REPEATED) if repeated else Match(part))


def test_the_stamps_errors_of_both_frames_stand_between_two_exposures() -> None:
    for exposed, repeated in ((65, True), (66, False)):
        matcher, part = FrameMatcher(), InFlight(1, 50, 50, config())
        matcher.match(frame(61, error_ns=2), [], DelayTrack(), 99)
        again = frame(exposed, sequence=2, error_ns=2)
        found = matcher.match(again, [part], DelayTrack(), 99)
        assert (found.doubt is Doubt.REPEATED) is repeated


@pytest.mark.parametrize("reject_frozen", [True, False])
def test_a_picture_shown_again_is_frozen_where_the_recipe_says_so(reject_frozen: bool) -> None:
    matcher = FrameMatcher()
    part = InFlight(1, 50, 50, config(reject_frozen=reject_frozen))
    assert matcher.match(frame(20, content=7), [], DelayTrack(), 99).doubt is Doubt.STALE
    found = matcher.match(frame(62, sequence=2, content=7), [part], DelayTrack(), 99)
    assert found == Match(part, Doubt.FROZEN if reject_frozen else None)


def test_a_frozen_picture_of_no_part_is_stale() -> None:
    matcher = FrameMatcher()
    matcher.match(frame(20, content=7), [], DelayTrack(), 99)
    found = matcher.match(frame(62, sequence=2, content=7), [], DelayTrack(), 99)
    assert found == Match(None, Doubt.STALE)


def test_a_refused_frame_s_picture_is_remembered_too() -> None:
    matcher, part = FrameMatcher(), InFlight(1, 50, 50, config())
    assert matcher.match(frame(62, content=7), [part], DelayTrack(), 10).doubt is Doubt.STALE
    found = matcher.match(frame(62, content=7), [part], DelayTrack(), 99)
    assert found == Match(part, Doubt.FROZEN)


def test_the_memory_of_pictures_can_be_shared() -> None:
    memory, part = PictureMemory(), InFlight(1, 50, 50, config())
    memory.shown_before(frame(0, content=7).pixels)
    found = FrameMatcher(memory).match(frame(62, content=7), [part], DelayTrack(), 99)
    assert found == Match(part, Doubt.FROZEN)
