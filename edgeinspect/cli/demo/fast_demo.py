"""The demo on virtual time: the same pictures and model, as fast as possible."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from edgeinspect.assembly.simulated_station import gate_name, geometry_of
from edgeinspect.part import Frame, Inspection
from edgeinspect.runtime.latency import Reservoir
from edgeinspect.runtime.models import open_inspectors
from edgeinspect.runtime.plan import StationPlan
from edgeinspect.sim.rendered import RenderedParts
from edgeinspect.sim.truth import Account
from edgeinspect.sim.virtual import VirtualLine
from edgeinspect.terminal.output import progress


class _TimedJudge:
    """The inspector as the virtual line's engine; measures how long it really takes."""

    def __init__(self, inspector: Any) -> None:
        self._inspector = inspector
        self.stages = {name: Reservoir(4096) for name in ("preprocess", "invoke", "postprocess")}

    def inspect(self, frame: Frame) -> Inspection:
        inspection: Inspection = self._inspector.inspect(frame)
        for name, reservoir in self.stages.items():
            reservoir.add(getattr(inspection.times, f"{name}_ns"))
        return inspection

    def stages_us(self) -> dict[str, dict[str, float]]:
        return {
            name: {
                key: value if key == "samples" else value / 1000
                for key, value in reservoir.percentiles().items()
            }
            for name, reservoir in self.stages.items()
        }


def run_fast(
    plan: StationPlan,
    *,
    parts: int,
    seed: int,
    rate_per_s: float,
    defect_rate: float,
    quiet: bool,
) -> tuple[dict[str, Any], Account]:
    """Run the parts; return the demo's result for JSON and the truth account."""
    opened = open_inspectors(plan.bundle, engine=plan.station.engine, roi=plan.roi)
    judge = _TimedJudge(opened.inspectors[0])
    rendered = RenderedParts(seed=seed, defect_rate=defect_rate)
    line = VirtualLine(
        parts=parts,
        seed=seed,
        gate=gate_name(plan.station),
        source=rendered,
        eye=rendered,
        judge=judge,
        config=plan.config,
        geometry=geometry_of(plan.station, rate_per_s=rate_per_s),
    )
    began_s = time.monotonic()
    try:
        with progress("Inspecting", parts, quiet=quiet) as report:
            account = line.run(report)
    finally:
        opened.close()
    verdicts = Counter(record.verdict.kind.value for record in line.truth.records)
    result = {
        **account.as_dict(),
        "fast": True,
        "elapsed_s": time.monotonic() - began_s,
        "verdicts": dict(sorted(verdicts.items())),
        "stage_latency_us": judge.stages_us(),
        "station_faults": {},
        "engine": opened.description,
        "bundle": plan.bundle.card.title,
    }
    return result, account
