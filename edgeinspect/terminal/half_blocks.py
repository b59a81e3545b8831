"""Pictures in a terminal with two pixels in each character cell, one above the other."""

from __future__ import annotations

from rich.color import Color
from rich.style import Style
from rich.text import Text

from edgeinspect.drawing.canvas import Rgb


def half_blocks(picture: Rgb) -> Text:
    """Draw a picture as lines of upper half blocks: foreground above, background below.

    On a terminal with 256 colours rich takes the nearest ones.

    Args:
        picture: uint8 (height, width, 3) RGB; the last row is doubled if the height is odd.
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
