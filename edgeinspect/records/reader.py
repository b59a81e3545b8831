"""Reading the records, also while a station in another process writes them.

Long listings are read in pages by part id. Each page is a separate short transaction, so a slow
reader never stops the station from reusing its log. The order is by part id, because the wall clock
can jump.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import NotGood, StorageFault
from edgeinspect.part import GateOutcome, PartRecord, VerdictKind
from edgeinspect.records.database import open_for_reading
from edgeinspect.records.durable import database_faults
from edgeinspect.records.images import ImageKind, decode_png
from edgeinspect.records.rows import decode_record

_PAGE_ROWS = 500
_PARTS = (
    "parts JOIN recipes USING (recipe_id) JOIN starts USING (start_id)"
    " LEFT JOIN images ON images.part_id = parts.part_id AND images.state = 'kept'"
)
_COLUMNS = (
    "parts.*, recipes.digest AS recipe_digest, recipes.classes, starts.boot_id,"
    " images.path AS image_path, images.kind AS image_kind"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFilter:
    """Which parts to read; None leaves out a condition.

    Attributes:
        reason: the name of the doubt or the defect class, as it is counted.
        from_part_id: the lowest part id.
        to_part_id: the highest part id, included.
        since_wall: the earliest time at which the row was written, by the station's wall clock,
            which may have been wrong; timezone aware.
        until_wall: the end of that time, excluded.
        with_image: True for parts whose picture is kept.
    """

    verdict: VerdictKind | None = None
    defect_class: str | None = None
    reason: str | None = None
    gate_outcome: GateOutcome | None = None
    recipe_digest: str | None = None
    from_part_id: int | None = None
    to_part_id: int | None = None
    since_wall: datetime.datetime | None = None
    until_wall: datetime.datetime | None = None
    with_image: bool | None = None


ALL_PARTS = PartFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPart:
    """A part's record with the values that the recorder added.

    Attributes:
        record: without a score map; its order statistics are float32-exact.
        recorded_wall: when the row was written, UTC, by the wall clock.
        recorded_mono_ns: the same instant on CLOCK_MONOTONIC.
        clock_synchronized: whether the wall clock followed a time server then.
        boot_id: of the kernel; monotonic times compare only within one boot.
        classes: names of the scores, empty where the recipe was not registered.
        image: the kept picture's file, None if there is none.
        image_kind: why it is kept.
    """

    record: PartRecord
    recorded_wall: datetime.datetime
    recorded_mono_ns: int
    clock_synchronized: bool
    boot_id: str
    classes: tuple[str, ...]
    image: Path | None
    image_kind: ImageKind | None

    @property
    def triggered_wall(self) -> datetime.datetime:
        """The trigger's wall time: the row's, less the monotonic time between them."""
        ago_us = (self.recorded_mono_ns - self.record.trigger_mono_ns) / 1000
        return self.recorded_wall - datetime.timedelta(microseconds=ago_us)


class RecordReader:
    """Read-only access to one data directory.

    Raises:
        DataFromNewerVersion: a newer edgeinspect wrote the database.
        StorageFault: there is no database, or it cannot be read.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._connection = open_for_reading(data_dir)

    def part(self, part_id: int) -> StoredPart | None:
        """Read one part; None if there is no record of it."""
        wanted = PartFilter(from_part_id=part_id, to_part_id=part_id)
        return next(self.parts(wanted, limit=1), None)

    def parts(
        self,
        wanted: PartFilter = ALL_PARTS,
        *,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[StoredPart]:
        """Read the parts that match the filter, by part id.

        Parts that are recorded during this time may or may not be included.
        """
        conditions, values = where(wanted)
        order = "DESC" if newest_first else "ASC"
        beyond = "<" if newest_first else ">"
        last: int | None = None
        left = limit
        while left is None or left > 0:
            count = _PAGE_ROWS if left is None else min(left, _PAGE_ROWS)
            page = self.query(
                f"SELECT {_COLUMNS} FROM {_PARTS} WHERE {conditions}"  # noqa: S608 (constants)
                f" AND (:last IS NULL OR parts.part_id {beyond} :last)"
                f" ORDER BY parts.part_id {order} LIMIT :count",
                {**values, "last": last, "count": count},
            )
            yield from (self._stored_part(row) for row in page)
            if len(page) < count:
                return
            last = page[-1]["part_id"]
            left = None if left is None else left - count

    def count(self, wanted: PartFilter = ALL_PARTS) -> int:
        """Count the parts that match the filter."""
        conditions, values = where(wanted)
        rows = self.query(f"SELECT count(*) FROM {_PARTS} WHERE {conditions}", values)  # noqa: S608
        return int(rows[0][0])

    def newest_part_id(self) -> int:
        """The highest part id; 0 without parts. Raises StorageFault."""
        return int(self.query("SELECT coalesce(max(part_id), 0) FROM parts", {})[0][0])

    def pictured_part_ids(self) -> NDArray[np.int64]:
        """Ids of the parts whose picture is kept, ascending. Raises StorageFault."""
        sql = "SELECT part_id FROM images WHERE state = 'kept' ORDER BY part_id"
        return self.numbers(sql, {}).astype(np.int64)

    def picture(self, part: StoredPart) -> NDArray[np.uint8]:
        """Read a kept picture: uint8, (height, width) grey or (height, width, 3) RGB.

        Raises:
            NotGood: no picture was kept, or it has been removed since.
            StorageFault: the file cannot be read.
        """
        if part.image is None:
            raise NotGood(f"No picture of part {part.record.part_id} was stored.")
        try:
            data = part.image.read_bytes()
        except FileNotFoundError as error:
            raise NotGood(f"{part.image} was removed to make room.") from error
        except OSError as error:
            raise StorageFault(f"Cannot read {part.image}: {error.strerror}.") from error
        pixels = decode_png(data)
        if pixels is None:
            raise StorageFault(f"{part.image} is damaged.")
        return pixels

    def query(self, sql: str, values: dict[str, Any]) -> list[sqlite3.Row]:
        """Return all rows of a statement over the tables of docs/reference/records.md.

        Raises:
            StorageFault: The database cannot be read.
        """
        with database_faults("read the records", self._data_dir):
            return self._connection.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """All queries in the block see the same state. Keep it short: the log grows until it ends.

        Raises:
            StorageFault: the database cannot be read.
        """
        if self._connection.in_transaction:
            yield
            return
        with database_faults("read the records", self._data_dir):
            self._connection.execute("BEGIN")
        try:
            yield
        finally:
            with database_faults("read the records", self._data_dir):
                self._connection.execute("COMMIT")

    def numbers(self, sql: str, values: dict[str, Any]) -> NDArray[np.float64]:
        """Return the only column of a statement, shape (rows,). Raises StorageFault."""
        with database_faults("read the records", self._data_dir):
            cursor = self._connection.execute(sql, values)
            return np.fromiter((row[0] for row in cursor), np.float64)

    def close(self) -> None:
        """Close the connection; closing twice is allowed."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _stored_part(self, row: sqlite3.Row) -> StoredPart:
        try:
            return StoredPart(
                record=decode_record(dict(row), row["recipe_digest"]),
                recorded_wall=datetime.datetime.fromisoformat(row["recorded_wall"]),
                recorded_mono_ns=row["recorded_mono_ns"],
                clock_synchronized=bool(row["clock_synchronized"]),
                boot_id=row["boot_id"],
                classes=tuple(json.loads(row["classes"])),
                image=None if row["image_path"] is None else self._data_dir / row["image_path"],
                image_kind=None if row["image_kind"] is None else ImageKind(row["image_kind"]),
            )
        except ValueError as error:
            raise StorageFault(
                f"The record of part {row['part_id']} in {self._data_dir} is damaged: {error}.",
                next_action="Copy the data directory, then export the other parts.",
            ) from error


def where(wanted: PartFilter) -> tuple[str, dict[str, Any]]:
    """Translate the filter to an SQL condition on parts, recipes and images, with its values."""
    comparisons = {
        "verdict": "parts.verdict = :verdict",
        "defect_class": "parts.defect_class = :defect_class",
        "reason": "parts.reason = :reason",
        "gate_outcome": "parts.gate_outcome = :gate_outcome",
        "recipe_digest": "recipes.digest = :recipe_digest",
        "from_part_id": "parts.part_id >= :from_part_id",
        "to_part_id": "parts.part_id <= :to_part_id",
        "since_wall": "parts.recorded_wall >= :since_wall",
        "until_wall": "parts.recorded_wall < :until_wall",
    }
    values = {name: getattr(wanted, name) for name in comparisons}
    values = {name: _sql(value) for name, value in values.items() if value is not None}
    conditions = [comparisons[name] for name in values]
    if wanted.verdict not in (None, VerdictKind.PASS):
        conditions.append("parts.verdict <> 'PASS'")  # lets SQLite use the index
    if wanted.with_image is not None:
        conditions.append(f"images.path IS {'NOT ' if wanted.with_image else ''}NULL")
    return " AND ".join(conditions) or "1", values


def _sql(value: object) -> object:
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat(timespec="microseconds")
    return value
