"""A station of strict fakes on real threads, for the tests of the runtime."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgeinspect.errors import CameraFault
from edgeinspect.hw.clock import SystemClock
from edgeinspect.hw.fake_camera import CaptureCall, FakeCamera
from edgeinspect.hw.fake_io import FakeEdgeInput, FakeOutput
from edgeinspect.hw.opened import Drivers
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
from edgeinspect.part import Frame, FrameMeta, FrameQuality, Inspection
from edgeinspect.runtime.inspection import InspectorSet
from edgeinspect.runtime.line_thread import FinishedPart
from edgeinspect.runtime.recipe_swap import PreparedRecipe
from edgeinspect.runtime.station import Station

MS = 1_000_000
DEADLINE_S = 30.0
"""How long a test waits for what must happen; reached only if it never does."""

GOOD, BAD = 50, 200


def line_config(
    *,
    kind: GateKind = GateKind.NORMALLY_REJECTING,
    digest: str = "recipe-1",
    to_gate_ms: int = 900,
    window_ms: int = 400,
) -> LineConfig:
    """A short belt: lens at 10 ms, gate at 900 ms.

    The camera and the gate may be late by almost ``window_ms``, for machines under load. The lease
    is so long that only a dead line thread lets it run out.
    """
    return LineConfig(
        trigger=TriggerConfig(debounce_ns=MS, min_pitch=4 * MS),
        track=TrackConfig(
            to_lens=10 * MS,
            exposure_window=window_ms * MS,
            to_gate=to_gate_ms * MS,
            window_before=window_ms * MS,
            window_after=window_ms * MS,
            restart_ns=0,
        ),
        gate=GateConfig(
            kind=kind,
            lease_ns=30_000 * MS,
            timing_tolerance_ns=(window_ms - 5) * MS,
            settle_ns=window_ms * MS,
        ),
        thresholds=(ClassThresholds(name="scratch", review=0.5, reject=0.6),),
        checks=FrameChecks(reject_frozen=False),
        alarms=AlarmConfig(consecutive_rejects=0, consecutive_cannot_inspect=0),
        recipe_digest=digest,
    )


class ShadeInspector:
    """Scores a picture by its shade, so that what was inspected can be told from the score."""

    def __init__(self, *, work: Callable[[], None] = lambda: None) -> None:
        self._work = work
        self.frames: list[Frame] = []

    def inspect(self, frame: Frame, *, want_map: bool = False) -> Inspection:
        del want_map
        self.frames.append(frame)
        self._work()
        score = float(frame.pixels.flat[0]) / 255
        return inspection(score)


def inspection(score: float) -> Inspection:
    quality = FrameQuality(mean=100.0, clipped_low=0.0, clipped_high=0.0, focus=100.0)
    return Inspection(scores=(score,), top_class="scratch", top_score=score, quality=quality)


def make_frame(*, sequence: int, exposure_mono_ns: int, shade: int = GOOD) -> Frame:
    pixels = np.full((4, 4), shade, np.uint8)
    meta = FrameMeta(
        sequence=sequence, exposure_mono_ns=exposure_mono_ns, arrived_mono_ns=exposure_mono_ns
    )
    return Frame(meta, pixels)


class ShadeCamera(FakeCamera):
    """Waits for the exposure on the real clock, then shows the next of ``shades``."""

    def __init__(self, shades: Sequence[int] = (), *, otherwise: int = GOOD) -> None:
        numbers = itertools.count()
        rest = iter(shades)

        def answer(call: CaptureCall) -> Frame:
            wait_s = (call.not_before_mono_ns - time.monotonic_ns()) / 1e9
            if wait_s > 0:
                time.sleep(wait_s)
            now = time.monotonic_ns()
            if now > call.deadline_mono_ns:
                raise CameraFault("no frame in time")
            shade = next(rest, otherwise)
            return make_frame(sequence=next(numbers), exposure_mono_ns=now, shade=shade)

        super().__init__(otherwise=answer)


class MemorySink:
    """Keeps what is written; can be told to fail, and be waited for."""

    def __init__(self) -> None:
        self.written: list[FinishedPart] = []
        self.error: Exception | None = None
        self.failures = 0
        self._changed = threading.Condition()

    def write(self, batch: Sequence[FinishedPart], /) -> None:
        with self._changed:
            if self.error is not None:
                self.failures += 1
                self._changed.notify_all()
                raise self.error
            self.written += batch
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[MemorySink], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), DEADLINE_S)

    def wait_for_records(self, count: int) -> None:
        """Until so many have been written."""
        self.wait_for(lambda sink: len(sink.written) >= count)


def wait_until(condition: Callable[[], bool]) -> None:
    """For what gives no signal; fails only after the generous deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@dataclass
class Rig:
    """A station with its fakes."""

    config: LineConfig = field(default_factory=line_config)
    camera: FakeCamera = field(default_factory=ShadeCamera)
    inspectors: Sequence[ShadeInspector] = field(default_factory=lambda: [ShadeInspector()])
    gate: FakeOutput = field(default_factory=FakeOutput)
    heartbeat: FakeOutput = field(default_factory=FakeOutput)
    record_capacity: int = 4096
    sink: MemorySink = field(default_factory=MemorySink)

    def __post_init__(self) -> None:
        self.clock = SystemClock()
        self.trigger = FakeEdgeInput()
        self.line_stop = FakeOutput()
        self.red = FakeOutput()
        self.drivers = Drivers(
            camera=self.camera,
            trigger=self.trigger,
            gate=self.gate,
            heartbeat=self.heartbeat,
            line_stop=self.line_stop,
            lights={"red": self.red},
        )
        self.station = Station(
            recipe=prepared(self.config, self.inspectors),
            drivers=self.drivers,
            sink=self.sink,
            clock=self.clock,
            next_part_id=1,
            ask_for_punctuality=False,
            record_capacity=self.record_capacity,
        )

    def part(self) -> None:
        self.trigger.edge(time.monotonic_ns())

    def counts(self) -> dict[str, int]:
        """What the core has counted, by name."""
        counts = self.station.status()["counts"]
        assert isinstance(counts, dict)
        return counts

    def has_inspected(self, count: int) -> bool:
        """Whether the first inspector has seen so many frames."""
        return len(self.inspectors[0].frames) >= count

    def __enter__(self) -> Rig:
        self.station.start()
        return self

    def __exit__(self, *error: object) -> None:
        if not self.gate.is_closed:
            self.station.request_stop(immediate=True)
            self.station.stop(flush_s=1.0)


def prepared(config: LineConfig, inspectors: Sequence[ShadeInspector]) -> PreparedRecipe:
    return PreparedRecipe(
        config=config,
        inspectors=InspectorSet(recipe_digest=config.recipe_digest, inspectors=inspectors),
    )
