"""Finished parts on their way into the records."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence

from edgeinspect.errors import DataDisplaced, StorageFault
from edgeinspect.faults import FaultName
from edgeinspect.line.config import ClassThresholds
from edgeinspect.part import PartRecord
from edgeinspect.records.images import ImagePolicy, image_kind
from edgeinspect.records.writer import Acknowledgement, RecordEntry, RecordWriter
from edgeinspect.runtime.finished_part import FinishedPart

_IDS_AHEAD = 100_000
_RECIPES_KEPT = 16
"""More than can have parts on their way at once."""


class RecordsSink:
    """Writes finished parts, with the pictures worth keeping, for the recorder thread.

    Part ids stay reserved ahead of the parts, so that a station that runs for months never
    gives an id that a restart could give again.
    """

    def __init__(
        self,
        writer: RecordWriter,
        policy: ImagePolicy,
        *,
        on_fault: Callable[[FaultName, str], None] = lambda name, detail: None,
        on_recorded: Callable[[Sequence[PartRecord]], None] = lambda records: None,
        look_after_audit: Callable[[], str] = lambda: "",
        on_troubles: Callable[[Mapping[FaultName, str]], None] = lambda troubles: None,
    ) -> None:
        """Write through this writer.

        Args:
            writer: writes the records.
            policy: which pictures to keep.
            on_fault: called with the name and one sentence for each picture that could not be
                written.
            on_recorded: called with the records of each batch after they are durable; must not
                wait.
            look_after_audit: called after each batch; returns a sentence on anything it repaired.
            on_troubles: called after each look at the records' budget, with the reasons for
                exceeding it.
        """
        self._writer = writer
        self._policy = policy
        self._on_fault = on_fault
        self._on_recorded = on_recorded
        self._look_after_audit = look_after_audit
        self._on_troubles = on_troubles
        self._lock = threading.Lock()  # recipes come from another thread
        self._thresholds: dict[str, Sequence[ClassThresholds]] = {}
        ids = writer.reserve_part_ids()
        self.first_part_id = ids.start
        self._reserved_to = ids.stop
        self._report = writer.report
        self.next_part_id = ids.start
        self.images_kept = 0

    def add_recipe(
        self, digest: str, thresholds: Sequence[ClassThresholds], *, document: str
    ) -> None:
        """Know a recipe before its parts come. Raises StorageFault."""
        classes = [threshold.name for threshold in thresholds]
        with self._lock:
            self._thresholds.pop(digest, None)
            self._thresholds[digest] = tuple(thresholds)
            while len(self._thresholds) > _RECIPES_KEPT:
                del self._thresholds[next(iter(self._thresholds))]
            self._writer.register_recipe(digest, classes=classes, document=document)

    def write(self, batch: Sequence[FinishedPart]) -> Acknowledgement:
        """Raises StorageFault; then nothing of the batch is acknowledged."""
        with self._lock:
            acknowledged = self._writer.write([self._entry(part) for part in batch])
            self.images_kept += acknowledged.images_kept
            highest = max((part.record.part_id for part in batch), default=0)
            self.next_part_id = max(self.next_part_id, highest + 1)
            if highest + _IDS_AHEAD > self._reserved_to:
                # Written records stay acknowledged; the next batch asks again.
                with contextlib.suppress(StorageFault):
                    self._reserved_to = self._writer.reserve_part_ids().stop
            found, self._report = self._report, self._writer.report
        if found is not self._report:  # it was reopened
            for name, count in self._report.faults.items():
                self._on_fault(name, f"{count} found when the records were reopened")
        for sentence in acknowledged.image_faults:
            self._on_fault(FaultName.PICTURES_NOT_WRITTEN, sentence)
        if batch:
            self._on_recorded([part.record for part in batch])
        self._look_after_trail()  # now that its folder is known to be in its place
        return acknowledged

    def _look_after_trail(self) -> None:
        try:
            what = self._look_after_audit()
        except StorageFault as error:
            what = str(error)
        if what:
            self._on_fault(FaultName.AUDIT_TRAIL_DISPLACED, what)

    def maintain(self) -> bool:
        """One small step towards the records' budget; True if there is more to do.

        Raises DataDisplaced.
        """
        try:
            with self._lock:
                upkeep = self._writer.maintain()
        except DataDisplaced:
            raise
        except StorageFault as error:
            self._on_fault(FaultName.RECORDS_UPKEEP_FAILED, error.message)
            return False
        if upkeep.pruned_unsent:
            self._on_fault(
                FaultName.RECORDS_PRUNED_UNSENT,
                f"{upkeep.pruned_unsent} records were removed before a link had sent them",
            )
        self._on_troubles(upkeep.troubles)
        return upkeep.more

    def _entry(self, part: FinishedPart) -> RecordEntry:
        record, frame = part.record, part.frame
        if frame is None:
            return RecordEntry(record)
        thresholds = self._thresholds.get(record.recipe_digest, ())
        kind = image_kind(record, thresholds=thresholds, policy=self._policy)
        return RecordEntry(record, kind, frame.pixels if kind is not None else None)
