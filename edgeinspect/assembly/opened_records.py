"""A running station's records, opened: database and pictures, the audit trail's guard, the sink."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

from edgeinspect.faults import FaultName
from edgeinspect.part import PartRecord
from edgeinspect.ports import Clock
from edgeinspect.records.images import ImagePolicy
from edgeinspect.records.part_ids import Draw
from edgeinspect.records.retention import RecordPolicy
from edgeinspect.records.writer import OpenReport, RecordWriter
from edgeinspect.runtime.plan import StationPlan
from edgeinspect.runtime.records_sink import RecordsSink
from edgeinspect.settings.audit import AUDIT_FILE, AuditTrail
from edgeinspect.settings.audit_guard import AuditGuard


class OpenedRecords:
    """Opens the data directory of a plan; ``close`` it.

    Args:
        draw: Where part ids begin; see ``edgeinspect.records.part_ids``.
        on_fault: Called with the name and detail of each fault.
        on_troubles: Called with all lasting troubles when they change.
        on_recorded: Called with records that are durable.

    Raises:
        StationBusy: Another station has this data directory.
        StorageFault: The records cannot be opened.
    """

    def __init__(
        self,
        plan: StationPlan,
        *,
        clock: Clock,
        draw: Draw,
        on_fault: Callable[[FaultName, str], None],
        on_troubles: Callable[[Mapping[FaultName, str]], None],
        on_recorded: Callable[[Sequence[PartRecord]], None],
    ) -> None:
        storage = plan.station.storage
        images = ImagePolicy(
            max_bytes=storage.max_image_bytes,
            min_free_bytes=storage.min_free_bytes,
            pass_sample_share=storage.pass_sample_share,
            near_miss_margin=storage.near_miss_margin,
        )
        records = RecordPolicy(
            max_bytes=storage.max_record_bytes,
            max_days=storage.max_record_days,
            min_free_bytes=storage.min_free_bytes,
        )
        self._audit_guard = AuditGuard(
            AuditTrail(plan.station.data_dir / AUDIT_FILE), now_mono_ns=clock.now_mono_ns
        )
        with contextlib.ExitStack() as opened:
            self._writer = RecordWriter(
                plan.station.data_dir,
                clock=clock,
                policy=images,
                record_policy=records,
                uncovered_faults=plan.uncovered_faults,
                draw=draw,
            )
            opened.callback(self._writer.close)
            self.sink = RecordsSink(
                self._writer,
                images,
                on_fault=on_fault,
                on_troubles=on_troubles,
                on_recorded=on_recorded,
                look_after_audit=self._audit_guard.look,
            )
            opened.pop_all()
        self.add_recipe(plan)

    @property
    def report(self) -> OpenReport:
        """The faults found when the records were opened."""
        return self._writer.report

    def add_recipe(self, plan: StationPlan) -> None:
        """Keep the plan's recipe, before the first part that is inspected under it."""
        self.sink.add_recipe(plan.digest, plan.config.thresholds, document=plan.document)

    def close(self, *, is_clean: bool = False) -> None:
        """Close everything. Clean: every part is recorded, so the next ids may follow directly."""
        self._audit_guard.close()
        self._writer.close(next_part_id=self.sink.next_part_id if is_clean else None)
