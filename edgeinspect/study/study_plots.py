"""The layout of the agreement study's plots; ``study_plots.html`` draws them.

All lengths are pixels of the drawing, from the top left corner of the plotting area.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from edgeinspect.study.study import BAD, Bound, Grade, Study

KINDS = {Grade.ACCEPTABLE: "good", Grade.MARGINAL: "warn", Grade.UNACCEPTABLE: "bad"}
"""How a report shows each grade: a class of its style sheet, and a colour."""
_WIDTH_PX, _ROW_PX = 540, 34
_MAX_PARTS_DRAWN = 120


class Mark(NamedTuple):
    """One figure with its interval; a NaN is not drawn."""

    name: str
    value: float
    low: float
    high: float


class IntervalRow(NamedTuple):
    """A dot with its interval; None where there is nothing to draw."""

    name: str
    y: int
    x: float | None
    interval: tuple[float, float] | None
    kind: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalPlot:
    """Figures with their intervals, in front of the acceptable and the marginal range."""

    label: str
    width_px: int
    bottom_px: int
    acceptable: tuple[float, float]
    marginal: tuple[float, float]
    ticks: list[tuple[float, str]]
    rows: list[IntervalRow]


def interval_plot(
    marks: Sequence[Mark], *, bound: Bound, span: tuple[float, float], what: str
) -> IntervalPlot:
    """Lay out a row for each mark, on an axis from ``span[0]`` to ``span[1]``."""
    start, end = span

    def x(value: float) -> float:
        return round((min(max(value, start), end) - start) / (end - start) * _WIDTH_PX, 1)

    def between(a: float, b: float) -> tuple[float, float]:
        return min(x(a), x(b)), max(x(a), x(b))

    def row(at: int, mark: Mark) -> IntervalRow:
        return IntervalRow(
            name=mark.name,
            y=_ROW_PX * at + _ROW_PX // 2,
            x=None if math.isnan(mark.value) else x(mark.value),
            interval=None if math.isnan(mark.value + mark.low) else (x(mark.low), x(mark.high)),
            kind=KINDS[bound.grade(mark.value)],
            title=f"{mark.value:.3f} ({mark.low:.3f} to {mark.high:.3f})",
        )

    ticks = [start + (end - start) * tick / 5 for tick in range(6)]
    return IntervalPlot(
        label=f"{what} with intervals",
        width_px=_WIDTH_PX,
        bottom_px=_ROW_PX * len(marks),
        acceptable=between(bound.acceptable, end if bound.high_is_good else start),
        marginal=between(bound.marginal, bound.acceptable),
        ticks=[(x(value), f"{value:.2g}") for value in ticks],
        rows=[row(at, mark) for at, mark in enumerate(marks)],
    )


class DecisionRow(NamedTuple):
    """One appraiser's decisions in one trial, each with its part's name."""

    y: int
    trial: int
    cells: list[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionPlot:
    """A square for each decision: rows are appraisers and trials, columns are parts.

    Attributes:
        names: each appraiser and where the appraiser's rows begin.
        step_px: from one column to the next.
        square_px: width of a square.
        first_good_px: where the good parts begin, to the right of the bad ones.
    """

    names: list[tuple[str, int]]
    rows: list[DecisionRow]
    step_px: float
    square_px: float
    first_good_px: float
    bottom_px: int


def decision_plot(study: Study) -> DecisionPlot:
    """Lay out every decision; of a large study, those on its first parts."""
    drawn = np.argsort(study.reference, kind="stable")[:_MAX_PARTS_DRAWN]
    step_px = min(14.0, _WIDTH_PX / max(1, len(drawn)))
    names, rows, y = [], [], 0
    for a, appraiser in enumerate(study.appraisers):
        names.append((appraiser, y))
        for trial in range(study.trials):
            cells = [(study.parts[p], _outcome(study, a, int(p), trial)) for p in drawn]
            rows.append(DecisionRow(y=y, trial=trial + 1, cells=cells))
            y += 15
        y += 8
    return DecisionPlot(
        names=names,
        rows=rows,
        step_px=step_px,
        square_px=round(max(1.0, step_px - 2), 1),
        first_good_px=round(int((study.reference[drawn] == BAD).sum()) * step_px, 1),
        bottom_px=y,
    )


def _outcome(study: Study, appraiser: int, part: int, trial: int) -> str:
    truth = study.reference[part]
    if study.decisions[appraiser, part, trial] == truth:
        return "right"
    return "missed" if truth == BAD else "false alarm"
