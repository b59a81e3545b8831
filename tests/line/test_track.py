"""The encoder's track: what is known of the belt follows from stamps, however late they come."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.line.config import TrackConfig, Tracking
from edgeinspect.line.reject import FOREVER_NS
from edgeinspect.line.track import HISTORY_EDGES, EncoderTrack, Place

MS = 1_000_000
TIMEOUT_NS = 200 * MS


def track(**changes: int) -> EncoderTrack:
    config = TrackConfig(
        tracking=Tracking.ENCODER,
        to_lens=60,
        exposure_window=30,
        to_gate=900,
        window_before=40,
        window_after=40,
        encoder_timeout_ns=TIMEOUT_NS,
        **changes,
    )
    return EncoderTrack(config)


def counted(belt: EncoderTrack, first: int, last: int, ns_per_count: int = MS) -> EncoderTrack:
    """Take the counts first to last, each stamped with its number times ``ns_per_count``."""
    for count in range(first, last + 1):
        assert belt.add(count, count * ns_per_count) == ""
    return belt


def test_a_place_is_an_estimate_until_a_count_stamped_then_or_later_has_come() -> None:
    belt = counted(track(), 1, 100)
    assert belt.place_at(99 * MS + 1) == Place(99)
    assert belt.place_at(100 * MS) == Place(100)
    assert belt.place_at(125 * MS) == Place(125, settled=False)
    counted(belt, 101, 124)
    assert not belt.place_at(125 * MS).settled
    counted(belt, 125, 125)
    assert belt.place_at(125 * MS) == Place(125)


def test_between_two_readings_the_belt_may_be_anywhere_between_their_counts() -> None:
    belt = counted(track(), 1, 100)
    assert belt.add(140, 140 * MS) == ""
    assert belt.place_at(110 * MS) == Place(139, 39)
    assert belt.place_at(140 * MS) == Place(140)


def test_a_time_before_all_memory_has_a_place_somewhere_behind_the_first_count() -> None:
    belt = counted(track(), 50, 60)
    assert belt.place_at(49 * MS) == Place(50, FOREVER_NS)


def test_memory_is_long_and_bounded() -> None:
    belt = counted(track(), 1, 3 * HISTORY_EDGES)
    newest = 3 * HISTORY_EDGES
    assert belt.place_at((newest - HISTORY_EDGES + 1) * MS + 1) == Place(newest - HISTORY_EDGES + 1)
    assert belt.place_at(MS).slack == FOREVER_NS
    assert belt.time_of(newest + 10) == (newest + 10) * MS


def test_a_silence_settles_what_no_late_count_can_change_any_more() -> None:
    belt = counted(track(), 1, 100)
    belt.note_quiet_until(110 * MS + TIMEOUT_NS)
    assert belt.place_at(110 * MS) == Place(100)
    assert not belt.place_at(111 * MS).settled
    assert belt.add(101, 111 * MS) == ""


def test_a_count_that_contradicts_a_silence_says_so() -> None:
    belt = counted(track(), 1, 100)
    belt.note_quiet_until(110 * MS + TIMEOUT_NS)
    assert "assumed to be stopped" in belt.add(101, 109 * MS)
    assert belt.add(102, 110 * MS) == ""  # the rest of the burst is no further contradiction
    assert not belt.place_at(110 * MS + 1).settled


def test_a_count_that_was_overtaken_is_no_news_unless_it_disagrees() -> None:
    belt = counted(track(), 1, 100)
    assert belt.add(102, 102 * MS) == ""
    assert belt.add(101, 101 * MS) == ""
    assert belt.place_at(101 * MS + 1) == Place(101, 1)
    assert "backwards" in belt.add(50, 101 * MS)


@pytest.mark.parametrize(("count", "at_ms"), [(99, 150), (150, 99)])
def test_counts_or_stamps_that_run_backwards_are_not_believed(count: int, at_ms: int) -> None:
    belt = counted(track(), 1, 100)
    assert "backwards" in belt.add(count, at_ms * MS)


def test_predictions_end_when_a_count_is_overdue_and_the_soonest_when_the_belt_stands() -> None:
    belt = counted(track(), 1, 100)
    assert belt.time_of(200) == belt.soonest(200) == 200 * MS
    overdue = belt.silence_mono_ns
    assert overdue == 104 * MS + 1
    belt.note_silence(overdue)
    assert belt.time_of(200) == FOREVER_NS
    assert belt.soonest(200) == 200 * MS
    assert belt.silence_mono_ns == 100 * MS + TIMEOUT_NS
    belt.note_silence(100 * MS + TIMEOUT_NS)
    assert belt.soonest(200) == FOREVER_NS
    assert belt.silence_mono_ns is None


def test_the_speed_before_a_stop_says_nothing_of_the_speed_after_it() -> None:
    belt = counted(track(), 1, 100)
    assert belt.add(101, 5_000 * MS) == ""
    assert belt.time_of(201) == FOREVER_NS
    assert belt.add(102, 5_010 * MS) == ""
    assert belt.time_of(202) == 6_010 * MS
    assert belt.place_at(2_000 * MS) == Place(100)


def test_counts_that_come_one_by_one_but_faster_than_the_belt_are_noticed() -> None:
    belt = counted(track(encoder_max_counts_per_s=1_200), 1, 1_000)
    said = [belt.add(1_000 + n, 1_000 * MS + n * MS // 2) for n in range(1, 20)]
    assert "faster than the belt" in "".join(said)


def test_jitter_of_the_stamps_alone_is_not_a_belt_that_is_too_fast() -> None:
    belt, random = track(encoder_max_counts_per_s=1_200, encoder_jitter_ns=20 * MS), Random(4)
    stamps = [n * MS + random.randrange(20 * MS) for n in range(1, 5_000)]
    for n in range(len(stamps) - 1, 0, -1):
        stamps[n - 1] = min(stamps[n - 1], stamps[n])
    assert [belt.add(n, stamp) for n, stamp in enumerate(stamps)] == [""] * len(stamps)


@given(
    gaps_ms=st.lists(st.integers(1, 60), min_size=2, max_size=40),
    steps=st.lists(st.integers(1, 30), min_size=40, max_size=40),
    asked_ms=st.integers(0, 2_400),
)
def test_a_settled_place_holds_the_truth_whatever_comes_after_it(
    gaps_ms: list[int], steps: list[int], asked_ms: int
) -> None:
    """The belt's true counts come one by one; the station hears only some readings of them."""
    belt, now_ms, count = track(), 0, 0
    truth: list[tuple[int, int]] = [(0, 0)]
    settled: list[Place] = []
    for gap_ms, step in zip(gaps_ms, steps, strict=False):
        for n in range(1, step + 1):
            truth.append((now_ms * MS + gap_ms * MS * n // step, count + n))
        now_ms, count = now_ms + gap_ms, count + step
        assert belt.add(count, now_ms * MS) == ""
        place = belt.place_at(asked_ms * MS)
        if place.settled:
            settled.append(place)
    true_count = max(count for at_ns, count in truth if at_ns <= asked_ms * MS)
    for place in settled:
        assert place.position - place.slack <= true_count <= place.position
    assert all(earlier == later for earlier, later in pairwise(settled))
