"""The only writer of a data directory; acknowledged records survive a crash and a power cut."""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgeinspect import __version__
from edgeinspect.clocks import read_beside_mono
from edgeinspect.errors import DataDisplaced, DiskFull, StorageFault, UsageError
from edgeinspect.faults import FaultName
from edgeinspect.files.atomic_file import make_folder
from edgeinspect.part import PartRecord
from edgeinspect.ports import Clock
from edgeinspect.records.database import OpenedDatabase, transaction
from edgeinspect.records.durable import database_faults
from edgeinspect.records.images import ImageKind, ImagePolicy
from edgeinspect.records.kept_open import KeptOpenDatabase
from edgeinspect.records.part_ids import COUNTER_NAME, Draw, PartIds
from edgeinspect.records.reserve import SpaceReserve
from edgeinspect.records.retention import RecordPolicy, Retention, Upkeep
from edgeinspect.records.ring import ImageRing, Picture, RingAudit, StoreResult
from edgeinspect.records.rows import SqlValue, encode_record
from edgeinspect.undo import undo_on_error

_UPKEEP_PAUSE_NS = 60_000_000_000
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """One part to record.

    Attributes:
        record: the part's record.
        kind: why its picture is kept, from ``image_kind``; None for no picture.
        pixels: the picture, uint8, (height, width) grey or (height, width, 3) RGB.
    """

    record: PartRecord
    kind: ImageKind | None = None
    pixels: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """The parts that are durable now.

    Attributes:
        part_ids: ids of the parts, in the given order.
        images_kept: number of pictures written and indexed with them.
        images_no_room: number of pictures that were worth less than every kept one.
        image_faults: one sentence for each picture that could not be written.
    """

    part_ids: tuple[int, ...] = ()
    images_kept: int = 0
    images_no_room: int = 0
    image_faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenReport:
    """The findings of opening the records.

    Attributes:
        integrity: "ok", "new", or "unfinished" if the check ran out of time.
        set_aside: new path of a damaged database; None if there was none.
        images: the result of comparing the picture files with the index.
    """

    integrity: str
    set_aside: Path | None
    images: RingAudit

    @property
    def faults(self) -> Mapping[FaultName, int]:
        """The faults that were found and how often; empty if all is well."""
        counts = {
            FaultName.RECORDS_SET_ASIDE: int(self.set_aside is not None),
            FaultName.IMAGES_UNINDEXED: len(self.images.unindexed),
            FaultName.IMAGES_MISSING: self.images.missing,
        }
        return {name: count for name, count in counts.items() if count}


class RecordWriter:
    """Owns a data directory and writes its records; used by one thread at a time.

    After a StorageFault the writer can still be used: the next call opens the database again. A
    batch that failed is not recorded and may be written again; parts of it that are durable already
    are not recorded twice.

    If somebody deletes, replaces or moves the files, the next call raises DataDisplaced, and the
    call after it repairs them: every acknowledged record is copied from the open file to a new one
    at the right path. A strange file there is set aside.

    Args:
        data_dir: folder of the database, ``images/`` and small helper files; made if missing.
        clock: stamps the rows; its wall time is for people only.
        policy: budget of the image ring.
        record_policy: budget of the database.
        uncovered_faults: sentences on faults that this station's gate cannot stop, kept per start.
        reserve_bytes: space reserved for the moment when the disk is full.
        check_limit_s: time limit of the integrity check at opening.
        draw: returns a random number below its argument; see ``part_ids``.

    Raises:
        StationBusy: another process owns the directory.
        DataFromNewerVersion: a newer edgeinspect wrote the database.
        StorageFault, DiskFull: the directory cannot be used.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        clock: Clock,
        policy: ImagePolicy | None = None,
        record_policy: RecordPolicy | None = None,
        uncovered_faults: Sequence[str] = (),
        reserve_bytes: int = 4 << 20,
        check_limit_s: float = 1.0,
        draw: Draw = secrets.randbelow,
    ) -> None:
        self._data_dir = data_dir
        self._clock = clock
        self._uncovered_faults = tuple(uncovered_faults)
        self._draw = draw
        self._reserved_to = 1
        self._boot_id = _read_boot_id()
        self._ring = ImageRing(data_dir, policy or ImagePolicy())
        self._retention = Retention(data_dir, record_policy or RecordPolicy(), clock)
        self._reserve = SpaceReserve(data_dir, size_bytes=reserve_bytes)
        self._upkeep_from_mono_ns = 0
        with database_faults("create the data directory", data_dir):
            make_folder(data_dir)
        self._kept = KeptOpenDatabase(
            data_dir, check_limit_s=check_limit_s, on_open=self._on_opened
        )
        with undo_on_error(self._kept.close):
            self._open_at_start()
        self._reserve.fill()

    @property
    def report(self) -> OpenReport:
        """The findings of the latest opening of the database."""
        return self._report

    @property
    def image_bytes(self) -> int:
        """Size of all kept pictures."""
        return self._ring.total_bytes

    def reserve_part_ids(self, count: int = 1_000_000) -> range:
        """Reserve ids for the next ``count`` parts durably; no later start gives them again.

        Raises StorageFault, DiskFull.
        """
        with self._kept.use() as connection:
            try:
                ids = self._part_ids.reserve(connection, count)
            finally:
                self._kept.remember(self._data_dir / COUNTER_NAME)  # it may be a new file
        self._reserved_to = ids.stop
        return ids

    def register_recipe(self, digest: str, *, classes: Sequence[str], document: str = "") -> None:
        """Register a recipe under its digest.

        ``classes`` names the scores, in their order; ``document`` is the recipe itself. Raises
        StorageFault, DiskFull.
        """
        with self._kept.use() as connection, self._transaction(connection, "store the recipe"):
            connection.execute(
                "INSERT INTO recipes (digest, classes, document) VALUES (?, ?, ?)"
                " ON CONFLICT (digest) DO UPDATE"
                " SET classes = excluded.classes, document = excluded.document",
                (digest, json.dumps(list(classes)), document),
            )

    def write(self, batch: Sequence[RecordEntry]) -> Acknowledgement:
        """Record all parts or none; returns once they are durable.

        An empty batch only checks that records can be written. Records matter more than pictures: a
        picture that cannot be written is named in the answer, and on a full disk the least valuable
        ones are evicted.

        Raises:
            DiskFull: there is no space, and no picture is left to evict.
            DataDisplaced: files were deleted, replaced or moved; the next call repairs them.
            StorageFault: the disk failed.
            UsageError: a part id was already recorded for another part.
        """
        try:
            acknowledgement = self._write(batch)
        except DiskFull:
            if not self._make_room():
                raise
            acknowledgement = self._write(batch)
        self._reserve.fill()
        return acknowledgement

    def maintain(self) -> Upkeep:
        """Take one small step towards the budget: prune old rows or return space.

        Call it between batches, and soon again if there is more to do.

        Raises:
            DiskFull: there is no space even for this.
            DataDisplaced, StorageFault: as for ``write``.
        """
        if self._clock.now_mono_ns() < self._upkeep_from_mono_ns:
            return Upkeep()
        try:
            return self._maintain()
        except StorageFault as error:
            if isinstance(error, DiskFull) and self._reserve.release():
                return self._maintain()
            if isinstance(error, DataDisplaced):
                raise
            # A step that keeps failing must not make the database be opened again and again.
            self._upkeep_from_mono_ns = self._clock.now_mono_ns() + _UPKEEP_PAUSE_NS
            raise

    def _maintain(self) -> Upkeep:
        with self._kept.use() as connection:
            return self._retention.step(connection)

    def close(self, *, next_part_id: int | None = None) -> None:
        """Close the records and release the data directory; closing twice is allowed.

        Args:
            next_part_id: no part got this id or a higher one, so the next start may use them; None
                leaves the whole reservation unused.
        """
        self._kept.close(
            lambda connection: (
                None if next_part_id is None else self._part_ids.give_back(connection, next_part_id)
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _write(self, batch: Sequence[RecordEntry]) -> Acknowledgement:
        with self._kept.use() as connection:
            if not batch:
                return Acknowledgement()
            stored = self._ring.store(connection, _pictures(batch))
            try:
                self._commit(connection, batch, stored)
            except Exception as error:
                # After another storage fault, only opening the file again shows its contents.
                if isinstance(error, DiskFull) or not isinstance(error, StorageFault):
                    self._ring.settle(connection)
                raise
            self._ring.confirm(stored.images)
            # A commit to a file without a name does not count.
            self._kept.refuse_displaced()
        return Acknowledgement(
            part_ids=tuple(entry.record.part_id for entry in batch),
            images_kept=len(stored.images),
            images_no_room=stored.no_room,
            image_faults=stored.faults,
        )

    def _commit(
        self, connection: sqlite3.Connection, batch: Sequence[RecordEntry], stored: StoreResult
    ) -> None:
        now = read_beside_mono(self._clock.now_wall, self._clock.now_mono_ns)
        stamp: dict[str, SqlValue] = {
            "start_id": self._start_id,
            "recorded_wall": _iso_utc(now.other),
            "clock_synchronized": int(self._clock.is_synchronized()),
            "recorded_mono_ns": now.mono_ns,
        }
        with self._transaction(connection, "write records"):
            for entry in batch:
                self._insert(connection, entry.record, stamp)
            self._ring.index(connection, stored.images)

    def _insert(
        self, connection: sqlite3.Connection, record: PartRecord, stamp: Mapping[str, SqlValue]
    ) -> None:
        digest = record.recipe_digest
        connection.execute("INSERT OR IGNORE INTO recipes (digest) VALUES (?)", (digest,))
        row = {**encode_record(record), **stamp}
        inserted = connection.execute(_insert_statement(tuple(row)), {**row, "digest": digest})
        if inserted.rowcount:
            connection.execute(_NUMBER_ROW, {"part_id": int(record.part_id)})
        elif not self._is_same_part(connection, record):
            raise UsageError(f"Part id {record.part_id} is already used by another recorded part.")

    def _is_same_part(self, connection: sqlite3.Connection, record: PartRecord) -> bool:
        """Whether an earlier attempt that was reported as failed did record this part."""
        found = connection.execute(
            "SELECT trigger_mono_ns, boot_id FROM parts JOIN starts USING (start_id)"
            " WHERE part_id = ?",
            (record.part_id,),
        ).fetchone()
        return bool(found == (record.trigger_mono_ns, self._boot_id))

    def _transaction(
        self, connection: sqlite3.Connection, doing: str
    ) -> contextlib.AbstractContextManager[None]:
        return transaction(connection, doing=doing, path=self._data_dir)

    def _make_room(self) -> bool:
        released = self._reserve.release()
        try:
            with self._kept.use() as connection:
                return self._ring.evict_for_records(connection) > 0 or released
        except DiskFull:
            return released

    def _open_at_start(self) -> None:
        try:
            self._kept.open()
        except DiskFull:
            if not self._reserve.release():
                raise
            self._kept.open()

    def _on_opened(self, opened: OpenedDatabase) -> None:
        """After each opening, compare the pictures, continue the ids and record the start."""
        audit = self._ring.load(opened.connection)
        self._part_ids = PartIds(
            self._data_dir,
            opened.connection,
            boot_id=self._boot_id,
            floor=max(self._reserved_to, audit.highest_part_id + 1),
            draw=self._draw,
        )
        self._start_id = self._insert_start(opened)
        if self._reserved_to > 1:
            self._part_ids.keep_counter(opened.connection)
        self._report = OpenReport(
            integrity=opened.integrity, set_aside=opened.set_aside, images=audit
        )
        self._retention.forget()

    def _insert_start(self, opened: OpenedDatabase) -> int:
        connection = opened.connection
        now = read_beside_mono(self._clock.now_wall, self._clock.now_mono_ns)
        with self._transaction(connection, "record the start"):
            (start_id,) = connection.execute(
                "INSERT INTO starts (boot_id, started_wall, started_mono_ns, clock_synchronized,"
                " software_version, integrity, set_aside, uncovered_faults)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING start_id",
                (
                    self._boot_id,
                    _iso_utc(now.other),
                    now.mono_ns,
                    int(self._clock.is_synchronized()),
                    __version__,
                    opened.integrity,
                    opened.set_aside.name if opened.set_aside else "",
                    json.dumps(self._uncovered_faults),
                ),
            ).fetchone()
        return int(start_id)


# Never below the part's id, so that positions increase even if a database was lost and created
# again.
_NUMBER_ROW = (
    "INSERT INTO record_order (record_seq, part_id) SELECT"
    " max(:part_id, 1 + coalesce((SELECT max(record_seq) FROM record_order), 0)), :part_id"
)


@functools.cache
def _insert_statement(columns: tuple[str, ...]) -> str:
    values = ", ".join(f":{name}" for name in columns)
    return (
        f"INSERT INTO parts ({', '.join(columns)}, recipe_id)"  # noqa: S608 (names from rows.py)
        f" VALUES ({values}, (SELECT recipe_id FROM recipes WHERE digest = :digest))"
        " ON CONFLICT (part_id) DO NOTHING"
    )


def _pictures(batch: Sequence[RecordEntry]) -> list[Picture]:
    return [
        Picture(part_id=entry.record.part_id, kind=entry.kind, pixels=entry.pixels)
        for entry in batch
        if entry.kind is not None and entry.pixels is not None
    ]


def _iso_utc(wall: datetime.datetime) -> str:
    return wall.astimezone(datetime.UTC).isoformat(timespec="microseconds")


def _read_boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
