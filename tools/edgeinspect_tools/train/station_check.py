"""A freshly trained run as the station would use it: quantized, in a bundle, on its own engine.

For measuring while models are developed; ``edgeinspect-tools pack`` makes the bundles that ship.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.directory import Bundle
from edgeinspect.bundle.inspector import Inspector
from edgeinspect.errors import NotGood
from edgeinspect.hw.litert import open_engine
from edgeinspect.line.tiles import TileCutter, lay_tiles
from edgeinspect.part import Inspection, Region, ScoreMap
from edgeinspect_tools.pack.checked_bundle import write_checked_bundle
from edgeinspect_tools.quantize import quantize_int8
from edgeinspect_tools.quantize.draft_bundle import card_of
from edgeinspect_tools.train.maps import real_input
from edgeinspect_tools.train.outcome import TrainedRun

_TILES_A_PICTURE = 2
_LOGITS = (-9.0, 7.0)
"""Range kept of the logits: scores from 0.0001 to 0.999, in steps of at most 0.016."""


def quick_bundle(
    run: TrainedRun,
    pictures: Sequence[NDArray[np.uint8]],
    out: Path,
    *,
    name: str,
    licence: str,
    attribution: str = "",
    golden: Sequence[NDArray[np.uint8]] = (),
) -> Bundle:
    """Quantize a segmentation run and write its bundle.

    Args:
        run: the finished run.
        out: the bundle's directory.
        name: the bundle's name.
        licence: licence of the weights.
        attribution: credit to the owners.
        pictures: training pictures to calibrate with, uint8 (height, width, channels).
        golden: pictures for the golden check, of the same kind; the first four of ``pictures``
            where none are given.
    """
    described = run.description
    float_model = run.model.read_bytes()
    samples = calibration_tiles(pictures, described)
    int8_model = quantize_int8(float_model, samples, output_range=_LOGITS)
    card = card_of(
        described,
        int8_model,
        name=name,
        licence=licence,
        attribution=attribution,
        provenance={
            "run": {key: described[key] for key in ("seed", "settings", "data")},
            "box_fill": described["box_fill"],
        },
    )
    shown = [p[..., 0] if p.shape[2] == 1 else p for p in golden or pictures[:4]]
    return write_checked_bundle(out, card, int8_model, pictures=shown, replace=True)


def calibration_tiles(
    pictures: Sequence[NDArray[np.uint8]], described: dict[str, Any]
) -> list[NDArray[np.float32]]:
    """Real tiles (1, height, width, channels) of training pictures, and one of every grey level."""
    tile, overlap = described["input"]["tile_height_px"], described["input"]["tile_overlap_px"]
    channels = pictures[0].shape[2]
    levels = np.resize(np.arange(256, dtype=np.uint8), (1, tile, tile, channels))
    samples = [real_input(levels)]
    for number, pixels in enumerate(pictures):
        layout = lay_tiles(
            roi_width_px=pixels.shape[1],
            roi_height_px=pixels.shape[0],
            tile_width_px=tile,
            tile_height_px=tile,
            overlap_px=overlap,
            stride_px=described["output"]["stride_px"],
        )
        cut = TileCutter(layout, dtype="uint8", channels=channels).cut(pixels)
        for place in range(min(_TILES_A_PICTURE, len(cut))):
            chosen = np.array(cut[(number + place * 2) % len(cut)], np.uint8)
            samples.append(real_input(chosen[None]))
    return samples


def score_map_of(seen: Inspection) -> ScoreMap:
    """The inspection's score map. Raises NotGood without one."""
    if seen.score_map is None:
        raise NotGood("The bundle gives no score map.")
    return seen.score_map


@contextmanager
def station_inspector(bundle: Bundle, roi: Region | None = None) -> Iterator[Inspector]:
    """The station's inspection with one interpreter on one core, of whole pictures or a region."""
    engine = open_engine(bundle, threads=1)
    try:
        yield Inspector(bundle, engine, roi)
    finally:
        engine.close()
