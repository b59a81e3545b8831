"""Exporting labelled parts for the PC that trains models."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeinspect.errors import NotGood
from edgeinspect.files.atomic_file import make_folder, replace_file, storage_faults
from edgeinspect.files.csv_cells import write_table
from edgeinspect.labels.label_store import Label, LabelKind, LabelStore

LABELS_CSV = "labels.csv"
_COLUMNS = ("path", "label", "group", "part_id", "author", "labelled_wall")


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote.

    Attributes:
        pictures: number of pictures written, with their labels.
        unsure: number of parts labelled unsure.
        without_picture: number of labelled parts whose picture was not kept.
    """

    pictures: int
    unsure: int
    without_picture: int

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """One picture with its label.

    Attributes:
        name: "good", the defect class, or "defective" if nobody named the class.
        group: the part, so that pictures of one part never end up on both sides of a split.
    """

    path: Path
    name: str
    group: str
    label: Label


@dataclass(frozen=True, slots=True)
class LabelledParts:
    """The labelled parts of a data directory.

    Attributes:
        pictures: in the order of the parts.
        unsure: number of parts labelled unsure.
        without_picture: number of labelled parts whose picture was not kept.
    """

    pictures: tuple[LabelledPicture, ...]
    unsure: int
    without_picture: int


def labelled_parts(data_dir: Path) -> LabelledParts:
    """Collect a station's labelled pictures for training. Raises StorageFault."""
    pictures = []
    unsure = without = 0
    with LabelStore(data_dir) as store:
        for part_id, label in sorted(store.current().items()):
            path = store.picture(part_id)
            if label.kind is LabelKind.UNSURE:
                unsure += 1
            elif path is None:
                without += 1
            else:
                name = "good" if label.kind is LabelKind.GOOD else label.defect_class or "defective"
                pictures.append(LabelledPicture(path, name, f"part {part_id}", label))
    return LabelledParts(tuple(pictures), unsure, without)


def export_labels(data_dir: Path, folder: Path) -> Exported:
    """Write the labelled pictures, and then ``labels.csv`` in one step.

    The column ``label`` is "good", the defect class, or "defective" if the label has no class;
    ``group`` is the part, so that a split never separates pictures of one part.

    Raises:
        NotGood: no labelled part has a picture.
        StorageFault, DiskFull: a file cannot be read or written.
    """
    found = labelled_parts(data_dir)
    if not found.pictures:
        raise NotGood(
            f"No labelled part in {data_dir} has a picture.",
            next_action="Label some: edgeinspect label queue",
        )
    make_folder(folder)
    rows = []
    for picture in found.pictures:
        label = picture.label
        with storage_faults(picture.path):
            content = picture.path.read_bytes()
        replace_file(folder / picture.path.name, content)
        who = (label.part_id, label.author, label.labelled_wall.isoformat())
        rows.append((picture.path.name, picture.name, picture.group, *who))
    text = io.StringIO(newline="")
    write_table(text, _COLUMNS, rows)
    replace_file(folder / LABELS_CSV, text.getvalue().encode())
    return Exported(len(found.pictures), found.unsure, found.without_picture)
