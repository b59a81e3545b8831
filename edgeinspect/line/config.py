"""What the core needs to know of a station and a recipe, already validated and in core units.

``edgeinspect.settings.compile`` compiles a station file and a recipe revision to a ``LineConfig``.
Times are nanoseconds, distances are in the track's unit: nanoseconds of travel where the belt's
speed is fixed, encoder counts where an encoder is wired.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

ASSUMED_RESTART_NS = 1_000_000_000
"""How long a belt is taken to need for its speed where nobody has stated it."""


class GateKind(StrEnum):
    NORMALLY_REJECTING = "normally-rejecting"
    NORMALLY_PASSING = "normally-passing"


class Tracking(StrEnum):
    DELAY = "delay"
    ENCODER = "encoder"


class ReviewAction(StrEnum):
    """What the gate does with a part between the two thresholds."""

    REJECT = "reject"
    PASS = "pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerConfig:
    """Attributes:
    debounce_ns: a further edge this soon after an accepted one is contact bounce: ignored.
    min_pitch: parts cannot be nearer than this (track units); a further edge inside it is
        a part that cannot be trusted and is rejected.
    """

    debounce_ns: int
    min_pitch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackConfig:
    """Where things are along the belt, measured from the trigger sensor, in track units.

    Attributes:
        tracking: the unit: nanoseconds of travel, or encoder counts.
        to_lens: a frame exposed before the part has travelled this far is stale.
        exposure_window: the part is in view for this much further travel.
        to_gate: centre of the gate.
        window_before, window_after: the part's window at the gate around ``to_gate``.
        to_guard: the second sensor before the gate; None if not wired.
        guard_tolerance: how far from its expected place a part may pass the guard sensor.
        frame_timeout_ns: a frame exposed in time has arrived this long after the part has left
            the view, or it never will.
        encoder_timeout_ns: no count for this long means that the belt stands still, so no count
            may reach the core later than this after its stamp.
        encoder_max_counts_per_s: the belt cannot move faster; counts that say so are a fault.
        encoder_jitter_ns: how far the stamps of counts may be pushed together by themselves.
        restart_ns: a belt of fixed speed has that speed this long after ``LineStopped`` ended.
    """

    tracking: Tracking = Tracking.DELAY
    to_lens: int
    exposure_window: int
    to_gate: int
    window_before: int
    window_after: int
    to_guard: int | None = None
    guard_tolerance: int = 0
    frame_timeout_ns: int = 100_000_000
    encoder_timeout_ns: int = 200_000_000
    encoder_max_counts_per_s: int | None = None
    encoder_jitter_ns: int = 1_000_000
    restart_ns: int = ASSUMED_RESTART_NS

    @property
    def way(self) -> int:
        """From the trigger sensor until a part has left its window at the gate."""
        return self.to_gate + self.window_after


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """Attributes:
    kind: what the gate does while its output is idle.
    min_off_ns: shortest idle time between two activations.
    max_on_ns: longest activation; None where the actuator may be held.
    decision_margin_ns: a PASS must be known this long before the part's window opens.
    lease_ns: the pulse thread rejects everything once the core has been silent this long.
        Shorter than the travel from trigger to gate, so that a part whose trigger a hung core
        never handled is rejected too.
    timing_tolerance_ns: by how much an activation may miss the part's window at either end and
        still count as having covered it; the window has that much room around the part.
    settle_ns: the pulse thread's report of an activation arrives within this time.
    """

    kind: GateKind
    min_off_ns: int = 0
    max_on_ns: int | None = None
    decision_margin_ns: int = 5_000_000
    lease_ns: int = 100_000_000
    timing_tolerance_ns: int = 5_000_000
    settle_ns: int = 20_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmConfig:
    """The sensor in the reject chute.

    A confirm edge belongs to a rejected part if it comes between ``earliest_ns`` after the
    start and ``latest_ns`` after the end of the part's window.
    """

    earliest_ns: int
    latest_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameChecks:
    """Limits on a frame; None leaves a check out. See ``FrameQuality`` for the units.

    Tolerances are relative: 0.05 is 5 percent; but ``lens_tolerance`` is in the lens's own unit,
    for the lens position 0 (infinity) is an ordinary one.
    """

    mean_min: float | None = None
    mean_max: float | None = None
    clipped_low_max: float | None = None
    clipped_high_max: float | None = None
    focus_min: float | None = None
    exposure_us: float | None = None
    exposure_tolerance: float = 0.05
    gain: float | None = None
    gain_tolerance: float = 0.05
    red_gain: float | None = None
    blue_gain: float | None = None
    white_balance_k: float | None = None
    white_balance_tolerance: float = 0.05
    lens_position: float | None = None
    lens_tolerance: float = 0.1
    reject_frozen: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassThresholds:
    """Both thresholds of one defect class, [0, 1], review <= reject.

    A score at or above ``reject`` is REJECT; below it and at or above ``review`` is REVIEW.
    """

    name: str
    review: float
    reject: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmConfig:
    """How many in a row raise an alarm; 0 leaves the alarm out."""

    consecutive_rejects: int = 5
    consecutive_cannot_inspect: int = 5
    unconfirmed_rejects: int = 1
    stop_line_on_unconfirmed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LineConfig:
    """Everything in force for the parts that are triggered under it."""

    trigger: TriggerConfig
    track: TrackConfig
    gate: GateConfig
    thresholds: tuple[ClassThresholds, ...]
    checks: FrameChecks = field(default_factory=FrameChecks)
    review_action: ReviewAction = ReviewAction.REJECT
    confirm: ConfirmConfig | None = None
    alarms: AlarmConfig = field(default_factory=AlarmConfig)
    max_parts_in_flight: int = 64
    recipe_digest: str = ""
