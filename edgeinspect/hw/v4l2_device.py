"""The few requests of the kernel's Video4Linux2 interface that the V4L2 driver makes.

Direct, and not through OpenCV, because OpenCV hides what this station must know of every frame:
the sequence number, the error flag, which clock stamped it and at which end of the exposure; and of
every failure: the errno. Structures as in <linux/videodev2.h>; ctypes lays them out as C does on 32
and on 64 bits. See https://docs.kernel.org/userspace-api/media/v4l/v4l2.html.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import select
import stat
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import CameraFault, CameraLost

_CAPTURE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE
_MMAP = 1  # V4L2_MEMORY_MMAP
_CAN_CAPTURE, _CAN_STREAM, _DEVICE_CAPS = 0x1, 0x04000000, 0x80000000
_FLAG_ERROR = 0x40
_STAMP_CLOCK_MASK, _STAMP_MONOTONIC = 0xE000, 0x2000
_STAMP_SOURCE_MASK, _STAMP_AT_START = 0x70000, 0x10000  # ..._TSTAMP_SRC_SOE
_CONTROL_DISABLED, _CONTROL_READ_ONLY = 0x1, 0x4


class _Capability(ctypes.Structure):
    _fields_: ClassVar = [
        ("driver", ctypes.c_char * 16),
        ("card", ctypes.c_char * 32),
        ("bus_info", ctypes.c_char * 32),
        ("version", ctypes.c_uint32),
        ("capabilities", ctypes.c_uint32),
        ("device_caps", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 3),
    ]


class _PixFormat(ctypes.Structure):
    _fields_: ClassVar = [
        (name, ctypes.c_uint32)
        for name in (
            *("width", "height", "pixelformat", "field", "bytesperline", "sizeimage"),
            *("colorspace", "priv", "flags", "ycbcr_enc", "quantization", "xfer_func"),
        )
    ]


class _FormatUnion(ctypes.Union):
    _fields_: ClassVar = [
        ("pix", _PixFormat),
        ("raw", ctypes.c_uint8 * 200),
        ("align", ctypes.c_void_p),  # v4l2_window holds pointers
    ]


class Format(ctypes.Structure):
    """``struct v4l2_format``."""

    _fields_: ClassVar = [("type", ctypes.c_uint32), ("fmt", _FormatUnion)]


class _RequestBuffers(ctypes.Structure):
    _fields_: ClassVar = [
        ("count", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("memory", ctypes.c_uint32),
        ("capabilities", ctypes.c_uint32),
        ("flags", ctypes.c_uint8),
        ("reserved", ctypes.c_uint8 * 3),
    ]


class _Timeval(ctypes.Structure):
    _fields_: ClassVar = [("seconds", ctypes.c_long), ("microseconds", ctypes.c_long)]


class Buffer(ctypes.Structure):
    """``struct v4l2_buffer``."""

    _fields_: ClassVar = [
        ("index", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("bytesused", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("field", ctypes.c_uint32),
        ("timestamp", _Timeval),
        ("timecode", ctypes.c_uint32 * 4),
        ("sequence", ctypes.c_uint32),
        ("memory", ctypes.c_uint32),
        ("offset", ctypes.c_ulong),  # of the union m, whose largest member is a long
        ("length", ctypes.c_uint32),
        ("reserved2", ctypes.c_uint32),
        ("request_fd", ctypes.c_int32),
    ]


class _StreamParameters(ctypes.Structure):
    _fields_: ClassVar = [
        ("type", ctypes.c_uint32),
        ("capability", ctypes.c_uint32),
        ("capturemode", ctypes.c_uint32),
        ("numerator", ctypes.c_uint32),
        ("denominator", ctypes.c_uint32),
        ("raw", ctypes.c_uint8 * 184),
    ]


class _Control(ctypes.Structure):
    _fields_: ClassVar = [("id", ctypes.c_uint32), ("value", ctypes.c_int32)]


class _QueryControl(ctypes.Structure):
    _fields_: ClassVar = [
        ("id", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("name", ctypes.c_char * 32),
        ("minimum", ctypes.c_int32),
        ("maximum", ctypes.c_int32),
        ("step", ctypes.c_int32),
        ("default", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 2),
    ]


_READ, _WRITE = 2, 1


def _request(direction: int, number: int, structure: type[Any]) -> int:
    """_IOC of <asm-generic/ioctl.h>; ARM, RISC-V and x86 all use it."""
    return direction << 30 | ctypes.sizeof(structure) << 16 | ord("V") << 8 | number


QUERYCAP = _request(_READ, 0, _Capability)
S_FMT = _request(_READ | _WRITE, 5, Format)
_REQBUFS = _request(_READ | _WRITE, 8, _RequestBuffers)
_QUERYBUF = _request(_READ | _WRITE, 9, Buffer)
QBUF = _request(_READ | _WRITE, 15, Buffer)
DQBUF = _request(_READ | _WRITE, 17, Buffer)
STREAMON = _request(_WRITE, 18, ctypes.c_int)
_STREAMOFF = _request(_WRITE, 19, ctypes.c_int)
S_PARM = _request(_READ | _WRITE, 22, _StreamParameters)
_G_CTRL = _request(_READ | _WRITE, 27, _Control)
_S_CTRL = _request(_READ | _WRITE, 28, _Control)
QUERYCTRL = _request(_READ | _WRITE, 36, _QueryControl)


def fourcc(text: str) -> int:
    """A format's four characters as the kernel counts them, e.g. ``fourcc("YUYV")``."""
    return int.from_bytes(text.encode("ascii"), "little")


@dataclass(frozen=True, slots=True)
class Picture:
    """One filled buffer, held until ``V4l2Device.give_back``.

    Attributes:
        index: of the buffer.
        sequence: the driver's counter; a gap is a dropped frame.
        stamp_mono_ns: CLOCK_MONOTONIC.
        stamped_at_start: the stamp is that of the exposure's start, not of its end.
        damaged: the driver says that the content may be corrupt.
        data: uint8, one axis, a view into the buffer.
    """

    index: int
    sequence: int
    stamp_mono_ns: int
    stamped_at_start: bool
    damaged: bool
    data: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """What the driver agreed to; ``fourcc`` in the kernel's numbering."""

    fourcc: int
    width_px: int
    height_px: int
    stride_bytes: int


class V4l2Device:
    """One video device, opened for capture. Raises CameraFault and CameraLost."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._maps: list[mmap.mmap] = []
        self._streaming = False
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            if not stat.S_ISCHR(os.fstat(self._descriptor).st_mode):
                raise CameraFault(f"{path} is not a video device.")
            capability = _Capability()
            self._ioctl(QUERYCAP, capability)
        except OSError as error:
            self.close()
            if isinstance(error, CameraFault):
                raise
            raise _opening_failed(path, error) from error
        self.name = capability.card.decode(errors="replace")
        able = capability.capabilities
        if able & _DEVICE_CAPS:
            able = capability.device_caps
        if not (able & _CAN_CAPTURE and able & _CAN_STREAM):
            self.close()
            raise CameraFault(
                f"{path} ({self.name}) is not a capture device.",
                next_action="Many cameras have several device files; use the first that captures.",
            )

    def set_format(self, wanted: int, width_px: int, height_px: int) -> StreamFormat:
        """Ask for a format and size; the driver may answer with another one."""
        form = Format(type=_CAPTURE)
        form.fmt.pix.width, form.fmt.pix.height = width_px, height_px
        form.fmt.pix.pixelformat = wanted
        self._do("set the format", S_FMT, form)
        pix = form.fmt.pix
        return StreamFormat(pix.pixelformat, pix.width, pix.height, pix.bytesperline)

    def set_frame_rate(self, frames_per_s: float) -> float:
        """Ask for a frame rate; returns the one that the driver took."""
        asked = _StreamParameters(
            type=_CAPTURE, numerator=1000, denominator=round(1000 * frames_per_s)
        )
        self._do("set the frame rate", S_PARM, asked)
        return float(asked.denominator / asked.numerator) if asked.numerator else 0.0

    def control_range(self, control: int) -> tuple[int, int] | None:
        """(least, greatest) value; None if the camera has no such control that can be set."""
        query = _QueryControl(id=control)
        try:
            self._ioctl(QUERYCTRL, query)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):
                return None
            raise self._failed("query a control", error) from error
        if query.flags & (_CONTROL_DISABLED | _CONTROL_READ_ONLY):
            return None
        return query.minimum, query.maximum

    def set_control(self, control: int, value: int) -> None:
        """Set a control. Raises CameraFault."""
        self._do("set a control", _S_CTRL, _Control(id=control, value=value))

    def get_control(self, control: int) -> int:
        """Return a control's value. Raises CameraFault."""
        read = _Control(id=control)
        self._do("read a control", _G_CTRL, read)
        return int(read.value)

    def start(self, buffers: int) -> None:
        """Map the buffers, queue them all and begin to stream."""
        asked = _RequestBuffers(count=buffers, type=_CAPTURE, memory=_MMAP)
        self._do("get buffers", _REQBUFS, asked)
        for index in range(asked.count):
            buffer = Buffer(index=index, type=_CAPTURE, memory=_MMAP)
            self._do("map a buffer", _QUERYBUF, buffer)
            self._maps.append(
                mmap.mmap(self._open_descriptor(), buffer.length, offset=buffer.offset)
            )
            self.give_back(index)
        self._do("start streaming", STREAMON, ctypes.c_int(_CAPTURE))
        self._streaming = True

    def wait(self, timeout_s: float) -> bool:
        """Until a buffer is filled; False after ``timeout_s``."""
        poll = select.poll()
        poll.register(self._open_descriptor(), select.POLLIN | select.POLLERR | select.POLLHUP)
        return bool(poll.poll(timeout_s * 1000))

    def dequeue(self) -> Picture | None:
        """A filled buffer; None if there is none after all."""
        buffer = Buffer(type=_CAPTURE, memory=_MMAP)
        try:
            self._ioctl(DQBUF, buffer)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return None
            raise self._failed("read a frame", error) from error
        flags, stamp = buffer.flags, buffer.timestamp
        if flags & _STAMP_CLOCK_MASK != _STAMP_MONOTONIC:
            raise CameraFault(
                f"The driver of {self.path} ({self.name}) does not stamp its frames with the "
                "monotonic clock, so a frame cannot be matched to a part.",
                next_action="Use another camera, or a newer kernel.",
            )
        return Picture(
            index=buffer.index,
            sequence=buffer.sequence,
            stamp_mono_ns=(stamp.seconds * 1_000_000 + stamp.microseconds) * 1000,
            stamped_at_start=flags & _STAMP_SOURCE_MASK == _STAMP_AT_START,
            damaged=bool(flags & _FLAG_ERROR),
            data=np.frombuffer(self._maps[buffer.index], np.uint8, buffer.bytesused),
        )

    def give_back(self, index: int) -> None:
        """The driver may fill this buffer again."""
        self._do("queue a buffer", QBUF, Buffer(index=index, type=_CAPTURE, memory=_MMAP))

    def close(self) -> None:
        """Stop and release everything; closing twice is allowed."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if self._streaming:
            self._streaming = False
            with contextlib.suppress(OSError):  # unplugged: there is nothing left to stop
                fcntl.ioctl(descriptor, _STREAMOFF, ctypes.c_int(_CAPTURE))
        # A view that somebody still holds keeps its map alive, and no longer.
        self._maps.clear()
        os.close(descriptor)

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise CameraFault(f"{self.path} is not open.")
        return self._descriptor

    def _ioctl(self, request: int, argument: Any) -> None:
        fcntl.ioctl(self._open_descriptor(), request, argument)

    def _do(self, what: str, request: int, argument: Any) -> None:
        try:
            self._ioctl(request, argument)
        except OSError as error:
            if isinstance(error, CameraFault):
                raise
            raise self._failed(what, error) from error

    def _failed(self, what: str, error: OSError) -> CameraFault:
        if error.errno in (errno.ENODEV, errno.ENXIO, errno.EIO):
            return CameraLost(
                f"{self.path} was unplugged or has failed ({error.strerror}).",
                next_action="Check its cable and its power.",
            )
        if error.errno == errno.EBUSY:
            return CameraFault(
                f"{self.path} is used by another program.",
                next_action=f"Stop that program: sudo fuser -v {self.path}",
            )
        return CameraFault(f"{self.path} could not {what}: {error.strerror}.")


def _opening_failed(path: str, error: OSError) -> CameraFault:
    if error.errno == errno.ENOENT:
        return CameraFault(
            f"{path} does not exist.",
            next_action="Connect the camera. To list the cameras, run: ls /dev/video*",
        )
    if error.errno == errno.EACCES:
        return CameraFault(
            f"{path} cannot be used by this user.",
            next_action="Run: sudo usermod -aG video $USER, and log in again.",
        )
    if error.errno == errno.EBUSY:
        return CameraFault(
            f"{path} is used by another program.",
            next_action=f"Stop that program: sudo fuser -v {path}",
        )
    if error.errno == errno.ENOTTY:
        return CameraFault(f"{path} is not a video device.")
    return CameraFault(f"{path} cannot be opened: {error.strerror}.")
