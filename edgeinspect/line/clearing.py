"""How far what is on the belt may still have to go, whatever recipe it came under."""

from __future__ import annotations


class Ways:
    """Remembers the way to the gate's end of every configuration that parts on the belt have.

    A recipe may state a shorter way than the one before. What was put on the belt under the longer
    one, seen or unseen, has the longer one before it all the same.
    """

    def __init__(self) -> None:
        self._until: dict[int, int] = {}

    def replace(self, way: int, travel: int) -> None:
        """A configuration with this way is replaced when the belt has come so far."""
        self._until[way] = travel + way

    def longest(self, way: int, travel: int) -> int:
        """The longest way that a part may have before it.

        Args:
            way: of the configuration in force.
            travel: the belt has come at least this far.
        """
        self._until = {old: until for old, until in self._until.items() if until > travel}
        return max([way, *self._until])
