"""Reasons to reject everything end when they may, and never before."""

from __future__ import annotations

import pytest

from edgeinspect.line.holds import Holds
from edgeinspect.line.track import Place


class Belt:
    """Knows where it was at the times it is given."""

    def __init__(self, places: dict[int, Place]) -> None:
        self.places = places

    def place_at(self, mono_ns: int) -> Place:
        return self.places.get(mono_ns, Place(0, settled=False))

    def time_of(self, position: int) -> int:
        raise AssertionError(position)

    soonest = time_of


NOWHERE = Belt({})


def test_nothing_holds_at_first() -> None:
    holds = Holds()
    assert (holds.reasons, holds.until_mono_ns) == ((), None)


def test_the_last_time_counts_and_one_hold_without_a_time_outlasts_them_all() -> None:
    holds = Holds()
    holds.until_time("a", 30)
    assert holds.until_mono_ns == 30
    holds.until_time("b", 20)
    assert holds.until_mono_ns == 30
    holds.open_ended("c")
    assert holds.until_mono_ns is None
    holds.end("c")
    assert holds.until_mono_ns == 30
    holds.end("never began")
    assert holds.reasons == ("a", "b")


def test_a_hold_without_a_time_is_not_shortened_to_one() -> None:
    holds = Holds()
    holds.open_ended("a")
    holds.until_time("a", 30)
    assert holds.until_mono_ns is None


def test_only_open_ended_holds_have_no_end_in_time() -> None:
    holds = Holds()
    holds.open_ended("a")
    assert holds.until_mono_ns is None


@pytest.mark.parametrize(("now", "reasons"), [(29, ("a", "b")), (30, ("b",)), (31, ("b",))])
def test_a_hold_until_a_time_ends_at_that_time(now: int, reasons: tuple[str, ...]) -> None:
    holds = Holds()
    holds.until_time("a", 30)
    holds.open_ended("b")
    holds.forget_before(now)
    assert holds.reasons == reasons


@pytest.mark.parametrize(("position", "over"), [(69, False), (70, True), (71, True)])
def test_a_hold_over_a_way_ends_when_the_belt_has_gone_it(position: int, over: bool) -> None:
    holds = Holds()
    holds.until_travelled("a", 5, 20)
    holds.open_ended("b")
    holds.until_time("c", 10)
    assert holds.end_passed(Belt({5: Place(50)}), position) is over
    assert holds.reasons == (("b", "c") if over else ("a", "b", "c"))


def test_a_hold_lasts_while_nobody_knows_where_it_began() -> None:
    holds = Holds()
    holds.until_travelled("a", 5, 20)
    assert not holds.end_passed(NOWHERE, 10_000)
    assert holds.reasons == ("a",)


def test_where_a_hold_began_is_settled_once() -> None:
    holds = Holds()
    holds.until_travelled("a", 5, 20)
    assert not holds.end_passed(Belt({5: Place(50)}), 60)
    assert holds.end_passed(Belt({5: Place(500)}), 70)


@pytest.mark.parametrize(
    ("first", "second", "end"),
    [((5, 20), (6, 20), 80), ((6, 20), (5, 20), 80), ((5, 90), (6, 20), 150)],
)
def test_a_hold_that_is_still_on_is_never_shortened(
    first: tuple[int, int], second: tuple[int, int], end: int
) -> None:
    holds, belt = Holds(), Belt({5: Place(50), 6: Place(60)})
    holds.until_travelled("a", *first)
    assert not holds.end_passed(belt, 0)
    holds.until_travelled("a", *second)
    assert not holds.end_passed(belt, end - 1)
    assert holds.end_passed(belt, end)


def test_a_hold_that_is_begun_anew_does_not_end_where_the_old_one_did() -> None:
    holds = Holds()
    holds.until_travelled("a", 5, 20)
    assert not holds.end_passed(Belt({5: Place(50)}), 60)
    holds.until_travelled("a", 6, 20)
    assert not holds.end_passed(Belt({5: Place(50)}), 70), "it is not known where it began"
    assert holds.reasons == ("a",)


def test_a_way_is_gone_anew_when_nothing_is_known_of_the_belt_any_more() -> None:
    holds, belt = Holds(), Belt({5: Place(50), 8: Place(3)})
    holds.until_travelled("way", 5, 20)
    holds.until_time("time", 30)
    holds.open_ended("open")
    assert not holds.end_passed(belt, 60)
    holds.begin_again(8)
    assert not holds.end_passed(belt, 22)
    assert holds.end_passed(belt, 23)
    assert holds.reasons == ("time", "open")
    holds.forget_before(30)
    assert holds.reasons == ("open",)
