"""Pictures in a terminal: two pixels a character cell, one above the other."""

from __future__ import annotations

from rich.color import Color
from rich.style import Style
from rich.text import Text

from edgeinspect.drawing.canvas import Rgb


def half_blocks(picture: Rgb) -> Text:
    """The picture as lines of upper half blocks, foreground above and background below.

    Args:
        picture: uint8 (height, width, 3) RGB; one row is added if the height is odd. A terminal
            of 256 colours gets the nearest of them, which rich sees to.
    """
    text = Text(no_wrap=True, end="")
    height, width = picture.shape[:2]
    for top in range(0, height, 2):
        bottom = min(top + 1, height - 1)
        for column in range(width):
            style = Style(
                color=Color.from_rgb(*map(int, picture[top, column])),
                bgcolor=Color.from_rgb(*map(int, picture[bottom, column])),
            )
            text.append("▀", style)
        if bottom < height - 1:
            text.append("\n")
    return text
