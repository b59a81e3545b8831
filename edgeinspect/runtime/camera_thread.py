"""The camera thread: one capture after the other, and a failed camera reopened."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from edgeinspect.errors import CameraLost, error_words
from edgeinspect.faults import FaultName
from edgeinspect.hw.camera_drops import ReportsDrops
from edgeinspect.line.messages import Capture, CaptureFailed, FrameArrived
from edgeinspect.part import CameraControls
from edgeinspect.ports import Camera, Clock
from edgeinspect.runtime.fault_board import FaultBoard
from edgeinspect.runtime.queues import BoundedQueue

_FAULTS_BEFORE_REOPENING = 3
_FIRST_BACKOFF_NS = 250_000_000
_LONGEST_BACKOFF_NS = 10_000_000_000
_IDLE_CHECK_S = 1.0
_DRIVER_CALL_NS = 10_000_000_000
"""A driver that is not done with opening or closing after this long hangs in its library."""


class CameraThread:
    """Serves capture requests in their order; parts without a frame are reported as failed."""

    def __init__(
        self,
        *,
        camera: Camera,
        controls: CameraControls,
        clock: Clock,
        faults: FaultBoard,
        report: Callable[[FrameArrived | CaptureFailed], None],
        capacity: int = 64,
    ) -> None:
        """Make the thread's work; the camera is opened by ``run``.

        Args:
            camera: the camera driver.
            controls: used at every opening, until ``apply`` replaces them.
            clock: the station's clock.
            faults: where faults are counted.
            report: takes the frame or the failure of each capture, in the camera thread.
            capacity: the most requests to queue.
        """
        self._camera = camera
        if isinstance(camera, ReportsDrops):
            camera.report_drops_to(faults.count)
        self._controls = controls
        self._clock = clock
        self._faults = faults
        self._report = report
        self.queue: BoundedQueue[Capture | CameraControls] = BoundedQueue("camera", capacity)
        self._stopping = False
        self._faults_in_a_row = 0
        self._reopen_mono_ns: int | None = None
        self._backoff_ns = _FIRST_BACKOFF_NS
        self.busy_until_mono_ns: int | None = None
        self.frame_shape: tuple[int, ...] | None = None
        """Of the last frame's pixels; None before the first."""

    def open(self) -> None:
        """Open the camera before the thread starts, so that its errors reach the caller."""
        self._camera.open(self._controls)

    def request(self, capture: Capture) -> bool:
        """Queue a capture; False if the queue is full."""
        return self.queue.offer(capture)

    def apply(self, controls: CameraControls) -> bool:
        """Use these controls for the captures requested from now on; False if the queue is full."""
        return self.queue.offer(controls)

    def stop(self) -> None:
        """Ask ``run`` to return."""
        self._stopping = True
        self.queue.wake()

    def close(self) -> None:
        """Close the camera."""
        self._camera.close()

    def run(self) -> None:
        """Serve requests until ``stop``."""
        while not self._stopping:
            request = self.queue.take(self._idle_s())
            self.step(request)

    def step(self, request: Capture | CameraControls | None) -> None:
        """Serve one request, or without one reopen the camera if that is due, else check it."""
        self._reopen_if_due()
        if isinstance(request, Capture):
            self._capture(request)
        elif request is not None:
            self._apply(request)
        elif self._reopen_mono_ns is None and not self._stopping:
            self._check()

    def _check(self) -> None:
        try:
            with self._in_driver():
                self._camera.check()
        except Exception as error:  # noqa: BLE001
            self._give_up(error)

    def _capture(self, request: Capture) -> None:
        if self._clock.now_mono_ns() > request.deadline_mono_ns:
            self._fail(request, "the camera was still busy at the capture's deadline")
            return
        if self._reopen_mono_ns is not None:
            self._fail(request, "the camera has failed and is being reopened")
            return
        self.busy_until_mono_ns = request.deadline_mono_ns
        try:
            frame = self._camera.capture(
                not_before_mono_ns=request.not_before_mono_ns,
                deadline_mono_ns=request.deadline_mono_ns,
            )
        except Exception as error:  # noqa: BLE001  whatever a driver raises, the part is rejected
            self._fail(request, error_words(error))
            self._count_fault(error)
        else:
            self._faults_in_a_row = 0
            self.frame_shape = frame.pixels.shape
            self._report(FrameArrived(frame))
        finally:
            self.busy_until_mono_ns = None

    def _apply(self, controls: CameraControls) -> None:
        self._controls = controls
        if self._reopen_mono_ns is not None:
            return
        try:
            with self._in_driver():
                self._camera.apply(controls)
        except Exception as error:  # noqa: BLE001
            self._give_up(error)

    def _fail(self, request: Capture, detail: str) -> None:
        self._faults.count(FaultName.CAPTURE_FAILED, detail)
        self._report(CaptureFailed(request.part_id, detail))

    def _count_fault(self, error: Exception) -> None:
        self._faults_in_a_row += 1
        lost = isinstance(error, CameraLost)
        if lost or self._faults_in_a_row >= _FAULTS_BEFORE_REOPENING:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Close the camera and plan to open it again."""
        self._faults.begin(FaultName.CAMERA_FAILED, error_words(error))
        try:
            with self._in_driver():
                self._camera.close()
        except Exception as close_error:  # noqa: BLE001
            self._faults.begin(FaultName.CAMERA_FAILED, error_words(close_error))
        self._reopen_mono_ns = self._clock.now_mono_ns() + self._backoff_ns
        self._backoff_ns = min(2 * self._backoff_ns, _LONGEST_BACKOFF_NS)

    def _reopen_if_due(self) -> None:
        due = self._reopen_mono_ns
        if due is None or self._clock.now_mono_ns() < due:
            return
        try:
            with self._in_driver():
                self._camera.open(self._controls)
        except Exception as error:  # noqa: BLE001
            self._give_up(error)
            return
        self._reopen_mono_ns = None
        self._faults_in_a_row = 0
        self._backoff_ns = _FIRST_BACKOFF_NS
        self._faults.end(FaultName.CAMERA_FAILED)

    @contextlib.contextmanager
    def _in_driver(self) -> Iterator[None]:
        """The supervisor names what hangs in here."""
        self.busy_until_mono_ns = self._clock.now_mono_ns() + _DRIVER_CALL_NS
        try:
            yield
        finally:
            self.busy_until_mono_ns = None

    def _idle_s(self) -> float:
        """Until there is something to do without a request."""
        if self._reopen_mono_ns is None:
            return _IDLE_CHECK_S
        return max(0.0, (self._reopen_mono_ns - self._clock.now_mono_ns()) / 1e9)
