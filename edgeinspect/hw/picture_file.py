"""Reading one picture from a file that nobody vouches for.

The size on disk, the format and the picture's own dimensions are checked from the first bytes,
before anything is decoded, so a decompression bomb costs nothing. A truncated file is refused
rather than shown half grey, as some decoders would.
"""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import CameraFault

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 50_000_000

_JPEG_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


class _Unreadable(Exception):
    """Why a picture cannot be used, in a few words."""


def read_picture(
    path: str | os.PathLike[str],
    *,
    max_file_bytes: int = MAX_FILE_BYTES,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.uint8]:
    """Read a PNG, JPEG, BMP, PGM or PPM file.

    Returns:
        uint8, shape (height, width) for grey or (height, width, 3) in RGB order, read-only;
        an alpha channel is dropped, EXIF rotation is not applied.

    Raises:
        CameraFault: names the file and says what is wrong with it.
    """
    file = Path(path)
    try:
        data = _read_bounded(file, max_file_bytes)
        width, height = _dimensions(data)
        if width < 1 or height < 1:
            raise _Unreadable(f"has no pixels ({width} x {height})")
        if width * height > max_pixels:
            raise _Unreadable(f"is {width} x {height}, more than {max_pixels} pixels")
        return _decode(data, width, height)
    except _Unreadable as error:
        raise CameraFault(f"{file.name} {error}.") from error
    except OSError as error:
        raise CameraFault(f"{file.name} cannot be read: {error.strerror or error}.") from error


def decode_jpeg(data: NDArray[np.uint8], *, color: bool) -> NDArray[np.uint8]:
    """Decode one JPEG of a camera's stream, e.g. an MJPEG frame.

    Args:
        data: the file's bytes, one axis.
        color: (height, width, 3) in RGB order, else (height, width); uint8 either way.

    Raises:
        CameraFault: it is damaged or truncated.
    """
    import cv2

    mode = cv2.IMREAD_COLOR if color else cv2.IMREAD_GRAYSCALE
    try:
        width, height = _jpeg_dimensions(data.tobytes())
        if not 0 < width * height <= MAX_PIXELS:
            raise _Unreadable(f"has an impossible size of {width} x {height}")
        pixels = cv2.imdecode(data, mode | cv2.IMREAD_IGNORE_ORIENTATION)
    except (_Unreadable, cv2.error, struct.error) as error:
        words = str(error) if isinstance(error, _Unreadable) else "cannot be decoded"
        raise CameraFault(f"A picture of the camera {words}.") from error
    if pixels is None or pixels.shape[:2] != (height, width):
        raise CameraFault("A picture of the camera cannot be decoded: it is damaged.")
    if color:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(pixels, np.uint8)


def _read_bounded(file: Path, max_file_bytes: int) -> bytes:
    # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _Unreadable("is not a regular file")
        if status.st_size == 0:
            raise _Unreadable("is empty")
        if status.st_size > max_file_bytes:
            raise _Unreadable(f"has {status.st_size} bytes, more than {max_file_bytes}")
        return stream.read(max_file_bytes + 1)


def _dimensions(data: bytes) -> tuple[int, int]:
    """Width and height as the header states them; also refuses a cut-off file."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png_dimensions(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_dimensions(data)
    if data.startswith(b"BM"):
        return _bmp_dimensions(data)
    if data[:2] in (b"P5", b"P6"):
        return _pnm_dimensions(data)
    raise _Unreadable("is not a PNG, JPEG, BMP, PGM or PPM picture")


def _png_dimensions(data: bytes) -> tuple[int, int]:
    if len(data) < 33 or data[12:16] != b"IHDR" or b"IEND" not in data[-64:]:
        raise _Unreadable("is a truncated PNG")
    width, height, depth = struct.unpack(">IIB", data[16:25])
    if depth > 8:
        raise _Unreadable(f"has {depth} bits a channel; the station works with 8")
    return width, height


def _jpeg_dimensions(data: bytes) -> tuple[int, int]:
    if b"\xff\xd9" not in data[-4096:]:
        raise _Unreadable("is a truncated JPEG")
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
    raise _Unreadable("is a JPEG without a frame header")


def _bmp_dimensions(data: bytes) -> tuple[int, int]:
    if len(data) < 26:
        raise _Unreadable("is a truncated BMP")
    size, pixels_at, header = struct.unpack("<I4xII", data[2:18])
    if len(data) < max(size, pixels_at):
        raise _Unreadable("is a truncated BMP")
    if header == 12:
        narrow: tuple[int, int] = struct.unpack("<HH", data[18:22])
        return narrow
    width, height = struct.unpack("<ii", data[18:26])
    return width, abs(height)


def _pnm_dimensions(data: bytes) -> tuple[int, int]:
    words: list[bytes] = []
    for line in data[:4096].splitlines():
        words += line.split(b"#", 1)[0].split()
        if len(words) >= 4:
            break
    try:
        width, height, largest = (int(word) for word in words[1:4])
    except ValueError:
        raise _Unreadable("has a damaged PGM or PPM header") from None
    if largest > 255:
        raise _Unreadable("has 16 bits a channel; the station works with 8")
    if len(data) < width * height * (3 if data[:2] == b"P6" else 1):
        raise _Unreadable("is a truncated PGM or PPM")
    return width, height


def _decode(data: bytes, width: int, height: int) -> NDArray[np.uint8]:
    import cv2

    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise _Unreadable("cannot be decoded") from error
    if pixels is None or pixels.shape[:2] != (height, width):
        raise _Unreadable("cannot be decoded: it is damaged or truncated")
    if pixels.dtype != np.uint8:
        raise _Unreadable(f"has {pixels.dtype} pixels; the station works with 8 bits")
    if pixels.ndim == 3:
        conversion = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}.get(pixels.shape[2])
        if conversion is None:
            raise _Unreadable(f"has {pixels.shape[2]} channels; expected 1, 3 or 4")
        pixels = cv2.cvtColor(pixels, conversion)
    picture: NDArray[np.uint8] = np.ascontiguousarray(pixels)
    picture.setflags(write=False)
    return picture
