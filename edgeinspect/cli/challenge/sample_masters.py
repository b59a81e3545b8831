"""A set of masters for the simulated line: rendered parts with known defects."""

from __future__ import annotations

from pathlib import Path

import cv2

from edgeinspect.errors import UsageError
from edgeinspect.files.atomic_file import create_file, make_folder
from edgeinspect.files.yaml_file import Plain, dump_yaml
from edgeinspect.sim.renderer import DefectSpec, render_part

MASTERS_FILE = "masters.yaml"
_SEED = 20_000
_BAD = (
    DefectSpec(
        kind="scratch", x_px=120, y_px=110, size_px=40, angle_rad=0.5, contrast=0.6, shape_seed=1
    ),
    DefectSpec(
        kind="pit", x_px=330, y_px=180, size_px=14, angle_rad=0.0, contrast=0.6, shape_seed=2
    ),
    DefectSpec(
        kind="stain", x_px=240, y_px=270, size_px=40, angle_rad=1.0, contrast=0.4, shape_seed=3
    ),
)
_MARGIN_PX = 8


def write_sample_masters(folder: Path, *, product: str) -> Path:
    """Write two good and three bad masters with their pictures; return the masters file.

    Raises:
        UsageError: the masters file already exists.
        StorageFault: a file cannot be written.
    """
    make_folder(folder)
    masters: list[Plain] = []
    specs: list[DefectSpec | None] = [None, *_BAD, None]
    for number, spec in enumerate(specs, 1):
        part = render_part(
            seed=_SEED, part_number=number + 1, defects=() if spec is None else (spec,)
        )
        name = f"master-{number}.png"
        create_file(folder / name, cv2.imencode(".png", part.pixels)[1].tobytes(), mode=0o644)
        entry: dict[str, Plain] = {"id": number, "picture": name}
        if spec is None:
            entry |= {"expect": "PASS", "description": "good plate"}
        else:
            box = part.defects[0].box
            entry |= {
                "expect": "REJECT",
                "description": f"plate with a {spec.kind}",
                "place": {
                    "x": box.x - _MARGIN_PX,
                    "y": box.y - _MARGIN_PX,
                    "width": box.width + 2 * _MARGIN_PX,
                    "height": box.height + 2 * _MARGIN_PX,
                },
            }
        masters.append(entry)
    content: dict[str, Plain] = {"format": 1, "product": product, "masters": masters}
    path = folder / MASTERS_FILE
    if not create_file(path, dump_yaml(content).encode(), mode=0o644):
        raise UsageError(f"{path} already exists.", next_action="Give another folder.")
    return path
