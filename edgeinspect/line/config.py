"""The settings that the core needs of a station and a recipe, validated and in core units.

``edgeinspect.settings.compile`` compiles a station file and a recipe revision to a ``LineConfig``.
Times are nanoseconds. Distances are in the track's unit: nanoseconds of travel if the belt's speed
is fixed, encoder counts if an encoder is wired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from edgeinspect.part import CameraControls

ASSUMED_RESTART_NS = 1_000_000_000
"""Assumed time that a belt needs to reach its speed, if nobody has stated it."""


class GateKind(StrEnum):
    """What the gate does while its output is idle."""

    NORMALLY_REJECTING = "normally-rejecting"
    NORMALLY_PASSING = "normally-passing"


class Tracking(StrEnum):
    """How parts are followed along the belt: by time or by encoder counts."""

    DELAY = "delay"
    ENCODER = "encoder"


class ReviewAction(StrEnum):
    """What the gate does with a part between the two thresholds."""

    REJECT = "reject"
    PASS = "pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerConfig:
    """How trigger edges become parts.

    Attributes:
        debounce_ns: an edge this soon after an accepted one is contact bounce and is ignored.
        min_pitch: the smallest distance between parts, in track units. An edge closer to the last
            part is a part that cannot be trusted; it is rejected.
    """

    debounce_ns: int
    min_pitch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackConfig:
    """Distances along the belt, measured from the trigger sensor, in track units.

    Attributes:
        tracking: the unit: nanoseconds of travel, or encoder counts.
        to_lens: a frame exposed before the part has travelled this far is stale.
        exposure_window: the part stays in view for this much further travel.
        to_gate: centre of the gate.
        window_before, window_after: the part's window at the gate around ``to_gate``.
        to_guard: the second sensor before the gate; None if not wired.
        guard_tolerance: how far from its expected position a part may pass the guard sensor.
        frame_timeout_ns: the longest time that a frame exposed in time needs to arrive after the
            part has left the view.
        encoder_timeout_ns: if no count comes for this long, the belt is stopped. So every count
            must reach the core within this time of its stamp.
        encoder_max_counts_per_s: the belt's highest speed; faster counts are a fault.
        encoder_jitter_ns: the largest error in the time between two stamped counts.
        restart_ns: a belt of fixed speed reaches that speed this long after ``LineStopped`` ended.
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
        """Distance from the trigger sensor to the end of the part's window at the gate."""
        return self.to_gate + self.window_after


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """The gate and its limits.

    Attributes:
        kind: what the gate does while its output is idle.
        min_off_ns: shortest idle time between two activations.
        max_on_ns: longest activation; None if the actuator may be held.
        decision_margin_ns: a PASS must be known this long before the part's window opens.
        lease_ns: the pulse thread rejects everything after the core has been silent this long. It
            is shorter than the travel from trigger to gate, so that a part whose trigger a hung
            core never handled is rejected, too.
        timing_tolerance_ns: how much of the part's window an activation may miss at either end and
            still count as having covered it; the window leaves that much room around the part.
        settle_ns: the pulse thread reports each activation within this time.
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
    """What a frame must be like.

    Attributes:
        limits: by name, see ``edgeinspect.line.checks.all_checks``; a check whose limit is not
            here is left out.
        controls: what the camera must report; None leaves a control out.
        exposure_tolerance, gain_tolerance, white_balance_tolerance: relative, 0.05 is 5 percent.
        lens_tolerance: in the lens's own unit.
        reject_frozen: whether a picture with the same content as an earlier one is refused.
    """

    limits: Mapping[str, float] = field(default_factory=dict)
    controls: CameraControls = field(default_factory=CameraControls)
    exposure_tolerance: float = 0.05
    gain_tolerance: float = 0.05
    white_balance_tolerance: float = 0.05
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
    """How many parts in a row raise an alarm; 0 disables the alarm."""

    consecutive_rejects: int = 5
    consecutive_cannot_inspect: int = 5
    unconfirmed_rejects: int = 1
    stop_line_on_unconfirmed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LineConfig:
    """All settings in force for the parts that are triggered under them."""

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
