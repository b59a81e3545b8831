"""``edgeinspect camera snap``: take one picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeinspect.cli.camera.opened_camera import (
    PREVIEW_COLUMNS,
    camera_options,
    opened_camera,
    quality_fields,
)
from edgeinspect.cli.options import FILE, graphics_option
from edgeinspect.errors import UsageError
from edgeinspect.terminal.output import console, examples, json_option, print_json, print_text

if TYPE_CHECKING:
    from edgeinspect.settings.station_file import StationFile


@click.command(
    epilog=examples(
        "edgeinspect camera snap --config station.yaml",
        "edgeinspect camera snap part.png --config station.yaml --json",
    )
)
@click.argument("file", type=FILE, required=False, metavar="[PICTURE.png]")
@camera_options
@graphics_option
@json_option
def command(
    *, file: Path | None, station: StationFile, force: bool, graphics: str, as_json: bool
) -> None:
    """Take one picture with the active recipe's settings and print its brightness and focus.

    In a terminal, the picture is also drawn. PICTURE.png receives the full frame without loss.
    """
    if file is not None and file.suffix.lower() != ".png":
        raise UsageError(
            f"{file} is not a PNG file name.", next_action="Use a name that ends in .png."
        )
    with opened_camera(station, force=force) as opened:
        frame = opened.frame()
        roi = opened.roi_pixels(frame)
    quality = quality_fields(roi)
    if file is not None:
        _save(file, frame.pixels)
    height, width = frame.pixels.shape[:2]
    reported = dataclasses.asdict(frame.meta.controls)
    if as_json:
        fields = {"width_px": width, "height_px": height, "quality": quality, "camera": reported}
        print_json(fields | {"file": None if file is None else str(file)})
        return
    if console().is_terminal:
        from edgeinspect.terminal.picture_printer import PicturePrinter

        PicturePrinter(graphics).show(frame.pixels, columns=PREVIEW_COLUMNS)
    words = [f"{key} {value:g}" for key, value in reported.items() if value is not None]
    print_text(f"{width} x {height}, {', '.join(words) or 'no metadata'}")
    print_text(
        f"mean {quality['mean']:.1f}, black {quality['clipped_low']:.2%}, "
        f"white {quality['clipped_high']:.2%}, focus {quality['focus']:.1f}"
    )


def _save(file: Path, pixels: object) -> None:
    import cv2
    import numpy as np

    from edgeinspect.files.atomic_file import replace_file

    picture = np.asarray(pixels)
    bgr = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".png", bgr)[1].tobytes()
    replace_file(file, data)
