"""Data directories with thousands of parts for the tests of health and of the tuning screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeinspect.part import (
    FrameMeta,
    FrameQuality,
    GateOutcome,
    Inspection,
    PartRecord,
    StageTimes,
    Verdict,
    VerdictKind,
)
from edgeinspect.records import ImagePolicy, RecordEntry, RecordWriter
from tests.helpers.records_samples import StepClock

DIGEST = "d1" * 32
SCRATCH = ("scratch",)


def part_record(
    part_id: int,
    scores: Sequence[float],
    *,
    verdict: Verdict,
    digest: str = DIGEST,
    focus: float = 100.0,
    light: float = 120.0,
    invoke_ms: float = 12.0,
    left_ms: float = 400.0,
) -> PartRecord:
    """One part, 200 ms after the one before, with 500 ms from its frame to its deadline."""
    trigger = 1_000_000_000 + part_id * 200_000_000
    deadline = trigger + 520_000_000
    passed = verdict.kind is VerdictKind.PASS
    return PartRecord(
        part_id=part_id,
        trigger_mono_ns=trigger,
        verdict=verdict,
        gate_outcome=GateOutcome.PASSED if passed else GateOutcome.REJECT_CONFIRMED,
        recipe_digest=digest,
        frame=FrameMeta(part_id, trigger + 60, trigger + 70),
        inspection=Inspection(
            scores=tuple(scores),
            top_class="scratch",
            top_score=max(scores),
            quality=FrameQuality(light, 0.0, 0.0, focus),
            order_statistics=tuple((score,) * 9 for score in scores),
            times=StageTimes(invoke_ns=round(invoke_ms * 1e6)),
        ),
        frame_mono_ns=trigger + 20_000_000,
        verdict_mono_ns=deadline - round(left_ms * 1e6),
        deadline_mono_ns=deadline,
        window_start_mono_ns=trigger + 860_000_000,
        window_end_mono_ns=trigger + 940_000_000,
    )


def good_parts(
    count: int, *, first: int = 1, seed: int = 1, shift: float = 0.0, **fields: float
) -> Iterator[PartRecord]:
    """Parts that passed; ``fields`` multiply the usual focus, light and times, with 5 % noise."""
    from tests.evidence.drift_rate import draw

    generator = np.random.default_rng(seed)
    usual = {"focus": 100.0, "light": 120.0, "invoke_ms": 12.0, "left_ms": 400.0}
    for offset, score in enumerate(draw(generator, count, shift=shift)):
        noisy: dict[str, Any] = {
            name: value * fields.get(name, 1.0) * generator.normal(1.0, 0.05)
            for name, value in usual.items()
        }
        verdict = Verdict(VerdictKind.PASS, score=float(score))
        yield part_record(first + offset, (float(score),), verdict=verdict, **noisy)


def write_parts(
    data_dir: Path,
    records: Iterator[PartRecord] | Sequence[PartRecord],
    *,
    classes: Sequence[str] = SCRATCH,
    digest: str = DIGEST,
    document: str = "{}",
    clock: StepClock | None = None,
    batch_parts: int = 1000,
) -> None:
    """Record them as a station would, in batches."""
    policy = ImagePolicy(max_bytes=0, min_free_bytes=0, pass_sample_share=0.0, near_miss_margin=0.0)
    data_dir.mkdir(exist_ok=True)
    writer = RecordWriter(data_dir, clock=clock or StepClock(), policy=policy)
    try:
        writer.register_recipe(digest, classes=list(classes), document=document)
        batch: list[RecordEntry] = []
        for record in records:
            batch.append(RecordEntry(record))
            if len(batch) == batch_parts:
                writer.write(batch)
                batch = []
        writer.write(batch)
    finally:
        writer.close()
