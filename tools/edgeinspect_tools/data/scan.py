"""One pass over the pictures: read each once, keep what grouping and judging need."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import CameraFault, ConfigError
from edgeinspect.hw.picture_file import read_picture
from edgeinspect.line.quality import measure_quality
from edgeinspect.part import FrameQuality
from edgeinspect_tools.data.dataset import GOOD, Excluded, Picture

THUMBNAIL_PX = 64
DEFECT = "defect"
"""The class of a picture whose mask shows a defect that nothing names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """A readable picture.

    Attributes:
        picture: as the reader found it.
        label: final.
        width, height: pixels.
        sha256, mask_sha256: of the files.
        quality: of the whole picture.
        thumbnail: uint8 (THUMBNAIL_PX, THUMBNAIL_PX), grey, stretched to the square.
    """

    picture: Picture
    label: str
    width: int
    height: int
    sha256: str
    mask_sha256: str
    quality: FrameQuality
    thumbnail: NDArray[np.uint8] = field(compare=False, repr=False)


def scan(
    pictures: Sequence[Picture], *, progress: Callable[[int], None] | None = None
) -> tuple[tuple[Scanned, ...], tuple[Excluded, ...]]:
    """Read every picture and its mask.

    Args:
        progress: called with 1 after each picture.

    Returns:
        The readable pictures, and the others with the reason.

    Raises:
        ConfigError: a mask is unreadable or not of its picture's size.
    """
    found: list[Scanned] = []
    excluded: list[Excluded] = []
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for picture, result in zip(pictures, pool.map(_scan_one, pictures), strict=True):
            if isinstance(result, Scanned):
                found.append(result)
            else:
                excluded.append(Excluded(picture.path, result))
            if progress is not None:
                progress(1)
    return tuple(found), tuple(excluded)


def sha256_of_file(path: Path) -> str:
    """Lower-case hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _scan_one(picture: Picture) -> Scanned | str:
    import cv2

    try:
        pixels = read_picture(picture.path)
        digest = sha256_of_file(picture.path)
    except CameraFault as error:
        return error.message
    except OSError as error:
        return f"{picture.path.name} cannot be read: {error.strerror or error}."
    height, width = pixels.shape[:2]
    defective, mask_digest = _look_at_mask(picture, width, height)
    gray = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(gray, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    return Scanned(
        picture=picture,
        label=picture.label or (DEFECT if defective else GOOD),
        width=width,
        height=height,
        sha256=digest,
        mask_sha256=mask_digest,
        quality=measure_quality(pixels),
        thumbnail=np.asarray(thumbnail, np.uint8),
    )


def read_mask(path: Path, *, width: int, height: int, picture: Path) -> NDArray[np.bool_]:
    """Read a mask: True where its picture shows the defect, shape (height, width).

    Raises:
        ConfigError: unreadable, or not of the picture's size.
    """
    try:
        mask = read_picture(path)
    except CameraFault as error:
        raise ConfigError(
            file=path, key="the mask", value=error.message, expected="a readable 8-bit picture"
        ) from error
    if mask.shape[:2] != (height, width):
        raise ConfigError(
            file=path,
            key="the mask's size",
            value=f"{mask.shape[1]} x {mask.shape[0]}",
            expected=f"{width} x {height} as its picture {picture.name}",
        )
    flat = mask if mask.ndim == 2 else mask.max(axis=2)
    return np.asarray(flat > _mask_threshold(path), np.bool_)


def _mask_threshold(path: Path) -> int:
    # JPEG rings around sharp edges; in lossless files every nonzero value counts.
    return 127 if path.suffix.lower() in (".jpg", ".jpeg") else 0


def _look_at_mask(picture: Picture, width: int, height: int) -> tuple[bool, str]:
    if picture.mask is None:
        return False, ""
    mask = read_mask(picture.mask, width=width, height=height, picture=picture.path)
    return bool(mask.any()), sha256_of_file(picture.mask)
