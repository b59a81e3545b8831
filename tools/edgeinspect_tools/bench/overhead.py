"""The time that the station adds to the bare model, on the same tiles, in turns.

For each part the bare interpreter is timed on the part's tiles first, then the part goes through
a real ``Station`` on real threads, from its trigger to its record. Only the camera and the wires
are the shipped fakes: the camera delivers a picture at once.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.directory import Bundle
from edgeinspect.bundle.pipeline import Pipeline
from edgeinspect.errors import NotGood
from edgeinspect.hw.clock import SystemClock
from edgeinspect.hw.fake_camera import CaptureCall, FakeCamera
from edgeinspect.hw.fake_io import FakeEdgeInput, FakeOutput
from edgeinspect.hw.model_probe import try_bare
from edgeinspect.hw.opened import Drivers
from edgeinspect.hw.runtime_library import load_library
from edgeinspect.line.config import (
    AlarmConfig,
    ClassThresholds,
    FrameChecks,
    GateConfig,
    GateKind,
    LineConfig,
    TrackConfig,
    TriggerConfig,
)
from edgeinspect.part import Frame, FrameMeta, PartRecord, Region
from edgeinspect.runtime.finished_part import FinishedPart
from edgeinspect.runtime.models import open_inspectors
from edgeinspect.runtime.recipe_swap import PreparedRecipe
from edgeinspect.runtime.station import Station
from edgeinspect.settings.station_file import EngineSettings
from edgeinspect_tools.bench.figures import Spread

MS = 1_000_000
RECORD_DEADLINE_S = 60.0
PATIENCE = 20
"""A part may take this many times what the bare interpreter takes: machines are busy."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Overhead:
    """Times of the station beside those of the bare interpreter.

    Attributes:
        tiles: tiles of one part.
        bare_invoke: sum of the bare interpreter's invokes on one part's tiles, one after another.
        frame_to_verdict: from the camera driver's hand-over to the core's verdict, on the station.
        extra: ``frame_to_verdict`` less ``bare_invoke``, part by part.
        stages: latencies of the station's stages in microseconds, by name.
        engine: description of the engine in use.
    """

    tiles: int
    bare_invoke: Spread
    frame_to_verdict: Spread
    extra: Spread
    stages: Mapping[str, Mapping[str, float]]
    engine: str

    @property
    def ratio_p50(self) -> float:
        """Median time on the station over that of the bare interpreter."""
        return self.frame_to_verdict.p50_us / self.bare_invoke.p50_us

    @property
    def extra_p99_us(self) -> float:
        """How much longer the 99th percentile is."""
        return self.frame_to_verdict.p99_us - self.bare_invoke.p99_us


class BareInterpreter:
    """The library's interpreter and nothing else, on one thread."""

    def __init__(self, bundle: Bundle) -> None:
        library = load_library()
        self._interpreter = library.interpreter(model_content=bundle.model, num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]

    def invoke_ns(self, tiles: Sequence[NDArray[np.generic]]) -> int:
        """Time spent in ``invoke`` alone over all tiles."""
        spent_ns = 0
        for tile in tiles:
            self._interpreter.set_tensor(self._input, tile[None])
            start_ns = time.perf_counter_ns()
            self._interpreter.invoke()
            spent_ns += time.perf_counter_ns() - start_ns
        return spent_ns


class Line:
    """A station with a camera that never waits."""

    def __init__(
        self,
        bundle: Bundle,
        pictures: Sequence[Pixels],
        roi: Region,
        *,
        engine: EngineSettings,
        invoke_ns: int,
    ) -> None:
        self._records: queue.SimpleQueue[PartRecord] = queue.SimpleQueue()
        self._shown = itertools.cycle(pictures)
        self._sequence = itertools.count()
        self._trigger = FakeEdgeInput()
        config = _config(bundle, to_gate_ns=100 * MS + PATIENCE * invoke_ns)
        inspectors = open_inspectors(
            bundle, engine=engine, roi=roi, recipe_digest=config.recipe_digest
        )
        self.engine = inspectors.description
        self._station = Station(
            recipe=PreparedRecipe(config=config, inspectors=inspectors),
            drivers=Drivers(
                camera=FakeCamera(otherwise=self._frame),
                trigger=self._trigger,
                gate=FakeOutput(),
            ),
            sink=self,
            clock=SystemClock(),
            next_part_id=1,
        )

    def write(self, batch: Sequence[FinishedPart], /) -> None:
        """Receive finished parts, as the station's sink."""
        for finished in batch:
            self._records.put(finished.record)

    def part_ns(self) -> int:
        """Send one part; nanoseconds from its frame to its verdict."""
        self._trigger.edge(time.monotonic_ns())
        record = self._records.get(timeout=RECORD_DEADLINE_S)
        if record.inspection is None or record.frame is None or record.verdict_mono_ns is None:
            raise NotGood(f"A part of the benchmark was not inspected: {record.verdict}.")
        return record.verdict_mono_ns - record.frame.arrived_mono_ns

    @property
    def stages(self) -> Mapping[str, Mapping[str, float]]:
        """Latencies of the station's stages in microseconds, by name."""
        latencies: Mapping[str, Mapping[str, float]] = self._station.status()["stage_latency_us"]  # type: ignore[assignment]
        return latencies

    def __enter__(self) -> Line:
        self._station.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._station.request_stop(immediate=True)
        self._station.stop()

    def _frame(self, call: CaptureCall) -> Frame:
        pixels = next(self._shown)
        wait_s = (call.not_before_mono_ns - time.monotonic_ns()) / 1e9
        time.sleep(max(0.0, wait_s))
        now = time.monotonic_ns()
        return Frame(FrameMeta(next(self._sequence), now, now), pixels)


def measure_overhead(
    bundle: Bundle,
    pictures: Sequence[Pixels],
    roi: Region,
    *,
    parts: int,
    engine: EngineSettings,
) -> Overhead:
    """Time ``parts`` parts, bare interpreter and station in turn.

    Raises:
        NotGood: a part was not inspected, so there is nothing to compare.
    """
    pipeline = Pipeline(bundle.card, width=roi.width, height=roi.height)
    cut = [pixels[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width] for pixels in pictures]
    tiles = [[tile.copy() for tile in pipeline.tiles(pixels)] for pixels in cut]
    try_bare(bundle.model, source=str(bundle.directory / bundle.card.model))
    bare = BareInterpreter(bundle)
    invoke_ns = max(bare.invoke_ns(tiles[0]) for _ in range(3))
    bare_ns: list[int] = []
    station_ns: list[int] = []
    with Line(bundle, pictures, roi, engine=engine, invoke_ns=invoke_ns) as line:
        for warm_up in range(3):
            bare.invoke_ns(tiles[warm_up % len(tiles)])
            line.part_ns()
        for number in range(parts):
            bare_ns.append(bare.invoke_ns(tiles[number % len(tiles)]))
            station_ns.append(line.part_ns())
        stages = line.stages
        description = line.engine
    extra_ns = [station - alone for station, alone in zip(station_ns, bare_ns, strict=True)]
    return Overhead(
        tiles=len(tiles[0]),
        bare_invoke=Spread.of_ns(bare_ns),
        frame_to_verdict=Spread.of_ns(station_ns),
        extra=Spread.of_ns(extra_ns),
        stages=stages,
        engine=description,
    )


def _config(bundle: Bundle, *, to_gate_ns: int) -> LineConfig:
    """As short a belt as gives a part time enough."""
    thresholds = tuple(
        ClassThresholds(name=name, review=1.0, reject=1.0) for name in bundle.card.defect_classes
    )
    return LineConfig(
        trigger=TriggerConfig(debounce_ns=MS, min_pitch=2 * MS),
        track=TrackConfig(
            to_lens=2 * MS,
            exposure_window=to_gate_ns // 2,
            to_gate=to_gate_ns,
            window_before=5 * MS,
            window_after=5 * MS,
            restart_ns=0,
        ),
        gate=GateConfig(kind=GateKind.NORMALLY_REJECTING, lease_ns=200 * MS),
        thresholds=thresholds,
        checks=FrameChecks(reject_frozen=False),
        alarms=AlarmConfig(consecutive_rejects=0, consecutive_cannot_inspect=0),
        recipe_digest="benchmark",
    )
