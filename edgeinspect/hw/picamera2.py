"""Raspberry Pi cameras, through picamera2 and libcamera.

The camera is configured once and runs until it is closed; each request is matched by the sensor's
time stamp, see ``camera_ring``. Exposure, gain, white balance and lens position are read back from
every frame's metadata, and the core compares them with the recipe: libcamera takes some frames to
follow a change, and sometimes does not follow (picamera2 issues 425, 977, 1269).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeinspect.errors import CameraFault, DriverMissing, UsageError
from edgeinspect.faults import FaultName
from edgeinspect.hw.camera_drops import DropListener, FrameOrder, ignore_drop
from edgeinspect.hw.camera_pixels import BufferFormat, Layout, pixels_of
from edgeinspect.hw.camera_ring import Exposure, ExposureBegin, ExposureRing, middle
from edgeinspect.hw.clock import BootToMono
from edgeinspect.hw.picamera2_controls import libcamera_controls, read_back
from edgeinspect.hw.picamera2_timeout import ask_for_long_timeout
from edgeinspect.part import CameraControls, Frame, FrameMeta
from edgeinspect.undo import undo_on_error

if TYPE_CHECKING:
    from edgeinspect.settings.station_file import Camera as CameraWiring

_BUFFERS = 6
_FIRST_FRAME_NS = 5_000_000_000
_LAYOUTS = {
    "R8": Layout.GREY,
    "YUV420": Layout.YUV420,
    "YVU420": Layout.YVU420,
    "NV12": Layout.NV12,
    "NV21": Layout.NV21,
    "YUYV": Layout.YUYV,
    "UYVY": Layout.UYVY,
    # libcamera names formats by their place in a word, so the bytes come in the other order.
    "BGR888": Layout.RGB,
    "RGB888": Layout.BGR,
    "XBGR8888": Layout.RGBX,
    "XRGB8888": Layout.BGRX,
    "MJPEG": Layout.MJPEG,
}


def open_driver(wiring: CameraWiring) -> Picamera2Camera:
    """The camera of a station file; it is opened later, by ``open``."""
    return Picamera2Camera(wiring)


def camera_ids() -> list[str]:
    """Libcamera's ids of every camera it sees. Raises DriverMissing."""
    return [str(camera["Id"]) for camera in _library().Picamera2.global_camera_info()]


class Picamera2Camera:
    """One libcamera camera that runs freely, or on its own trigger input."""

    def __init__(
        self,
        wiring: CameraWiring,
        *,
        now_mono_ns: Callable[[], int] = time.monotonic_ns,
        to_mono: BootToMono | None = None,
    ) -> None:
        self._wiring = wiring
        self._now_mono_ns = now_mono_ns
        self._to_mono = to_mono or BootToMono()
        self._order = FrameOrder()
        self._dropped: DropListener = ignore_drop
        self._camera: Any = None
        self._ring: ExposureRing[Any] | None = None
        self._form: BufferFormat | None = None
        self._begin = ExposureBegin()

    def report_drops_to(self, listener: DropListener) -> None:
        """See ``edgeinspect.hw.camera_drops.ReportsDrops``."""
        self._dropped = listener

    def open(self, controls: CameraControls) -> None:
        """Configure, start, and wait for the first frame.

        Raises:
            DriverMissing: picamera2 is not installed, or does not load.
            CameraFault: no camera, in use, not permitted, another format than asked for, a
                control that it does not have, or no frame.
        """
        if self._camera is not None:
            raise CameraFault("The camera is already open.")
        if self._wiring.external_trigger:
            ask_for_long_timeout()
        library = _library()
        with _words("cannot be opened"):
            number = _number(library.Picamera2.global_camera_info(), self._wiring.device)
            self._camera = _made(library.Picamera2, number)
        with undo_on_error(self.close):
            with _words("cannot be started"):
                self._start(controls)
            self._wait_for_first_frame()

    def _start(self, controls: CameraControls) -> None:
        camera, wiring = self._camera, self._wiring
        asked = libcamera_controls(
            controls, camera.camera_controls, frames_per_s=wiring.frames_per_s
        )
        size = camera.sensor_resolution
        if wiring.width_px is not None and wiring.height_px is not None:
            size = (wiring.width_px, wiring.height_px)
        wanted = {"size": size, "format": "YUV420" if wiring.color == "gray" else "BGR888"}
        from libcamera import ColorSpace

        camera.configure(
            camera.create_video_configuration(
                main=wanted,
                colour_space=ColorSpace.Sycc(),  # full range: grey from 0 to 255
                buffer_count=_BUFFERS,
                queue=False,
                display=None,
                encode=None,
                controls=asked,
            )
        )
        self._form = _form(camera.camera_configuration()["main"], size)
        self._begin = ExposureBegin()
        self._ring = ExposureRing(
            give_back=_release,
            waits_for_trigger=wiring.external_trigger,
            now_mono_ns=self._now_mono_ns,
        )
        camera.pre_callback = self._completed
        camera.start(show_preview=False)

    def _wait_for_first_frame(self) -> None:
        ring = self._ring
        if ring is None or self._wiring.external_trigger:
            return
        now = self._now_mono_ns()
        try:
            first = ring.take(not_before_mono_ns=0, deadline_mono_ns=now + _FIRST_FRAME_NS)
        except CameraFault as error:
            raise CameraFault(
                "The camera opens but delivers no frames.",
                next_action="Check its ribbon cable at both ends and its overlay in config.txt.",
            ) from error
        _release(first.payload)

    def _completed(self, request: Any) -> None:
        """In picamera2's event loop, for every completed request."""
        ring = self._ring
        if ring is None:
            return
        metadata = request.get_metadata()
        stamp = metadata.get("SensorTimestamp")
        if not stamp:
            self._dropped(FaultName.FRAME_WITHOUT_STAMP, "a frame came without a sensor timestamp")
            return
        exposure = self._exposure(request, metadata, int(stamp))
        if exposure is not None:
            request.acquire()
            ring.offer(exposure)

    def _exposure(
        self, request: Any, metadata: Mapping[str, Any], stamp_boot_ns: int
    ) -> Exposure[Any] | None:
        """Return when the frame was exposed; None, and counted, if its time cannot be trusted."""
        stamp = self._to_mono.convert(stamp_boot_ns)
        if stamp is None:
            self._dropped(FaultName.FRAME_CLOCK_UNSURE, "a sensor timestamp could not be converted")
            return None
        if stamp.mono_ns - stamp.error_ns > self._now_mono_ns():
            self._dropped(
                FaultName.FRAME_FROM_FUTURE,
                f"the sensor timestamp {stamp_boot_ns} ns is in the future",
            )
            return None
        sequence = self._order.number(stamp_boot_ns)
        if sequence is None:
            self._dropped(
                FaultName.FRAME_REPEATED_BY_DRIVER,
                f"the sensor timestamp {stamp_boot_ns} ns did not rise",
            )
            return None
        span = self._begin.of(stamp_boot_ns, exposure_us=metadata.get("ExposureTime"))
        if span is None:
            return None  # the first frame of a camera that does not report its exposure time
        began_boot_ns, error_ns = middle(*span)
        began_mono_ns = began_boot_ns + stamp.mono_ns - stamp_boot_ns
        error_ns += stamp.error_ns + round((self._wiring.stamp_error_ms or 0) * 1e6)
        return Exposure(sequence, began_mono_ns, (request, metadata), error_ns)

    def apply(self, controls: CameraControls) -> None:
        """Request other controls; frames follow some exposures later and report theirs."""
        camera = self._require_open()
        with _words("does not accept the controls"):
            camera.set_controls(
                libcamera_controls(controls, camera.camera_controls, frames_per_s=None)
            )

    def capture(self, *, not_before_mono_ns: int, deadline_mono_ns: int) -> Frame:
        """See ``edgeinspect.ports.Camera``."""
        self._require_open()
        ring, form = self._ring, self._form
        if ring is None or form is None:
            raise CameraFault("The camera is not open.")
        exposure = ring.take(
            not_before_mono_ns=not_before_mono_ns, deadline_mono_ns=deadline_mono_ns
        )
        request, metadata = exposure.payload
        try:
            with _words("lost a frame's buffer"):
                pixels = self._pixels(request, form)
        finally:
            _release(exposure.payload)
        meta = FrameMeta(
            sequence=exposure.sequence,
            exposure_mono_ns=exposure.begin_mono_ns,
            exposure_error_ns=exposure.error_ns,
            arrived_mono_ns=self._now_mono_ns(),
            controls=read_back(metadata),
        )
        return Frame(meta=meta, pixels=pixels)

    def _pixels(self, request: Any, form: BufferFormat) -> np.ndarray[Any, np.dtype[np.uint8]]:
        from picamera2 import MappedArray

        with MappedArray(request, "main", reshape=False, write=False) as mapped:
            buffer = mapped.array
            if form.layout is Layout.MJPEG:
                planes = request.request.buffers[request.stream_map["main"]].metadata.planes
                buffer = buffer[: planes[0].bytes_used]
            return pixels_of(buffer, form, color=self._wiring.color == "rgb")

    def check(self) -> None:
        """See ``edgeinspect.ports.Camera``."""
        self._require_open()
        if self._ring is not None:
            self._ring.check()

    def close(self) -> None:
        """Give every buffer back, stop and release the camera; closing twice is allowed."""
        camera, self._camera = self._camera, None
        ring, self._ring = self._ring, None
        if camera is None:
            return
        if ring is not None:
            ring.close()
        with _words("cannot be closed"):
            camera.pre_callback = None
            camera.close()

    def _require_open(self) -> Any:
        if self._camera is None:
            raise CameraFault("The camera is not open.")
        return self._camera


def _release(payload: tuple[Any, Mapping[str, Any]]) -> None:
    # A request cannot be given back to a camera that has stopped, and need not be.
    with contextlib.suppress(RuntimeError, OSError, KeyError):
        payload[0].release()


def _library() -> Any:
    try:
        import picamera2
    except (ImportError, RuntimeError, OSError) as error:
        raise DriverMissing(
            f"picamera2 cannot be loaded: {error}.",
            next_action="Run: sudo apt install python3-picamera2, and create the virtual "
            "environment with --system-site-packages.",
        ) from error
    return picamera2


def _made(kind: Any, number: int) -> Any:
    """A ``Picamera2``; one whose construction fails is taken apart.

    picamera2 itself leaves a pipe open then, and a station tries to reopen its camera for weeks.
    """
    camera = kind.__new__(kind)

    def close_pipe() -> None:
        with contextlib.suppress(AttributeError, OSError):
            camera.notifymeread.close()
            os.close(camera.notifyme_w)

    with undo_on_error(close_pipe):
        camera.__init__(number)
    return camera


def _number(cameras: list[Mapping[str, Any]], device: str | None) -> int:
    """The index of the camera that ``device`` names: a number, an id, or part of either name."""
    if not cameras:
        raise CameraFault("No camera is connected.", next_action=_why_no_camera())
    if device is None:
        if len(cameras) > 1:
            raise CameraFault(
                f"{len(cameras)} cameras are connected: {_names(cameras)}.",
                next_action="Name one in camera.device of the station file.",
            )
        return 0
    if device.isdecimal():
        found = [int(device)] if int(device) < len(cameras) else []
    else:
        found = [
            number
            for number, camera in enumerate(cameras)
            if device == camera.get("Model") or device in str(camera["Id"])
        ]
    if len(found) != 1:
        count = "No camera" if not found else "More than one camera"
        raise CameraFault(
            f"{count} has the name {device!r}; found: {_names(cameras)}.",
            next_action="Correct camera.device in the station file.",
        )
    return found[0]


def _names(cameras: list[Mapping[str, Any]]) -> str:
    return ", ".join(f"{n} {camera.get('Model')}" for n, camera in enumerate(cameras))


def _why_no_camera() -> str:
    nodes = [*Path("/dev").glob("media*"), *Path("/dev").glob("video*")]
    closed = [node for node in nodes if not os.access(node, os.R_OK | os.W_OK)]
    if closed:
        return (
            f"{closed[0]} cannot be used by this user. Run: sudo usermod -aG video $USER, "
            "then log in again."
        )
    return "Check the ribbon cable at both ends and the camera's overlay in config.txt."


def _form(stream: Mapping[str, Any], asked: tuple[int, int]) -> BufferFormat:
    size, name = tuple(stream["size"]), str(stream["format"])
    if size != tuple(asked):
        raise CameraFault(
            f"The camera cannot deliver {asked[0]} x {asked[1]} px; the nearest mode is {size[0]} "
            f"x {size[1]} px.",
            next_action="Correct camera.width_px and height_px in the station file.",
        )
    if name not in _LAYOUTS:
        raise CameraFault(f"The camera delivers the format {name}, which the station cannot read.")
    return BufferFormat(
        layout=_LAYOUTS[name], width_px=size[0], height_px=size[1], stride_bytes=stream["stride"]
    )


@contextlib.contextmanager
def _words(what: str) -> Any:
    """Vendor errors become CameraFault, with the innermost cause in words."""
    try:
        yield
    except (CameraFault, DriverMissing, UsageError):
        raise
    except Exception as error:
        inner: BaseException = error
        while inner.__cause__ is not None:
            inner = inner.__cause__
        text = str(inner).rstrip(".") or type(inner).__name__
        busy = "busy" in text.lower()
        held = "another program uses it" if busy else text
        action = "Stop the other program: sudo fuser -v /dev/media*" if busy else ""
        raise CameraFault(f"The camera {what}: {held}.", next_action=action) from error
