"""Prints pictures between the lines of a command's output, in half blocks if need be."""

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
from edgeinspect.terminal.ask import GraphicsChoice, TerminalAnswer, ask_terminal
from edgeinspect.terminal.graphics import (
    MAX_CLOSE_BYTES,
    MAX_CLOSE_PX,
    Graphics,
    GraphicsKind,
    fit_within,
)
from edgeinspect.terminal.half_blocks import half_blocks
from edgeinspect.terminal.output import print_text

_LINES_BESIDE = 4
_SAVE, _RESTORE = "\x1b7", "\x1b8"


class PicturePrinter:
    """Prints pictures in the best form that the terminal can show."""

    def __init__(self, choice: str) -> None:
        """Ask the terminal how it shows pictures; ``choice`` is auto, kitty, sixel or blocks."""
        self._shown = 0
        self._answer = TerminalAnswer(Graphics())
        with contextlib.suppress(OSError):  # without a descriptor it cannot show pictures
            if sys.stdout.isatty():
                self._answer = ask_terminal(GraphicsChoice(choice), fd=sys.stdin.fileno())
        self._graphics = self._answer.graphics

    def show(self, pixels: NDArray[np.uint8], *, columns: int) -> None:
        """Print a picture, no higher than the terminal.

        Args:
            pixels: uint8, (height, width) grey or (height, width, 3) RGB.
            columns: the largest width in characters.
        """
        picture = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB) if pixels.ndim == 2 else pixels
        picture = np.asarray(picture, np.uint8)
        height, width = picture.shape[:2]
        cell = self._graphics.cell_height_px / self._graphics.cell_width_px
        size = shutil.get_terminal_size()
        columns = min(columns, size.columns)
        rows = math.ceil(columns * height / width / cell)
        max_rows = max(1, size.lines - _LINES_BESIDE)
        if rows > max_rows:
            columns, rows = max(1, columns * max_rows // rows), max_rows
        drawn = self._drawn(picture, columns, rows)
        if drawn is None:
            print_text(half_blocks(fit_within(picture, width=columns, height=2 * rows)))
        else:
            # Scroll first, so that all of it is in view. Terminals differ on where the cursor goes.
            make_room = "\n" * rows + f"\x1b[{rows}A"
            sys.stdout.write(f"{make_room}{_SAVE}{drawn}{_RESTORE}\x1b[{rows}B\r")
            sys.stdout.flush()
        if not self._answer.is_answered:
            # the terminal's late answer must not be read as the user's answer to the next question
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)

    def _drawn(self, picture: Rgb, columns: int, rows: int) -> str | None:
        if self._graphics.kind is GraphicsKind.BLOCKS:
            return None
        width, height = self._graphics.size_px(columns=columns, rows=rows, max_px=MAX_CLOSE_PX)
        encoded = self._graphics.encode(
            fit_within(picture, width=width, height=height),
            columns=columns,
            rows=rows,
            max_px=MAX_CLOSE_PX,
            max_bytes=MAX_CLOSE_BYTES,
        )
        if encoded is None:
            return None
        self._shown += 1
        # pictures of earlier commands stay on the screen under their own numbers
        return self._graphics.show(encoded, image_id=(os.getpid() % 65_536) << 12 | self._shown)
