"""Exporting parts as CSV, JSON lines or Parquet to a file that appears only when complete."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from edgeinspect.errors import UsageError
from edgeinspect.files.atomic_file import fsync_file, fsync_folder, remove_quietly
from edgeinspect.files.csv_cells import write_table
from edgeinspect.files.json_text import finite
from edgeinspect.part import CameraControls
from edgeinspect.records.durable import database_faults
from edgeinspect.records.reader import StoredPart
from edgeinspect.undo import undo_on_error

_BATCH_ROWS = 5000


class ExportFormat(StrEnum):
    """The file formats of an export."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


COLUMNS: dict[str, str] = {
    "part_id": "int64",
    "verdict": "string",
    "reason": "string",
    "defect_class": "string",
    "score": "float64",
    "doubt": "string",
    "detail": "string",
    "gate_outcome": "string",
    "recipe_digest": "string",
    "recorded_wall": "string",
    "triggered_wall": "string",
    "clock_synchronized": "bool",
    "boot_id": "string",
    "recorded_mono_ns": "int64",
    "trigger_mono_ns": "int64",
    "frame_mono_ns": "int64",
    "verdict_mono_ns": "int64",
    "deadline_mono_ns": "int64",
    "window_start_mono_ns": "int64",
    "window_end_mono_ns": "int64",
    "encoder_count": "int64",
    "frame_sequence": "int64",
    "frame_exposure_mono_ns": "int64",
    "frame_exposure_error_ns": "int64",
    "frame_arrived_mono_ns": "int64",
    "frame_exposure_us": "float64",
    "frame_gain": "float64",
    "frame_red_gain": "float64",
    "frame_blue_gain": "float64",
    "frame_white_balance_k": "float64",
    "frame_lens_position": "float64",
    "frame_source": "string",
    "frame_view": "string",
    "scores": "string",
    "top_class": "string",
    "top_score": "float64",
    "order_statistics": "string",
    "worst_x_px": "int64",
    "worst_y_px": "int64",
    "worst_width_px": "int64",
    "worst_height_px": "int64",
    "quality_mean": "float64",
    "quality_clipped_low": "float64",
    "quality_clipped_high": "float64",
    "quality_focus": "float64",
    "quality_others": "string",
    "preprocess_ns": "int64",
    "invoke_ns": "int64",
    "postprocess_ns": "int64",
    "quality_ns": "int64",
    "image": "string",
    "image_kind": "string",
}
"""Every exported column with its type; docs/reference/records.md has the meanings."""


def part_as_dict(part: StoredPart) -> dict[str, Any]:
    """One part as plain values for JSON: ``COLUMNS`` in their order, NaN as None.

    ``scores`` maps class names to scores; classes without a known name are numbered.
    """
    record, verdict = part.record, part.record.verdict
    row = {
        "part_id": record.part_id,
        "verdict": verdict.kind.value,
        "reason": verdict.reason,
        "defect_class": verdict.defect_class,
        "score": verdict.score,
        "doubt": verdict.doubt.value if verdict.doubt is not None else None,
        "detail": verdict.detail,
        "gate_outcome": record.gate_outcome.value,
        "recipe_digest": record.recipe_digest,
        "recorded_wall": part.recorded_wall.isoformat(),
        "triggered_wall": part.triggered_wall.isoformat(),
        "clock_synchronized": part.clock_synchronized,
        "boot_id": part.boot_id,
        "recorded_mono_ns": part.recorded_mono_ns,
        **_named(record, "", _RECORD_FIELDS),
        **_named(record.frame, "frame_", _FRAME_FIELDS),
        **_named(record.frame and record.frame.controls, "frame_", CameraControls.names()),
        **_inspection_as_dict(part),
        "image": None if part.image is None else str(part.image),
        "image_kind": None if part.image_kind is None else part.image_kind.value,
    }
    return {name: finite(row[name]) for name in COLUMNS}


def export_parts(
    parts: Iterable[StoredPart],
    path: Path,
    *,
    format: ExportFormat,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write the parts to a new file, or replace the file at ``path``; returns how many.

    Args:
        parts: the parts in the order of the file.
        path: the file to write.
        format: the format of the file.
        progress: called from time to time with the number of parts written so far.

    Raises:
        UsageError: the format is Parquet and pyarrow is not installed.
        StorageFault, DiskFull: the file cannot be written; nothing is left behind.
    """
    writer = _WRITERS[format]
    temporary = path.with_name(f".{path.name}.partial")
    rows = _Counted((part_as_dict(part) for part in parts), progress)
    writing = database_faults("write the export", path.parent)
    with writing, undo_on_error(remove_quietly, temporary):
        writer(rows, temporary)
        fsync_file(temporary)
        temporary.replace(path)
        fsync_folder(path.parent)
    return rows.count


def write_csv(rows: Iterable[dict[str, Any]], stream: TextIO) -> None:
    """Write rows of ``part_as_dict`` as CSV with a header; nested values become JSON."""
    write_table(stream, tuple(COLUMNS), (tuple(_flat(row).values()) for row in rows))


def write_jsonl(rows: Iterable[dict[str, Any]], stream: TextIO) -> None:
    """Write rows of ``part_as_dict`` as JSON, one object a line."""
    for row in rows:
        stream.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


class _Counted:
    """Counts the rows that are iterated over."""

    def __init__(
        self, rows: Iterator[dict[str, Any]], progress: Callable[[int], None] | None
    ) -> None:
        self._rows = rows
        self._progress = progress
        self.count = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self._rows:
            self.count += 1
            if self._progress is not None and self.count % 100 == 0:
                self._progress(self.count)
            yield row


def _csv_file(rows: Iterable[dict[str, Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        write_csv(rows, stream)


def _jsonl_file(rows: Iterable[dict[str, Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8") as stream:
        write_jsonl(rows, stream)


def _parquet_file(rows: Iterable[dict[str, Any]], path: Path) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError(
            "Parquet export needs pyarrow.",
            next_action="Install it with: pip install 'edgeinspect[parquet]'",
        ) from error
    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])
    remaining = iter(rows)
    with pq.ParquetWriter(path, schema) as writer:
        while batch := [_flat(row) for row in islice(remaining, _BATCH_ROWS)]:
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))


_WRITERS: dict[ExportFormat, Callable[[Iterable[dict[str, Any]], Path], None]] = {
    ExportFormat.CSV: _csv_file,
    ExportFormat.JSONL: _jsonl_file,
    ExportFormat.PARQUET: _parquet_file,
}
_RECORD_FIELDS = (
    "trigger_mono_ns",
    "frame_mono_ns",
    "verdict_mono_ns",
    "deadline_mono_ns",
    "window_start_mono_ns",
    "window_end_mono_ns",
    "encoder_count",
)
_FRAME_FIELDS = (
    "sequence",
    "exposure_mono_ns",
    "exposure_error_ns",
    "arrived_mono_ns",
    "source",
    "view",
)


def _inspection_as_dict(part: StoredPart) -> dict[str, Any]:
    inspection = part.record.inspection
    found: dict[str, Any] = {"scores": None, "order_statistics": None}
    if inspection is not None:
        names = part.classes or tuple(str(index) for index in range(len(inspection.scores)))
        found["scores"] = dict(zip(names, inspection.scores, strict=False))
        found["order_statistics"] = inspection.order_statistics
    return {
        **found,
        **_named(inspection, "", ("top_class", "top_score")),
        **{
            f"worst_{side}_px": getattr(inspection and inspection.worst_region, side, None)
            for side in ("x", "y", "width", "height")
        },
        **_named(
            inspection and inspection.quality,
            "quality_",
            ("mean", "clipped_low", "clipped_high", "focus", "others"),
        ),
        **_named(
            inspection and inspection.times,
            "",
            ("preprocess_ns", "invoke_ns", "postprocess_ns", "quality_ns"),
        ),
    }


def _named(value: object, prefix: str, fields: Iterable[str]) -> dict[str, Any]:
    return {f"{prefix}{field}": getattr(value, field, None) for field in fields}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
        for name, value in row.items()
    }
