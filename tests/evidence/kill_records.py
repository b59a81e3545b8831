"""Kills a recording station again and again and checks that nothing acknowledged is lost.

    python -m tests.evidence.kill_records --kills 10000
    python -m tests.evidence.kill_records --full-disk --kills 1000

Three ways to die: SIGKILL at random moments; SIGKILL before every single system call of the
record path that may change a file, SQLite's own included, on a fresh and on a full data
directory; and at each of these calls a power cut that keeps only what was fsynced. After each
death: the integrity check is clean, every acknowledged record is there with its content, every
picture that the index names is readable and right, and no part id is ever given out again.

``--full-disk`` records on a real file system of a few MB that is full: the victim meets DiskFull,
tries again and again as the recorder does, sometimes gets room, and is killed at any moment.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import select
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import numpy as np

from edgeinspect.errors import DiskFull
from edgeinspect.records import (
    Acknowledgement,
    ImagePolicy,
    RecordEntry,
    RecordReader,
    RecordWriter,
    baseline,
    database,
)
from edgeinspect.records.database import DATABASE_NAME
from edgeinspect.records.retention import RecordPolicy
from edgeinspect.records.rollups import roll_up
from edgeinspect.records.schema import SCHEMA_VERSION
from tests.helpers.records_samples import (
    CLASSES,
    StepClock,
    sample_entry,
    sample_pixels,
    sample_record,
)
from tests.helpers.syscall_tracing import Durable, can_trace, run_traced

baseline.BASELINE_PARTS = 4

MAX_IMAGE_BYTES = 6_000
IDS_A_START = 500
KEEP_NEWEST = 8
"""Everything older is pruned at once, but for what has a picture."""
SMALL_DISK_BYTES = 3 << 20
MOST_ROOM_BYTES = 160 << 10
"""A victim finds at most this much room, so that it fills the disk within a few batches."""
_IN_NAMESPACE = "EDGEINSPECT_KILLS_IN_NAMESPACE"
_MESSAGE = struct.Struct("<cQ")
_GIVEN, _ACKNOWLEDGED, _FULL = b"G", b"A", b"F"

Result = TypeVar("Result")


@dataclass
class Account:
    """What the dead have said, and what was found.

    Attributes:
        acknowledged: every id that some victim reported as durable.
        seen: every id that was a row after some death.
        pruned: ids that were removed from the rows and counted instead, at the last look.
        highest_given: the highest id that a victim gave to a part, written or not.
        disk_full: how often a victim was refused with DiskFull.
        lives_refused: how many victims were.
        written_after: acknowledgements that came after DiskFull in the same life.
    """

    acknowledged: set[int] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)
    pruned: int = 0
    checked: set[int] = field(default_factory=set)
    highest_given: int = 0
    unindexed: int = 0
    disk_full: int = 0
    lives_refused: int = 0
    written_after: int = 0

    def listen(self, pipe: int, data: bytes = b"") -> None:
        """Take what a victim sent before it died; ``data`` was read already."""
        while chunk := os.read(pipe, 65536):
            data += chunk
        refused = 0
        for tag, value in _MESSAGE.iter_unpack(data):
            if tag == _ACKNOWLEDGED:
                self.acknowledged.add(value)
                self.written_after += bool(refused)
            elif tag == _FULL:
                refused += 1
            else:
                assert value > self.highest_given, f"part id {value} was given out again"
                self.highest_given = value
        self.disk_full += refused
        self.lives_refused += bool(refused)


def open_writer(data_dir: Path) -> RecordWriter:
    policy = ImagePolicy(max_bytes=MAX_IMAGE_BYTES, min_free_bytes=0)
    return RecordWriter(
        data_dir,
        clock=StepClock(),
        policy=policy,
        record_policy=RecordPolicy(max_bytes=0, max_days=None, keep_newest=KEEP_NEWEST),
        reserve_bytes=65536,
        draw=lambda below: 0,  # what is given out again must not be hidden by chance
    )


def record_parts(data_dir: Path, pipe: int, *, seed: int, batches: int | None) -> None:
    """What a station does: reserve ids, record batches with pictures, report what is durable."""
    chance = random.Random(seed)
    writer = open_writer(data_dir)
    ids = writer.reserve_part_ids(IDS_A_START)
    writer.register_recipe(sample_record(0).recipe_digest, classes=CLASSES)
    next_id = ids.start
    while batches != 0 and next_id + 4 < ids.stop:
        batch = range(next_id, next_id + chance.randint(1, 4))
        next_id = batch.stop
        for part_id in batch:
            os.write(pipe, _MESSAGE.pack(_GIVEN, part_id))
        done = writer.write([sample_entry(i, picture=chance.random() < 0.7) for i in batch])
        assert not done.image_faults, done.image_faults
        os.write(pipe, b"".join(_MESSAGE.pack(_ACKNOWLEDGED, i) for i in done.part_ids))
        for _ in range(2):  # prune, and give space back
            writer.maintain()
        batches = None if batches is None else batches - 1
    writer.close(next_part_id=next_id)


def record_on_a_full_disk(data_dir: Path, pipe: int, *, seed: int) -> None:
    """The same where space runs out: what was refused is tried again, as the recorder does."""
    chance = random.Random(seed)
    writer = _until_there_is_room(pipe, lambda: open_writer(data_dir))
    ids = _until_there_is_room(pipe, lambda: writer.reserve_part_ids(IDS_A_START))
    next_id = ids.start
    while next_id + 8 < ids.stop:
        batch = range(next_id, next_id + chance.randint(1, 8))
        next_id = batch.stop
        for part_id in batch:
            os.write(pipe, _MESSAGE.pack(_GIVEN, part_id))
        entries = [sample_entry(i, picture=chance.random() < 0.3) for i in batch]
        done = _until_there_is_room(pipe, partial(writer.write, entries))
        os.write(pipe, b"".join(_MESSAGE.pack(_ACKNOWLEDGED, i) for i in done.part_ids))


def _until_there_is_room(pipe: int, work: Callable[[], Result]) -> Result:
    while True:
        try:
            return work()
        except DiskFull:
            os.write(pipe, _MESSAGE.pack(_FULL, 0))
            time.sleep(0.0005)


def verify(data_dir: Path, account: Account) -> None:
    """Check everything promised, on a copy, so that it is the next start that recovers."""
    if not (data_dir / DATABASE_NAME).exists() or not (data_dir / DATABASE_NAME).stat().st_size:
        assert not account.acknowledged, "the database is gone"
        return
    copies = data_dir.with_name(f"{data_dir.name}-copy")
    copies.mkdir()
    for path in data_dir.glob(f"{DATABASE_NAME}*"):
        shutil.copy(path, copies)
    with contextlib.closing(sqlite3.connect(copies / DATABASE_NAME)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        if connection.execute("PRAGMA user_version").fetchone()[0] < SCHEMA_VERSION:
            assert not account.acknowledged, "the tables are gone"
            shutil.rmtree(copies)
            return
        present = {row[0] for row in connection.execute("SELECT part_id FROM parts")}
        images = connection.execute("SELECT part_id, path, state, bytes FROM images").fetchall()
        counted: Counter[tuple[str, str, str]] = Counter()
        for *kind, parts in connection.execute(
            "SELECT verdict, reason, gate_outcome, parts FROM rollup_counts"
        ):
            counted[kind[0], kind[1], kind[2]] += parts
        numbered = {row[0] for row in connection.execute("SELECT part_id FROM record_order")}
        (parts_pruned,) = connection.execute("SELECT parts_pruned FROM retention").fetchone()
    shutil.rmtree(copies)
    account.seen |= present
    recorded = account.acknowledged | account.seen
    lost = {*sorted(recorded)[-KEEP_NEWEST:]} - present
    assert not lost, f"acknowledged records lost: {sorted(lost)[:5]}"
    pruned = Counter(_kind(part_id) for part_id in recorded - present)
    assert counted == pruned, f"pruned records lost or counted twice: {counted} for {pruned}"
    assert parts_pruned == pruned.total(), f"{parts_pruned} pruned, not {pruned.total()}"
    assert numbered == present, "rows and their numbers differ"
    account.pruned = parts_pruned
    assert max(present, default=0) <= account.highest_given
    with RecordReader(data_dir) as reader:
        for part_id in sorted(present - account.checked):
            part = reader.part(part_id)
            assert part is not None
            assert part.record == sample_record(part_id)
            account.checked.add(part_id)
        kept = [(part_id, path) for part_id, path, state, _ in images if state == "kept"]
        for part_id, _ in kept:
            part = reader.part(part_id)
            assert part is not None
            assert np.array_equal(reader.picture(part), sample_pixels(part_id))
    assert sum(size for *_, state, size in images if state == "kept") <= MAX_IMAGE_BYTES
    account.unindexed = len(_files(data_dir)) - len(kept)


def _kind(part_id: int) -> tuple[str, str, str]:
    record = sample_record(part_id)
    return record.verdict.kind.value, record.verdict.reason, record.gate_outcome.value


def carry_on(data_dir: Path, account: Account) -> None:
    """The next start works: it records, and its ids are new."""
    with _pipe() as (reading, writing):
        record_parts(data_dir, writing, seed=1, batches=1)
        os.close(writing)
        account.listen(reading)
    verify(data_dir, account)
    assert not list(data_dir.glob("*set-aside*")), "a sound database was set aside"


def kill_at_random(folder: Path, *, kills: int, seed: int, rotate: int = 250) -> Account:
    """SIGKILL a recording child ``kills`` times, within 40 ms of its start or its first part.

    A new data directory is begun after ``rotate`` kills, so that the checks stay quick.
    """
    chance = random.Random(seed)
    total = Account()
    for first in range(0, kills, rotate):
        data_dir = folder / f"station-{first:06d}"
        account = Account()
        for number in range(first, min(kills, first + rotate)):
            wait = chance.random() < 0.8
            delay_s = chance.random() ** 2 * 0.04
            _run_and_kill(data_dir, account, seed=number, wait_for_part=wait, delay_s=delay_s)
            verify(data_dir, account)
        carry_on(data_dir, account)
        total.acknowledged |= {(first << 32) + part_id for part_id in account.acknowledged}
        total.unindexed += account.unindexed
        total.pruned += account.pruned
        shutil.rmtree(data_dir)
    return total


def kill_on_a_full_disk(disk: Path, folder: Path, *, kills: int, seed: int) -> Account:
    """SIGKILL a child that records on a disk which is full, or becomes so within a few batches.

    Args:
        disk: a small file system of its own.
        folder: elsewhere; what is left of each death is checked there, where there is room.
    """
    chance = random.Random(seed)
    total = Account()
    account, data_dir, ballast = Account(), disk / "station", disk / "ballast"
    deaths = begun = 0
    while deaths < kills:
        _leave_room(ballast, chance.randrange(MOST_ROOM_BYTES))
        _kill_when_full(data_dir, ballast, account, chance, seed=seed + deaths)
        deaths += 1
        _verify_elsewhere(data_dir, folder / "found", account)
        if (data_dir.exists() and _size_of(data_dir) > SMALL_DISK_BYTES // 2) or deaths == kills:
            ballast.unlink()
            carry_on(data_dir, account)
            total.acknowledged |= {(begun << 32) + part_id for part_id in account.acknowledged}
            for name in ("disk_full", "lives_refused", "written_after", "unindexed"):
                setattr(total, name, getattr(total, name) + getattr(account, name))
            account, begun = Account(), begun + 1
            shutil.rmtree(data_dir)
    return total


def _kill_when_full(
    data_dir: Path, ballast: Path, account: Account, chance: random.Random, *, seed: int
) -> None:
    """Wait until the victim was refused; sometimes give it room; then kill it."""
    with _pipe() as (reading, writing):
        pid = os.fork()
        if pid == 0:
            _exit_after(lambda: record_on_a_full_disk(data_dir, writing, seed=seed))
        os.close(writing)
        heard = b""
        how = chance.random()
        while how > 0.1 and _FULL not in heard[:: _MESSAGE.size]:
            chunk = os.read(reading, 1 << 16)
            assert chunk, "the victim met no full disk"
            heard += chunk
        time.sleep(chance.random() ** 2 * 0.02)
        if how > 0.6:
            _leave_room(ballast, chance.randrange(MOST_ROOM_BYTES))
            time.sleep(chance.random() ** 2 * 0.03)
        os.kill(pid, signal.SIGKILL)
        account.listen(reading, heard)
    _, status = os.waitpid(pid, 0)
    assert status in (0, signal.SIGKILL), f"the victim failed by itself: status {status}"


def _leave_room(ballast: Path, room_bytes: int) -> None:
    """Make the file as large as leaves that much room on its disk, as exactly as pages allow."""
    space = os.statvfs(ballast.parent)
    held = ballast.stat().st_blocks * 512 if ballast.exists() else 0
    size = max(0, held + space.f_bavail * space.f_frsize - room_bytes)
    with ballast.open("ab") as file:
        os.ftruncate(file.fileno(), min(size, held))
        if size > held:
            os.posix_fallocate(file.fileno(), 0, size)


def _verify_elsewhere(data_dir: Path, found: Path, account: Account) -> None:
    if data_dir.exists():
        shutil.copytree(data_dir, found)
        verify(found, account)
        shutil.rmtree(found)


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob(f"{DATABASE_NAME}*"))


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[str]:
    """Mount a file system of ``SMALL_DISK_BYTES`` in memory; says why not if it cannot be."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        yield done.stderr.strip() if done.returncode else ""
    finally:
        if not done.returncode:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


def crash_at_calls(
    folder: Path, *, prepared: bool, power_cut: bool, every: int = 1, first: int = 0
) -> tuple[int, int]:
    """Die before each ``every``-th file-changing system call of one whole station run.

    Args:
        prepared: start on a data directory whose image ring is full, else on none at all.
        power_cut: check what an fsync had made durable, else all that was written.

    Returns:
        How many deaths, and of how many calls the run consists.
    """
    template = folder / "template"
    before = Account()
    template.mkdir()
    if prepared:
        with _pipe() as (reading, writing):
            record_parts(template, writing, seed=2, batches=12)
            os.close(writing)
            before.listen(reading)
    deaths = 0
    for step in range(first, sys.maxsize, every):
        data_dir = folder / f"step-{step}"
        shutil.copytree(template, data_dir)
        account = Account(acknowledged=set(before.acknowledged), highest_given=before.highest_given)
        calls = _run_traced(data_dir, account, step=step, power_cut=power_cut)
        verify(data_dir, account)
        carry_on(data_dir, account)
        shutil.rmtree(data_dir)
        if len(calls) <= step:
            break
        deaths += 1
    shutil.rmtree(template)
    return deaths, len(calls)


def _run_and_kill(
    data_dir: Path, account: Account, *, seed: int, wait_for_part: bool, delay_s: float
) -> None:
    with _pipe() as (reading, writing):
        pid = os.fork()
        if pid == 0:
            _exit_after(lambda: record_parts(data_dir, writing, seed=seed, batches=None))
        os.close(writing)
        if wait_for_part:
            select.select([reading], [], [])
        time.sleep(delay_s)
        os.kill(pid, signal.SIGKILL)
        account.listen(reading)
    _, status = os.waitpid(pid, 0)
    assert status in (0, signal.SIGKILL), f"the victim failed by itself: status {status}"


def _run_traced(data_dir: Path, account: Account, *, step: int, power_cut: bool) -> list[str]:
    durable = Durable(data_dir) if power_cut else None
    if durable is not None:
        durable.assume_present()
    with _pipe() as (reading, writing):
        calls = run_traced(
            lambda: record_parts(data_dir, writing, seed=3, batches=3),
            kill_before=step,
            durable=durable,
        )
        os.close(writing)
        account.listen(reading)
    if durable is not None:
        survived = data_dir.with_name(f"{data_dir.name}-after")
        durable.restore(survived)
        shutil.rmtree(data_dir)
        survived.rename(data_dir)
    return calls


def _exit_after(work: Callable[[], None]) -> None:
    status = 3
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001 (a fork must never return)
        traceback.print_exc()
    finally:
        os._exit(status)


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    try:
        yield reading, writing
    finally:
        for end in (reading, writing):
            with contextlib.suppress(OSError):
                os.close(end)


def _files(data_dir: Path) -> list[Path]:
    return [path for path in (data_dir / "images").rglob("*.png") if path.is_file()]


def quick_folder() -> Path | None:
    """A file system in memory, where there is one.

    A kill leaves the page cache alone and power cuts are modelled here, so that nothing is
    proved by waiting for a disk; ``--folder`` takes one all the same.
    """
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else None


def _break_picture_names() -> None:
    patch("edgeinspect.records.ring.fsync_folder", lambda folder: None).start()


def _break_commits() -> None:
    database.SYNCHRONOUS = "NORMAL"


def _break_full_disk() -> None:
    """What is refused twice is acknowledged all the same."""
    write, refused = RecordWriter.write, [0]

    def give_in(self: RecordWriter, batch: Sequence[RecordEntry]) -> Acknowledgement:
        try:
            return write(self, batch)
        except DiskFull:
            refused[0] += 1
            if refused[0] % 2:
                raise
            return Acknowledgement(part_ids=tuple(entry.record.part_id for entry in batch))

    RecordWriter.write = give_in  # type: ignore[method-assign]


def _break_pruning() -> None:
    """What one transaction must do is done in two."""

    def in_two(connection: sqlite3.Connection, part_ids: Sequence[int]) -> None:
        roll_up(connection, part_ids)
        connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")

    patch("edgeinspect.records.retention.roll_up", in_two).start()


_BROKEN = {
    "pruning": _break_pruning,
    "picture-names": _break_picture_names,
    "commits": _break_commits,
    "full-disk": _break_full_disk,
}
"""Promises broken on purpose: the deaths must find them."""


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rotate", type=int, default=250, help="kills a data directory")
    parser.add_argument("--every", type=int, default=1, help="die at every n-th call, 0 at none")
    parser.add_argument("--first", type=int, default=0, help="the first call to die at")
    parser.add_argument("--break", choices=_BROKEN, dest="broken", help="what must be found")
    parser.add_argument("--folder", type=Path, default=quick_folder(), help="where to record")
    parser.add_argument("--full-disk", action="store_true", help="record on a disk that is full")
    options = parser.parse_args()
    # The forks run no thread of NumPy's or OpenCV's pools, which is what this warns of.
    warnings.filterwarnings("ignore", message=".*multi-threaded.*", category=DeprecationWarning)
    if options.broken:
        _BROKEN[options.broken]()
    began = time.monotonic()
    if options.full_disk:
        return _die_on_a_full_disk(options)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        deaths = _die_at_calls(Path(name), options) if options.every else 0
        deaths += _die_at_random(Path(name), options) if options.kills else 0
    _print(f"{deaths} deaths in {time.monotonic() - began:.0f} s")
    return 0


def _die_on_a_full_disk(options: argparse.Namespace) -> int:
    if os.geteuid() != 0 and not os.environ.get(_IN_NAMESPACE):
        # An ordinary user may mount in a namespace of its own, where the system allows it.
        command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, *sys.argv]
        if shutil.which("unshare"):
            os.execvpe(command[0], command, {**os.environ, _IN_NAMESPACE: "1"})
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(dir=options.folder) as name,
        small_disk(Path(name) / "disk") as refused,
    ):
        if refused:
            _print(f"deaths with the disk full: skipped, {refused}")
            return 0
        account = kill_on_a_full_disk(
            Path(name) / "disk", Path(name), kills=options.kills, seed=options.seed
        )
    _print(
        f"SIGKILL with the disk full: {options.kills} deaths, DiskFull raised"
        f" {account.disk_full} times in {account.lives_refused} lives,"
        f" {account.written_after} records acknowledged after it in the same life,"
        f" {len(account.acknowledged)} records acknowledged, 0 lost, integrity check clean,"
        f" {time.monotonic() - began:.0f} s"
    )
    return 0


def _die_at_calls(folder: Path, options: argparse.Namespace) -> int:
    reason = can_trace()
    if reason:
        _print(f"death at every system call: skipped, {reason}")
        return 0
    total = 0
    for prepared in (False, True):
        for power_cut in (False, True):
            deaths, calls = crash_at_calls(
                folder,
                prepared=prepared,
                power_cut=power_cut,
                every=options.every,
                first=options.first,
            )
            how = "power cut" if power_cut else "SIGKILL"
            where = "full" if prepared else "fresh"
            _print(
                f"{how} at system calls, {where} directory: {deaths} deaths"
                f" in a run of {calls} calls, nothing lost"
            )
            total += deaths
    return total


def _die_at_random(folder: Path, options: argparse.Namespace) -> int:
    account = kill_at_random(folder, kills=options.kills, seed=options.seed, rotate=options.rotate)
    _print(
        f"SIGKILL at random moments: {options.kills} deaths,"
        f" {len(account.acknowledged)} records acknowledged, 0 lost, integrity check clean,"
        f" {account.pruned} pruned and counted once,"
        f" {account.unindexed} picture files left without a record"
    )
    return int(options.kills)


if __name__ == "__main__":
    raise SystemExit(main())
