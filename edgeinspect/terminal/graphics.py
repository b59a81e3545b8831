"""How a terminal shows pictures: half blocks, sixels, or kitty's graphics protocol.

The library ``textual-image`` 0.12 does the same but waits only 0.1 s for each answer: over a link
with a round trip of 0.15 s it fell back to half blocks, and the late answer was read as what the
user typed at the next prompt. It also trusts tmux, sends pictures of any size (300 kB where ours
kept to 155 kB) and needs Pillow, 21 MB on every station. Only its sixels are smaller, by a fifth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np

from edgeinspect.drawing.canvas import Rgb
from edgeinspect.terminal import kitty
from edgeinspect.terminal.sixel import BAND_ROWS, reduce_colors, sixels

MOST_COLORS = 64
"""More colours cannot be distinguished on a part's picture, and they cost bytes."""
FEWEST_COLORS = 8
MOST_CLOSE_PX, MOST_CLOSE_BYTES = 300_000, 160 * 1024
"""Of a picture that is looked at by itself: a second or two on a slow line."""


class GraphicsKind(StrEnum):
    """How a terminal can draw pictures."""

    BLOCKS = "blocks"
    SIXEL = "sixel"
    KITTY = "kitty"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture as its terminal takes it.

    Attributes:
        data: sixels, or a PNG in base64.
        columns, rows: the cells that it covers.
    """

    data: str
    columns: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Graphics:
    """What the terminal can show.

    Attributes:
        cell_width_px, cell_height_px: of one character.
        colors: how many it shows at once in one picture.
    """

    kind: GraphicsKind = GraphicsKind.BLOCKS
    cell_width_px: int = 10
    cell_height_px: int = 20
    colors: int = MOST_COLORS

    def size_px(self, *, columns: int, rows: int, most_px: int) -> tuple[int, int]:
        """Width and height to draw a picture at, which is then shown over these cells.

        Half blocks are two pixels a cell. Other pictures of more than ``most_px`` pixels are drawn
        smaller by a whole number, and enlarged again by ``encode`` or by the terminal.
        """
        if self.kind is GraphicsKind.BLOCKS:
            return columns, 2 * rows
        width, height = columns * self.cell_width_px, rows * self.cell_height_px
        factor = self._factor(width * height, most_px)
        if self.kind is GraphicsKind.SIXEL:
            height -= height % BAND_ROWS  # terminals differ on a band that is not full
        return max(1, width // factor), max(1, height // factor)

    def encode(
        self, picture: Rgb, *, columns: int, rows: int, most_px: int, most_bytes: int
    ) -> Encoded | None:
        """The picture in at most ``most_bytes``, with as many colours as that allows.

        Args:
            picture: uint8 RGB, at most as large as ``size_px`` said; it keeps to the top left.

        Returns:
            None for half blocks, and for a picture that does not fit with the fewest colours.
        """
        if self.kind is GraphicsKind.BLOCKS:
            return None
        colors = min(self.colors, MOST_COLORS)
        while colors >= min(FEWEST_COLORS, self.colors):
            data = self._data(picture, columns, rows, most_px=most_px, colors=colors)
            if len(data) <= most_bytes:
                return Encoded(data, columns, rows)
            colors //= 2
        return None

    def show(self, encoded: Encoded, *, image_id: int) -> str:
        """The escape sequence that draws it where the cursor is."""
        if self.kind is GraphicsKind.SIXEL:
            return encoded.data
        return kitty.show(
            encoded.data, image_id=image_id, columns=encoded.columns, rows=encoded.rows
        )

    def _data(self, picture: Rgb, columns: int, rows: int, *, most_px: int, colors: int) -> str:
        width, height = columns * self.cell_width_px, rows * self.cell_height_px
        factor = self._factor(width * height, most_px)
        indices, palette = reduce_colors(picture, colors)
        if self.kind is GraphicsKind.SIXEL:
            return sixels(indices.repeat(factor, axis=0).repeat(factor, axis=1), palette)
        size = math.ceil(width / factor), math.ceil(height / factor)
        return kitty.png_base64(palette[indices], width=size[0], height=size[1])

    @staticmethod
    def _factor(pixels: int, most_px: int) -> int:
        return max(1, math.ceil(math.sqrt(pixels / most_px)))


def as_blocks(picture: Rgb, *, columns: int, rows: int) -> Rgb:
    """The picture small enough for half blocks over these cells, in its own shape."""
    height, width = picture.shape[:2]
    if width <= columns and height <= 2 * rows:
        return picture
    return within(picture, width=columns, height=2 * rows)


def within(picture: Rgb, *, width: int, height: int) -> Rgb:
    """Scale the picture to the largest size within these pixels, in its own shape."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    size = tuple(max(1, round(side * scale)) for side in picture.shape[1::-1])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)
