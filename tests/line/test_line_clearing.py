"""How long what is on the belt has the way of a recipe that has been replaced before it."""

from __future__ import annotations

from edgeinspect.line.clearing import DistancesOnBelt


def test_a_longer_way_counts_until_the_belt_has_come_all_of_it() -> None:
    distances = DistancesOnBelt()
    distances.replace(100, 1_000)
    assert distances.longest(60, 1_099) == 100
    assert distances.longest(60, 1_100) == 60
    assert distances.longest(60, 1_099) == 60, "what has been forgotten stays so"


def test_the_longest_of_several_ways_counts() -> None:
    distances = DistancesOnBelt()
    distances.replace(100, 0)
    distances.replace(80, 50)
    assert distances.longest(60, 99) == 100
    assert distances.longest(60, 100) == 80
    assert distances.longest(90, 100) == 90
