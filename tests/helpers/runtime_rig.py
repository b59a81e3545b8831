"""A station with strict fakes, for the tests of the runtime."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

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
from edgeinspect.runtime.finished_part import FinishedPart
from edgeinspect.runtime.inspection import InspectorSet
from edgeinspect.runtime.recipe_swap import PreparedRecipe
from edgeinspect.runtime.station import Station
from tests.helpers.station_clock import StationClock

T = TypeVar("T")

MS = 1_000_000
DEADLINE_S = 120.0
"""How long a test waits for what must happen; reached only if it never does."""

GOOD, BAD = 50, 200


def line_config(
    *,
    kind: GateKind = GateKind.NORMALLY_REJECTING,
    digest: str = "recipe-1",
    to_gate_ms: int = 400,
    window_ms: int = 80,
    tolerance_ms: int = 5,
    lease_ms: int = 300,
) -> LineConfig:
    """A short belt: lens at 10 ms, gate at 400 ms."""
    return LineConfig(
        trigger=TriggerConfig(debounce_ns=MS, min_pitch=4 * MS),
        track=TrackConfig(
            to_lens=10 * MS,
            exposure_window=2 * window_ms * MS,
            to_gate=to_gate_ms * MS,
            window_before=window_ms * MS,
            window_after=window_ms * MS,
            restart_ns=0,
        ),
        gate=GateConfig(
            kind=kind,
            lease_ns=lease_ms * MS,
            timing_tolerance_ns=tolerance_ms * MS,
            settle_ns=2 * tolerance_ms * MS,
        ),
        thresholds=(ClassThresholds(name="scratch", review=0.5, reject=0.6),),
        checks=FrameChecks(reject_frozen=False),
        alarms=AlarmConfig(consecutive_rejects=0, consecutive_cannot_inspect=0),
        recipe_digest=digest,
    )


def wide_config() -> LineConfig:
    """For a station in real time: more than a second late is still in time."""
    return line_config(to_gate_ms=3500, window_ms=1500, tolerance_ms=1400, lease_ms=30_000)


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
    """Waits for the exposure, then shows the next of ``shades``; afterwards good parts only."""

    def __init__(self, clock: RigClock, shades: Sequence[int] = ()) -> None:
        numbers = itertools.count()
        rest = iter(shades)

        def answer(call: CaptureCall) -> Frame:
            clock.sleep_until(call.not_before_mono_ns)
            now = clock.now_mono_ns()
            if now > call.deadline_mono_ns:
                raise CameraFault("no frame in time")
            shade = next(rest, GOOD)
            return make_frame(sequence=next(numbers), exposure_mono_ns=now, shade=shade)

        super().__init__(otherwise=answer)


class MemorySink:
    """Keeps what is written, or fails with ``error``."""

    def __init__(self) -> None:
        self.written: list[FinishedPart] = []
        self.error: Exception | None = None
        self.failures = 0

    def write(self, batch: Sequence[FinishedPart], /) -> None:
        if self.error is not None:
            self.failures += 1
            raise self.error
        self.written += batch


def wait_until(condition: Callable[[], bool]) -> None:
    """In real time, for what gives no signal; fails only after the generous deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class RealClock(SystemClock):
    """The machine's clock, for the few tests of a station on the real time."""

    def wait_until(self, condition: Callable[[], bool]) -> None:
        wait_until(condition)

    def sleep_until(self, mono_ns: int) -> None:
        time.sleep(max(0, mono_ns - self.now_mono_ns()) / 1e9)

    def at_one_moment(self, do: Callable[[], T]) -> T:
        return do()


RigClock = StationClock | RealClock


class Rig:
    """A station with its fakes.

    Args:
        clock: The fixture ``clock``, on which time passes only while the station's threads wait; a
            ``RealClock`` for the few tests of the threads themselves.
        shades: Of the parts that come, one each; see ``ShadeCamera``.
        camera: Takes the place of a ``ShadeCamera``.
    """

    def __init__(
        self,
        clock: RigClock,
        *,
        config: LineConfig | None = None,
        shades: Sequence[int] = (),
        camera: FakeCamera | None = None,
        inspector: ShadeInspector | None = None,
        gate: FakeOutput | None = None,
        heartbeat: FakeOutput | None = None,
        record_capacity: int = 4096,
        sink: MemorySink | None = None,
    ) -> None:
        self.clock = clock
        self.config = config or line_config()
        self.camera = camera or ShadeCamera(clock, shades)
        self.inspector = inspector or ShadeInspector()
        self.gate = gate or FakeOutput()
        self.heartbeat = heartbeat or FakeOutput()
        self.sink = sink or MemorySink()
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
            recipe=prepared(self.config, self.inspector),
            drivers=self.drivers,
            sink=self.sink,
            clock=clock,
            next_part_id=1,
            ask_for_punctuality=False,
            record_capacity=record_capacity,
        )

    def part(self) -> None:
        """A part comes to the trigger."""
        self.clock.at_one_moment(lambda: self.trigger.edge(self.clock.now_mono_ns()))

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Let the station run until this holds; fail if it never does."""
        self.clock.wait_until(condition)

    def wait_for_records(self, count: int) -> None:
        """Let the station run until so many parts have been recorded."""
        self.wait_until(lambda: len(self.sink.written) >= count)

    def counts(self) -> dict[str, int]:
        """What the core has counted, by name."""
        counts = self.station.status()["counts"]
        assert isinstance(counts, dict)
        return counts

    def wait_for_frames(self, count: int) -> None:
        """Let the station run until it has inspected so many frames."""
        self.wait_until(lambda: len(self.inspector.frames) >= count)

    def start(self) -> None:
        """Start the station; the belt has not moved unseen when the first part comes."""
        self.station.start()
        self.wait_until(lambda: self.station.progress_mono_ns > 0)

    def __enter__(self) -> Rig:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        if not self.gate.is_closed:
            self.station.request_stop(immediate=True)
            self.station.stop(flush_s=1.0)


def prepared(config: LineConfig, inspector: ShadeInspector) -> PreparedRecipe:
    return PreparedRecipe(
        config=config,
        inspectors=InspectorSet(recipe_digest=config.recipe_digest, inspectors=[inspector]),
    )
