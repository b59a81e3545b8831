"""A folder of classes made by the simulator: what a maker would photograph."""

from __future__ import annotations

from pathlib import Path

import cv2

from edgeinspect.sim.defects import DefectSpec
from edgeinspect.sim.renderer import render_part

SEED = 77


_MIDDLE = (275, 182)
"""A plain place of the plate in the frame, and in part coordinates."""


def write_sim_folder(folder: Path, *, good: int = 60, each: int = 30, side_px: int = 96) -> Path:
    """``good``, ``scratch`` and ``chip`` with one large defect a picture, grey PNGs."""
    number = 0
    for kind, count in (("good", good), ("scratch", each), ("chip", each)):
        (folder / kind).mkdir(parents=True)
        for index in range(count):
            number += 1
            part = render_part(seed=SEED, part_number=number, defects=_defects(kind, index))
            left, top = _MIDDLE[0] - side_px // 2, _MIDDLE[1] - side_px // 2
            cut = part.pixels[top : top + side_px, left : left + side_px]
            cv2.imwrite(str(folder / kind / f"{kind}_{index:03d}.png"), cut)
    return folder


def _defects(kind: str, index: int) -> list[DefectSpec]:
    if kind == "good":
        return []
    return [
        DefectSpec(
            kind=kind,
            x_px=_MIDDLE[0] + (index * 37) % 40 - 20,
            y_px=_MIDDLE[1] + (index * 53) % 40 - 20,
            size_px=60.0 if kind == "scratch" else 32.0,
            angle_rad=0.4 * index,
            contrast=0.95 if kind == "chip" else 0.9,
            shape_seed=index,
        )
    ]
