"""What a challenge needs of the station and of the line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeinspect.control.feed import EventFeed
from edgeinspect.errors import EdgeInspectError
from edgeinspect.line.parts_lock import LockState
from edgeinspect.runtime.faults import FaultBoard
from edgeinspect.runtime.station_status import StationState


class BeltNotReady(EdgeInspectError):
    """No master can be judged now: other parts are on the belt, or it is still starting."""


class Lockable(Protocol):
    """What the desk uses of ``edgeinspect.runtime.station.Station``."""

    challenge_status: Mapping[str, object]
    faults: FaultBoard
    feed: EventFeed

    @property
    def state(self) -> StationState: ...
    @property
    def lock_state(self) -> LockState: ...
    @property
    def parts_in_flight(self) -> int: ...
    @property
    def belt_is_steady(self) -> bool: ...
    def lock(self) -> None: ...
    def unlock(self) -> None: ...
    def announce_master(self) -> None: ...
    def demand_challenge(self, detail: str) -> None: ...


class MasterFeeder(Protocol):
    """Puts masters on a line that has no person who could."""

    def hold_back(self) -> None:
        """Put no other parts on the line."""
        ...

    @property
    def is_clear(self) -> bool:
        """Whether no part is on its way to the gate, seen by a sensor or not yet."""
        ...

    def put_on(self, picture: NDArray[np.uint8], *, defective: bool) -> None:
        """Put one master on the line. Raises UsageError for a picture it cannot show."""
        ...

    def go_on(self) -> None:
        """Feed as before."""
        ...
