"""Pictures as sixels: first fewer colours, then bands of six rows. Pure functions on arrays.

The format is DEC's: VT330/VT340 Programmer Reference Manual, volume 2, chapter 14.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from edgeinspect.drawing.canvas import Rgb

BAND_ROWS = 6
_BITS = 5
_RUN = re.compile(rb"(.)\1{3,}")
_NOTHING = b"?"
_ROW_WEIGHTS = (1 << np.arange(BAND_ROWS)).astype(np.uint8)

Indices = NDArray[np.uint8]


def reduce_colors(picture: Rgb, max_colors: int) -> tuple[Indices, Rgb]:
    """Reduce a picture to few colours, by median cut over colours of 5 bits a channel.

    Args:
        picture: uint8 RGB, shape (height, width, 3).
        max_colors: 2 to 256.

    Returns:
        The index of each pixel's colour, uint8 of shape (height, width); and the colours, uint8
        of shape (n, 3), each the mean of the pixels that have it.
    """
    high = (picture >> (8 - _BITS)).astype(np.uint16)
    codes = (high[..., 0] << 2 * _BITS) | (high[..., 1] << _BITS) | high[..., 2]
    counts = np.bincount(codes.ravel(), minlength=1 << 3 * _BITS)
    number_of = np.zeros(counts.size, np.uint8)
    for number, box in enumerate(_boxes(np.flatnonzero(counts), counts, max_colors)):
        number_of[box] = number
    indices: Indices = number_of[codes]
    flat = indices.ravel()
    pixels = np.bincount(flat)
    sums = [np.bincount(flat, picture[..., channel].ravel()) for channel in range(3)]
    return indices, np.round(np.stack(sums, axis=1) / pixels[:, None]).astype(np.uint8)


def sixels(indices: Indices, palette: Rgb) -> str:
    """Return the escape sequence that draws these pixels at the cursor.

    Args:
        indices: uint8, shape (height, width), into the palette.
        palette: uint8 RGB, shape (n, 3), n at most 256.
    """
    height, width = indices.shape
    parts = [b'\x1bP0;1;0q"1;1;%d;%d' % (width, height)]
    for number, color in enumerate(np.round(palette * (100 / 255)).astype(int).tolist()):
        parts.append(b"#%d;2;%d;%d;%d" % (number, *color))
    bands = [_band(indices[top : top + BAND_ROWS]) for top in range(0, height, BAND_ROWS)]
    parts += [b"-".join(bands), b"\x1b\\"]
    return b"".join(parts).decode("ascii")


def _band(rows: Indices) -> bytes:
    """Encode up to six rows: one line for each colour, drawn over one another."""
    weights = _ROW_WEIGHTS[: rows.shape[0], None]
    lines = []
    for number in np.unique(rows).tolist():
        bits = ((rows == number) * weights).sum(axis=0, dtype=np.uint8) + np.uint8(63)
        lines.append(b"#%d" % number + _RUN.sub(_run, bits.tobytes().rstrip(_NOTHING)))
    return b"$".join(lines)


def _run(match: re.Match[bytes]) -> bytes:
    return b"!%d%b" % (len(match[0]), match[1])


def _boxes(
    codes: NDArray[np.intp], counts: NDArray[np.intp], max_boxes: int
) -> list[NDArray[np.intp]]:
    """Group colour codes: halve the widest and fullest group until there are enough."""
    boxes = [codes]
    worth = [_worth(codes, counts)]
    while len(boxes) < max_boxes and max(worth) > 0:
        at = int(np.argmax(worth))
        for half in _halves(boxes.pop(at), counts):
            boxes.append(half)
            worth.append(_worth(half, counts))
        del worth[at]
    return boxes


def _worth(codes: NDArray[np.intp], counts: NDArray[np.intp]) -> float:
    return float(np.ptp(_channels(codes), axis=1).max() * np.sqrt(counts[codes].sum()))


def _halves(
    codes: NDArray[np.intp], counts: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split at the median pixel of the widest channel; neither half is empty."""
    channels = _channels(codes)
    values = channels[int(np.argmax(np.ptp(channels, axis=1)))]
    codes = codes[np.argsort(values, kind="stable")]
    below = np.cumsum(counts[codes])
    middle = int(np.searchsorted(below, below[-1] / 2))
    middle = min(max(middle, 1), codes.size - 1)
    return codes[:middle], codes[middle:]


def _channels(codes: NDArray[np.intp]) -> NDArray[np.intp]:
    mask = (1 << _BITS) - 1
    return np.stack([codes >> 2 * _BITS, (codes >> _BITS) & mask, codes & mask])
