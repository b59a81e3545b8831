"""How far the parts on the belt may still have to travel, whichever recipe they came under."""

from __future__ import annotations


class DistancesOnBelt:
    """Remembers the distance to the end of the gate for every configuration on the belt.

    A new recipe may have a shorter distance than the one before. Parts that came onto the belt
    under the longer one, seen or unseen, still have the longer distance to travel.
    """

    def __init__(self) -> None:
        self._until: dict[int, int] = {}

    def replace(self, distance: int, travel: int) -> None:
        """Note that a configuration with this distance is replaced at this position of the belt."""
        self._until[distance] = travel + distance

    def longest(self, distance: int, travel: int) -> int:
        """Return the longest distance that any part may still have to travel.

        Args:
            distance: the distance of the configuration in force.
            travel: the belt has come at least this far.
        """
        self._until = {old: until for old, until in self._until.items() if until > travel}
        return max([distance, *self._until])
