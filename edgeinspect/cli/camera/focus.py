"""``edgeinspect camera focus``: a live focus meter."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from edgeinspect.cli.camera.opened_camera import (
    camera_options,
    opened_camera,
    preview,
    quality_fields,
)
from edgeinspect.terminal.output import console, examples, json_option, print_result

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeinspect.settings.station_file import StationFile

_BAR_COLUMNS = 60


@click.command(
    epilog=examples(
        "edgeinspect camera focus --config station.yaml",
        "edgeinspect camera focus --config station.yaml --frames 100 --json",
    )
)
@click.option(
    "--frames", type=click.IntRange(min=1), help="Frames to show; until Ctrl-C by default."
)
@camera_options
@json_option
def command(*, frames: int | None, station: StationFile, force: bool, as_json: bool) -> None:
    """Show the focus of the region of interest live, next to the best value so far.

    Turn the lens past the best point until the bar falls, then back until it is full. The recipe
    compares this number with checks.focus_min. It depends on the part and the light.
    """
    from rich.live import Live

    best = last = 0.0
    seen = 0
    screen = console()
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(opened_camera(station, force=force))
        live = None
        if screen.is_terminal and not as_json:
            live = stack.enter_context(Live(console=screen, auto_refresh=False))
        with contextlib.suppress(KeyboardInterrupt):
            while frames is None or seen < frames:
                roi = opened.roi_pixels(opened.frame())
                last = quality_fields(roi)["focus"]
                best, seen = max(best, last), seen + 1
                if live is not None:
                    live.update(_meter(last, best, preview(roi)), refresh=True)
    fields = {"frames": seen, "focus": last, "best": best}
    words = f"Focus {last:.1f}, best {best:.1f} of {seen} frames."
    print_result(fields, words, as_json=as_json)


def _meter(focus: float, best: float, picture: RenderableType) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    share = focus / best if best else 0.0
    full = round(share * _BAR_COLUMNS)
    style = "green" if share > 0.97 else "yellow" if share > 0.8 else "red"
    bar = Text("█" * full, style).append("░" * (_BAR_COLUMNS - full), "dim")
    words = Text(f" {focus:8.1f}  best {best:.1f}")
    return Group(picture, Text.assemble("focus ", bar, words), Text("Press Ctrl-C to stop.", "dim"))
