"""Reports as one HTML file each: what only the tools' pages need beside the station's."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from edgeinspect.files.html_report import (
    BAD_COLOR,
    GOOD_COLOR,
    heading,
    page,
    paragraph,
    rows,
    strip,
)

__all__ = ["figure", "heading", "histogram", "page", "paragraph", "rows", "strip"]


def figure(pixels: NDArray[np.uint8], caption: str, *, width_px: int = 180) -> str:
    """A picture (grey or RGB) as a small PNG inside the page."""
    import cv2

    height = max(1, round(pixels.shape[0] * width_px / pixels.shape[1]))
    small = cv2.resize(pixels, (width_px, height), interpolation=cv2.INTER_AREA)
    if small.ndim == 3:
        small = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    data = base64.b64encode(cv2.imencode(".png", small)[1].tobytes()).decode()
    return (
        f'<figure><img alt="" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def histogram(
    good: Sequence[float], bad: Sequence[float], *, limits: Sequence[tuple[str, float]]
) -> str:
    """Scores of good and defective pictures over [0, 1] as an inline SVG.

    Heights are logarithmic, so that a single stray picture shows.
    """
    width, height, base, bins = 760, 190, 160, 50
    counts = [np.histogram(values, bins=bins, range=(0.0, 1.0))[0] for values in (good, bad)]
    top = max(1.0, float(np.log1p(np.max(counts))))
    step = (width - 20) / bins
    shapes = []
    for color, offset, series in ((GOOD_COLOR, 0.0, counts[0]), (BAD_COLOR, 0.5, counts[1])):
        for at, count in enumerate(series):
            if count:
                tall = max(3.0, 140 * float(np.log1p(count)) / top)
                shapes.append(
                    f'<rect x="{10 + (at + offset) * step:.1f}" y="{base - tall:.1f}" '
                    f'width="{step / 2 - 0.5:.1f}" height="{tall:.1f}" fill="{color}">'
                    f"<title>{int(count)}</title></rect>"
                )
    for name, limit in limits:
        x = 10 + limit * (width - 20)
        shapes.append(
            f'<path d="M{x:.1f} 12V{base}" stroke="#333" stroke-dasharray="4 3"/>'
            f'<text x="{min(x + 3, width - 60):.1f}" y="{22 if name == "review" else 36}" '
            f'font-size="12">{escape(name)}</text>'
        )
    axis = "".join(
        f'<text x="{10 + tick / 5 * (width - 20):.0f}" y="178" font-size="12" '
        f'text-anchor="middle">{tick / 5:g}</text>'
        for tick in range(6)
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" width="100%" role="img" '
        f'aria-label="scores of good and defective pictures">{"".join(shapes)}'
        f'<path d="M10 {base}H{width - 10}" stroke="#333"/>{axis}</svg>'
        f'<p class="quiet">Highest defect score of each picture: '
        f'<b style="color:{GOOD_COLOR}">good</b>, <b style="color:{BAD_COLOR}">defective</b>; '
        "heights are logarithmic.</p>"
    )
