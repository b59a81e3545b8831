"""Counts and percentiles over many recorded parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgeinspect.records.part_history import Kind, pruned_counts
from edgeinspect.records.reader import ALL_PARTS, PartFilter, RecordReader, where

_TABLES = (
    "parts JOIN recipes USING (recipe_id)"
    " LEFT JOIN images ON images.part_id = parts.part_id AND images.state = 'kept'"
)
_PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_DURATIONS_NS = {
    "preprocess": "preprocess_ns",
    "invoke": "invoke_ns",
    "postprocess": "postprocess_ns",
    "quality": "quality_ns",
    "frame_to_verdict": "verdict_mono_ns - frame_mono_ns",
    "trigger_to_verdict": "verdict_mono_ns - trigger_mono_ns",
    "verdict_to_deadline": "deadline_mono_ns - verdict_mono_ns",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PartStats:
    """Counts and percentiles over a set of parts.

    Attributes:
        parts: number of parts, including the pruned ones that the hourly counts can select.
        pruned_parts: number of those pruned parts; they count for the yield, but not for the
            percentiles.
        missing: one sentence on pruned parts that are left out; empty if there are none.
        first_part_id: lowest part id of the rows; None without rows.
        last_part_id: highest part id of the rows; None without rows.
        by_verdict: number of parts by verdict.
        by_reason: number of parts by reason.
        by_gate_outcome: number of parts by gate outcome.
        yield_share: share of the parts that passed the gate, [0, 1]; None without parts.
        score: percentiles of the deciding defect score of inspected parts, "min" to "max".
        duration_us: percentiles in microseconds by stage, over the parts that reached it;
            ``verdict_to_deadline`` is the time left, so look at its "min".
    """

    parts: int
    pruned_parts: int
    missing: str
    first_part_id: int | None
    last_part_id: int | None
    by_verdict: Mapping[str, int]
    by_reason: Mapping[str, int]
    by_gate_outcome: Mapping[str, int]
    yield_share: float | None
    score: Mapping[str, float]
    duration_us: Mapping[str, Mapping[str, float]]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def part_stats(reader: RecordReader, wanted: PartFilter = ALL_PARTS) -> PartStats:
    """Count the parts that match the filter. Raises StorageFault."""
    conditions, values = where(wanted)
    chosen = f"FROM {_TABLES} WHERE {conditions}"
    with reader.snapshot():
        rows = reader.query(
            "SELECT verdict, reason, gate_outcome, count(*), min(parts.part_id),"
            f" max(parts.part_id) {chosen} GROUP BY 1, 2, 3",
            values,
        )
        pruned, missing = pruned_counts(reader, wanted)
    counts = Counter({(row[0], row[1], row[2]): int(row[3]) for row in rows}) + pruned
    by_verdict, by_reason, by_gate_outcome = (_summed(counts, place) for place in range(3))
    by_reason.pop("", None)
    parts = counts.total()
    return PartStats(
        parts=parts,
        pruned_parts=pruned.total(),
        missing=missing,
        first_part_id=min((row[4] for row in rows), default=None),
        last_part_id=max((row[5] for row in rows), default=None),
        by_verdict=by_verdict,
        by_reason=by_reason,
        by_gate_outcome=by_gate_outcome,
        yield_share=by_gate_outcome.get("passed", 0) / parts if parts else None,
        score=_spread(reader, "score", f"{chosen} AND scores IS NOT NULL", values),
        duration_us={
            stage: spread
            for stage, duration in _DURATIONS_NS.items()
            if (spread := _spread(reader, f"({duration}) / 1000.0", chosen, values))
        },
    )


def _summed(counts: Counter[Kind], place: int) -> dict[str, int]:
    """Sum the counts by one of the names, the most frequent first."""
    summed: Counter[str] = Counter()
    for kind, count in counts.items():
        summed[kind[place]] += count
    return dict(sorted(summed.items(), key=lambda item: (-item[1], item[0])))


def _spread(
    reader: RecordReader, expression: str, chosen: str, values: dict[str, Any]
) -> dict[str, float]:
    numbers = reader.numbers(f"SELECT {expression} {chosen} AND {expression} IS NOT NULL", values)
    if not numbers.size:
        return {}
    percentiles = np.percentile(numbers, _PERCENTILES)
    spread = {f"p{at:g}": float(value) for at, value in zip(_PERCENTILES, percentiles, strict=True)}
    return {"min": float(numbers.min()), **spread, "max": float(numbers.max())}
