"""Removing old rows to keep a budget of bytes and age, in small steps beside the part's path.

A step takes the oldest rows in the order in which they were recorded, adds those that nobody needs
to the rollups and removes them, all in one transaction. A row stays while

- its picture is kept, or the part is labelled;
- it belongs to the baseline that health compares with, or is the last of its recipe's run, which
  marks where the baseline begins;
- a link has not sent it, as long as there is room;
- it is among the newest.

Challenges, studies and the audit trail keep their own files about a part and read only its picture.
Recipes and starts are never removed.
"""

from __future__ import annotations

import contextlib
import datetime
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeinspect.errors import StorageFault, UsageError
from edgeinspect.faults import FaultName
from edgeinspect.ports import Clock
from edgeinspect.records import database
from edgeinspect.records.cursors import LinkCursor, LinkCursors
from edgeinspect.records.database import DATABASE_NAME, open_for_writing, transaction
from edgeinspect.records.durable import database_faults, free_bytes
from edgeinspect.records.needed import NeededParts
from edgeinspect.records.records_lock import DataDirectoryLock
from edgeinspect.records.rollups import roll_up

LASTING_TROUBLES = (
    FaultName.RECORDS_HELD,
    FaultName.RECORDS_SHORT_OF_SPACE,
    FaultName.RECORDS_OVER_BUDGET,
)

STEP_PARTS = 256
STEP_PAGES = 64
_LEAST_BYTES = 10_000_000
"""This much of the newest records stays, however short the disk is."""
_AGE_ASKED_FOR_NS = 10_000_000_000
_AGAIN_AFTER_NS = 600_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPolicy:
    """The budget of the records.

    Attributes:
        max_bytes: the database and its log take about this much at most.
        max_days: older rows are removed; None keeps them until the bytes are used up.
        min_free_bytes: free disk space that pictures leave; records leave half of it.
        keep_newest: this many of the newest rows always stay.
    """

    max_bytes: int = 4_000_000_000
    max_days: int | None = 400
    min_free_bytes: int = 0
    keep_newest: int = 4096

    def __post_init__(self) -> None:
        if self.max_bytes < 0 or self.min_free_bytes < 0 or self.keep_newest < 1:
            raise UsageError("A records budget cannot be negative.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """The result of one step.

    Attributes:
        more: there is more to do soon.
        parts_pruned: rows that were added to the rollups and removed.
        pruned_unsent: how many of them a link had not sent.
        troubles: faults that last, by name, with one sentence each.
    """

    more: bool = False
    parts_pruned: int = 0
    pruned_unsent: int = 0
    troubles: Mapping[FaultName, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DatabaseSize:
    """Size of the database file with its log, and how much of it is free pages."""

    file_bytes: int
    free_page_bytes: int

    @property
    def used_bytes(self) -> int:
        """Size of the file without its free pages."""
        return self.file_bytes - self.free_page_bytes


def database_size(connection: sqlite3.Connection, data_dir: Path) -> DatabaseSize:
    """Measure the records. Raises sqlite3.Error."""
    page_bytes, pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_size", "page_count", "freelist_count")
    )
    try:
        log_bytes = (data_dir / f"{DATABASE_NAME}-wal").stat().st_size
    except OSError:
        log_bytes = 0
    return DatabaseSize(pages * page_bytes + log_bytes, free * page_bytes)


class Retention:
    """Keeps the records within their budget. Used by the writer's thread alone."""

    def __init__(self, data_dir: Path, policy: RecordPolicy, clock: Clock) -> None:
        self._data_dir = data_dir
        self._policy = policy
        self._clock = clock
        self._cursors = LinkCursors(data_dir)
        self.forget()

    def forget(self) -> None:
        """Begin again at the oldest row, because the database was reopened."""
        self._needed = NeededParts(self._data_dir)
        self._cursor: LinkCursor | None = LinkCursor("whose cursor cannot be read", 0)
        self._sweep = _Sweep()
        self._age_asked_mono_ns: int | None = None
        self._too_old_id = 0

    def step(self, connection: sqlite3.Connection) -> Upkeep:
        """Work for a few milliseconds at most. Raises StorageFault, DiskFull, sqlite3.Error."""
        now_mono_ns = self._clock.now_mono_ns()
        demand = self._demand(connection, now_mono_ns)
        troubles: dict[FaultName, str] = {}
        if demand.short_of_bytes:
            troubles[FaultName.RECORDS_SHORT_OF_SPACE] = (
                f"the disk has {_megabytes(demand.short_of_bytes)} too little free space: records "
                f"may use {_megabytes(demand.limit_bytes)} instead of "
                f"{_megabytes(self._policy.max_bytes)}"
            )
        if demand.over or demand.too_old_id:
            with _without_waiting_for_disk(connection):
                upkeep = self._prune(connection, demand, now_mono_ns, troubles)
            if upkeep.more:
                return upkeep
        with _without_waiting_for_disk(connection):
            more = self._return_free_pages(connection)
        return Upkeep(more=more, troubles=troubles)

    def _demand(self, connection: sqlite3.Connection, now_mono_ns: int) -> _Demand:
        policy = self._policy
        size = database_size(connection, self._data_dir)
        room = free_bytes(self._data_dir) + size.free_page_bytes - policy.min_free_bytes // 2
        limit = min(policy.max_bytes, size.used_bytes + room)
        limit = max(limit, min(_LEAST_BYTES, policy.max_bytes))
        short = limit < policy.max_bytes and size.used_bytes > limit
        margin = min(policy.max_bytes // 50, 16_000_000)
        return _Demand(
            used_bytes=size.used_bytes,
            limit_bytes=limit,
            short_of_bytes=size.used_bytes - limit if short else 0,
            over=short or size.used_bytes > policy.max_bytes - margin,
            last_resort=short or size.used_bytes > 2 * policy.max_bytes,
            too_old_id=self._find_too_old(connection, now_mono_ns),
        )

    def _find_too_old(self, connection: sqlite3.Connection, now_mono_ns: int) -> int:
        """The newest part that is surely too old; 0 if there is none.

        The wall clock counts only if it follows a time server now and did so at that part.
        """
        asked, days = self._age_asked_mono_ns, self._policy.max_days
        if days is None or (asked is not None and now_mono_ns - asked < _AGE_ASKED_FOR_NS):
            return self._too_old_id
        self._age_asked_mono_ns, self._too_old_id = now_mono_ns, 0
        if self._clock.is_synchronized():
            cutoff = self._clock.now_wall().astimezone(datetime.UTC) - datetime.timedelta(days)
            row = connection.execute(
                "SELECT part_id FROM (SELECT part_id, clock_synchronized FROM parts"
                " WHERE recorded_wall < ? ORDER BY recorded_wall DESC LIMIT 1000)"
                " WHERE clock_synchronized = 1 LIMIT 1",
                (cutoff.isoformat(timespec="microseconds"),),
            ).fetchone()
            self._too_old_id = row[0] if row else 0
        return self._too_old_id

    def _prune(
        self,
        connection: sqlite3.Connection,
        demand: _Demand,
        now_mono_ns: int,
        troubles: dict[FaultName, str],
    ) -> Upkeep:
        self._needed.refresh(connection, now_mono_ns)
        self._sweep.begin_again(now_mono_ns)
        rows = self._oldest(connection)
        if not demand.over:
            rows = [row for row in rows if row.part_id <= demand.too_old_id]
        if not rows:
            self._nothing_left(demand, troubles)
            return Upkeep(troubles=troubles)
        cursor = self._slowest_link()
        labelled = self._needed.labelled_among([row.part_id for row in rows])
        free = rows
        if not demand.last_resort:
            free = self._without_unsent(rows, cursor, labelled, troubles)
        if not free:
            return Upkeep(troubles=troubles)
        needed = self._needed.among(connection, [row.part_id for row in free])
        needed |= labelled or set()
        removable = [row for row in free if row.part_id not in needed]
        unsent = sum(1 for row in removable if cursor and row.record_seq > cursor.record_seq)
        if removable:
            self._remove(connection, removable, unsent=unsent, for_space=demand.short_of_bytes > 0)
        self._sweep.passed(free[-1].record_seq, removed=len(removable), kept=len(needed))
        return Upkeep(
            more=True, parts_pruned=len(removable), pruned_unsent=unsent, troubles=troubles
        )

    def _oldest(self, connection: sqlite3.Connection) -> list[_Row]:
        """The next rows of this sweep, oldest first, except the newest, which stay."""
        rows = self._next_rows(connection)
        if not rows:
            newest = connection.execute(
                "SELECT part_id FROM parts ORDER BY part_id DESC LIMIT 1 OFFSET ?",
                (self._policy.keep_newest,),
            ).fetchone()
            self._sweep.last = newest[0] if newest else 0
            rows = self._next_rows(connection)
        return rows

    def _next_rows(self, connection: sqlite3.Connection) -> list[_Row]:
        (unnumbered_to,) = connection.execute("SELECT unnumbered_to FROM retention").fetchone()
        after, last = self._sweep.after, self._sweep.last
        found = connection.execute(
            "SELECT part_id, part_id, recorded_wall FROM parts"
            " WHERE part_id > ? AND part_id <= ? ORDER BY part_id LIMIT ?",
            (after, min(unnumbered_to, last), STEP_PARTS),
        ).fetchall()
        if not found:
            found = connection.execute(
                "SELECT record_seq, part_id, recorded_wall FROM record_order"
                " JOIN parts USING (part_id) WHERE record_seq > ? AND record_seq <= ?"
                " ORDER BY record_seq LIMIT ?",
                (after, last, STEP_PARTS),
            ).fetchall()
        return [_Row(*row) for row in found]

    def _without_unsent(
        self,
        rows: list[_Row],
        cursor: LinkCursor | None,
        labelled: set[int] | None,
        troubles: dict[FaultName, str],
    ) -> list[_Row]:
        if labelled is None:
            troubles[FaultName.RECORDS_HELD] = (
                "the labels cannot be read, so records beyond the budget are kept"
            )
            return []
        free = [row for row in rows if cursor is None or row.record_seq <= cursor.record_seq]
        if cursor is not None and not free:
            troubles[FaultName.RECORDS_HELD] = (
                f"link {cursor.link} has not sent the records after number "
                f"{cursor.record_seq}: records beyond the budget are kept, up to "
                f"{_megabytes(2 * self._policy.max_bytes)}"
            )
        return free

    def _nothing_left(self, demand: _Demand, troubles: dict[FaultName, str]) -> None:
        if demand.over:
            troubles[FaultName.RECORDS_OVER_BUDGET] = (
                f"{_megabytes(demand.used_bytes)} of records cannot be removed; the budget is "
                f"{_megabytes(demand.limit_bytes)}"
            )
        else:
            self._too_old_id = 0  # the remaining old rows are needed

    def _remove(
        self,
        connection: sqlite3.Connection,
        removable: Sequence[_Row],
        *,
        unsent: int,
        for_space: bool,
    ) -> None:
        with transaction(connection, doing="prune the records", path=self._data_dir):
            roll_up(connection, [row.part_id for row in removable])
            connection.executemany(
                "DELETE FROM record_order WHERE record_seq = ?",
                [(row.record_seq,) for row in removable],
            )
            connection.execute(
                "UPDATE retention SET pruned_through = max(pruned_through, ?),"
                " latest_pruned_wall = max(latest_pruned_wall, ?),"
                " parts_pruned = parts_pruned + ?, pruned_unsent = pruned_unsent + ?,"
                " pruned_for_space = pruned_for_space + ?",
                (
                    max(row.record_seq for row in removable),
                    max(row.recorded_wall for row in removable),
                    len(removable),
                    unsent,
                    len(removable) if for_space else 0,
                ),
            )

    def _slowest_link(self) -> LinkCursor | None:
        """The slowest cursor as last read; if it could never be read, nothing counts as sent."""
        with contextlib.suppress(StorageFault):
            self._cursor = self._cursors.lowest()
        return self._cursor

    def _return_free_pages(self, connection: sqlite3.Connection) -> bool:
        """Return free pages beyond a stock to the file system; returns whether there were any."""
        size = database_size(connection, self._data_dir)
        if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != INCREMENTAL:
            room = free_bytes(self._data_dir) - self._policy.min_free_bytes
            if size.used_bytes > REMADE_BYTES or room < 4 * size.used_bytes:
                return False  # its free pages are reused; only ``compact`` returns them
            remake(connection)
            return True
        stock = min(self._policy.max_bytes // 20, 64_000_000)
        too_large = size.file_bytes > self._policy.max_bytes
        if size.free_page_bytes == 0 or not (too_large or size.free_page_bytes > stock):
            return False
        connection.execute(f"PRAGMA incremental_vacuum({STEP_PAGES})").fetchall()
        return True


@contextlib.contextmanager
def _without_waiting_for_disk(connection: sqlite3.Connection) -> Iterator[None]:
    """Commits in the block do not wait for the disk; a power cut may undo the last ones entirely.

    They become durable with the next record, which follows them in the same log.
    """
    connection.execute("PRAGMA synchronous = NORMAL")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA synchronous = {database.SYNCHRONOUS}")


INCREMENTAL = 2
"""``PRAGMA auto_vacuum`` of a database that can return pages."""
REMADE_BYTES = 16_000_000
"""A running station converts a database up to this size, which takes only a moment."""


def remake(connection: sqlite3.Connection) -> None:
    """Convert a database so that it can return pages; a crash leaves the old one or the new one."""
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("VACUUM")


def compact(data_dir: Path) -> tuple[int, int]:
    """Rewrite the database of a stopped station to its smallest size.

    Returns:
        The bytes before and after.

    Raises:
        StationBusy: the station is running.
        DiskFull: a copy of all rows needs space for a moment; nothing was changed.
        StorageFault: it cannot be opened or written.
    """
    path = data_dir / DATABASE_NAME
    with contextlib.ExitStack() as stack:
        with database_faults("shrink the records", data_dir):
            before = path.stat().st_size
        stack.callback(DataDirectoryLock(data_dir).release)
        connection = open_for_writing(data_dir).connection
        stack.callback(connection.close)
        with database_faults("shrink the records", data_dir):
            remake(connection)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return before, path.stat().st_size


@dataclass(slots=True)
class _Sweep:
    """How far a sweep through the rows has come.

    Attributes:
        after: rows up to this position were examined.
        last: the newest row that may be removed.
    """

    after: int = 0
    last: int = 0
    removed: int = 0
    kept: int = 0
    began_mono_ns: int | None = None

    def passed(self, position: int, *, removed: int, kept: int) -> None:
        self.after = position
        self.removed += removed
        self.kept += kept

    def begin_again(self, now_mono_ns: int) -> None:
        """Start again at the oldest row, because some rows may no longer be needed.

        It waits until as many rows were removed as were skipped, or until some time has passed, so
        that examining rows that stay remains a small part of the work.
        """
        if self.began_mono_ns is None:
            self.began_mono_ns = now_mono_ns
        waited = now_mono_ns - self.began_mono_ns >= _AGAIN_AFTER_NS
        if waited or self.removed > max(self.kept, 16 * STEP_PARTS):
            self.after = self.removed = self.kept = 0
            self.began_mono_ns = now_mono_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class _Demand:
    """What has to be removed.

    Attributes:
        used_bytes: size of the records now, without free pages.
        limit_bytes: size that the records may have now.
        short_of_bytes: how much the disk lacks; 0 if the budget itself is the limit.
        over: rows must be removed because of their size.
        last_resort: rows that a link has not sent must be removed, too.
        too_old_id: parts up to this one are too old; 0 for none.
    """

    used_bytes: int
    limit_bytes: int
    short_of_bytes: int
    over: bool
    last_resort: bool
    too_old_id: int


@dataclass(frozen=True, slots=True)
class _Row:
    record_seq: int
    part_id: int
    recorded_wall: str


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
