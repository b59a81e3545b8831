"""Percentiles of how long each stage took, over the last parts."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np

from edgeinspect.part import PartRecord


class Reservoir:
    """The last values of one quantity."""

    def __init__(self, capacity: int = 1024) -> None:
        self._values: deque[int] = deque(maxlen=capacity)

    def add(self, value: int) -> None:
        """Keep this value."""
        self._values.append(value)

    def percentiles(self) -> Mapping[str, float]:
        """p50, p90, p99, the largest value and how many there are; {} if there are none."""
        values = list(self._values.copy())
        if not values:
            return {}
        # Values that occurred, not means of two.
        found = np.percentile(values, (50, 90, 99, 100), method="nearest").tolist()
        return dict(zip(("p50", "p90", "p99", "max"), found, strict=True), samples=len(values))


class StageLatencies:
    """Fed with every part's record; all values are nanoseconds.

    Stages: trigger_to_frame, frame_to_verdict, queue_and_hops (frame to verdict without the
    inspection itself), preprocess, invoke, postprocess, quality, and margin (from the verdict
    to the time at which it would have come too late).
    """

    def __init__(self) -> None:
        self._stages: dict[str, Reservoir] = {}

    def add(self, record: PartRecord) -> None:
        """Keep the stage times of this part."""
        if record.frame_mono_ns is not None:
            self._add("trigger_to_frame", record.frame_mono_ns - record.trigger_mono_ns)
        if record.inspection is None:
            return
        times = record.inspection.times
        for stage in ("preprocess", "invoke", "postprocess", "quality"):
            self._add(stage, getattr(times, f"{stage}_ns"))
        if record.frame_mono_ns is None or record.verdict_mono_ns is None:
            return
        frame_to_verdict_ns = record.verdict_mono_ns - record.frame_mono_ns
        inspection_ns = (
            times.preprocess_ns + times.invoke_ns + times.postprocess_ns + times.quality_ns
        )
        self._add("frame_to_verdict", frame_to_verdict_ns)
        self._add("queue_and_hops", frame_to_verdict_ns - inspection_ns)
        if record.deadline_mono_ns is not None:
            self._add("margin", record.deadline_mono_ns - record.verdict_mono_ns)

    def snapshot_us(self) -> Mapping[str, Mapping[str, float]]:
        """Percentiles of each stage in microseconds."""
        return {
            stage: {
                name: value if name == "samples" else value / 1000
                for name, value in reservoir.percentiles().items()
            }
            for stage, reservoir in list(self._stages.items())
        }

    def _add(self, stage: str, value_ns: int) -> None:
        self._stages.setdefault(stage, Reservoir()).add(value_ns)
