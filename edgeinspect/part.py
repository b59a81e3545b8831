"""The values that flow along the line. All are frozen; arrays in them are never written again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class VerdictKind(StrEnum):
    """The four verdicts on a part."""

    PASS = "PASS"
    REJECT = "REJECT"
    REVIEW = "REVIEW"
    CANNOT_INSPECT = "CANNOT_INSPECT"


class Doubt(StrEnum):
    """Why a part could not be inspected. Each is counted by this name."""

    NO_FRAME = "no_frame"
    STALE = "stale"
    REPEATED = "repeated"
    FROZEN = "frozen"
    BLURRED = "blurred"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    SATURATED = "saturated"
    MISALIGNED = "misaligned"
    EXPOSURE_OFF_RECIPE = "exposure_off_recipe"
    GAIN_OFF_RECIPE = "gain_off_recipe"
    ENGINE_FAILED = "engine_failed"
    CAMERA_FAILED = "camera_failed"
    LATE = "late"
    TOO_CLOSE = "too_close"
    UNTRIGGERED = "untriggered"
    OVERFLOW = "overflow"
    LINE_STOPPED = "line_stopped"
    ENCODER_STALLED = "encoder_stalled"
    POSITION_UNCERTAIN = "position_uncertain"
    PAUSED = "paused"
    LOCKED = "locked"
    STOPPED = "stopped"


class GateOutcome(StrEnum):
    """What happened to the part at the gate.

    ``REJECTED`` means that nobody can confirm the rejection: no confirm sensor is wired, or the
    belt did not keep its speed, so the time of the fall is unknown. ``GATE_LIMITED`` means that the
    gate's own limits kept it from covering the part's window.
    """

    PASSED = "passed"
    REJECTED = "rejected"
    REJECT_CONFIRMED = "reject_confirmed"
    REJECT_UNCONFIRMED = "reject_unconfirmed"
    GATE_LIMITED = "gate_limited"
    LOST = "lost"


class Region(NamedTuple):
    """An axis-aligned box in frame pixels: left edge, top edge, width, height."""

    x: int
    y: int
    width: int
    height: int

    def overlaps(self, other: Region) -> bool:
        """Whether the two boxes share any area."""
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraControls:
    """The settings of a camera: what a recipe asks for, or what a frame was taken with.

    In a recipe None leaves a control as the driver finds it. In a frame None means that the
    camera does not report it.

    Attributes:
        exposure_us: exposure time.
        gain: analogue gain; for a USB camera the number that it uses itself.
        red_gain, blue_gain: fixed white balance, both or none.
        white_balance_k: fixed white balance of a camera that takes a colour temperature, kelvin.
        lens_position: dioptres (1/m); for a USB camera the number that it uses itself.
    """

    exposure_us: float | None = None
    gain: float | None = None
    red_gain: float | None = None
    blue_gain: float | None = None
    white_balance_k: float | None = None
    lens_position: float | None = None

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Every control, in the order in which records and exports list them."""
        return tuple(field.name for field in fields(cls))


@dataclass(frozen=True, slots=True)
class FrameMeta:
    """What the camera driver reports about one exposure.

    Attributes:
        sequence: the driver's frame counter; strictly increasing, even after the camera was opened
            again.
        exposure_mono_ns: start of the exposure on CLOCK_MONOTONIC.
        exposure_error_ns: the exposure really began at most this much earlier or later.
        arrived_mono_ns: when the driver delivered the frame, on CLOCK_MONOTONIC.
        controls: as reported by the camera.
        source: file name of a replayed picture, else "".
        view: name of the camera's view of the part, for lines with more than one.
    """

    sequence: int
    exposure_mono_ns: int
    arrived_mono_ns: int
    controls: CameraControls = field(default_factory=CameraControls)
    source: str = ""
    view: str = "main"
    exposure_error_ns: int = 0

    @property
    def earliest_mono_ns(self) -> int:
        """The earliest possible start of the exposure."""
        return self.exposure_mono_ns - self.exposure_error_ns

    @property
    def latest_mono_ns(self) -> int:
        """The latest possible start of the exposure."""
        return self.exposure_mono_ns + self.exposure_error_ns


@dataclass(frozen=True, slots=True)
class Frame:
    """One exposure.

    Attributes:
        meta: what the driver reports about it.
        pixels: uint8, shape (height, width) for grey or (height, width, 3) in RGB order. Read-only.
    """

    meta: FrameMeta
    pixels: NDArray[np.uint8] = field(compare=False, repr=False)

    @classmethod
    def of_picture(cls, pixels: NDArray[np.uint8], *, source: str = "") -> Frame:
        """A frame without a history, e.g. from a file; a single grey channel loses its axis."""
        flat = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
        meta = FrameMeta(sequence=0, exposure_mono_ns=0, arrived_mono_ns=0, source=source)
        return cls(meta, np.ascontiguousarray(flat))


@dataclass(frozen=True, slots=True)
class FrameQuality:
    """Brightness and sharpness of a frame's region of interest.

    Attributes:
        mean: mean grey level, [0, 255].
        clipped_low: share of pixels at most 2, [0, 1].
        clipped_high: share of pixels at least 253, [0, 1].
        focus: variance of the Laplacian, grey levels squared, >= 0.
        others: by name, what further checks of ``edgeinspect.line.checks`` measure.
    """

    mean: float
    clipped_low: float
    clipped_high: float
    focus: float
    others: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, float]) -> FrameQuality:
        """The quality with these values, by name; the four above must be among them."""
        others = dict(values)
        named = {
            name: others.pop(name) for name in ("mean", "clipped_low", "clipped_high", "focus")
        }
        return cls(**named, others=others)

    def values(self) -> dict[str, float]:
        """Every measured value by name; a missing name was not measured on this picture."""
        return {
            "mean": self.mean,
            "clipped_low": self.clipped_low,
            "clipped_high": self.clipped_high,
            "focus": self.focus,
            **self.others,
        }


@dataclass(frozen=True, slots=True)
class ScoreMap:
    """The model's defect score per location of the ROI, stitched from tiles.

    Attributes:
        scores: float32 in [0, 1], shape (map_height, map_width, defect_classes).
        roi: the region of the frame that the map covers.
        stride_px: frame pixels per map cell, along both axes.
        classes: names of the defect classes, in the order of the last axis.
    """

    scores: NDArray[np.float32] = field(compare=False, repr=False)
    roi: Region
    stride_px: float
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Nanoseconds that one part spent in each stage of its inspection."""

    preprocess_ns: int = 0
    invoke_ns: int = 0
    postprocess_ns: int = 0
    quality_ns: int = 0


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the model and the frame checks found in one frame, before any policy.

    Attributes:
        scores: the defect score of each defect class, [0, 1], in the bundle's class order.
        top_class: for a classifier the class with the highest value over the whole picture (which
            may be a good class); for a score map the defect class with the highest score.
        top_score: the value of ``top_class``, [0, 1].
        quality: measured on the same ROI.
        order_statistics: per defect class the k-th largest map values for the k of
            ``edgeinspect.line.scores.ORDER_STATISTIC_RANKS``, so that other reducers can be
            replayed later without the picture. Shape (classes, ranks).
        worst_region: box of the worst spot in frame pixels; None if nothing stands out.
        times: how long each stage took.
        score_map: the stitched map, if it was requested.
    """

    scores: tuple[float, ...]
    top_class: str
    top_score: float
    quality: FrameQuality
    order_statistics: tuple[tuple[float, ...], ...] = ()
    worst_region: Region | None = None
    times: StageTimes = StageTimes()
    score_map: ScoreMap | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The station's decision on one part.

    Attributes:
        kind: PASS, REJECT, REVIEW or CANNOT_INSPECT.
        defect_class: the class that decided a REJECT or REVIEW, else "".
        score: the score that decided, [0, 1]; for a PASS the highest; 0 for CANNOT_INSPECT.
        doubt: the reason of a CANNOT_INSPECT, else None.
        detail: one sentence for a person, e.g. "focus 12.1 is below 40.0"; may be empty.
    """

    kind: VerdictKind
    defect_class: str = ""
    score: float = 0.0
    doubt: Doubt | None = None
    detail: str = ""

    @property
    def reason(self) -> str:
        """The name under which this verdict is counted: the doubt, the class, or ""."""
        return self.doubt.value if self.doubt is not None else self.defect_class


@dataclass(frozen=True, slots=True)
class PartRecord:
    """Everything that is kept of one part after it has left the station.

    Times are CLOCK_MONOTONIC nanoseconds and None if the stage was not reached. The recorder adds
    wall time, boot id and clock state when it writes the row.

    Attributes:
        part_id: strictly increasing, never reused across restarts.
        trigger_mono_ns: the accepted edge; for an untriggered part the guard sensor's edge.
        verdict: the final verdict.
        gate_outcome: the final outcome at the gate.
        recipe_digest: digest of the station file, recipe and bundle in force at the trigger.
        frame: metadata of the matched frame.
        inspection: what was found in the frame, without the score map.
        frame_mono_ns: when the frame reached the core.
        verdict_mono_ns: when the verdict was given.
        deadline_mono_ns: the latest time at which a PASS could still have been honoured.
        window_start_mono_ns, window_end_mono_ns: the part's window at the gate, as last predicted.
        encoder_count: the count at the trigger, if an encoder is wired.
    """

    part_id: int
    trigger_mono_ns: int
    verdict: Verdict
    gate_outcome: GateOutcome
    recipe_digest: str
    frame: FrameMeta | None = None
    inspection: Inspection | None = None
    frame_mono_ns: int | None = None
    verdict_mono_ns: int | None = None
    deadline_mono_ns: int | None = None
    window_start_mono_ns: int | None = None
    window_end_mono_ns: int | None = None
    encoder_count: int | None = None
