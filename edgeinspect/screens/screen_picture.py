"""Saves a moment of the live screen as an SVG picture that needs no other files."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from edgeinspect.files.atomic_file import replace_file
from edgeinspect.screens.live.live_screen import LiveScreen
from edgeinspect.screens.live.live_view import LiveView

_THEME = TerminalTheme(
    (17, 19, 24),
    (222, 224, 228),
    [
        (17, 19, 24),
        (240, 84, 84),
        (104, 200, 120),
        (242, 190, 74),
        (92, 150, 240),
        (200, 130, 250),
        (90, 200, 210),
        (222, 224, 228),
    ],
    [
        (128, 134, 146),
        (255, 110, 110),
        (130, 220, 145),
        (255, 210, 110),
        (130, 180, 255),
        (220, 160, 255),
        (130, 225, 235),
        (255, 255, 255),
    ],
)
_FONT = "'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace"


def save_screen(view: LiveView, path: Path, *, width: int = 100, height: int = 28) -> None:
    """Write the screen as it looks on a terminal of this size in characters.

    Raises:
        StorageFault: the file cannot be written.
    """
    recorder = Console(
        record=True, width=width, height=height, file=io.StringIO(), color_system="truecolor"
    )
    recorder.print(LiveScreen().render(view, width=width, height=height))
    replace_file(path, _self_contained(recorder.export_svg(title="edgeinspect", theme=_THEME)))


def _self_contained(svg: str) -> bytes:
    """Remove the fonts that rich would fetch from the network."""
    svg = re.sub(r"@font-face\s*{[^}]*}", "", svg)
    return re.sub(r"font-family: [^;]*Fira Code[^;]*;", f"font-family: {_FONT};", svg).encode()
