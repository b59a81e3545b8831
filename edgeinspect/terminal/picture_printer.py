"""A picture among a command's lines: as the terminal shows pictures, else in half blocks."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sys
import termios

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.drawing.canvas import Rgb
from edgeinspect.terminal.ask import Asked, GraphicsChoice, ask_terminal
from edgeinspect.terminal.graphics import (
    MOST_CLOSE_BYTES,
    MOST_CLOSE_PX,
    Graphics,
    GraphicsKind,
    within,
)
from edgeinspect.terminal.half_blocks import half_blocks
from edgeinspect.terminal.output import say

_LINES_BESIDE = 4
_SAVE, _RESTORE = "\x1b7", "\x1b8"


class PicturePrinter:
    """Prints pictures; asks the terminal once how it can show them.

    Args:
        choice: auto, kitty, sixel or blocks.
    """

    def __init__(self, choice: str) -> None:
        self._shown = 0
        self._asked = Asked(Graphics())
        with contextlib.suppress(OSError):  # no descriptor: whatever it is, it shows no pictures
            if sys.stdout.isatty():
                self._asked = ask_terminal(GraphicsChoice(choice), fd=sys.stdin.fileno())
        self._graphics = self._asked.graphics

    def show(self, pixels: NDArray[np.uint8], *, columns: int) -> None:
        """Print a uint8 picture, (height, width) grey or (height, width, 3) RGB.

        It is at most ``columns`` wide and not higher than the terminal.
        """
        picture = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB) if pixels.ndim == 2 else pixels
        picture = np.asarray(picture, np.uint8)
        height, width = picture.shape[:2]
        cell = self._graphics.cell_height_px / self._graphics.cell_width_px
        size = shutil.get_terminal_size()
        columns = min(columns, size.columns)
        rows = math.ceil(columns * height / width / cell)
        most_rows = max(1, size.lines - _LINES_BESIDE)
        if rows > most_rows:
            columns, rows = max(1, columns * most_rows // rows), most_rows
        drawn = self._drawn(picture, columns, rows)
        if drawn is None:
            say(half_blocks(within(picture, width=columns, height=2 * rows)))
        else:
            # Scrolls first, so that all of it is in view; terminals leave the cursor elsewhere.
            make_room = "\n" * rows + f"\x1b[{rows}A"
            sys.stdout.write(f"{make_room}{_SAVE}{drawn}{_RESTORE}\x1b[{rows}B\r")
            sys.stdout.flush()
        if not self._asked.is_answered:
            # an answer that comes this late must not answer the next question
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)

    def _drawn(self, picture: Rgb, columns: int, rows: int) -> str | None:
        if self._graphics.kind is GraphicsKind.BLOCKS:
            return None
        width, height = self._graphics.size_px(columns=columns, rows=rows, most_px=MOST_CLOSE_PX)
        encoded = self._graphics.encode(
            within(picture, width=width, height=height),
            columns=columns,
            rows=rows,
            most_px=MOST_CLOSE_PX,
            most_bytes=MOST_CLOSE_BYTES,
        )
        if encoded is None:
            return None
        self._shown += 1
        # pictures of earlier commands stay on the screen under their own numbers
        return self._graphics.show(encoded, image_id=(os.getpid() % 65_536) << 12 | self._shown)
