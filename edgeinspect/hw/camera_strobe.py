"""A lamp that belongs to the request, so that no frame is taken in another light than its own.

A lamp switched beside a free-running camera lands on the wrong frame sooner or later (picamera2
issue 1278). Here it is switched on for one request, a frame counts only if its exposure began after
the lamp had its full light, and it is off again only once that frame has arrived.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from typing_extensions import override

from edgeinspect.errors import EdgeInspectError
from edgeinspect.hw.camera_drops import DropListener, ReportsDrops
from edgeinspect.part import CameraControls, Frame
from edgeinspect.ports import Camera, Output


class StrobedCamera(Camera):
    """A camera with its lamp; itself an ``edgeinspect.ports.Camera``.

    The lamp's safe level is off, and it is never on for longer than one request: from ``lead_ns``
    before the wanted exposure to the frame's arrival or the request's deadline.
    """

    def __init__(
        self,
        camera: Camera,
        lamp: Output,
        *,
        lead_ns: int,
        now_mono_ns: Callable[[], int] = time.monotonic_ns,
        sleep_s: Callable[[float], None] = time.sleep,
    ) -> None:
        """Wrap a camera; the lamp stays off until a capture.

        Args:
            camera: the camera that the lamp serves.
            lamp: the lamp's output; the caller closes it.
            lead_ns: time from switching the lamp on to full light.
            now_mono_ns: the clock.
            sleep_s: how to wait.
        """
        self._camera = camera
        self._lamp = lamp
        self._lead_ns = lead_ns
        self._now_mono_ns = now_mono_ns
        self._sleep_s = sleep_s

    def report_drops_to(self, listener: DropListener) -> None:
        """See ``edgeinspect.hw.camera_drops.ReportsDrops``."""
        if isinstance(self._camera, ReportsDrops):
            self._camera.report_drops_to(listener)

    @override
    def open(self, controls: CameraControls) -> None:
        self._camera.open(controls)

    @override
    def apply(self, controls: CameraControls) -> None:
        self._camera.apply(controls)

    def capture(self, *, not_before_mono_ns: int, deadline_mono_ns: int) -> Frame:
        """See ``edgeinspect.ports.Camera``. Raises LineFault too, if the lamp cannot be driven."""
        early_ns = not_before_mono_ns - self._lead_ns - self._now_mono_ns()
        if early_ns > 0:
            self._sleep_s(early_ns / 1e9)
        try:
            self._lamp.drive(True)
            full_light_mono_ns = self._now_mono_ns() + self._lead_ns
            return self._camera.capture(
                not_before_mono_ns=max(not_before_mono_ns, full_light_mono_ns),
                deadline_mono_ns=max(deadline_mono_ns, not_before_mono_ns),
            )
        finally:
            self._lamp.drive(False)

    @override
    def check(self) -> None:
        self._camera.check()

    def close(self) -> None:
        """Lamp off, camera released."""
        with contextlib.suppress(EdgeInspectError):  # the next capture, or its owner, reports it
            self._lamp.drive(False)
        self._camera.close()
