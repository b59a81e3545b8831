"""A finished part on its way to the disk."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from edgeinspect.part import Frame, PartRecord


@dataclass(frozen=True, slots=True)
class FinishedPart:
    """The record of a part; ``frame`` is the picture to keep with it."""

    record: PartRecord
    frame: Frame | None = None


def without_score_map(record: PartRecord) -> PartRecord:
    """Return the record without its score map, which is not stored."""
    inspection = record.inspection
    if inspection is None or inspection.score_map is None:
        return record
    return dataclasses.replace(record, inspection=dataclasses.replace(inspection, score_map=None))
