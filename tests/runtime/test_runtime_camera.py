"""The camera thread's step, on a clock of its own."""

from __future__ import annotations

import pytest

from edgeinspect.errors import CameraFault, CameraLost
from edgeinspect.faults import FaultName
from edgeinspect.hw.fake_camera import Answer, FakeCamera
from edgeinspect.line.messages import Capture, CaptureFailed, FrameArrived
from edgeinspect.part import CameraControls
from edgeinspect.runtime.camera_thread import CameraThread
from edgeinspect.runtime.fault_board import FaultBoard
from tests.helpers.pulse_bench import MS, ManualClock
from tests.helpers.runtime_rig import make_frame


class Bench:
    def __init__(self, camera: FakeCamera) -> None:
        self.clock = ManualClock()
        self.faults = FaultBoard(self.clock.now_mono_ns)
        self.camera = camera
        self.reports: list[FrameArrived | CaptureFailed] = []
        self.thread = CameraThread(
            camera=camera,
            controls=CameraControls(exposure_us=100.0),
            clock=self.clock,
            faults=self.faults,
            report=self.reports.append,
            capacity=2,
        )
        self.thread.open()

    def capture(self, part_id: int) -> FrameArrived | CaptureFailed:
        now = self.clock.now
        self.thread.step(Capture(part_id, now, now + 50 * MS))
        return self.reports[-1]


FRAME = make_frame(sequence=0, exposure_mono_ns=0)


def test_frames_are_handed_over_in_order() -> None:
    frames: list[Answer] = [make_frame(sequence=n, exposure_mono_ns=n) for n in range(3)]
    bench = Bench(FakeCamera(frames))
    assert [bench.capture(n) for n in range(3)] == [FrameArrived(f) for f in frames]  # type: ignore[arg-type]


def test_a_request_past_its_deadline_is_not_begun() -> None:
    bench = Bench(FakeCamera(otherwise=FRAME))
    now = bench.clock.now
    bench.thread.step(Capture(7, now - 100 * MS, now - 1))
    assert bench.reports == [
        CaptureFailed(7, "the camera was still busy at the capture's deadline")
    ]
    assert bench.camera.captures == []


def test_frames_that_the_driver_drops_are_counted_by_name() -> None:
    bench = Bench(FakeCamera(otherwise=FRAME))
    for _ in range(2):
        bench.camera.drop(FaultName.FRAME_CLOCK_UNSURE, "why")
    fault = bench.faults.snapshot()["frame_clock_unsure"]
    assert (fault.count, fault.active, fault.detail) == (2, False, "why")


@pytest.mark.parametrize("error", [CameraFault("cable"), ValueError("a driver's bug")])
def test_a_fault_costs_one_part(error: Exception) -> None:
    bench = Bench(FakeCamera([error], otherwise=FRAME))
    assert bench.capture(1) == CaptureFailed(1, str(error))
    assert bench.capture(2) == FrameArrived(FRAME)
    assert not bench.faults.is_active(FaultName.CAMERA_FAILED)
    assert bench.faults.snapshot()[FaultName.CAPTURE_FAILED].count == 1


def test_three_faults_in_a_row_reopen_with_growing_pauses() -> None:
    faults: list[Answer] = [CameraFault("gone")] * 3
    camera = FakeCamera(faults, otherwise=FRAME, open_errors=[])
    bench = Bench(camera)
    camera.open_errors = [CameraFault("still gone"), CameraFault("still gone")]
    for part_id in range(3):
        assert isinstance(bench.capture(part_id), CaptureFailed)
    assert bench.faults.is_active(FaultName.CAMERA_FAILED) and not camera.is_open
    assert bench.capture(3) == CaptureFailed(3, "the camera has failed and is being reopened")
    for pause_ms, reopened in ((250, False), (500, False), (1000, True)):
        bench.clock.now += pause_ms * MS - 1
        bench.thread.step(None)
        assert not camera.is_open
        bench.clock.now += 1
        bench.thread.step(None)
        assert camera.is_open is reopened
    assert not bench.faults.is_active(FaultName.CAMERA_FAILED)
    assert bench.capture(4) == FrameArrived(FRAME)


def test_new_controls_hold_from_the_next_capture_and_over_a_reopening() -> None:
    bench = Bench(FakeCamera(otherwise=FRAME))
    new = CameraControls(exposure_us=250.0, gain=2.0)
    bench.thread.step(new)
    bench.thread._give_up(CameraFault("x"))
    bench.clock.now += 1000 * MS
    bench.thread.step(None)
    assert bench.camera.controls == [CameraControls(exposure_us=100.0), new, new]


def test_a_full_queue_is_refused() -> None:
    bench = Bench(FakeCamera())
    capture = Capture(1, 0, 1)
    assert [bench.thread.request(capture) for _ in range(3)] == [True, True, False]


def test_a_camera_that_stops_between_two_parts_is_reopened_before_the_next() -> None:
    bench = Bench(FakeCamera(otherwise=FRAME))
    bench.thread.step(None)
    assert not bench.faults.is_active(FaultName.CAMERA_FAILED)
    bench.camera.lost = CameraLost("stopped")
    bench.thread.step(None)
    assert bench.faults.is_active(FaultName.CAMERA_FAILED) and not bench.camera.is_open
    bench.camera.lost = None
    bench.clock.now += 250 * MS
    assert bench.capture(1) == FrameArrived(FRAME)
    assert bench.camera.opened == 2


@pytest.mark.parametrize("call", ["open", "close", "apply", "check"])
def test_a_driver_that_hangs_outside_of_a_capture_is_seen_by_the_supervisor(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(FakeCamera([CameraLost("unplugged")], otherwise=FRAME))
    seen: list[int | None] = []
    real = getattr(bench.camera, call)

    def watched(*arguments: object) -> None:
        seen.append(bench.thread.busy_until_mono_ns)
        real(*arguments)

    monkeypatch.setattr(bench.camera, call, watched)
    began = bench.clock.now
    bench.thread.step(None)
    bench.thread.step(CameraControls(exposure_us=1.0))
    bench.capture(1)
    bench.clock.now += 250 * MS
    bench.thread.step(None)
    assert seen and all(until is not None and until > began for until in seen)
    assert bench.thread.busy_until_mono_ns is None


def test_a_lost_camera_is_not_asked_again_before_it_is_reopened() -> None:
    bench = Bench(FakeCamera([CameraLost("unplugged")], otherwise=FRAME))
    assert bench.capture(1) == CaptureFailed(1, "unplugged")
    assert bench.capture(2) == CaptureFailed(2, "the camera has failed and is being reopened")
    bench.clock.now += 250 * MS
    assert bench.capture(3) == FrameArrived(FRAME)
