"""The simulated line's dimensions, and the core configuration that fits them.

Distances along the belt are nanoseconds of travel at full speed, measured from the trigger
sensor; with an encoder, one count is ``NS_PER_COUNT`` of travel.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeinspect.line.config import (
    AlarmConfig,
    ClassThresholds,
    ConfirmConfig,
    FrameChecks,
    GateConfig,
    GateKind,
    LineConfig,
    ReviewAction,
    TrackConfig,
    Tracking,
    TriggerConfig,
)
from edgeinspect.part import CameraControls

MS = 1_000_000
SECOND = 1_000_000_000
NS_PER_COUNT = 5 * MS
RESTART_NS = 300 * MS
"""The belt's time to reach its speed, as stated in the station file."""
STOP_SIGNAL_DELAY_NS = 40 * MS
"""The longest time that the belt slows before line-stopped comes on, as stated in the file."""

GATES: dict[str, tuple[GateKind, bool]] = {
    "normally-rejecting": (GateKind.NORMALLY_REJECTING, False),
    "normally-passing": (GateKind.NORMALLY_PASSING, False),
    "normally-passing-guarded": (GateKind.NORMALLY_PASSING, True),
}
"""Name on the command line: kind of gate, and whether the second sensor is wired."""

DEFECT_CLASS = "defect"
MISPLACED_CLASS = "misplaced"
EXPOSURE_US = 500.0
GAIN = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LineGeometry:
    """The physical line. Times and distances in nanoseconds (of travel).

    Attributes:
        pitch_min_ns, pitch_mean_ns: parts come at least and on average this far apart.
        part_half_ns: half the part's length.
        slip_ns: a part may be this much early or late at guard and gate.
        to_lens_ns, to_guard_ns, to_gate_ns: places behind the trigger sensor.
        to_end_ns: end of the outfeed; a part leaves the line here and nowhere else.
        view_early_ns, view_tolerance_ns: a part this far before or beyond the lens still stands
            where the recipe expects it; earlier or later it is out of place.
        view_ns: a part farther than this from the lens is not in the picture at all.
        chute_ns: shortest and longest fall from the gate to the confirm sensor.
        coast_ns: the belt slows down for this long after the stop command, evenly.
        restart_ns: it gathers speed for this long after each start, evenly.
        stop_bounce_ns: a line-stopped contact that bounces does so for at most this long.
        heartbeat_timeout_ns: the line's control stops the belt this long after the last beat.
            It must be shorter than the shortest restart of the station.
    """

    pitch_min_ns: int = 160 * MS
    pitch_mean_ns: int = 200 * MS
    part_half_ns: int = 20 * MS
    slip_ns: int = 8 * MS
    to_lens_ns: int = 60 * MS
    to_guard_ns: int = 750 * MS
    to_gate_ns: int = 900 * MS
    to_end_ns: int = 5_000 * MS
    view_early_ns: int = 6 * MS
    view_tolerance_ns: int = 32 * MS
    view_ns: int = 70 * MS
    chute_ns: tuple[int, int] = (20 * MS, 60 * MS)
    coast_ns: int = 50 * MS
    restart_ns: int = 250 * MS
    stop_bounce_ns: int = 6 * MS
    heartbeat_timeout_ns: int = 300 * MS


def is_guarded(gate: str) -> bool:
    """Return whether this kind of gate has a guard sensor."""
    return GATES[gate][1]


def line_config(
    *,
    gate: str,
    tracking: str = "delay",
    recipe_digest: str = "recipe-a",
    defect_thresholds: tuple[float, float] = (0.4, 0.6),
) -> LineConfig:
    """The core's configuration for the simulated line.

    Args:
        gate: a key of ``GATES``.
        tracking: "delay" or "encoder".
        recipe_digest: stored with every part.
        defect_thresholds: review and reject threshold of the class "defect", [0, 1].
    """
    kind, guarded = GATES[gate]
    unit = NS_PER_COUNT if tracking == Tracking.ENCODER else 1
    delayed_ns = STOP_SIGNAL_DELAY_NS if tracking == Tracking.DELAY else 0
    review, reject = defect_thresholds
    return LineConfig(
        trigger=TriggerConfig(debounce_ns=8 * MS, min_pitch=150 * MS // unit),
        track=TrackConfig(
            tracking=Tracking(tracking),
            to_lens=60 * MS // unit,
            exposure_window=30 * MS // unit,
            to_gate=900 * MS // unit,
            window_before=40 * MS // unit,
            window_after=(40 * MS + delayed_ns) // unit,
            to_guard=750 * MS // unit if guarded else None,
            guard_tolerance=40 * MS // unit if guarded else 0,
            encoder_max_counts_per_s=240,
            restart_ns=RESTART_NS,
        ),
        gate=GateConfig(
            kind=kind, min_off_ns=10 * MS, decision_margin_ns=10 * MS, lease_ns=200 * MS
        ),
        thresholds=(
            ClassThresholds(name=DEFECT_CLASS, review=review, reject=reject),
            ClassThresholds(name=MISPLACED_CLASS, review=0.5, reject=0.5),
        ),
        checks=FrameChecks(
            limits={"mean_min": 40.0, "focus_min": 50.0},
            controls=CameraControls(exposure_us=EXPOSURE_US, gain=GAIN),
        ),
        review_action=ReviewAction.REJECT,
        confirm=ConfirmConfig(earliest_ns=20 * MS, latest_ns=120 * MS),
        alarms=AlarmConfig(),
        recipe_digest=recipe_digest,
    )
