"""What crosses the border of the challenge machine: the station as it is, and actions."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from edgeinspect.challenge.policy import DueState, Moment
from edgeinspect.line.parts_lock import LockState
from edgeinspect.runtime.plan import StationPlan
from edgeinspect.runtime.station_status import StationState


@dataclass(frozen=True, slots=True, kw_only=True)
class StationNow:
    """The station and its clocks at the moment of an event.

    Attributes:
        belt_is_clear: No part is on its way to the gate, whether a sensor has seen it or not.
        belt_is_steady: The belt runs at its full speed.
    """

    moment: Moment
    plan: StationPlan
    state: StationState
    lock: LockState
    parts_in_flight: int
    belt_is_clear: bool
    belt_is_steady: bool


class Do(Enum):
    """Actions that need no more words. Only a line that feeds itself has the last two."""

    LOCK = auto()  # reject everything; withdraws an announcement
    UNLOCK = auto()  # inspect parts again
    ANNOUNCE_MASTER = auto()  # the next part is one; fails with BeltNotReady if not accepted
    HOLD_BACK_PARTS = auto()
    FEED_PARTS = auto()


class PutOnMaster(NamedTuple):
    """Put a part that looks like this picture on a line that feeds itself."""

    picture: Path
    defective: bool


class SaveDue(NamedTuple):
    """Write the state of the demands to disk. Fails with StorageFault."""

    state: DueState


class KeepRecord(NamedTuple):
    """Audit the end of a challenge, then store its record; answered with the record's number.

    Fails with EdgeInspectError; the challenge has then proven nothing.
    """

    content: dict[str, Any]


class CountNotKept(NamedTuple):
    """Count a fault: something could not be written."""

    detail: str


class ShowDue(NamedTuple):
    """Show why a challenge is due, "" for no reason; raise the alarm if a reason is new."""

    text: str
    is_new: bool


class PublishEvent(NamedTuple):
    """Publish an event to those who follow the station."""

    outcome: str
    detail: str
    author: str


Action = Do | PutOnMaster | SaveDue | KeepRecord | CountNotKept | ShowDue | PublishEvent
Result = TypeVar("Result")
Steps = Generator[Action, int, Result]
"""Actions in turn; each is answered with the number of the record that was kept, or 0."""
