"""Reading one picture from a file that nobody vouches for.

The size on disk, the format and the picture's own dimensions are checked from the first bytes,
before anything is decoded, so a decompression bomb costs nothing. A truncated file is refused
rather than shown half grey, as some decoders would.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import CameraFault
from edgeinspect.files.picture_bytes import MAX_PIXELS, UnreadablePicture, decode_picture

MAX_FILE_BYTES = 64 * 1024 * 1024


def read_picture(
    path: str | os.PathLike[str],
    *,
    max_file_bytes: int = MAX_FILE_BYTES,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.uint8]:
    """Read a PNG, JPEG, BMP, PGM or PPM file.

    Returns:
        uint8, shape (height, width) for grey or (height, width, 3) in RGB order, read-only; an
        alpha channel is dropped, EXIF rotation is not applied.

    Raises:
        CameraFault: the file cannot be read or is not a picture; the error names it.
    """
    file = Path(path)
    try:
        return _as_rgb(_read_bounded(file, max_file_bytes), max_pixels)
    except UnreadablePicture as error:
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
        pixels = decode_picture(data.tobytes(), mode | cv2.IMREAD_IGNORE_ORIENTATION)
    except UnreadablePicture as error:
        raise CameraFault(f"A picture of the camera {error}.") from error
    if color:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(pixels, np.uint8)


def _read_bounded(file: Path, max_file_bytes: int) -> bytes:
    # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UnreadablePicture("is not a regular file")
        if status.st_size == 0:
            raise UnreadablePicture("is empty")
        if status.st_size > max_file_bytes:
            raise UnreadablePicture(f"has {status.st_size} bytes; the limit is {max_file_bytes}")
        return stream.read(max_file_bytes + 1)


def _as_rgb(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    import cv2

    pixels = decode_picture(data, cv2.IMREAD_UNCHANGED, max_pixels=max_pixels)
    if pixels.dtype != np.uint8:
        raise UnreadablePicture(f"has {pixels.dtype} pixels; the station needs 8 bits")
    if pixels.ndim == 3:
        conversion = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}.get(pixels.shape[2])
        if conversion is None:
            raise UnreadablePicture(f"has {pixels.shape[2]} channels; expected 1, 3 or 4")
        pixels = cv2.cvtColor(pixels, conversion)
    picture: NDArray[np.uint8] = np.ascontiguousarray(pixels, np.uint8)
    picture.setflags(write=False)
    return picture
