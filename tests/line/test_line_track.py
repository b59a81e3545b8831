"""The encoder's track, nanosecond by nanosecond, against plain models of what its readings say."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.line.config import TrackConfig, Tracking
from edgeinspect.line.reject import FOREVER_NS
from edgeinspect.line.track import DelayTrack, EncoderTrack, Place, make_track

TIMEOUT_NS = 1_000
Reading = tuple[int, int]
"""A count and its stamp."""


def track(**changes: int) -> EncoderTrack:
    config = TrackConfig(
        tracking=Tracking.ENCODER,
        to_lens=6,
        exposure_window=3,
        to_gate=90,
        window_before=4,
        window_after=4,
        encoder_timeout_ns=TIMEOUT_NS,
        **changes,
    )
    belt = make_track(config)
    assert isinstance(belt, EncoderTrack)
    return belt


def taken(readings: Sequence[Reading], **changes: int) -> EncoderTrack:
    belt = track(**changes)
    assert [belt.add(*reading) for reading in readings] == [""] * len(readings)
    return belt


def even(last: int, ns_per_count: int = 10, *, first: int = 1) -> list[Reading]:
    return [(n, n * ns_per_count) for n in range(first, last + 1)]


def answers(belt: EncoderTrack) -> tuple[object, ...]:
    """Everything a belt says, at every count and time of these small tests."""
    return (
        belt.last_count,
        belt.silence_mono_ns,
        [belt.place_at(at) for at in range(400)],
        [(belt.time_of(count), belt.soonest(count)) for count in range(-1, 60)],
        [belt.was_silent_at(at) for at in range(400)],
    )


readings = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 30)), min_size=1, max_size=12).map(
    lambda steps: [
        (5 + sum(step for step, _ in steps[: n + 1]), 20 + sum(gap for _, gap in steps[: n + 1]))
        for n in range(len(steps))
    ]
)
"""Counts that never run backwards, at stamps that differ."""


# --- before anything is known -----------------------------------------------------------------


def test_a_belt_that_has_never_counted_is_nowhere_and_stands() -> None:
    belt = track()
    assert not belt.known
    assert (belt.last_count, belt.silence_mono_ns) == (0, None)
    assert belt.place_at(0) == Place(0, FOREVER_NS, settled=False)
    assert (belt.time_of(0), belt.soonest(0)) == (FOREVER_NS, FOREVER_NS)
    assert belt.was_silent_at(5)
    belt.note_silence(10**9)
    assert belt.silence_mono_ns is None


def test_a_silence_settles_that_nobody_knows_where_an_unknown_belt_is() -> None:
    belt = track()
    belt.note_quiet_until(TIMEOUT_NS + 40)
    assert belt.place_at(40) == Place(0, FOREVER_NS)
    assert not belt.place_at(41).settled


def test_one_count_gives_a_place_and_two_give_a_speed() -> None:
    belt = taken([(7, 100)])
    assert belt.known
    assert (belt.last_count, belt.soonest(7), belt.time_of(7)) == (7, 100, 100)
    assert belt.soonest(8) == FOREVER_NS
    assert belt.place_at(150) == Place(7, settled=False)
    assert belt.add(8, 110) == ""
    assert belt.time_of(10) == 130
    assert belt.place_at(125) == Place(9, settled=False)


def test_a_place_is_settled_unless_stated_otherwise() -> None:
    assert Place(3) == Place(3, 0, settled=True)


def test_a_belt_of_fixed_speed_is_known_from_the_start() -> None:
    config = TrackConfig(to_lens=1, exposure_window=1, to_gate=1, window_before=1, window_after=1)
    belt = make_track(config)
    assert isinstance(belt, DelayTrack)
    assert belt.known
    assert (belt.place_at(7), belt.time_of(7), belt.soonest(7)) == (Place(7), 7, 7)


def test_a_belt_of_fixed_speed_has_come_as_far_as_it_went_at_that_speed() -> None:
    belt = DelayTrack()
    assert (belt.steady_from_mono_ns, belt.least_travel(5)) == (0, 5)
    belt.start(100, 50)
    assert belt.steady_from_mono_ns == 150
    assert [belt.least_travel(at) for at in (100, 150, 151, 250)] == [100, 100, 101, 200]
    belt.start(250, 50)
    assert [belt.least_travel(at) for at in (250, 300, 310)] == [200, 200, 210]
    belt.stop(400)
    assert belt.steady_from_mono_ns == FOREVER_NS
    assert [belt.least_travel(at) for at in (400, 9_000)] == [300, 300]
    belt.start(9_000, 50)
    assert belt.least_travel(9_060) == 310


# --- where it was -----------------------------------------------------------------------------


@given(taken_readings=readings)
def test_between_two_readings_the_belt_is_anywhere_that_both_allow(
    taken_readings: list[Reading],
) -> None:
    """After one count and before the next has been reached; at a stamp it is that count."""
    belt = taken(taken_readings)
    first, last = taken_readings[0][1], taken_readings[-1][1]
    stamps = {at: count for count, at in taken_readings}
    for at in range(first, last + 1):
        before = max(count for count, stamp in taken_readings if stamp <= at)
        after = min(count for count, stamp in taken_readings if stamp >= at)
        possible = {stamps[at]} if at in stamps else {before, *range(before, after)}
        assert belt.place_at(at) == Place(max(possible), max(possible) - min(possible))
    assert belt.place_at(first - 1) == Place(taken_readings[0][0], FOREVER_NS)


def test_of_two_readings_with_one_stamp_the_later_one_counts() -> None:
    belt = taken([(1, 10), (2, 20), (3, 20), (5, 30)])
    assert belt.place_at(20) == Place(3)
    assert belt.place_at(25) == Place(4, 1)


def test_a_place_ahead_is_estimated_until_a_silence_as_long_as_counts_may_be_late() -> None:
    belt = taken(even(20))
    assert belt.place_at(259) == Place(25, settled=False)
    assert belt.place_at(200 + TIMEOUT_NS - 1) == Place(119, settled=False)
    assert belt.place_at(200 + TIMEOUT_NS) == Place(20, settled=False)
    belt.note_quiet_until(240 + TIMEOUT_NS)
    assert belt.place_at(240) == Place(20)
    assert belt.place_at(241) == Place(24, settled=False)
    belt.note_quiet_until(230 + TIMEOUT_NS)
    assert belt.place_at(240) == Place(20), "what is settled stays settled"


# --- when it will be where ----------------------------------------------------------------------


@given(taken_readings=readings)
def test_the_time_of_a_place_that_was_passed_lies_on_the_line_between_its_readings(
    taken_readings: list[Reading],
) -> None:
    """Of a belt that stood there the time at which it went on."""
    belt = taken(taken_readings)
    for count in range(taken_readings[0][0] - 2, taken_readings[-1][0] + 1):
        passed = [(c, at) for c, at in taken_readings if c <= count]
        ahead = [(c, at) for c, at in taken_readings if c > count]
        if not passed:
            expected = ahead[0][1]
        elif not ahead:
            expected = passed[-1][1]
        else:
            (c0, t0), (c1, t1) = passed[-1], ahead[0]
            expected = t0 + (t1 - t0) * (count - c0) // (c1 - c0)
        assert belt.soonest(count) == expected


@given(taken_readings=readings, ahead=st.integers(1, 20))
def test_the_time_of_a_place_ahead_follows_from_the_last_eight_intervals(
    taken_readings: list[Reading], ahead: int
) -> None:
    since = [0]  # the speed begins anew with each reading that comes when one is overdue
    for n in range(1, len(taken_readings)):
        known = taken_readings[since[-1] : n]
        if len(known) > 1 and taken_readings[n][1] >= known[-1][1] + _usual_ns(known):
            since.append(n)
    belt = taken(taken_readings)
    speed = _ns_per_count(taken_readings[since[-1] :])
    count, at = taken_readings[-1]
    if len(taken_readings) - since[-1] < 2:
        assert belt.time_of(count + ahead) == FOREVER_NS
    else:
        assert belt.time_of(count + ahead) == at + int(ahead * speed)
    assert belt.silence_mono_ns == at + _usual_ns(taken_readings[since[-1] :])


def _ns_per_count(known: Sequence[Reading]) -> float:
    recent = known[-9:]
    counts = recent[-1][0] - recent[0][0]
    return (recent[-1][1] - recent[0][1]) / counts if counts else float(TIMEOUT_NS)


def _usual_ns(known: Sequence[Reading]) -> int:
    """Four times as long as the last step should have taken, and less than the timeout."""
    step = known[-1][0] - known[-2][0] if len(known) > 1 else 1
    return int(min(4 * _ns_per_count(known) * max(step, 1) + 1, TIMEOUT_NS))


@pytest.mark.parametrize(("at", "next_time"), [(240, 253), (241, FOREVER_NS)])
def test_the_speed_is_forgotten_from_the_moment_a_count_is_overdue(at: int, next_time: int) -> None:
    belt = taken([*even(20), (21, at)])
    assert belt.time_of(22) == next_time


def test_predictions_end_at_an_overdue_count_and_what_was_passed_keeps_its_time() -> None:
    belt = taken(even(20))
    assert belt.silence_mono_ns == 241
    belt.note_silence(240)
    assert belt.time_of(21) == 210
    belt.note_silence(241)
    assert (belt.time_of(21), belt.soonest(21)) == (FOREVER_NS, 210)
    assert (belt.time_of(20), belt.time_of(19)) == (200, 190)
    assert belt.silence_mono_ns == 200 + TIMEOUT_NS
    belt.note_silence(200 + TIMEOUT_NS - 1)
    assert belt.soonest(21) == 210
    belt.note_silence(200 + TIMEOUT_NS)
    assert (belt.soonest(21), belt.soonest(20), belt.time_of(20)) == (FOREVER_NS, 200, 200)
    belt.note_silence(0)
    assert belt.soonest(21) == FOREVER_NS, "only a count ends a silence"
    assert belt.add(21, 200 + TIMEOUT_NS + 5) == ""
    assert belt.silence_mono_ns is not None


def test_each_change_of_what_a_silence_means_is_reported_once() -> None:
    belt = taken(even(20))
    moments = (240, 241, 242, 200 + TIMEOUT_NS, 201 + TIMEOUT_NS)
    assert [belt.note_silence(at) for at in moments] == [False, True, False, True, False]


def test_a_silence_that_was_noted_is_not_taken_back_by_an_earlier_time() -> None:
    belt = taken(even(20))
    belt.note_silence(241)
    belt.note_silence(230)
    assert belt.time_of(21) == FOREVER_NS


def test_nobody_s_listening_is_no_silence() -> None:
    belt = taken(even(20))
    belt.note_silence(241)
    belt.note_absence(700)
    assert belt.silence_mono_ns == 700 + TIMEOUT_NS
    belt.note_quiet_until(699 + TIMEOUT_NS)
    assert not belt.place_at(699).settled
    belt.note_quiet_until(700 + TIMEOUT_NS)
    assert belt.place_at(700) == Place(20)


@given(taken_readings=readings, at=st.integers(0, 3_000))
def test_a_belt_was_silent_when_no_count_had_come_for_longer_than_usual(
    taken_readings: list[Reading], at: int
) -> None:
    belt = taken(taken_readings)
    silence_mono_ns = belt.silence_mono_ns
    assert silence_mono_ns is not None
    usual_ns = silence_mono_ns - taken_readings[-1][1]
    before = [stamp for _, stamp in taken_readings if stamp <= at]
    assert belt.was_silent_at(at) is (bool(before) and at >= before[-1] + usual_ns)


def test_the_moment_at_which_a_belt_that_counted_becomes_silent() -> None:
    belt = taken(even(20))
    assert not belt.was_silent_at(240)
    assert belt.was_silent_at(241)
    single = taken([(1, 100)])
    assert not single.was_silent_at(99 + TIMEOUT_NS)
    assert single.was_silent_at(100 + TIMEOUT_NS)
    assert not single.was_silent_at(99)


def test_a_count_after_a_silence_ends_it_at_its_very_stamp() -> None:
    belt = taken([(1, 100), (2, 100 + TIMEOUT_NS)])
    assert not belt.was_silent_at(100 + TIMEOUT_NS)
    assert belt.was_silent_at(200 + 2 * TIMEOUT_NS)


# --- readings that are not believed, and those that are ---------------------------------------


@given(taken_readings=readings)
def test_a_reading_that_was_overtaken_changes_nothing(taken_readings: list[Reading]) -> None:
    belt, told_again = taken(taken_readings), taken(taken_readings)
    for count, at in taken_readings:
        if at < taken_readings[-1][1] or (count, at) == taken_readings[-1]:
            assert told_again.add(count, at) == ""
    assert answers(belt) == answers(told_again)


@pytest.mark.parametrize(
    ("count", "at", "believed"),
    [
        (12, 120, True),  # as known
        (11, 115, True),  # between 11 at 110 and 12 at 120
        (12, 115, True),
        (12, 125, True),
        (13, 115, False),  # more than came after it
        (10, 115, False),  # fewer than came before it
        (9, 120, False),
        (0, 5, True),  # before all that is remembered
        (1, 5, True),
        (2, 5, False),
        (19, 200, True),
        (18, 200, False),
        (20, 195, True),
        (21, 195, False),
        (20, 201, True),  # no step
        (19, 201, False),
        (21, 200, True),  # two at a stamp
    ],
)
def test_a_late_reading_has_to_fit_between_those_that_overtook_it(
    count: int, at: int, believed: bool
) -> None:
    why = taken(even(20)).add(count, at)
    assert why == ("" if believed else "the encoder's counts run backwards")


def test_after_counts_that_run_backwards_nothing_older_is_known() -> None:
    stopped = [*even(20), (21, 700), (22, 710)]
    belt = taken(stopped)
    assert "backwards" in belt.add(3, 720)
    assert (belt.last_count, belt.time_of(4)) == (3, FOREVER_NS)
    assert belt.place_at(700) == Place(3, FOREVER_NS)
    assert belt.add(4, 730) == ""
    assert belt.time_of(6) == 750


@pytest.mark.parametrize(("at", "believed"), [(239, False), (240, False), (241, True), (300, True)])
def test_a_count_within_a_settled_silence_is_not_believed(at: int, believed: bool) -> None:
    belt = taken(even(20))
    belt.note_quiet_until(240 + TIMEOUT_NS)
    why = "an encoder count arrived after the belt was assumed to be stopped"
    assert belt.add(21, at) == ("" if believed else why)
    assert belt.last_count == 21


def test_a_reading_without_a_step_within_a_settled_silence_agrees_with_it() -> None:
    belt = taken(even(20))
    belt.note_quiet_until(240 + TIMEOUT_NS)
    assert belt.add(20, 230) == ""


def test_a_second_count_at_one_stamp_is_no_contradiction() -> None:
    belt = taken([*even(20), (21, 200), (22, 200)])
    assert belt.place_at(200) == Place(22)


def test_stamps_that_run_backwards_do_not_unsettle_what_was_settled() -> None:
    belt = taken(even(20))
    assert "backwards" in belt.add(21, 150)
    assert "assumed to be stopped" in belt.add(22, 180)


steps = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=25)


@given(drawn=steps, jitter=st.integers(0, 3))
def test_more_counts_than_speed_and_jitter_explain_are_noticed(
    drawn: list[tuple[int, int]], jitter: int
) -> None:
    """No stretch of readings may hold more than a belt at its limit counts, and one, and jitter.

    One count a millisecond is the limit here; what has been noticed once is left behind.
    """
    ms = 1_000_000
    belt = track(encoder_max_counts_per_s=1_000, encoder_jitter_ns=jitter * ms)
    assert belt.add(5, 20 * ms) == ""
    stretch = [(5, 20)]
    for step, gap_ms in drawn:
        count, at_ms = stretch[-1][0] + step, stretch[-1][1] + gap_ms
        too_many = max(count - c - (at_ms - t) for c, t in stretch)
        expected = (
            "" if too_many <= 1 + jitter else "the encoder counted faster than the belt can move"
        )
        if (step, gap_ms) == (0, 0):
            assert belt.add(count, at_ms * ms) == ""
            continue
        assert belt.add(count, at_ms * ms) == expected
        stretch = [*([] if expected else stretch), (count, at_ms)]


# --- memory -------------------------------------------------------------------------------------


def test_memory_holds_at_least_so_many_readings_and_at_most_twice_as_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgeinspect.line.track.HISTORY_EDGES", 16)
    belt, held = track(), set()
    for n in range(1, 200):
        assert belt.add(n, n * 10) == ""
        known = [m for m in range(1, n + 1) if belt.place_at(m * 10).slack < FOREVER_NS]
        assert known == list(range(known[0], n + 1))
        if n > 32:
            held.add(len(known))
    assert held == set(range(17, 33))


def test_forgetting_old_readings_changes_no_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever in the memory the belt has stood last."""
    stops = range(20, 70)
    unlimited = [_beyond_a_stop(stop) for stop in stops]
    monkeypatch.setattr("edgeinspect.line.track.HISTORY_EDGES", 16)
    assert [_beyond_a_stop(stop) for stop in stops] == unlimited


def _beyond_a_stop(stop: int) -> list[tuple[int, int | None]]:
    belt, said = track(), []
    for n in range(1, 80):
        later = 5_000 if n >= stop else 0
        assert belt.add(n, n * n + later) == ""
        said.append((belt.time_of(n + 5), belt.silence_mono_ns))
    return said
