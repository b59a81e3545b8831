"""Reads pictures from untrusted bytes: first their size from the header, then their pixels.

A decompression bomb does no harm, because the size is checked before the picture is decoded. A
truncated picture is refused; some decoders would fill the rest with grey.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_PIXELS = 50_000_000

_JPEG_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


class UnreadablePicture(Exception):
    """A picture cannot be used; the message is a few words that follow its name."""


def decode_picture(data: bytes, mode: int, *, max_pixels: int = MAX_PIXELS) -> NDArray[Any]:
    """Decode a PNG, JPEG, BMP, PGM or PPM with OpenCV.

    Args:
        data: the whole file.
        mode: one of ``cv2.IMREAD_…``, which also decides about EXIF rotation.
        max_pixels: largest product of width and height.

    Returns:
        (height, width) or (height, width, channels), blue first.

    Raises:
        UnreadablePicture: the picture has another format, is damaged or truncated, or has too
            many pixels.
    """
    import cv2

    width, height = picture_size(data)
    if width < 1 or height < 1:
        raise UnreadablePicture(f"has no pixels ({width} x {height})")
    if width * height > max_pixels:
        raise UnreadablePicture(f"is {width} x {height}, more than {max_pixels} pixels")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error as error:
        raise UnreadablePicture("cannot be decoded") from error
    if pixels is None or sorted(pixels.shape[:2]) != sorted((height, width)):
        raise UnreadablePicture("cannot be decoded: it is damaged or truncated")
    return pixels


def picture_size(data: bytes) -> tuple[int, int]:
    """Read width and height from the header.

    Raises:
        UnreadablePicture: the header is damaged, or the file is truncated.
    """
    try:
        return _size(data)
    except struct.error as error:
        raise UnreadablePicture("has a damaged header") from error


def _size(data: bytes) -> tuple[int, int]:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png_size(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_size(data)
    if data.startswith(b"BM"):
        return _bmp_size(data)
    if data[:2] in (b"P5", b"P6"):
        return _pnm_size(data)
    raise UnreadablePicture("is not a PNG, JPEG, BMP, PGM or PPM picture")


def _png_size(data: bytes) -> tuple[int, int]:
    if len(data) < 33 or data[12:16] != b"IHDR" or b"IEND" not in data[-64:]:
        raise UnreadablePicture("is a truncated PNG")
    width, height, depth = struct.unpack(">IIB", data[16:25])
    if depth > 8:
        raise UnreadablePicture(f"has {depth} bits a channel; the station works with 8")
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int]:
    if b"\xff\xd9" not in data[-4096:]:
        raise UnreadablePicture("is a truncated JPEG")
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker in _JPEG_START_OF_FRAME:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        if marker == 0xFF:
            at += 1
        elif marker in _JPEG_WITHOUT_LENGTH:
            at += 2
        else:
            at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    raise UnreadablePicture("is a JPEG without a frame header")


def _bmp_size(data: bytes) -> tuple[int, int]:
    if len(data) < 26:
        raise UnreadablePicture("is a truncated BMP")
    size, pixels_at, header = struct.unpack("<I4xII", data[2:18])
    if len(data) < max(size, pixels_at):
        raise UnreadablePicture("is a truncated BMP")
    if header == 12:
        narrow: tuple[int, int] = struct.unpack("<HH", data[18:22])
        return narrow
    width, height = struct.unpack("<ii", data[18:26])
    return width, abs(height)


def _pnm_size(data: bytes) -> tuple[int, int]:
    words: list[bytes] = []
    for line in data[:4096].splitlines():
        words += line.split(b"#", 1)[0].split()
        if len(words) >= 4:
            break
    try:
        width, height, largest = (int(word) for word in words[1:4] if len(word) <= 9)
    except ValueError:
        raise UnreadablePicture("has a damaged PGM or PPM header") from None
    if largest > 255:
        raise UnreadablePicture("has 16 bits a channel; the station works with 8")
    if len(data) < width * height * (3 if data[:2] == b"P6" else 1):
        raise UnreadablePicture("is a truncated PGM or PPM")
    return width, height
