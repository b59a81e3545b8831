"""The values that the live screen shows; ``live_screen`` draws them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeinspect.part import GateOutcome, VerdictKind
from edgeinspect.runtime.line_view import Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class BeltPart:
    """A part on the simulated belt.

    Attributes:
        at_ns: how far the part is past the trigger sensor, in nanoseconds of travel.
        verdict: the station's verdict, None while there is none.
        in_chute: it has been rejected and is falling.
    """

    at_ns: int
    verdict: VerdictKind | None = None
    in_chute: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LastPart:
    """A part that has left the station; ``score`` is None if it was not scored."""

    part_id: int
    verdict: VerdictKind
    reason: str
    score: float | None
    outcome: GateOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveView:
    """One moment of the line.

    Attributes:
        places_ns: positions along the belt of "trigger", "lens", "guard" and "gate".
        gate_open: a part at the gate would pass.
        counts: parts by verdict.
        reasons: rejected parts by reason.
        stages_us: percentiles of each stage.
        faults: how often each fault occurred; ``lasting`` names those that still last.
        last: the last parts, newest first.
        picture: the last part that did not pass, with its frame and score map.
    """

    title: str
    state: str
    elapsed_s: float
    parts_done: int
    parts_total: int | None
    places_ns: Mapping[str, int]
    belt: tuple[BeltPart, ...] = ()
    belt_moves: bool = True
    gate_open: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)
    passed: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    stages_us: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    faults: Mapping[str, int] = field(default_factory=dict)
    lasting: tuple[str, ...] = ()
    last: tuple[LastPart, ...] = ()
    picture: Picture | None = None
