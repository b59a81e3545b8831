"""Labels of recorded parts: good, defective or unsure, by whom and when.

Labels have a database of their own, ``labels.sqlite3`` in the data directory. So a person who
labels never makes the station's recorder wait, and labels survive when a damaged records database
is set aside. Nothing is overwritten: the newest label of a part counts, and the earlier ones remain
as its history. The picture of a labelled part is kept in ``labelled/``, where the image ring does
not evict it.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeinspect.clocks import utc_now
from edgeinspect.errors import UsageError
from edgeinspect.files.atomic_file import fsync_folder, make_folder
from edgeinspect.files.one_line import is_one_line
from edgeinspect.records.durable import database_faults
from edgeinspect.records.label_database import LabelDatabase, LabelRow

LABELLED_FOLDER = "labelled"
_TEXT_LIMIT = 200


class LabelKind(StrEnum):
    """A person's judgement of a part."""

    GOOD = "good"
    DEFECTIVE = "defective"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One person's judgement of one part.

    Attributes:
        label_id: rises with each label; the highest one of a part counts.
        defect_class: class of a defective part, may be empty; otherwise empty.
        author: the person.
        labelled_wall: time of the label, UTC by the wall clock, for people.
        note: a remark, may be empty.
    """

    label_id: int
    part_id: int
    kind: LabelKind
    defect_class: str
    author: str
    labelled_wall: datetime.datetime
    note: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        values = asdict(self)
        del values["kind"]
        wall = self.labelled_wall.isoformat()
        return {**values, "label": self.kind.value, "labelled_wall": wall}


class LabelStore:
    """The labels of one data directory; several people may use it at once.

    Args:
        data_dir: the station's data directory.
        now_wall: returns the current time, UTC.

    Raises:
        DataFromNewerVersion: a newer edgeinspect wrote the labels.
        StorageFault: they cannot be opened.
    """

    def __init__(
        self, data_dir: Path, *, now_wall: Callable[[], datetime.datetime] = utc_now
    ) -> None:
        self._data_dir = data_dir
        self._now_wall = now_wall
        self._database = LabelDatabase(data_dir)

    def add(
        self,
        part_id: int,
        kind: LabelKind,
        *,
        author: str,
        defect_class: str = "",
        note: str = "",
        picture: Path | None = None,
    ) -> Label:
        """Label a part; returns once the label is durable.

        Args:
            part_id: the part.
            kind: the person's judgement.
            author: the person.
            defect_class: class of a defective part.
            note: a remark.
            picture: the part's kept picture, which then stays for good.

        Raises:
            UsageError: a part that is not defective has a class, or a text cannot be stored.
            StorageFault, DiskFull: the label could not be written.
        """
        if defect_class and kind is not LabelKind.DEFECTIVE:
            raise UsageError(
                f"A defect class can be given only for a defective part, not for a {kind} one."
            )
        for name, text in (("author", author), ("class", defect_class), ("note", note)):
            if text and not (is_one_line(text, longest=_TEXT_LIMIT) and text == text.strip()):
                raise UsageError(
                    f"The {name} {text[:40]!r} cannot be stored.",
                    next_action=f"Use at most {_TEXT_LIMIT} printable characters on one line.",
                )
        if not author:
            raise UsageError("A label needs an author.")
        if picture is not None:
            self._keep_picture(part_id, picture)
        now = self._now_wall().astimezone(datetime.UTC)
        return _label(
            self._database.add(
                part_id=part_id,
                label=kind.value,
                defect_class=defect_class,
                author=author,
                labelled_wall=now.isoformat(),
                note=note,
            )
        )

    def current(self) -> dict[int, Label]:
        """The newest label of each labelled part, by part id."""
        return {row.part_id: _label(row) for row in self._database.rows()}

    def history(self, part_id: int) -> list[Label]:
        """Every label that a part was given, oldest first."""
        return [_label(row) for row in self._database.rows(part_id)]

    def picture(self, part_id: int) -> Path | None:
        """The picture that was kept with the part's labels; None if there is none."""
        path = self._picture_path(part_id)
        return path if path.is_file() else None

    def close(self) -> None:
        """Close the database; closing twice is allowed."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _picture_path(self, part_id: int) -> Path:
        return self._data_dir / LABELLED_FOLDER / f"{part_id}.png"

    def _keep_picture(self, part_id: int, picture: Path) -> None:
        """Add a second name for the same file, which takes no space and is never evicted."""
        target = self._picture_path(part_id)
        with database_faults("store a labelled picture", self._data_dir):
            make_folder(target.parent)
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                os.link(picture, target)
                fsync_folder(target.parent)


def _label(row: LabelRow) -> Label:
    return Label(
        label_id=row.label_id,
        part_id=row.part_id,
        kind=LabelKind(row.label),
        defect_class=row.defect_class,
        author=row.author,
        labelled_wall=datetime.datetime.fromisoformat(row.labelled_wall),
        note=row.note,
    )


def label_codes(
    part_ids: NDArray[np.int64], labels: Mapping[int, Label]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks of the parts labelled good and of those labelled defective, shape (parts,) each."""
    good = np.zeros(len(part_ids), np.bool_)
    defective = np.zeros(len(part_ids), np.bool_)
    for kind, mask in ((LabelKind.GOOD, good), (LabelKind.DEFECTIVE, defective)):
        ids = np.array([n for n, label in labels.items() if label.kind is kind], np.int64)
        if len(ids) and len(part_ids):
            places = np.searchsorted(part_ids, ids).clip(max=len(part_ids) - 1)
            mask[places[part_ids[places] == ids]] = True
    return good, defective
