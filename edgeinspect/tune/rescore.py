"""Stored pictures scored again: another region, tile layout, reducer or model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from edgeinspect.errors import InferenceFailed, NotGood
from edgeinspect.line.config import FrameChecks
from edgeinspect.line.verdict import judge_quality
from edgeinspect.part import Frame, Inspection, VerdictKind
from edgeinspect.records.reader import PartFilter, RecordReader, StoredPart
from edgeinspect.records.score_table import VERDICTS, ScoreColumns

Inspect = Callable[[Frame], Inspection]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescored:
    """The result of scoring stored pictures again.

    Attributes:
        columns: new scores beside the recorded verdicts; NaN where the new recipe could not inspect
            the picture.
        without_picture: number of selected, judged parts whose picture was not kept.
        not_inspected: part ids whose picture the new recipe could not inspect, with the reason.
    """

    columns: ScoreColumns
    without_picture: int
    not_inspected: dict[int, str] = field(default_factory=dict)


def rescore(
    reader: RecordReader,
    wanted: PartFilter,
    inspect: Inspect,
    *,
    classes: tuple[str, ...],
    checks: FrameChecks,
    limit: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Rescored:
    """Inspect the stored pictures of the selected, judged parts again, newest first.

    Stored pictures are not a fair sample of the line: rejects, reviews and near misses are kept
    first.

    Args:
        reader: the open records.
        wanted: selects the parts.
        inspect: the station's own inspector with the new recipe.
        classes: names of its scores.
        checks: frame checks of the new recipe; their doubts come before its scores.
        limit: the most pictures to inspect.
        progress: called with the number of pictures done.

    Raises:
        StorageFault: the records or a picture cannot be read.
    """
    rows: list[tuple[int, int, list[float]]] = []
    doubts: dict[str, int] = {}
    refused: dict[int, str] = {}
    without = 0
    codes = {kind: code for code, kind in enumerate(VERDICTS)}
    for part in reader.parts(wanted, newest_first=True):
        verdict = part.record.verdict
        if verdict.kind is VerdictKind.CANNOT_INSPECT:
            doubts[verdict.reason] = doubts.get(verdict.reason, 0) + 1
            continue
        if limit is not None and len(rows) >= limit:
            break
        try:
            scores, why = _scores(reader, part, inspect, checks, len(classes))
        except NotGood:  # not kept, or evicted just now
            without += 1
            continue
        if why:
            refused[part.record.part_id] = why
        rows.append((part.record.part_id, codes[verdict.kind], scores))
        progress(len(rows))
    rows.reverse()
    parts = len(rows)
    return Rescored(
        columns=ScoreColumns(
            classes=classes,
            part_ids=np.array([row[0] for row in rows], np.int64),
            recipe_ids=np.zeros(parts, np.int64),
            verdicts=np.array([row[1] for row in rows], np.uint8),
            scores=np.array([row[2] for row in rows], np.float64).reshape(parts, len(classes)),
            cannot_inspect=doubts,
        ),
        without_picture=without,
        not_inspected=refused,
    )


def _scores(
    reader: RecordReader, part: StoredPart, inspect: Inspect, checks: FrameChecks, classes: int
) -> tuple[list[float], str]:
    """The new scores, or NaN and why there are none."""
    pixels = reader.picture(part)
    frame = Frame.of_picture(pixels)
    nothing = [float("nan")] * classes
    try:
        inspection = inspect(frame)
    except InferenceFailed as error:
        return nothing, error.message
    doubt = judge_quality(inspection.quality, checks)
    if doubt is not None:
        return nothing, f"{doubt.reason}: {doubt.detail}"
    return list(inspection.scores), ""
