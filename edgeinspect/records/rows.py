"""Translating a part's record to the columns of one row, and back.

NumPy numbers become Python's own, because SQL does not take NumPy scalars. Values that are not
finite are stored as NULL and read back as NaN, so that a broken score never keeps a record from
being written.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from edgeinspect.part import (
    CameraControls,
    Doubt,
    FrameMeta,
    FrameQuality,
    GateOutcome,
    Inspection,
    PartRecord,
    Region,
    StageTimes,
    Verdict,
    VerdictKind,
)

SqlValue = int | float | str | bytes | None

_HEADER = struct.Struct("<HH")
_FRAME = (
    *("sequence", "exposure_mono_ns", "exposure_error_ns", "arrived_mono_ns"),
    *("source", "view"),
)
_TIMES = ("preprocess_ns", "invoke_ns", "postprocess_ns", "quality_ns")


def encode_record(record: PartRecord) -> dict[str, SqlValue]:
    """The columns of table ``parts`` that the record fills; the writer adds the others."""
    verdict = record.verdict
    return {
        "part_id": int(record.part_id),
        "trigger_mono_ns": int(record.trigger_mono_ns),
        "frame_mono_ns": _int(record.frame_mono_ns),
        "verdict_mono_ns": _int(record.verdict_mono_ns),
        "deadline_mono_ns": _int(record.deadline_mono_ns),
        "window_start_mono_ns": _int(record.window_start_mono_ns),
        "window_end_mono_ns": _int(record.window_end_mono_ns),
        "encoder_count": _int(record.encoder_count),
        "verdict": verdict.kind.value,
        "defect_class": _text(verdict.defect_class),
        "score": _real(verdict.score),
        "doubt": None if verdict.doubt is None else verdict.doubt.value,
        "reason": _text(verdict.reason),
        "detail": _text(verdict.detail),
        "gate_outcome": record.gate_outcome.value,
        **_encode_frame(record.frame),
        **_encode_inspection(record.inspection),
    }


def decode_record(row: Mapping[str, Any], recipe_digest: str) -> PartRecord:
    """Rebuild the record from its row. Raises ValueError on unknown names."""
    doubt = row["doubt"]
    return PartRecord(
        part_id=row["part_id"],
        trigger_mono_ns=row["trigger_mono_ns"],
        verdict=Verdict(
            kind=VerdictKind(row["verdict"]),
            defect_class=row["defect_class"],
            score=_float(row["score"]),
            doubt=None if doubt is None else Doubt(doubt),
            detail=row["detail"],
        ),
        gate_outcome=GateOutcome(row["gate_outcome"]),
        recipe_digest=recipe_digest,
        frame=_decode_frame(row),
        inspection=_decode_inspection(row),
        frame_mono_ns=row["frame_mono_ns"],
        verdict_mono_ns=row["verdict_mono_ns"],
        deadline_mono_ns=row["deadline_mono_ns"],
        window_start_mono_ns=row["window_start_mono_ns"],
        window_end_mono_ns=row["window_end_mono_ns"],
        encoder_count=row["encoder_count"],
    )


def encode_order_statistics(values: Sequence[Sequence[float]]) -> bytes:
    """Pack (classes, ranks) values in [0, 1].

    Layout: two little-endian uint16, classes and ranks, then float32 values, class by class.
    """
    ranks = len(values[0]) if values else 0
    flat = [float(value) for row in values for value in row]
    return _HEADER.pack(len(values), ranks) + struct.pack(f"<{len(flat)}f", *flat)


def decode_order_statistics(blob: bytes) -> tuple[tuple[float, ...], ...]:
    """Unpack the values of ``encode_order_statistics``, exact to float32."""
    classes, ranks = _HEADER.unpack_from(blob)
    flat = struct.unpack_from(f"<{classes * ranks}f", blob, _HEADER.size)
    return tuple(flat[start : start + ranks] for start in range(0, classes * ranks, ranks or 1))


def _encode_frame(frame: FrameMeta | None) -> dict[str, SqlValue]:
    if frame is None:
        return {f"frame_{name}": None for name in (*_FRAME, *CameraControls.names())}
    return {
        "frame_sequence": int(frame.sequence),
        "frame_exposure_mono_ns": int(frame.exposure_mono_ns),
        "frame_exposure_error_ns": int(frame.exposure_error_ns),
        "frame_arrived_mono_ns": int(frame.arrived_mono_ns),
        "frame_source": _text(frame.source),
        "frame_view": _text(frame.view),
        **{
            f"frame_{name}": _real(getattr(frame.controls, name)) for name in CameraControls.names()
        },
    }


def _decode_frame(row: Mapping[str, Any]) -> FrameMeta | None:
    if row["frame_sequence"] is None:
        return None
    return FrameMeta(
        sequence=row["frame_sequence"],
        exposure_mono_ns=row["frame_exposure_mono_ns"],
        exposure_error_ns=row["frame_exposure_error_ns"] or 0,  # empty before schema 3
        arrived_mono_ns=row["frame_arrived_mono_ns"],
        controls=CameraControls(**{name: row[f"frame_{name}"] for name in CameraControls.names()}),
        source=row["frame_source"],
        view=row["frame_view"],
    )


def _encode_inspection(inspection: Inspection | None) -> dict[str, SqlValue]:
    worst = None if inspection is None else inspection.worst_region
    x, y, width, height = (None,) * 4 if worst is None else (int(side) for side in worst)
    box: dict[str, SqlValue] = {
        "worst_x_px": x,
        "worst_y_px": y,
        "worst_width_px": width,
        "worst_height_px": height,
    }
    quality = None if inspection is None else inspection.quality
    return {
        "scores": None if inspection is None else _numbers(inspection.scores),
        "top_class": None if inspection is None else _text(inspection.top_class),
        "top_score": None if inspection is None else _real(inspection.top_score),
        "order_statistics": None
        if inspection is None
        else encode_order_statistics(inspection.order_statistics),
        **box,
        "quality_mean": None if quality is None else _real(quality.mean),
        "quality_clipped_low": None if quality is None else _real(quality.clipped_low),
        "quality_clipped_high": None if quality is None else _real(quality.clipped_high),
        "quality_focus": None if quality is None else _real(quality.focus),
        "quality_others": None if quality is None else _json(quality.others),
        **{
            name: None if inspection is None else int(getattr(inspection.times, name))
            for name in _TIMES
        },
    }


def _decode_inspection(row: Mapping[str, Any]) -> Inspection | None:
    if row["scores"] is None:
        return None
    worst = None
    if row["worst_x_px"] is not None:
        worst = Region(
            row["worst_x_px"], row["worst_y_px"], row["worst_width_px"], row["worst_height_px"]
        )
    return Inspection(
        scores=tuple(_float(score) for score in json.loads(row["scores"])),
        top_class=row["top_class"],
        top_score=_float(row["top_score"]),
        quality=FrameQuality(
            mean=_float(row["quality_mean"]),
            clipped_low=_float(row["quality_clipped_low"]),
            clipped_high=_float(row["quality_clipped_high"]),
            focus=_float(row["quality_focus"]),
            others=_by_name(row["quality_others"]),
        ),
        order_statistics=decode_order_statistics(row["order_statistics"]),
        worst_region=worst,
        times=StageTimes(**{name: row[name] for name in _TIMES}),
    )


def _int(value: int | None) -> int | None:
    return None if value is None else int(value)


def _real(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _float(value: float | None) -> float:
    return math.nan if value is None else value


def _numbers(values: Sequence[float]) -> str:
    return json.dumps([_real(value) for value in values], separators=(",", ":"))


def _json(values: Mapping[str, float]) -> str | None:
    """NULL rather than an empty object: a station without further checks pays nothing for them."""
    found = {name: _real(value) for name, value in values.items()}
    return json.dumps(found, separators=(",", ":")) if found else None


def _by_name(text: str | None) -> dict[str, float]:
    return {name: _float(value) for name, value in json.loads(text or "{}").items()}


def _text(value: str) -> str:
    """Replace bytes that are not UTF-8: file names may have them, SQL text may not."""
    return value.encode("utf-8", "replace").decode("utf-8")
