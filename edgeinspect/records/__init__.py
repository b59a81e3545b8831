"""Parts database, image ring, queries and export; the only room with SQL.

docs/reference/records.md describes every table.

It may import ``settings``, ``line`` and the rooms above them. Begin with ``writer`` and ``reader``.
``RecordWriter`` is the station's only writer. Everybody else uses ``RecordReader``, ``part_stats``
and ``export_parts``, also while the station runs.
"""

from edgeinspect.records.images import ImageKind, ImagePolicy, image_kind
from edgeinspect.records.parts_export import ExportFormat, export_parts, part_as_dict
from edgeinspect.records.reader import PartFilter, RecordReader, StoredPart
from edgeinspect.records.stats import PartStats, part_stats
from edgeinspect.records.writer import Acknowledgement, OpenReport, RecordEntry, RecordWriter

__all__ = [
    "Acknowledgement",
    "ExportFormat",
    "ImageKind",
    "ImagePolicy",
    "OpenReport",
    "PartFilter",
    "PartStats",
    "RecordEntry",
    "RecordReader",
    "RecordWriter",
    "StoredPart",
    "export_parts",
    "image_kind",
    "part_as_dict",
    "part_stats",
]
