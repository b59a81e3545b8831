"""The lamp that belongs to the request, on a clock of its own."""

from __future__ import annotations

import pytest

from edgeinspect.errors import CameraFault, LineFault
from edgeinspect.faults import FaultName
from edgeinspect.hw.camera_strobe import StrobedCamera
from edgeinspect.hw.fake_camera import CaptureCall, FakeCamera
from edgeinspect.hw.fake_io import FakeOutput
from edgeinspect.part import CameraControls, Frame
from tests.helpers.runtime_rig import make_frame

MS = 1_000_000
LEAD = 2 * MS


class Bench:
    def __init__(self, lamp: FakeOutput | None = None) -> None:
        self.now = 1000 * MS
        self.lamp = lamp or FakeOutput()
        self.lit: list[bool] = []
        self.slept_s: list[float] = []
        self.fails = False
        self.camera = FakeCamera(otherwise=self.answer)
        self.strobed = StrobedCamera(
            self.camera,
            self.lamp,
            lead_ns=LEAD,
            now_mono_ns=lambda: self.now,
            sleep_s=self.sleep,
        )
        self.strobed.open(CameraControls())

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now += round(seconds * 1e9)

    def answer(self, call: CaptureCall) -> Frame:
        self.lit.append(self.lamp.active)
        if self.fails:
            raise CameraFault("no frame")
        return make_frame(sequence=1, exposure_mono_ns=call.not_before_mono_ns)

    def capture(self, *, ahead_ns: int) -> Frame:
        return self.strobed.capture(
            not_before_mono_ns=self.now + ahead_ns, deadline_mono_ns=self.now + 100 * MS
        )


def test_it_lights_shortly_before_the_part_and_is_off_afterwards() -> None:
    bench = Bench()
    wanted = bench.now + 30 * MS
    frame = bench.capture(ahead_ns=30 * MS)
    assert bench.slept_s == [0.028]
    assert frame.meta.exposure_mono_ns == wanted
    assert bench.lit == [True] and bench.lamp.levels == [True, False]


def test_a_late_request_waits_for_full_light() -> None:
    bench = Bench()
    frame = bench.capture(ahead_ns=-5 * MS)
    assert bench.slept_s == []
    assert frame.meta.exposure_mono_ns == bench.now + LEAD


def test_it_goes_off_without_a_frame_and_when_the_camera_is_closed() -> None:
    bench = Bench()
    bench.fails = True
    with pytest.raises(CameraFault, match="no frame"):
        bench.capture(ahead_ns=0)
    assert not bench.lamp.active
    bench.strobed.close()
    assert not bench.camera.is_open and bench.lamp.levels[-1] is False


def test_a_lamp_that_cannot_be_driven_costs_the_part_before_a_frame_is_taken() -> None:
    bench = Bench(FakeOutput(errors=[LineFault("loose"), LineFault("loose")]))
    with pytest.raises(LineFault, match="loose"):
        bench.capture(ahead_ns=0)
    assert bench.lit == []
    bench.strobed.check()


def test_what_the_camera_drops_is_reported_through_the_lamp() -> None:
    bench = Bench()
    reported: list[tuple[str, str]] = []
    bench.strobed.report_drops_to(lambda name, detail: reported.append((name, detail)))
    bench.camera.drop(FaultName.FRAME_DAMAGED, "why")
    assert reported == [("frame_damaged", "why")]
