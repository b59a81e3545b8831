"""The image ring: picture files bounded by bytes and by free space, indexed in the database.

A file is durable before the row that points to it, and the row is durably removed before its file.
So the worst that a crash leaves is a file that the index does not know. Such files are counted and
left for people to look at.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import UsageError
from edgeinspect.files.atomic_file import fsync_folder, make_folder
from edgeinspect.files.set_aside import set_aside
from edgeinspect.records.database import transaction
from edgeinspect.records.durable import (
    database_faults,
    free_bytes,
    write_new_file,
)
from edgeinspect.records.images import ImageKind, ImagePolicy, encode_png, image_path

IMAGES_FOLDER = "images"
_PARTIAL = ".partial"
_MIN_BATCH_BYTES = 8_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture to keep: uint8, (height, width) grey or (height, width, 3) RGB."""

    part_id: int
    kind: ImageKind
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """A durable picture file without a row yet; ``path`` is below the data directory."""

    part_id: int
    kind: ImageKind
    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreResult:
    """The result of writing pictures.

    Attributes:
        images: durable files, to be indexed together with their records.
        no_room: number of pictures that were worth less than every kept one.
        faults: one sentence for each picture that could not be written.
    """

    images: tuple[StoredImage, ...] = ()
    no_room: int = 0
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RingAudit:
    """The result of comparing the files with the index.

    Attributes:
        indexed: pictures in the index that have their file.
        unindexed: files that the index does not know; they are left alone.
        missing: pictures whose file disappeared since the last start; they no longer count as kept.
        partial_removed: half-written files that were removed.
        highest_part_id: the highest part id of any picture file; 0 without files.
    """

    indexed: int
    unindexed: tuple[Path, ...]
    missing: int
    partial_removed: int
    highest_part_id: int


class ImageRing:
    """The pictures of one data directory. Call ``load`` after every opening of the database."""

    def __init__(self, data_dir: Path, policy: ImagePolicy) -> None:
        self._data_dir = data_dir
        self._policy = policy
        self._bytes_by_rank: dict[int, int] = {}
        self._unconfirmed: dict[str, StoredImage] = {}

    @property
    def total_bytes(self) -> int:
        """Size of all indexed pictures and of those without a row yet."""
        waiting = sum(image.size_bytes for image in self._unconfirmed.values())
        return sum(self._bytes_by_rank.values()) + waiting

    def load(self, connection: sqlite3.Connection) -> RingAudit:
        """Complete interrupted evictions and compare the files with the index."""
        with database_faults("check the images", self._data_dir):
            folder = self._data_dir / IMAGES_FOLDER
            if not folder.is_dir():
                set_aside(folder)
                make_folder(folder)
            self._remove_evicted(connection)
            self.settle(connection)
            states: dict[str, str] = dict(connection.execute("SELECT path, state FROM images"))
            present, partial = self._scan()
            for path in partial:
                path.unlink(missing_ok=True)
        gone = {path for path, state in states.items() if state == "kept"} - present
        found_again = {path for path, state in states.items() if state == "missing"} & present
        self._mark(connection, "missing", gone)
        self._mark(connection, "kept", found_again)
        self._sum_up(connection)
        return RingAudit(
            indexed=len(present & states.keys()),
            unindexed=tuple(self._data_dir / path for path in sorted(present - states.keys())),
            missing=len(gone),
            partial_removed=len(partial),
            highest_part_id=max(map(_part_id, present), default=0),
        )

    def store(self, connection: sqlite3.Connection, pictures: Sequence[Picture]) -> StoreResult:
        """Write the pictures that fit the budget; one that fails does not affect the others."""
        stored: list[StoredImage] = []
        faults: list[str] = []
        no_room = 0
        for picture in pictures:
            if self._is_indexed(connection, picture.part_id):
                continue  # an attempt whose commit was not acknowledged wrote it
            try:
                image = self._store_one(connection, picture)
            except (OSError, UsageError) as error:
                faults.append(f"Part {picture.part_id}: {error}")
                continue
            if image is None:
                no_room += 1
            else:
                stored.append(image)
                self._unconfirmed[image.path] = image
        try:
            for folder in {Path(image.path).parent for image in stored}:
                fsync_folder(self._data_dir / folder)
        except OSError as error:
            faults.append(f"{len(stored)} pictures: {error}")
            stored.clear()
            self.settle(connection)
        return StoreResult(images=tuple(stored), no_room=no_room, faults=tuple(faults))

    def index(self, connection: sqlite3.Connection, images: Iterable[StoredImage]) -> None:
        """Add the rows in the transaction that adds the records."""
        connection.executemany(
            "INSERT INTO images (part_id, path, bytes, kind, keep_rank, state)"
            " VALUES (?, ?, ?, ?, ?, 'kept')",
            [
                (image.part_id, image.path, image.size_bytes, image.kind, image.kind.keep_rank)
                for image in images
            ],
        )

    def confirm(self, images: Iterable[StoredImage]) -> None:
        """Note that the transaction was committed."""
        for image in images:
            del self._unconfirmed[image.path]
            rank = image.kind.keep_rank
            self._bytes_by_rank[rank] = self._bytes_by_rank.get(rank, 0) + image.size_bytes

    def settle(self, connection: sqlite3.Connection) -> None:
        """Remove the files that got no row because the transaction failed."""
        for image in list(self._unconfirmed.values()):
            row = connection.execute("SELECT 1 FROM images WHERE path = ?", (image.path,))
            if row.fetchone() is None:
                with contextlib.suppress(OSError):
                    (self._data_dir / image.path).unlink(missing_ok=True)
                del self._unconfirmed[image.path]
            else:
                self.confirm((image,))

    def evict(
        self, connection: sqlite3.Connection, wanted_bytes: int, *, up_to_rank: int | None = None
    ) -> int:
        """Remove the least valuable pictures to free ``wanted_bytes``; returns the bytes freed."""
        victims = self._choose(connection, wanted_bytes, up_to_rank)
        if not victims:
            return 0
        with transaction(connection, doing="remove images", path=self._data_dir):
            connection.executemany(
                "UPDATE images SET state = 'evicting' WHERE part_id = ?",
                [(part_id,) for part_id, _, _ in victims],
            )
        for _, rank, size in victims:
            self._bytes_by_rank[rank] -= size
        with database_faults("remove images", self._data_dir):
            self._remove_evicted(connection)
        return sum(size for _, _, size in victims)

    def evict_for_records(self, connection: sqlite3.Connection) -> int:
        """Evict pictures to make a little room on a full disk; returns the bytes freed."""
        return self.evict(connection, max(_MIN_BATCH_BYTES, self._slack_bytes))

    @property
    def _slack_bytes(self) -> int:
        """Bytes to evict beyond the need, so that not every picture costs a transaction."""
        return self._policy.max_bytes // 50

    def _store_one(self, connection: sqlite3.Connection, picture: Picture) -> StoredImage | None:
        data = encode_png(picture.pixels)
        path = str(image_path(picture.part_id))
        target = self._data_dir / path
        if target.exists():
            raise FileExistsError(f"{target} already exists")
        if not self._make_room(connection, len(data), picture.kind.keep_rank):
            return None
        make_folder(target.parent)
        partial = target.with_name(f".{target.name}{_PARTIAL}")
        write_new_file(partial, data)
        partial.rename(target)
        return StoredImage(
            part_id=picture.part_id, kind=picture.kind, path=path, size_bytes=len(data)
        )

    def _is_indexed(self, connection: sqlite3.Connection, part_id: int) -> bool:
        query = "SELECT 1 FROM images WHERE part_id = ? AND state = 'kept'"
        return connection.execute(query, (part_id,)).fetchone() is not None

    def _make_room(self, connection: sqlite3.Connection, size: int, rank: int) -> bool:
        over_budget = self.total_bytes + size - self._policy.max_bytes
        under_floor = self._policy.min_free_bytes + size - free_bytes(self._data_dir)
        needed = max(over_budget, under_floor)
        if needed <= 0:
            return True
        evictable = sum(held for its, held in self._bytes_by_rank.items() if its <= rank)
        if evictable < needed:
            return False
        return self.evict(connection, needed + self._slack_bytes, up_to_rank=rank) >= needed

    def _choose(
        self, connection: sqlite3.Connection, wanted_bytes: int, up_to_rank: int | None
    ) -> list[tuple[int, int, int]]:
        rows = connection.execute(
            "SELECT part_id, keep_rank, bytes FROM images WHERE state = 'kept'"
            " AND keep_rank <= ifnull(?, keep_rank) ORDER BY keep_rank, part_id",
            (up_to_rank,),
        )
        victims: list[tuple[int, int, int]] = []
        freed = 0
        for row in rows:
            if freed >= wanted_bytes:
                break
            victims.append(row)
            freed += row[2]
        rows.close()
        return victims

    def _remove_evicted(self, connection: sqlite3.Connection) -> None:
        paths = [
            self._data_dir / path
            for (path,) in connection.execute("SELECT path FROM images WHERE state = 'evicting'")
        ]
        if not paths:
            return
        for path in paths:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in paths}:
            if folder.is_dir():
                fsync_folder(folder)
                with contextlib.suppress(OSError):
                    folder.rmdir()
        with transaction(connection, doing="remove images", path=self._data_dir):
            connection.execute("DELETE FROM images WHERE state = 'evicting'")

    def _scan(self) -> tuple[set[str], list[Path]]:
        """All files below the image folder, relative to the data directory, and partial ones."""
        present: set[str] = set()
        partial: list[Path] = []
        for path in _walk(self._data_dir / IMAGES_FOLDER):
            name = path.rpartition("/")[2]
            if name.startswith(".") and name.endswith(f".png{_PARTIAL}"):
                partial.append(Path(path))
            else:
                present.add(path.removeprefix(f"{self._data_dir}/"))
        return present, partial

    def _mark(self, connection: sqlite3.Connection, state: str, paths: Iterable[str]) -> None:
        rows = [(state, path) for path in paths]
        if rows:
            with transaction(connection, doing="check the images", path=self._data_dir):
                connection.executemany("UPDATE images SET state = ? WHERE path = ?", rows)

    def _sum_up(self, connection: sqlite3.Connection) -> None:
        self._bytes_by_rank = dict(
            connection.execute(
                "SELECT keep_rank, sum(bytes) FROM images WHERE state = 'kept' GROUP BY keep_rank"
            )
        )


def _walk(folder: str | Path) -> Iterator[str]:
    """All files below a folder, as text: there may be a hundred thousand."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            else:
                yield entry.path


def _part_id(path: str) -> int:
    name = path.rpartition("/")[2].removesuffix(".png")
    return int(name) if name.isascii() and name.isdecimal() else 0
