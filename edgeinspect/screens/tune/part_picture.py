"""One picture on the tuning screen, drawn in the best way that the terminal offers.

Textual draws text and knows nothing of pixels. So a picture's lines are blank, and its escape
sequence is attached to the last one: it is sent only when textual sends that line, after the blanks
that clear its place. Under a dialog there is no picture. Text erases sixels but not kitty's
pictures, so whatever is drawn over one makes kitty delete it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.segment import ControlType, Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

from edgeinspect.terminal import kitty
from edgeinspect.terminal.graphics import Encoded, Graphics, GraphicsKind, fit_blocks
from edgeinspect.terminal.half_blocks import half_blocks

if TYPE_CHECKING:
    from edgeinspect.screens.tune.part_renderer import RenderedPicture

FIRST_IMAGE_ID = 0x65690001
"""Numbers that no other program is likely to use in the same terminal."""
CLOSE_IMAGE_ID = FIRST_IMAGE_ID - 1
THUMBNAIL_MAX_PX, THUMBNAIL_MAX_BYTES = 24_000, 24 * 1024
_NO_TEXT = ((ControlType.CURSOR_FORWARD, 0),)


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture and its encoding for the terminal; None where half blocks are used."""

    drawn: RenderedPicture
    encoded: Encoded | None = None


class Picture(Widget):
    """A picture in the widget's cells, redrawn only when ``show`` changes it.

    Args:
        image_id: The id under which kitty holds the picture.
    """

    DEFAULT_CSS = "Picture { width: 1; height: 1; }"

    def __init__(self, graphics: Graphics, image_id: int, *, classes: str = "") -> None:
        super().__init__(classes=classes)
        self._graphics = graphics
        self._image_id = image_id
        self._shown: Shown | None = None
        self._is_used = False
        self._lines: list[Strip] | None = None

    def show(self, shown: Shown | None, *, is_used: bool = True) -> None:
        """Show a picture, or that it is being loaded; or nothing, if there is no part here."""
        if shown is not self._shown or is_used is not self._is_used:
            self._shown, self._is_used, self._lines = shown, is_used, None
            self.refresh()

    def on_resize(self) -> None:
        """Draw the picture again at its new size."""
        self._lines = None

    def render_line(self, y: int) -> Strip:
        """Return one line of half blocks."""
        if self._lines is None:
            self._lines = self._blocks()
        return (
            self._lines[y]
            if y < len(self._lines)
            else Strip.blank(self.size.width, self.rich_style)
        )

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return the lines, with the encoded picture if the terminal can show it."""
        encoded = None if self._shown is None else self._shown.encoded
        is_whole = (crop.width, crop.height) == tuple(self.size)
        if not is_on_top(self):  # a dialog stands over it, whose heading has it forgotten
            return super().render_lines(crop)
        if encoded is None or not is_whole:  # none to draw, or cut by scrolling
            strips = super().render_lines(crop)
            sequence = self._forget()
        else:
            strips = [Strip.blank(crop.width, self.rich_style)] * crop.height
            sequence = _at(self.region, self._graphics.show(encoded, image_id=self._image_id))
        return [*strips[:-1], with_control(strips[-1], sequence)]

    def _forget(self) -> str:
        is_kitty = self._graphics.kind is GraphicsKind.KITTY
        return kitty.forget([self._image_id]) if is_kitty else ""

    def _blocks(self) -> list[Strip]:
        width, height = self.size
        picture = None if self._shown is None else self._shown.drawn.picture
        if not self._is_used:
            lines = []
        elif picture is None:
            words = "loading" if self._shown is None else self._shown.drawn.note
            lines = [Text("")] * (height // 2) + [Text(f" {words}", "dim italic")]
        else:
            small = fit_blocks(picture, columns=width, rows=height)
            lines = list(half_blocks(small).split("\n", allow_blank=True))
        return [as_strip(self, line, width) for line in lines]


class Heading(Static):
    """The first line of a dialog: every picture under it goes before the dialog is drawn."""

    def __init__(self, text: Text, graphics: Graphics) -> None:
        super().__init__(text)
        self._graphics = graphics

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return the lines, and remove kitty pictures below them."""
        strips = super().render_lines(crop)
        if self._graphics.kind is GraphicsKind.KITTY and crop.y == 0 and strips:
            return [with_control(strips[0], kitty.FORGET_ALL_SHOWN), *strips[1:]]
        return strips


def as_strip(widget: Widget, line: Text, width: int) -> Strip:
    """Return a line of text, exactly this many cells wide."""
    segments = list(line.render(widget.app.console))
    return Strip(segments).adjust_cell_length(width).apply_style(widget.rich_style)


def is_on_top(widget: Widget) -> bool:
    """No dialog stands over the widget's screen; under one, escape sequences are cut to pieces."""
    return widget.app.screen is widget.screen


def with_control(strip: Strip, sequence: str) -> Strip:
    """The strip with an escape sequence behind it, which takes no room."""
    if not sequence:
        return strip
    return Strip([*strip, Segment(sequence, Style(), _NO_TEXT)], strip.cell_length)


def _at(region: Region, sequence: str) -> str:
    """RenderedPicture at a region's top left; cursor and colours are restored."""
    return f"\x1b7\x1b[{region.y + 1};{region.x + 1}H{sequence}\x1b8"
