"""The parity certificate as one HTML page."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.card import Card
from edgeinspect.errors import CameraFault
from edgeinspect.files.html_report import picture_url, render
from edgeinspect.hw.picture_file import read_picture
from edgeinspect_tools.quantize.int8_candidates import worst_layers
from edgeinspect_tools.verify.measure import Verification
from edgeinspect_tools.verify.score_histogram import score_histogram

_MAX_SHOWN, _SHOWN_PX = 12, 180


def report_html(card: Card, found: Verification, *, data: str) -> bytes:
    """Make the page."""
    return render(
        "edgeinspect_tools/verify/verify_page.html",
        card=card,
        found=found,
        data=data,
        figures=_figures(found),
        histogram=score_histogram(card, found),
        layers=worst_layers(found.layers) if found.gap is not None else [],
        pictures=[
            ("Escapes", *_shown(found, found.passed & found.defective)),
            ("False rejects", *_shown(found, ~found.passed & ~found.defective)),
        ],
    )


def _figures(found: Verification) -> list[tuple[str, object]]:
    shown: list[tuple[str, object]] = [
        (name.replace("_", " "), f"{value:.6g}" if isinstance(value, float) else value)
        for name, value in found.figures().items()
        if name != "score_map_error" and value is not None
    ]
    map_error = found.scored.map_error
    return shown + [(f"score map error, {name}", value) for name, value in map_error.items()]


def _shown(found: Verification, chosen: NDArray[np.bool_]) -> tuple[list[tuple[str, str]], int]:
    """The first of the chosen pictures with their captions, and how many were chosen."""
    places = np.flatnonzero(chosen).tolist()
    return [_thumbnail(found, at) for at in places[:_MAX_SHOWN]], len(places)


def _thumbnail(found: Verification, at: int) -> tuple[str, str]:
    item, score = found.items[at], float(found.scored.int8[at].max())
    try:
        pixels = read_picture(item.path)
    except CameraFault:
        pixels = np.full((60, 80), 30, np.uint8)
    caption = f"{item.path.name}: {item.label}, score {score:.3f}"
    return picture_url(pixels, width_px=_SHOWN_PX), caption
