"""Recorded parts with scores that a test chooses, written by the station's own writer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeinspect.line.config import ClassThresholds
from edgeinspect.line.scores import ORDER_STATISTIC_RANKS
from edgeinspect.line.verdict import judge_scores
from edgeinspect.part import GateOutcome, PartRecord, VerdictKind
from edgeinspect.records import ImageKind, ImagePolicy, RecordEntry, RecordWriter
from tests.helpers.records_samples import StepClock, sample_inspection, sample_pixels, sample_record

DIGEST = "d1" * 32
THRESHOLDS = (
    ClassThresholds(name="scratch", review=0.4, reject=0.6),
    ClassThresholds(name="pit", review=0.3, reject=0.5),
)
CLASSES = tuple(limit.name for limit in THRESHOLDS)


def scored_record(
    part_id: int,
    scores: Sequence[float],
    *,
    thresholds: Sequence[ClassThresholds] = THRESHOLDS,
    order_statistics: Sequence[Sequence[float]] | None = None,
    digest: str = DIGEST,
) -> PartRecord:
    """A part judged by its scores, as the line judges it."""
    ranks = len(ORDER_STATISTIC_RANKS)
    order = order_statistics or [[score] * ranks for score in scores]
    inspection = replace(
        sample_inspection(max(scores)),
        scores=tuple(scores),
        order_statistics=tuple(tuple(row) for row in order),
    )
    verdict = judge_scores(scores, thresholds)
    passed = verdict.kind is VerdictKind.PASS
    return replace(
        sample_record(part_id, digest=digest),
        verdict=verdict,
        inspection=inspection,
        gate_outcome=GateOutcome.PASSED if passed else GateOutcome.REJECTED,
    )


def write_parts(
    data_dir: Path,
    records: Iterable[PartRecord],
    *,
    classes: Sequence[str] = CLASSES,
    document: str = "",
    pictures: bool = False,
    digest: str = DIGEST,
) -> None:
    """Record the parts, each with a picture where asked for."""
    policy = ImagePolicy(min_free_bytes=0)
    with RecordWriter(data_dir, clock=StepClock(), policy=policy, reserve_bytes=0) as writer:
        writer.register_recipe(digest, classes=classes, document=document)
        batch = []
        for record in records:
            kind = ImageKind.PASS_SAMPLE if pictures else None
            pixels = sample_pixels(record.part_id) if pictures else None
            batch.append(RecordEntry(record, kind, pixels))
        for start in range(0, len(batch), 500):
            writer.write(batch[start : start + 500])


def random_scores(parts: int, *, seed: int, classes: int = 2) -> list[list[float]]:
    """Scores as an int8 model gives them: one of 256 levels of a sigmoid."""
    random = np.random.default_rng(seed)
    levels = 1 / (1 + np.exp(-np.linspace(-6, 6, 256)))
    chosen = levels[random.integers(0, 256, (parts, classes))]
    return [[float(score) for score in row] for row in chosen]
