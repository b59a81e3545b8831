"""The recorder thread: everything that is written to disk is written here."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from edgeinspect.errors import DataDisplaced, StorageFault
from edgeinspect.faults import FaultName
from edgeinspect.runtime.fault_board import FaultBoard

Entry = TypeVar("Entry")
EntryIn_contra = TypeVar("EntryIn_contra", contravariant=True)


class RecordSink(Protocol[EntryIn_contra]):
    """Where records become durable; ``edgeinspect.records`` has the real one."""

    def write(self, batch: Sequence[EntryIn_contra], /) -> object:
        """Return once the whole batch is durable. Raises StorageFault, with nothing lost.

        An empty batch asks whether records could be written now.
        """


class RecorderThread(Generic[Entry]):
    """Keeps what could not be written and tries again; inspection never waits for it.

    While nothing is to be written it looks after the files, so that whoever deletes or moves
    them is noticed within a second.
    """

    def __init__(
        self,
        *,
        sink: RecordSink[Entry],
        faults: FaultBoard,
        capacity: int = 4096,
        batch_size: int = 64,
        retry_s: float = 1.0,
        look_s: float = 0.5,
        maintain: Callable[[], bool] = lambda: False,
        pause_s: float = 0.1,
    ) -> None:
        """Make the thread's work; nothing is written until ``run``.

        Args:
            sink: writes the records.
            faults: where faults are counted.
            capacity: the most entries to queue.
            batch_size: the most entries to write at once.
            retry_s: time between attempts after a failure.
            look_s: time between looks at the records while nothing is queued.
            maintain: does one small step of upkeep of the records after each batch and while none
                waits; returns True if there is more to do.
            pause_s: time between two such steps, so that the disk is not kept busy.
        """
        self._sink = sink
        self._faults = faults
        self.capacity = capacity
        self._batch_size = batch_size
        self._retry_s = retry_s
        self._look_s = look_s
        self._maintain = maintain
        self._pause_s = pause_s
        self._waiting: deque[Entry] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._stopping = False
        self._abandoned = False
        self.acknowledged = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def waiting(self) -> list[Entry]:
        """Return the entries that are not durable yet, oldest first."""
        with self._changed:
            return list(self._waiting)

    def put(self, entry: Entry) -> bool:
        """Queue an entry; False if the queue is full: the entry is lost, and counted so."""
        with self._changed:
            full = len(self._waiting) >= self.capacity
            if not full:
                self._waiting.append(entry)
                self._changed.notify()
        if full:
            self._faults.count(
                FaultName.RECORDS_LOST, "the queue of records not yet written is full"
            )
        return not full

    def stop(self) -> None:
        """Write the queue, then end. Failed writes are repeated until abandoned."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def abandon(self) -> None:
        """End now; entries not yet durable are given up and counted."""
        with self._changed:
            self._abandoned = True
            self._changed.notify()

    def run(self) -> None:
        """Write batches until stopped."""
        while True:
            self._keep_up()
            batch = self._next_batch()
            if batch is None:
                return
            if not self.write(batch):
                with self._changed:
                    if not self._abandoned:
                        self._changed.wait(self._retry_s)

    def write(self, batch: Sequence[Entry]) -> bool:
        """Write the oldest entries; they leave the queue only when they are durable."""
        try:
            self._sink.write(batch)
        except DataDisplaced as error:
            self._faults.begin(FaultName.DATA_FILES_DISPLACED, str(error))
            return False
        except StorageFault as error:
            self._faults.begin(FaultName.RECORDS_NOT_WRITTEN, str(error))
            return False
        with self._changed:
            for _ in batch:
                self._waiting.popleft()
        self.acknowledged += len(batch)
        self._faults.end(FaultName.RECORDS_NOT_WRITTEN)
        self._faults.end(FaultName.DATA_FILES_DISPLACED)
        return True

    def _keep_up(self) -> None:
        """At least one step of upkeep, and more while no entry waits."""
        while self._one_step():
            with self._changed:
                if not self._waiting and not self._stopping and not self._abandoned:
                    self._changed.wait(self._pause_s)
                if self._waiting or self._stopping or self._abandoned:
                    return

    def _one_step(self) -> bool:
        try:
            return self._maintain()
        except DataDisplaced as error:
            self._faults.begin(FaultName.DATA_FILES_DISPLACED, str(error))
            return False

    def _next_batch(self) -> list[Entry] | None:
        """Wait for entries; [] when it is time to look after the files, None to end."""
        with self._changed:
            if not self._waiting and not self._stopping and not self._abandoned:
                self._changed.wait(self._look_s)
            if self._abandoned and self._waiting:
                self._faults.count(
                    FaultName.RECORDS_LOST,
                    "the station was stopped at once",
                    times=len(self._waiting),
                )
            if self._abandoned or (self._stopping and not self._waiting):
                return None
            size = min(self._batch_size, len(self._waiting))
            return [self._waiting[index] for index in range(size)]
