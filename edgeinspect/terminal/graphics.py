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

MAX_COLORS = 64
"""On a picture of a part, more colours look the same and cost bytes."""
MIN_COLORS = 8
MAX_CLOSE_PX, MAX_CLOSE_BYTES = 300_000, 160 * 1024
"""Limits of a picture that is shown by itself: a second or two on a slow connection."""


class GraphicsKind(StrEnum):
    """How a picture gets onto a terminal."""

    BLOCKS = "blocks"
    SIXEL = "sixel"
    KITTY = "kitty"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture in the form that its terminal understands.

    Attributes:
        data: sixels, or a PNG in base64.
        columns: the character cells that it covers.
        rows: the lines that it covers.
    """

    data: str
    columns: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Graphics:
    """What the terminal can show.

    Attributes:
        kind: how pictures are sent.
        cell_width_px: width of one character.
        cell_height_px: height of one character.
        colors: how many colours one picture may have.
    """

    kind: GraphicsKind = GraphicsKind.BLOCKS
    cell_width_px: int = 10
    cell_height_px: int = 20
    colors: int = MAX_COLORS

    def size_px(self, *, columns: int, rows: int, max_px: int) -> tuple[int, int]:
        """Return the width and height at which to draw a picture that will cover these cells.

        A cell of half blocks has two pixels. Any other picture of more than ``max_px`` pixels is
        drawn smaller by a whole factor; ``encode`` or the terminal enlarges it again.
        """
        if self.kind is GraphicsKind.BLOCKS:
            return columns, 2 * rows
        width, height = columns * self.cell_width_px, rows * self.cell_height_px
        factor = self._factor(width * height, max_px)
        if self.kind is GraphicsKind.SIXEL:
            height -= height % BAND_ROWS  # terminals disagree about a band that is not full
        return max(1, width // factor), max(1, height // factor)

    def encode(
        self, picture: Rgb, *, columns: int, rows: int, max_px: int, max_bytes: int
    ) -> Encoded | None:
        """Encode the picture in at most ``max_bytes``, with as many colours as that allows.

        Args:
            picture: uint8 RGB, at most as large as ``size_px`` says; it stays at the top left.
            columns: character cells to cover.
            rows: lines to cover.
            max_px: the same limit as for ``size_px``.
            max_bytes: largest length of the encoded picture.

        Returns:
            None for half blocks, and for a picture that is too long even with few colours.
        """
        if self.kind is GraphicsKind.BLOCKS:
            return None
        colors = min(self.colors, MAX_COLORS)
        while colors >= min(MIN_COLORS, self.colors):
            data = self._data(picture, columns, rows, max_px=max_px, colors=colors)
            if len(data) <= max_bytes:
                return Encoded(data, columns, rows)
            colors //= 2
        return None

    def show(self, encoded: Encoded, *, image_id: int) -> str:
        """Return the escape sequence that draws the picture at the cursor."""
        if self.kind is GraphicsKind.SIXEL:
            return encoded.data
        return kitty.show(
            encoded.data, image_id=image_id, columns=encoded.columns, rows=encoded.rows
        )

    def _data(self, picture: Rgb, columns: int, rows: int, *, max_px: int, colors: int) -> str:
        width, height = columns * self.cell_width_px, rows * self.cell_height_px
        factor = self._factor(width * height, max_px)
        indices, palette = reduce_colors(picture, colors)
        if self.kind is GraphicsKind.SIXEL:
            return sixels(indices.repeat(factor, axis=0).repeat(factor, axis=1), palette)
        size = math.ceil(width / factor), math.ceil(height / factor)
        return kitty.png_base64(palette[indices], width=size[0], height=size[1])

    @staticmethod
    def _factor(pixels: int, max_px: int) -> int:
        return max(1, math.ceil(math.sqrt(pixels / max_px)))


def fit_blocks(picture: Rgb, *, columns: int, rows: int) -> Rgb:
    """Shrink a picture for half blocks over these cells; its proportions stay."""
    height, width = picture.shape[:2]
    if width <= columns and height <= 2 * rows:
        return picture
    return fit_within(picture, width=columns, height=2 * rows)


def fit_within(picture: Rgb, *, width: int, height: int) -> Rgb:
    """Scale a picture to fit within a size in pixels; its proportions stay."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    size = tuple(max(1, round(side * scale)) for side in picture.shape[1::-1])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)
