"""The agreement study's plots as inline SVG. Every name from outside is escaped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from edgeinspect.files.html_report import BAD_COLOR, GOOD_COLOR, WARN_COLOR
from edgeinspect.study.study import BAD, Bound, Grade, Study

GRADE_COLORS = {
    Grade.ACCEPTABLE: GOOD_COLOR,
    Grade.MARGINAL: WARN_COLOR,
    Grade.UNACCEPTABLE: BAD_COLOR,
}
_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 760, 190, 30, 34, 14
_MAX_PARTS_DRAWN = 120

Place = Callable[[float], float]
"""From a value to its x in the drawing."""


class Mark(NamedTuple):
    """One figure with its interval; NaN ends are not drawn."""

    name: str
    value: float
    low: float
    high: float


def intervals(marks: Sequence[Mark], *, bound: Bound, span: tuple[float, float], what: str) -> str:
    """A dot with its interval for each mark, before the acceptable and the marginal range."""
    height = _TOP + _ROW * len(marks) + 30
    base = height - 30

    def x(value: float) -> float:
        low, high = span
        share = (min(max(value, low), high) - low) / (high - low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    shapes = [_band(x, span, bound, base), *_axis(x, span, base)]
    for at, mark in enumerate(marks):
        y = _TOP + _ROW * (at + 0.5)
        shapes.append(
            f'<text x="{_LEFT - 12}" y="{y + 4:.0f}" font-size="13" text-anchor="end">'
            f"{escape(_short(mark.name))}</text>"
        )
        if not math.isnan(mark.value):
            shapes.append(_whisker(x, mark, y, GRADE_COLORS[bound.grade(mark.value)]))
    return _svg(height, f"{what} with intervals", shapes)


def decisions(study: Study) -> str:
    """A square for each decision: rows are appraisers and trials, columns parts."""
    drawn = np.argsort(study.reference, kind="stable")[:_MAX_PARTS_DRAWN]
    step = min(14.0, (_WIDTH - _LEFT - _RIGHT) / max(1, len(drawn)))
    shapes, y = [], float(_TOP)
    for a, appraiser in enumerate(study.appraisers):
        shapes.append(
            f'<text x="{_LEFT - 12}" y="{y + 11:.0f}" font-size="13" text-anchor="end">'
            f"{escape(_short(appraiser))}</text>"
        )
        for trial in range(study.trials):
            for column, part in enumerate(drawn):
                color, title = _decision(study, a, int(part), trial)
                shapes.append(
                    f'<rect x="{_LEFT + column * step:.1f}" y="{y:.1f}" height="12" '
                    f'width="{max(1.0, step - 2):.1f}" fill="{color}"><title>{title}</title></rect>'
                )
            y += 15
        y += 8
    bad = int((study.reference[drawn] == BAD).sum())
    middle = _LEFT + bad * step
    shapes.append(
        f'<path d="M{middle:.1f} {_TOP - 4}V{y - 4:.0f}" stroke="#222" stroke-width="1.5"/>'
        f'<text x="{middle - 6:.1f}" y="{y + 10:.0f}" font-size="12" text-anchor="end">bad parts'
        f'</text><text x="{middle + 6:.1f}" y="{y + 10:.0f}" font-size="12">good parts</text>'
    )
    return _svg(y + 20, "every decision", shapes)


def _decision(study: Study, appraiser: int, part: int, trial: int) -> tuple[str, str]:
    """Its colour, and words for it."""
    truth = study.reference[part]
    right = study.decisions[appraiser, part, trial] == truth
    color = "#dfe6ea" if right else BAD_COLOR if truth == BAD else WARN_COLOR
    words = "right" if right else "missed" if truth == BAD else "false alarm"
    return color, escape(f"part {study.parts[part]}, trial {trial + 1}: {words}")


def _whisker(place: Place, mark: Mark, y: float, color: str) -> str:
    parts = []
    if not math.isnan(mark.low):
        low, high = place(mark.low), place(mark.high)
        parts.append(
            f'<path d="M{low:.1f} {y:.1f}H{high:.1f}M{low:.1f} {y - 6:.1f}v12'
            f'M{high:.1f} {y - 6:.1f}v12" stroke="{color}" stroke-width="2" fill="none"/>'
        )
    words = f"{mark.value:.3f} ({mark.low:.3f} to {mark.high:.3f})"
    parts.append(
        f'<circle cx="{place(mark.value):.1f}" cy="{y:.1f}" r="5" fill="{color}">'
        f"<title>{words}</title></circle>"
    )
    return "".join(parts)


def _band(place: Place, span: tuple[float, float], bound: Bound, base: float) -> str:
    good, fair = place(bound.acceptable), place(bound.marginal)
    end = place(span[1] if bound.high_is_good else span[0])
    return _box(good, end, base, "#e5f2e8") + _box(fair, good, base, "#fbf1da")


def _box(a: float, b: float, base: float, color: str) -> str:
    return (
        f'<rect x="{min(a, b):.1f}" y="{_TOP - 6}" width="{abs(b - a):.1f}" '
        f'height="{base - _TOP + 6:.0f}" fill="{color}"/>'
    )


def _axis(place: Place, span: tuple[float, float], base: float) -> Iterable[str]:
    yield f'<path d="M{_LEFT} {base}H{_WIDTH - _RIGHT}" stroke="#333"/>'
    for tick in range(6):
        value = span[0] + (span[1] - span[0]) * tick / 5
        yield (
            f'<text x="{place(value):.0f}" y="{base + 18:.0f}" font-size="12" '
            f'text-anchor="middle">{value:.2g}</text>'
        )


def _svg(height: float, what: str, shapes: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" width="100%" role="img" '
        f'aria-label="{escape(what)}">{"".join(shapes)}</svg>'
    )


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"
