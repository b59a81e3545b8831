"""Labelled parts on their way to the PC where models are trained."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeinspect.atomic_file import make_folder, replace_file, storage_faults
from edgeinspect.errors import NotGood
from edgeinspect.tune.labels import LabelKind, LabelStore

LABELS_CSV = "labels.csv"
_COLUMNS = ("path", "label", "group", "part_id", "author", "labelled_wall")


@dataclass(frozen=True, slots=True)
class Exported:
    """Attributes:
    pictures: written, with their labels.
    unsure: labels that say nothing.
    without_picture: labelled parts whose picture was not kept.
    """

    pictures: int
    unsure: int
    without_picture: int

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)


def export_labels(data_dir: Path, folder: Path) -> Exported:
    """Write the labelled pictures and, last and whole, ``labels.csv``.

    ``label`` is "good", the defect class, or "defective" where nobody named one; ``group`` is the
    part, so that pictures of one part never end on both sides of a split.

    Raises:
        NotGood: no labelled part has a picture.
        StorageFault, DiskFull: something cannot be read or written.
    """
    rows = []
    unsure = without = 0
    with LabelStore(data_dir) as store:
        for part_id, label in sorted(store.current().items()):
            picture = store.picture(part_id)
            if label.kind is LabelKind.UNSURE:
                unsure += 1
            elif picture is None:
                without += 1
            else:
                said = "good" if label.kind is LabelKind.GOOD else label.defect_class or "defective"
                wall = label.labelled_wall.isoformat()
                rows.append((picture, (said, f"part {part_id}", part_id, label.author, wall)))
    if not rows:
        raise NotGood(
            f"No labelled part of {data_dir} has a picture.",
            next_action="Label some: edgeinspect label queue",
        )
    make_folder(folder)
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(_COLUMNS)
    for picture, values in rows:
        with storage_faults(picture):
            content = picture.read_bytes()
        replace_file(folder / picture.name, content)
        table.writerow((picture.name, *values))
    replace_file(folder / LABELS_CSV, text.getvalue().encode())
    return Exported(len(rows), unsure, without)
