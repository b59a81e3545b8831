"""Records and pictures that depend on the part id alone, so that anybody can check them."""

from __future__ import annotations

import datetime
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgeinspect.part import (
    CameraControls,
    Doubt,
    FrameMeta,
    FrameQuality,
    GateOutcome,
    Inspection,
    PartRecord,
    Region,
    StageTimes,
    Verdict,
    VerdictKind,
)
from edgeinspect.records import ImageKind, RecordEntry

CLASSES = ("scratch", "pit")
START_WALL = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)


class StepClock:
    """A clock that moves a millisecond whenever it is read; ``wall`` may be set."""

    def __init__(self) -> None:
        self.wall = START_WALL
        self.mono_ns = 5_000_000_000
        self.synchronized = True

    def now_mono_ns(self) -> int:
        self.mono_ns += 1_000_000
        return self.mono_ns

    def now_wall(self) -> datetime.datetime:
        self.wall += datetime.timedelta(milliseconds=1)
        return self.wall

    def is_synchronized(self) -> bool:
        return self.synchronized


_VERDICTS = (
    (Verdict(VerdictKind.PASS, score=0.125), GateOutcome.PASSED),
    (Verdict(VerdictKind.REJECT, "pit", 0.75), GateOutcome.REJECT_CONFIRMED),
    (Verdict(VerdictKind.REVIEW, "scratch", 0.5), GateOutcome.REJECTED),
    (
        Verdict(VerdictKind.CANNOT_INSPECT, doubt=Doubt.LATE, detail="verdict 3 ms late"),
        GateOutcome.REJECTED,
    ),
)
_KINDS = (
    ImageKind.PASS_SAMPLE,
    ImageKind.REJECT,
    ImageKind.REVIEW,
    ImageKind.CANNOT_INSPECT,
)


def sample_record(part_id: int, *, digest: str = "d1" * 32) -> PartRecord:
    """Verdicts go round: PASS, REJECT, REVIEW, CANNOT_INSPECT by ``part_id % 4``."""
    verdict, outcome = _VERDICTS[part_id % 4]
    trigger = 1_000_000_000 + part_id * 200_000_000
    seen = verdict.doubt is None
    return PartRecord(
        part_id=part_id,
        trigger_mono_ns=trigger,
        verdict=verdict,
        gate_outcome=outcome,
        recipe_digest=digest,
        frame=FrameMeta(
            part_id + 7,
            trigger + 60,
            trigger + 70,
            CameraControls(
                exposure_us=500.0, gain=1.5, red_gain=1.75, blue_gain=2.25, lens_position=0.25
            ),
            "a.png",
            exposure_error_ns=part_id * 100,
        ),
        inspection=sample_inspection(verdict.score) if seen else None,
        frame_mono_ns=trigger + 20_000_000,
        verdict_mono_ns=trigger + 20_000_000 + part_id * 1000,
        deadline_mono_ns=trigger + 500_000_000,
        window_start_mono_ns=trigger + 860_000_000,
        window_end_mono_ns=trigger + 940_000_000,
        encoder_count=part_id * 11,
    )


def record_with_quality(quality: FrameQuality) -> PartRecord:
    record = sample_record(1)
    assert record.inspection is not None
    return replace(record, inspection=replace(record.inspection, quality=quality))


def sample_inspection(score: float) -> Inspection:
    return Inspection(
        scores=(score / 2, score),
        top_class="pit",
        top_score=score,
        quality=FrameQuality(101.5, 0.0, 0.25, 55.5),
        order_statistics=((0.5, 0.25), (0.75, 0.125)),
        worst_region=Region(3, 4, 5, 6),
        times=StageTimes(preprocess_ns=1, invoke_ns=2, postprocess_ns=3, quality_ns=4),
    )


def sample_pixels(part_id: int, *, side_px: int = 24) -> NDArray[np.uint8]:
    """Noise, so that the PNG is about as large as the picture."""
    return np.random.default_rng(part_id).integers(0, 256, (side_px, side_px), np.uint8)


def sample_entry(part_id: int, *, picture: bool = False) -> RecordEntry:
    record = sample_record(part_id)
    if not picture:
        return RecordEntry(record)
    return RecordEntry(record, _KINDS[part_id % 4], sample_pixels(part_id))
