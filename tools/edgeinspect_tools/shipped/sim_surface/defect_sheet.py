"""A sheet of simulated parts with their defects outlined, for the documentation.

python -m edgeinspect_tools.shipped.sim_surface.defect_sheet --out docs/images/simulated-parts.png
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.files.atomic_file import replace_file
from edgeinspect.sim.renderer import render_part
from edgeinspect_tools.shipped.sim_surface.sim_parts import labelled_part

_COLUMNS, _ROWS = 6, 4
_CELL = (240, 180)
_LEVELS = 8  # grey levels a step: noise does not pack, and the sheet belongs in a repository
_OUTLINE_BGR = (0, 170, 255)


def contact_sheet(*, seed: int) -> NDArray[np.uint8]:
    """BGR, one part a cell, every fourth one good; defects outlined a little outside."""
    cells = [_cell(seed, number) for number in range(_COLUMNS * _ROWS)]
    rows = [np.hstack(cells[at : at + _COLUMNS]) for at in range(0, len(cells), _COLUMNS)]
    return np.vstack(rows)


def _cell(seed: int, number: int) -> NDArray[np.uint8]:
    if number % 4 == 3:
        part = render_part(seed=seed, part_number=number)
    else:
        part = labelled_part(seed, number, defective=True)
    small = cv2.resize(part.pixels, _CELL, interpolation=cv2.INTER_AREA)
    shown = cv2.cvtColor(small // _LEVELS * _LEVELS, cv2.COLOR_GRAY2BGR)
    wide = cv2.dilate((part.mask > 0).astype(np.uint8), np.ones((13, 13), np.uint8))
    mask = cv2.resize(wide, _CELL, interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(shown, outlines, -1, _OUTLINE_BGR, 1)
    return np.asarray(shown, dtype=np.uint8)


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="PNG to write.")
@click.option("--seed", default=12, show_default=True, type=click.IntRange(min=0))
def main(out: Path, seed: int) -> None:
    """Draw a sheet of simulated parts with their defects outlined."""
    _, data = cv2.imencode(".png", contact_sheet(seed=seed), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    replace_file(out, data.tobytes())
    click.echo(f"{out}: {len(data) / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
