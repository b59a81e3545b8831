"""What people say of recorded parts: good, defective or unsure, by whom and when.

Labels have a database of their own, ``labels.sqlite3`` in the data directory, so that a person
who labels can never make the station's recorder wait, and so that labels outlive a records
database that was set aside. Nothing is overwritten: the newest label of a part counts, the
earlier ones stay as its history. A labelled part's picture is kept beside it in ``labelled/``,
out of reach of the image ring.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import DataFromNewerVersion, StorageFault, UsageError
from edgeinspect.files.atomic_file import fsync_folder, make_folder, share_with_group
from edgeinspect.records.durable import storage_faults
from edgeinspect.records.needed import LABELS_DATABASE

LABELLED_FOLDER = "labelled"
_APPLICATION_ID = 0x45494C42  # "EILB"
_VERSION = 1
_BUSY_TIMEOUT_S = 5.0
_TEXT_LIMIT = 200
_SCHEMA = """
CREATE TABLE labels (
    label_id INTEGER PRIMARY KEY,
    part_id INTEGER NOT NULL,
    label TEXT NOT NULL CHECK (label IN ('good', 'defective', 'unsure')),
    defect_class TEXT NOT NULL,
    author TEXT NOT NULL,
    labelled_wall TEXT NOT NULL,
    note TEXT NOT NULL
) STRICT
"""


class LabelKind(StrEnum):
    GOOD = "good"
    DEFECTIVE = "defective"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One person's word on one part.

    Attributes:
        label_id: counts up; the highest of a part counts.
        defect_class: of a defective part, may be empty; else empty.
        author: who said so.
        labelled_wall: when, UTC by the wall clock, for people.
        note: a sentence, may be empty.
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


def _utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class LabelStore:
    """The labels of one data directory; several people may use it at once.

    Args:
        data_dir: of the station.
        now_wall: UTC now.

    Raises:
        DataFromNewerVersion: a newer edgeinspect wrote the labels.
        StorageFault: they cannot be opened.
    """

    def __init__(
        self, data_dir: Path, *, now_wall: Callable[[], datetime.datetime] = _utc_now
    ) -> None:
        self._data_dir = data_dir
        self._now_wall = now_wall
        self._connection: sqlite3.Connection | None = None
        if (data_dir / LABELS_DATABASE).exists():
            self._open()

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
        """Say what a part is; returns once that is durable.

        Args:
            defect_class: for a defective part.
            picture: the part's kept picture, which then stays for good.

        Raises:
            UsageError: a class for a part that is not defective, or text that cannot be kept.
            StorageFault, DiskFull: it could not be written.
        """
        if defect_class and kind is not LabelKind.DEFECTIVE:
            raise UsageError(f"Only a defective part has a defect class, not a {kind} one.")
        for name, text in (("author", author), ("class", defect_class), ("note", note)):
            if len(text) > _TEXT_LIMIT or not (text.isprintable() and text == text.strip()):
                raise UsageError(
                    f"The {name} {text[:40]!r} cannot be kept.",
                    next_action=f"Use at most {_TEXT_LIMIT} printable characters in one line.",
                )
        if not author:
            raise UsageError("A label needs an author.")
        if picture is not None:
            self._keep_picture(part_id, picture)
        now = self._now_wall().astimezone(datetime.UTC)
        with storage_faults("keep a label", self._data_dir):
            (label_id,) = (
                self._writable()
                .execute(
                    "INSERT INTO labels (part_id, label, defect_class, author, labelled_wall, note)"
                    " VALUES (?, ?, ?, ?, ?, ?) RETURNING label_id",
                    (part_id, kind.value, defect_class, author, now.isoformat(), note),
                )
                .fetchone()
            )
        return Label(
            label_id=label_id,
            part_id=part_id,
            kind=kind,
            defect_class=defect_class,
            author=author,
            labelled_wall=now,
            note=note,
        )

    def current(self) -> dict[int, Label]:
        """The label that counts of each labelled part, by part id."""
        return {label.part_id: label for label in self._read("ORDER BY label_id")}

    def history(self, part_id: int) -> list[Label]:
        """Everything that was said of a part, oldest first."""
        return self._read("WHERE part_id = ? ORDER BY label_id", part_id)

    def picture(self, part_id: int) -> Path | None:
        """The picture that was kept with the part's labels."""
        path = self._picture_path(part_id)
        return path if path.is_file() else None

    def close(self) -> None:
        """Closing twice is allowed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, order: str, *values: object) -> list[Label]:
        if self._connection is None:
            return []
        with storage_faults("read the labels", self._data_dir):
            rows = self._connection.execute(f"SELECT * FROM labels {order}", values).fetchall()  # noqa: S608
        return [
            Label(
                label_id=row[0],
                part_id=row[1],
                kind=LabelKind(row[2]),
                defect_class=row[3],
                author=row[4],
                labelled_wall=datetime.datetime.fromisoformat(row[5]),
                note=row[6],
            )
            for row in rows
        ]

    def _writable(self) -> sqlite3.Connection:
        if self._connection is None:
            if not self._data_dir.is_dir():
                raise StorageFault(f"There is no data directory {self._data_dir}.")
            self._open()
        assert self._connection is not None
        return self._connection

    def _open(self) -> None:
        path = self._data_dir / LABELS_DATABASE
        with storage_faults("open the labels", self._data_dir):
            connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
            try:
                _prepare(connection, path)
                share_with_group(path)
            except BaseException:
                connection.close()
                raise
        self._connection = connection

    def _picture_path(self, part_id: int) -> Path:
        return self._data_dir / LABELLED_FOLDER / f"{part_id}.png"

    def _keep_picture(self, part_id: int, picture: Path) -> None:
        """A second name for the same file: it takes no space, and eviction leaves it alone."""
        target = self._picture_path(part_id)
        with storage_faults("keep a labelled picture", self._data_dir):
            make_folder(target.parent)
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                os.link(picture, target)
                fsync_folder(target.parent)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > _VERSION:
        raise DataFromNewerVersion(
            f"{path} is at version {version}; this edgeinspect knows {_VERSION}.",
            next_action="Update edgeinspect.",
        )
    if version == _VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
            connection.execute(_SCHEMA)
            connection.execute("CREATE INDEX labels_by_part ON labels (part_id)")
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def label_codes(
    part_ids: NDArray[np.int64], labels: Mapping[int, Label]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of the parts are labelled good, and which defective; both shape (parts,)."""
    good = np.zeros(len(part_ids), np.bool_)
    defective = np.zeros(len(part_ids), np.bool_)
    for kind, mask in ((LabelKind.GOOD, good), (LabelKind.DEFECTIVE, defective)):
        ids = np.array([n for n, label in labels.items() if label.kind is kind], np.int64)
        if len(ids) and len(part_ids):
            places = np.searchsorted(part_ids, ids).clip(max=len(part_ids) - 1)
            mask[places[part_ids[places] == ids]] = True
    return good, defective
