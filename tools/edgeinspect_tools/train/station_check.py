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

from edgeinspect.bundle.card import (
    Activation,
    ClassCard,
    ColorOrder,
    Fit,
    ReducerCard,
    Role,
    Task,
    ThresholdCard,
)
from edgeinspect.bundle.directory import Bundle
from edgeinspect.bundle.inspector import Inspector
from edgeinspect.hw.litert import Kernels, open_engine, open_model
from edgeinspect.line.tiles import TileCutter, lay_tiles
from edgeinspect.part import Region
from edgeinspect_tools.pack.wrap_model import wrap_model
from edgeinspect_tools.quantize import quantize_int8
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
    """Quantize a segmentation run and wrap it.

    Args:
        pictures: of the training split, uint8 (height, width, channels), to calibrate with.
        golden: pictures for the golden check, of the same kind; the first four of ``pictures``
            where none are given.
    """
    described = run.description
    float_model = run.model.read_bytes()
    samples = calibration_tiles(pictures, described)
    int8_model = quantize_int8(float_model, samples, output_range=_LOGITS)
    path = out.with_suffix(".int8.tflite")
    path.write_bytes(int8_model)
    source = str(path)
    reference = open_model(int8_model, source=source, kernels=Kernels.REFERENCE, probe=False)
    fast = open_model(int8_model, source=source, threads=1, probe=False)
    default = described["thresholds"]["default"]
    try:
        return wrap_model(
            path,
            out,
            reference=reference,
            measured_on=fast,
            classes=[ClassCard(name=c["name"], role=Role(c["role"])) for c in described["classes"]],
            name=name,
            task=Task.SEGMENTATION,
            color=ColorOrder(described["input"]["color"]),
            fit=Fit.TILES,
            tile_overlap_px=described["input"]["tile_overlap_px"],
            mean=described["input"]["mean"],
            std=described["input"]["std"],
            activation=Activation.SIGMOID,
            stride_px=described["output"]["stride_px"],
            reducer=ReducerCard.model_validate(described["reducer"]),
            thresholds={"default": ThresholdCard(**default)},
            with_reference=described["input"]["reference"],
            pictures=[p[..., 0] if p.shape[2] == 1 else p for p in golden or pictures[:4]],
            licence=licence,
            attribution=attribution,
            provenance={
                "run": {key: described[key] for key in ("seed", "settings", "data")},
                "box_fill": described["box_fill"],
            },
            replace=True,
        )
    finally:
        reference.close()
        fast.close()


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


@contextmanager
def station_inspector(bundle: Bundle, roi: Region | None = None) -> Iterator[Inspector]:
    """The station's inspection with one interpreter on one core, of whole pictures or a region."""
    engine = open_engine(bundle, threads=1)
    try:
        yield Inspector(bundle, engine, roi)
    finally:
        engine.close()
