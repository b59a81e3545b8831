"""The parity certificate as one HTML page."""

from __future__ import annotations

import numpy as np

from edgeinspect.bundle.card import Card
from edgeinspect.errors import CameraFault
from edgeinspect.hw.picture_file import read_picture
from edgeinspect_tools.data.dataset import Item
from edgeinspect_tools.page import figure, heading, histogram, page, paragraph, rows, strip
from edgeinspect_tools.quantize.int8_candidates import worst_layers
from edgeinspect_tools.verify.measure import Verification

_SHOWN = 12


def report_html(card: Card, found: Verification, *, data: str) -> bytes:
    """Put the page together; every name from outside is escaped."""
    figures = found.figures()
    bad, good = found.scored.bad_and_good(found.scored.int8)
    limits = card.threshold(card.defect_classes[0])
    shown = [
        (name.replace("_", " "), f"{value:.6g}" if isinstance(value, float) else value)
        for name, value in figures.items()
        if name != "score_map_error" and value is not None
    ]
    shown += [(f"score map error, {name}", value) for name, value in found.scored.map_error.items()]
    parts = [
        paragraph(f"{len(found.items)} held-out pictures of {data}", kind="quiet"),
        _verdict(found),
        histogram(good, bad, limits=[("review", limits.review), ("reject", limits.reject)]),
        heading("Figures"),
        rows(shown, numbers=(1,)),
        *_against_float(found),
        *_pictures("Escapes", found, found.passed & found.defective),
        *_pictures("False rejects", found, ~found.passed & ~found.defective),
    ]
    return page(f"Certificate of {card.name} {card.version}", parts)


def _verdict(found: Verification) -> str:
    if found.gap is None:
        return paragraph(
            "The float model is not known, so int8 could not be compared with it. "
            "The station's replay gave the tools' scores bit for bit.",
            kind="quiet",
        )
    if found.gap.is_within_bound and not found.gap.is_loss_within_bound:
        return paragraph(
            "int8 ranks these pictures worse than float, but by no more than so few pictures "
            "bring by chance, and no score moved by more than the declared band. More pictures "
            "would tell.",
            kind="quiet",
        )
    if found.gap.is_within_bound:
        return paragraph(
            "int8 holds its bound against float, and the station's replay gave the tools' scores "
            "bit for bit.",
            kind="good",
        )
    return paragraph("int8 strays further from float than its bound.", kind="bad")


def _against_float(found: Verification) -> list[str]:
    """Nothing where the float model is not known."""
    if found.gap is None:
        return []
    layers = worst_layers(found.layers)
    return [
        heading("Flips"),
        _flips(found),
        heading("Layers"),
        paragraph("Signal to quantization noise; a layer far below the others costs accuracy."),
        rows(
            [(layer["tensor"], f"{layer['sqnr_db']:.1f}") for layer in layers],
            head=("worst layers", "dB"),
            numbers=(1,),
        ),
    ]


def _flips(found: Verification) -> str:
    if not found.flips:
        return paragraph("No verdict differs between float and int8.")
    return rows(
        [
            (f.file, f.threshold, f.defect_class, f.score_float, f.score_int8, f.distance)
            for f in found.flips
        ],
        head=("picture", "threshold", "class", "float", "int8", "float's distance"),
        numbers=(3, 4, 5),
    )


def _pictures(title: str, found: Verification, chosen: np.typing.NDArray[np.bool_]) -> list[str]:
    places = np.flatnonzero(chosen).tolist()
    if not places:
        return [heading(title), paragraph("None.")]
    shown = [
        _thumbnail(found.items[at], float(found.scored.int8[at].max())) for at in places[:_SHOWN]
    ]
    more = [paragraph(f"and {len(places) - _SHOWN} more")] if len(places) > _SHOWN else []
    return [heading(title), strip(shown), *more]


def _thumbnail(item: Item, score: float) -> str:
    try:
        pixels = read_picture(item.path)
    except CameraFault:
        pixels = np.full((60, 80), 30, np.uint8)
    return figure(pixels, f"{item.path.name}: {item.label}, score {score:.3f}")
