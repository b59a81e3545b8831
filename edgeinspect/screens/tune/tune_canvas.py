"""The tuning screen's text: lines drawn from a ``TuneView``, and the keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from edgeinspect.screens.tune.draft_thresholds import COARSE_STEP, FINE_STEP
from edgeinspect.screens.tune.part_picture import as_strip, is_on_top, with_control
from edgeinspect.screens.tune.tune_drawing import draw
from edgeinspect.screens.tune.tune_view import TuneView


class Canvas(Widget):
    """Everything on the screen except the pictures; sends only the lines that changed."""

    DEFAULT_CSS = "Canvas { width: 100%; height: 100%; }"
    can_focus = True
    # Not in the app: Tab would need a priority binding there, which overtakes other keys.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,comma", f"app.step(-{FINE_STEP})", show=False),
        Binding("right,full_stop", f"app.step({FINE_STEP})", show=False),
        Binding("shift+left,less_than_sign", f"app.step(-{COARSE_STEP})", show=False),
        Binding("shift+right,greater_than_sign", f"app.step({COARSE_STEP})", show=False),
        Binding("tab", "app.other_threshold", show=False),
        Binding("c", "app.next_class(1)", show=False),
        Binding("C", "app.next_class(-1)", show=False),
        Binding("down", "app.next_part(1)", show=False),
        Binding("up", "app.next_part(-1)", show=False),
        Binding("enter", "app.look", show=False),
        Binding("g", "app.label('good')", show=False),
        Binding("d", "app.label('defective')", show=False),
        Binding("u", "app.label('unsure')", show=False),
        Binding("a", "app.apply", show=False),
        Binding("z", "app.undo", show=False),
        Binding("r", "app.reset", show=False),
        Binding("l", "app.live", show=False),
        Binding("h", "app.health", show=False),
        Binding("question_mark", "app.help", show=False),
        Binding("q", "app.leave", show=False),
    ]

    def __init__(self, view_for: Callable[[int, int], TuneView]) -> None:
        super().__init__()
        self._view_for = view_for
        self._lines: list[Strip] = []
        self._before = ""

    def show(self) -> None:
        """Draw the view again."""
        before, after = self._lines, self._look()
        changed = [y for y, line in enumerate(after) if y >= len(before) or line != before[y]]
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def on_resize(self) -> None:
        """Draw the view at the new size."""
        self._look()
        self.refresh()

    def _look(self) -> list[Strip]:
        width, height = self.size
        lines: list[Text] = []
        if width and height:
            lines = draw(self._view_for(width, height), width=width, height=height)
        self._lines = [as_strip(self, line, width) for line in lines]
        return self._lines

    def forget(self, sequence: str) -> None:
        """Send this sequence to the terminal whenever the first line is drawn."""
        if sequence != self._before:
            self._before = sequence
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return one line of the screen."""
        return (
            self._lines[y]
            if y < len(self._lines)
            else Strip.blank(self.size.width, self.rich_style)
        )

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return the lines, with encoded pictures if the terminal can show them."""
        strips = super().render_lines(crop)
        if crop.y == 0 and strips and is_on_top(self):
            return [with_control(strips[0], self._before), *strips[1:]]
        return strips
