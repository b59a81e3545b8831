"""USB cameras, and any other that the kernel shows as a Video4Linux2 capture device.

A reader thread takes every frame as it comes, so that none in the kernel's queue is ever old;
a capture takes the first whose exposure began after its trigger, see ``camera_ring``, and only that
one is decoded. Settings are read back after they were set and again for every frame that is used.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from edgeinspect.errors import CameraFault
from edgeinspect.faults import FaultName
from edgeinspect.hw.camera_drops import DropListener, FrameOrder, ignore_drop
from edgeinspect.hw.camera_pixels import BufferFormat, Layout, pixels_of
from edgeinspect.hw.camera_ring import Exposure, ExposureBegin, ExposureRing, middle
from edgeinspect.hw.v4l2_controls import V4l2Controls
from edgeinspect.hw.v4l2_device import Picture, StreamFormat, V4l2Device, fourcc
from edgeinspect.part import CameraControls, Frame, FrameMeta
from edgeinspect.undo import undo_on_error

if TYPE_CHECKING:
    from edgeinspect.settings.station_file import Camera as CameraWiring

_BUFFERS = 5
_FIRST_FRAME_NS = 5_000_000_000
_POLL_S = 0.2
_FUTURE_STAMPS = 30
"""More in a row than the jitter of a USB camera's clock can explain."""
_ANY_SIZE_PX = (16384, 16384)
"""Asks the driver for the largest that it has."""
_FORMATS = {
    "GREY": Layout.GREY,
    "YUYV": Layout.YUYV,
    "UYVY": Layout.UYVY,
    "NV12": Layout.NV12,
    "NV21": Layout.NV21,
    "YU12": Layout.YUV420,
    "YV12": Layout.YVU420,
    "RGB3": Layout.RGB,
    "BGR3": Layout.BGR,
    "MJPG": Layout.MJPEG,
}
"""The formats that can be read, by the kernel's names; uncompressed ones come first."""


class Device(Protocol):
    """What the driver uses of ``V4l2Device``."""

    path: str
    name: str

    def set_format(self, wanted: int, width_px: int, height_px: int) -> StreamFormat:
        """Ask for a pixel format and size; return what the camera chose."""

    def set_frame_rate(self, frames_per_s: float) -> float:
        """Ask for a frame rate; return what the camera chose."""

    def control_range(self, control: int) -> tuple[int, int] | None:
        """Return a control's minimum and maximum; None if the camera does not have it."""

    def set_control(self, control: int, value: int) -> None:
        """Set a control."""

    def get_control(self, control: int) -> int:
        """Return a control's value."""

    def start(self, buffers: int) -> None:
        """Start streaming with this many buffers."""

    def wait(self, timeout_s: float) -> bool:
        """Wait for a picture; return whether one is ready."""

    def dequeue(self) -> Picture | None:
        """Return the next picture; None if there is none."""

    def give_back(self, index: int) -> None:
        """Return a buffer to the camera."""

    def close(self) -> None:
        """Stop streaming and release the device."""


def open_driver(wiring: CameraWiring) -> V4l2Camera:
    """The camera of a station file; it is opened later, by ``open``."""
    return V4l2Camera(wiring)


class V4l2Camera:
    """One V4L2 camera that streams until it is closed."""

    def __init__(
        self,
        wiring: CameraWiring,
        *,
        open_device: Callable[[str], Device] = V4l2Device,
        now_mono_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wiring = wiring
        self._open_device = open_device
        self._now_mono_ns = now_mono_ns
        self._device: Device | None = None
        self._controls: V4l2Controls | None = None
        self._ring: ExposureRing[Picture] | None = None
        self._form: BufferFormat | None = None
        self._reader: threading.Thread | None = None
        self._closing = threading.Event()
        self._in_future = 0
        self._order = FrameOrder()
        self._dropped: DropListener = ignore_drop

    def report_drops_to(self, listener: DropListener) -> None:
        """See ``edgeinspect.hw.camera_drops.ReportsDrops``."""
        self._dropped = listener

    def open(self, controls: CameraControls) -> None:
        """Set format and controls, start, and wait for the first frame. Raises CameraFault."""
        if self._device is not None:
            raise CameraFault("The camera is already open.")
        wiring = self._wiring
        self._device = device = self._open_device(_path(wiring.device))
        with undo_on_error(self.close):
            self._form = _agree(device, wiring)
            if wiring.frames_per_s is not None:
                _set_frame_rate(device, wiring.frames_per_s)
            self._controls = V4l2Controls(device)
            self._controls.apply(controls)
            self._start(device)

    def _start(self, device: Device) -> None:
        device.start(_BUFFERS)
        self._ring = ring = ExposureRing(
            give_back=self._give_back,
            waits_for_trigger=self._wiring.external_trigger,
            now_mono_ns=self._now_mono_ns,
        )
        self._closing.clear()
        self._order.reopened()
        self._reader = threading.Thread(
            target=self._read, args=(device, ring), name="v4l2", daemon=True
        )
        self._reader.start()
        if not self._wiring.external_trigger:
            deadline = self._now_mono_ns() + _FIRST_FRAME_NS
            first = ring.take(not_before_mono_ns=0, deadline_mono_ns=deadline)
            self._give_back(first.payload)

    def _read(self, device: Device, ring: ExposureRing[Picture]) -> None:
        """The reader thread."""
        begin = ExposureBegin()
        try:
            while not self._closing.is_set():
                picture = device.dequeue() if device.wait(_POLL_S) else None
                if picture is not None:
                    self._offer(picture, ring, begin)
        except Exception as error:  # noqa: BLE001  the next capture reports what ended the thread
            ring.fail(error)

    def _offer(self, picture: Picture, ring: ExposureRing[Picture], begin: ExposureBegin) -> None:
        sequence = None
        in_future = picture.stamp_mono_ns > self._now_mono_ns()
        self._in_future = self._in_future + 1 if in_future else 0
        if self._in_future >= _FUTURE_STAMPS:
            raise CameraFault(
                "its frames have time stamps in the future, so a frame cannot be matched to a part"
            )
        if in_future:
            self._dropped(FaultName.FRAME_FROM_FUTURE, "a frame has a time stamp in the future")
        else:
            sequence = self._order.number(picture.stamp_mono_ns, picture.sequence)
            if sequence is None:
                counter = f"counter {picture.sequence}, stamp {picture.stamp_mono_ns} ns"
                self._dropped(
                    FaultName.FRAME_REPEATED_BY_DRIVER,
                    f"the driver delivered a frame out of order: {counter}",
                )
        if sequence is None:
            self._give_back(picture)
            return
        began = self._span(picture, begin)
        if picture.damaged:
            self._dropped(FaultName.FRAME_DAMAGED, "the driver reports that a frame may be corrupt")
        if began is None or picture.damaged:
            self._give_back(picture)
            return
        begin_mono_ns, error_ns = middle(*began)
        ring.offer(Exposure(sequence, begin_mono_ns, picture, error_ns + self._stamp_error_ns))

    def _span(self, picture: Picture, begin: ExposureBegin) -> tuple[int, int] | None:
        """When the exposure began, at the earliest and at the latest, if the stamp is true."""
        exposure_us = self._controls.exposure_us if self._controls is not None else None
        span = begin.of(picture.stamp_mono_ns, exposure_us=exposure_us)
        if picture.stamped_at_start:
            return picture.stamp_mono_ns, picture.stamp_mono_ns
        return span

    @property
    def _stamp_error_ns(self) -> int:
        return round((self._wiring.stamp_error_ms or 0) * 1e6)

    def _give_back(self, picture: Picture) -> None:
        device = self._device
        if device is not None and not self._closing.is_set():
            # A camera that was unplugged takes nothing back; the reader reports it.
            with contextlib.suppress(CameraFault):
                device.give_back(picture.index)

    def apply(self, controls: CameraControls) -> None:
        """Set other controls; frames exposed from a little later on have them."""
        self._require_open()
        if self._controls is not None:
            self._controls.apply(controls)

    def capture(self, *, not_before_mono_ns: int, deadline_mono_ns: int) -> Frame:
        """See ``edgeinspect.ports.Camera``."""
        self._require_open()
        ring, form, controls = self._ring, self._form, self._controls
        if ring is None or form is None or controls is None:
            raise CameraFault("The camera is not open.")
        exposure = ring.take(
            not_before_mono_ns=not_before_mono_ns, deadline_mono_ns=deadline_mono_ns
        )
        try:
            pixels = pixels_of(exposure.payload.data, form, color=self._wiring.color == "rgb")
        finally:
            self._give_back(exposure.payload)
        meta = FrameMeta(
            sequence=exposure.sequence,
            exposure_mono_ns=exposure.begin_mono_ns,
            exposure_error_ns=exposure.error_ns,
            arrived_mono_ns=self._now_mono_ns(),
            controls=controls.read_back(),
        )
        return Frame(meta=meta, pixels=pixels)

    def check(self) -> None:
        """See ``edgeinspect.ports.Camera``."""
        self._require_open()
        if self._ring is not None:
            self._ring.check()

    def close(self) -> None:
        """Stop the reader and release the device; closing twice is allowed."""
        self._closing.set()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.join()
        device, self._device = self._device, None
        ring, self._ring = self._ring, None
        if ring is not None:
            ring.close()
        if device is not None:
            device.close()

    def _require_open(self) -> None:
        if self._device is None:
            raise CameraFault("The camera is not open.")


def _path(device: str | None) -> str:
    if device is None:
        return "/dev/video0"
    return f"/dev/video{device}" if device.isdecimal() else device


def _agree(device: Device, wiring: CameraWiring) -> BufferFormat:
    """The first format that can be read, in the size of the station file."""
    asked = _ANY_SIZE_PX
    if wiring.width_px is not None and wiring.height_px is not None:
        asked = (wiring.width_px, wiring.height_px)
    offered: list[str] = []
    for name, layout in _FORMATS.items():
        if layout is Layout.GREY and wiring.color == "rgb":
            continue
        given = device.set_format(fourcc(name), *asked)
        size = (given.width_px, given.height_px)
        if given.fourcc == fourcc(name) and (wiring.width_px is None or size == asked):
            return BufferFormat(
                layout=layout,
                width_px=given.width_px,
                height_px=given.height_px,
                stride_bytes=given.stride_bytes,
            )
        code = given.fourcc.to_bytes(4, "little").decode("ascii", "replace").strip()
        offered.append(f"{code} {size[0]} x {size[1]}")
    wish = "any size" if wiring.width_px is None else f"{asked[0]} x {asked[1]}"
    raise CameraFault(
        f"{device.path} ({device.name}) has no {wiring.color} mode of {wish}; it offers "
        f"{', '.join(dict.fromkeys(offered))}.",
        next_action="Correct camera.width_px, height_px and color in the station file.",
    )


def _set_frame_rate(device: Device, frames_per_s: float) -> None:
    taken = device.set_frame_rate(frames_per_s)
    if abs(taken - frames_per_s) > 0.02 * frames_per_s:
        raise CameraFault(
            f"{device.path} ({device.name}) runs at {taken:g} frames/s instead of "
            f"{frames_per_s:g}.",
            next_action="Correct camera.frames_per_s in the station file.",
        )
