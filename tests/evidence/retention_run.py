"""A station with a small budget for its records, run fast: does it stay within, and at what price?

    python -m tests.evidence.retention_run --parts 500000 --budget-mb 20

Every part goes through the real writer, durably, in batches of 1 to 64, with one step of upkeep
after each batch, as the recorder thread does. Some parts have pictures in a small ring, some are
labelled. At the end every part must be either a row or counted in the rollups, once.
``--latency`` puts parts at a steady rate into a recorder thread instead, with and without a
backlog to prune, and compares how long a part takes until it is durable.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeinspect.labels.label_store import LabelKind, LabelStore
from edgeinspect.part import PartRecord
from edgeinspect.records import ImagePolicy, RecordEntry, RecordWriter
from edgeinspect.records.database import DATABASE_NAME
from edgeinspect.records.retention import RecordPolicy
from edgeinspect.runtime.fault_board import FaultBoard
from edgeinspect.runtime.recorder_thread import RecorderThread
from tests.helpers.records_samples import CLASSES, StepClock, sample_entry, sample_record

NO_BUDGET = RecordPolicy(max_bytes=10**12)


def bytes_on_disk(data_dir: Path) -> int:
    return sum(path.stat().st_size for path in data_dir.glob(f"{DATABASE_NAME}*"))


def open_writer(data_dir: Path, policy: RecordPolicy) -> RecordWriter:
    return RecordWriter(
        data_dir,
        clock=StepClock(),
        policy=ImagePolicy(max_bytes=2_000_000, min_free_bytes=0),
        record_policy=policy,
        draw=lambda below: 0,
    )


def run(data_dir: Path, *, parts: int, budget_bytes: int, seed: int = 1) -> dict[str, object]:
    """Record ``parts`` parts; returns what was found. Asserts that none is lost or doubled."""
    chance = random.Random(seed)
    largest = pruned = batches = 0
    labelled: set[int] = set()
    troubles: Counter[str] = Counter()
    began = time.monotonic()
    with open_writer(data_dir, RecordPolicy(max_bytes=budget_bytes)) as writer:
        ids = writer.reserve_part_ids(parts)
        writer.register_recipe(sample_record(0).recipe_digest, classes=CLASSES)
        next_id = ids.start
        with LabelStore(data_dir) as labels:
            while next_id < ids.stop:
                batch = range(next_id, min(ids.stop, next_id + chance.randint(1, 64)))
                next_id = batch.stop
                writer.write([sample_entry(i, picture=i % 50 == 0) for i in batch])
                batches += 1
                if batches % 50 == 0:
                    labels.add(batch.start, LabelKind.GOOD, author="somebody")
                    labelled.add(batch.start)
                upkeep = writer.maintain()
                pruned += upkeep.parts_pruned
                troubles.update(upkeep.troubles)
                if batches % 20 == 0:
                    largest = max(largest, bytes_on_disk(data_dir))
    seconds = time.monotonic() - began
    with contextlib.closing(sqlite3.connect(data_dir / DATABASE_NAME)) as connection:
        check_account(connection, range(ids.start, ids.stop), labelled)
        rows = connection.execute("SELECT count(*) FROM parts").fetchone()[0]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    return {
        "parts": parts,
        "seconds": round(seconds, 1),
        "rows": rows,
        "pruned": pruned,
        "labelled": len(labelled),
        "largest_bytes": largest,
        "troubles": dict(troubles),
    }


def check_account(
    connection: sqlite3.Connection, part_ids: Sequence[int], labelled: set[int]
) -> None:
    """Rows and rollups together are these parts, each once, and no needed row is gone."""
    rows = {row[0] for row in connection.execute("SELECT part_id FROM parts")}
    assert labelled <= rows, "a labelled part was pruned"
    assert rows == {row[0] for row in connection.execute("SELECT part_id FROM record_order")}
    expected = Counter(_kind(sample_record(part_id)) for part_id in part_ids if part_id not in rows)
    counted: Counter[tuple[str, str, str]] = Counter()
    for *kind, parts in connection.execute(
        "SELECT verdict, reason, gate_outcome, parts FROM rollup_counts"
    ):
        counted[tuple(kind)] += parts
    assert counted == expected, (counted, expected)
    scored = sum(n for kind, n in expected.items() if kind[0] != "CANNOT_INSPECT")
    (histogram,) = connection.execute("SELECT total(parts) FROM rollup_scores").fetchone()
    assert histogram == scored * len(CLASSES)


def _kind(record: PartRecord) -> tuple[str, str, str]:
    return record.verdict.kind.value, record.verdict.reason, record.gate_outcome.value


class _Sink:
    """What ``RecordsSink`` does, without pictures, and a stamp when a part is durable."""

    def __init__(self, writer: RecordWriter) -> None:
        self.writer = writer
        self.durable_s: dict[int, float] = {}
        self.pruned = 0
        self.step_s: list[float] = []

    def write(self, batch: Sequence[int]) -> None:
        self.writer.write([RecordEntry(sample_record(part_id)) for part_id in batch])
        now = time.monotonic()
        self.durable_s.update(dict.fromkeys(batch, now))

    def maintain(self) -> bool:
        began = time.monotonic()
        upkeep = self.writer.maintain()
        if upkeep.more:
            self.step_s.append(time.monotonic() - began)
        self.pruned += upkeep.parts_pruned
        return upkeep.more


def latency(folder: Path, *, backlog: int, parts: int, per_s: float) -> dict[str, list[float]]:
    """Milliseconds from handing a part over until it is durable, in turns without and with pruning.

    Both stations have the same history; one of them may keep it.
    """
    sinks = {}
    for name, policy in (("without", NO_BUDGET), ("with", RecordPolicy(max_bytes=10_000_000))):
        data_dir = folder / name
        with open_writer(data_dir, NO_BUDGET) as writer:
            ids = writer.reserve_part_ids(backlog)
            for first in range(ids.start, ids.stop, 500):
                batch = range(first, min(first + 500, ids.stop))
                writer.write([RecordEntry(sample_record(part_id)) for part_id in batch])
        sinks[name] = _Sink(open_writer(data_dir, policy))
    taken: dict[str, list[float]] = {"without": [], "with": [], "step": []}
    for turn in range(10):
        for name, sink in sinks.items():
            taken[name] += _one_turn(sink, parts=parts // 10, per_s=per_s, seed=turn)
    taken["step"] = [1000 * second for second in sinks["with"].step_s]
    taken["pruned"] = [float(sinks["with"].pruned)]
    for sink in sinks.values():
        sink.writer.close()
    return taken


def _one_turn(sink: _Sink, *, parts: int, per_s: float, seed: int) -> list[float]:
    faults = FaultBoard(time.monotonic_ns)
    recorder: RecorderThread[int] = RecorderThread(sink=sink, faults=faults, maintain=sink.maintain)
    thread = threading.Thread(target=recorder.run)
    ids = sink.writer.reserve_part_ids(parts)
    chance = random.Random(seed)
    given_s = {}
    thread.start()
    for part_id in ids:
        time.sleep(chance.uniform(0, 2 / per_s))
        given_s[part_id] = time.monotonic()
        recorder.put(part_id)
    recorder.stop()
    thread.join()
    return [1000 * (sink.durable_s[part_id] - given_s[part_id]) for part_id in ids]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", type=int, default=500_000)
    parser.add_argument("--budget-mb", type=float, default=20)
    parser.add_argument("--latency", action="store_true")
    parser.add_argument("--backlog", type=int, default=300_000)
    parser.add_argument("--per-s", type=float, default=20)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        if options.latency:
            taken = latency(
                Path(name), backlog=options.backlog, parts=options.parts, per_s=options.per_s
            )
            pruned = int(taken.pop("pruned")[0])
            sys.stdout.write(f"{pruned} parts pruned meanwhile; milliseconds:\n")
            for what, values in taken.items():
                spread = np.percentile(values, (50, 90, 99, 99.9, 100)).round(2)
                sys.stdout.write(f"{what:8} n {len(values):6} p50 p90 p99 p99.9 max {spread}\n")
        else:
            budget = int(options.budget_mb * 1e6)
            found = run(Path(name), parts=options.parts, budget_bytes=budget)
            sys.stdout.write(f"{found}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
