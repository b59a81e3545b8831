"""What other threads may see of the line: copies that the line thread renews."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeinspect.line.parts_lock import LockState
from edgeinspect.part import Frame, PartRecord, ScoreMap
from edgeinspect.runtime.passing import NothingPasses


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished part as the live view shows it."""

    record: PartRecord
    frame: Frame
    score_map: ScoreMap | None


@dataclass(frozen=True, slots=True)
class LineView:
    """A consistent copy of the core's state, renewed with every tick."""

    counts: Mapping[str, int] = field(default_factory=dict)
    holds: tuple[str, ...] = ()
    open_alarms: tuple[str, ...] = ()
    parts_in_flight: int = 0
    belt_is_steady: bool = False
    recipe_digest: str = ""
    nothing_passes: NothingPasses | None = None
    lock_state: LockState = LockState.OPEN
