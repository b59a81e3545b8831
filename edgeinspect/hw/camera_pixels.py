"""From a camera's buffer to the pixels of a frame: one copy, out of the buffer, and no other.

A frame outlives its buffer (the recorder keeps it until it is on the disk), so it cannot be a view
into it. Grey comes straight from the Y plane of a YUV picture, without any conversion.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import CameraFault
from edgeinspect.hw.picture_file import decode_jpeg

Buffer = NDArray[np.uint8]


class Layout(StrEnum):
    """The layout of a picture in a camera's buffer."""

    GREY = "8-bit grey"
    YUV420 = "YUV420"
    YVU420 = "YVU420"
    NV12 = "NV12"
    NV21 = "NV21"
    YUYV = "YUYV"
    UYVY = "UYVY"
    RGB = "24-bit RGB"
    BGR = "24-bit BGR"
    RGBX = "32-bit RGB"
    BGRX = "32-bit BGR"
    MJPEG = "MJPEG"


_Y_PLANE_FIRST = (Layout.GREY, Layout.YUV420, Layout.YVU420, Layout.NV12, Layout.NV21)
_BYTES = {
    Layout.YUYV: 2,
    Layout.UYVY: 2,
    Layout.RGB: 3,
    Layout.BGR: 3,
    Layout.RGBX: 4,
    Layout.BGRX: 4,
}
"""Bytes a pixel, where they are interleaved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferFormat:
    """The layout of a camera's buffer.

    Attributes:
        stride_bytes: distance between rows of the first plane; unused for MJPEG.
    """

    layout: Layout
    width_px: int
    height_px: int
    stride_bytes: int

    def __str__(self) -> str:
        return f"{self.width_px} x {self.height_px} {self.layout}"


def pixels_of(buffer: Buffer, form: BufferFormat, *, color: bool) -> NDArray[np.uint8]:
    """Copy one picture out of a buffer.

    Args:
        buffer: uint8, one axis; for MJPEG exactly the file's bytes.
        form: the buffer's layout.
        color: True for RGB, False for grey.

    Returns:
        uint8, (height, width) or (height, width, 3) in RGB order, its own memory, read-only.

    Raises:
        CameraFault: the buffer is too short or damaged, or colour is requested of a grey camera.
    """
    if form.layout is Layout.MJPEG:
        pixels = decode_jpeg(buffer, color=color)
        if pixels.shape[:2] != (form.height_px, form.width_px):
            raise CameraFault(f"The camera sent a JPEG whose size is not {form}.")
    else:
        rows = _rows(buffer, form)
        pixels = _rgb(rows, buffer, form) if color else _grey(rows, form)
    pixels.setflags(write=False)
    return pixels


def _rows(buffer: Buffer, form: BufferFormat) -> Buffer:
    """The rows of the first plane without their padding, a view."""
    width_bytes = form.width_px * _BYTES.get(form.layout, 1)
    size = form.stride_bytes * (form.height_px - 1) + width_bytes
    if form.stride_bytes < width_bytes or buffer.size < size:
        raise CameraFault(f"The camera sent {buffer.size} bytes, too few for {form}.")
    return np.lib.stride_tricks.as_strided(
        buffer, (form.height_px, width_bytes), (form.stride_bytes, 1), writeable=False
    )


def _grey(rows: Buffer, form: BufferFormat) -> NDArray[np.uint8]:
    if form.layout in _Y_PLANE_FIRST:
        return rows.copy()
    if form.layout is Layout.YUYV:
        return rows[:, 0::2].copy()
    if form.layout is Layout.UYVY:
        return rows[:, 1::2].copy()
    import cv2

    codes = {
        Layout.RGB: cv2.COLOR_RGB2GRAY,
        Layout.BGR: cv2.COLOR_BGR2GRAY,
        Layout.RGBX: cv2.COLOR_RGBA2GRAY,
        Layout.BGRX: cv2.COLOR_BGRA2GRAY,
    }
    return np.asarray(cv2.cvtColor(_interleaved(rows, form), codes[form.layout]), np.uint8)


def _rgb(rows: Buffer, buffer: Buffer, form: BufferFormat) -> NDArray[np.uint8]:
    import cv2

    layout = form.layout
    if layout is Layout.GREY:
        raise CameraFault(
            "The camera delivers grey pictures, but the station file expects colour.",
            next_action="Set camera.color: gray.",
        )
    if layout is Layout.RGB:
        return _interleaved(rows, form).copy()
    packed = {
        Layout.BGR: cv2.COLOR_BGR2RGB,
        Layout.RGBX: cv2.COLOR_RGBA2RGB,
        Layout.BGRX: cv2.COLOR_BGRA2RGB,
        Layout.YUYV: cv2.COLOR_YUV2RGB_YUYV,
        Layout.UYVY: cv2.COLOR_YUV2RGB_UYVY,
    }
    if layout in packed:
        return np.asarray(cv2.cvtColor(_interleaved(rows, form), packed[layout]), np.uint8)
    planar = {
        Layout.YUV420: cv2.COLOR_YUV2RGB_I420,
        Layout.YVU420: cv2.COLOR_YUV2RGB_YV12,
        Layout.NV12: cv2.COLOR_YUV2RGB_NV12,
        Layout.NV21: cv2.COLOR_YUV2RGB_NV21,
    }
    return np.asarray(cv2.cvtColor(_planes(buffer, form), planar[layout]), np.uint8)


def _interleaved(rows: Buffer, form: BufferFormat) -> Buffer:
    return rows.reshape(form.height_px, form.width_px, _BYTES[form.layout])


def _planes(buffer: Buffer, form: BufferFormat) -> Buffer:
    """All planes without padding, (height * 3 / 2, width), as OpenCV takes them."""
    width, height, stride = form.width_px, form.height_px, form.stride_bytes
    if buffer.size < stride * height * 3 // 2:
        raise CameraFault(f"The camera sent {buffer.size} bytes, too few for {form}.")
    if stride == width:
        return buffer[: width * height * 3 // 2].reshape(height * 3 // 2, width)
    luma = buffer[: stride * height].reshape(height, stride)[:, :width]
    chroma = buffer[stride * height : stride * height * 3 // 2]
    if form.layout in (Layout.NV12, Layout.NV21):
        chroma = chroma.reshape(height // 2, stride)[:, :width]
    else:  # two planes of half the width and half the stride, one after the other
        chroma = chroma.reshape(height, stride // 2)[:, : width // 2]
    return np.concatenate([luma.ravel(), chroma.ravel()]).reshape(height * 3 // 2, width)
