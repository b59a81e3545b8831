"""A bundle around a full-integer model that somebody else made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.card import (
    DTYPE_RANGE,
    Activation,
    ClassCard,
    ColorOrder,
    Fit,
    Interpolation,
    ReducerCard,
    Task,
    ThresholdCard,
)
from edgeinspect.bundle.directory import Bundle
from edgeinspect.errors import ModelRefused
from edgeinspect.hw.litert import Kernels, open_model
from edgeinspect.ports import TensorSpec
from edgeinspect_tools.given_model import read_tried
from edgeinspect_tools.pack.checked_bundle import write_checked_bundle
from edgeinspect_tools.quantize.draft_bundle import make_card

_SLACK = 0.02


def wrap_model(
    model_path: Path,
    out_dir: Path,
    *,
    classes: Sequence[ClassCard],
    name: str,
    version: str = "1",
    task: Task = Task.CLASSIFICATION,
    color: ColorOrder | None = None,
    fit: Fit = Fit.RESIZE,
    tile_overlap_px: int = 0,
    interpolation: Interpolation = Interpolation.LINEAR,
    with_reference: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    activation: Activation = Activation.NONE,
    stride_px: int | None = None,
    reducer: ReducerCard | None = None,
    thresholds: Mapping[str, ThresholdCard] | None = None,
    licence: str = "unknown",
    attribution: str = "",
    provenance: Mapping[str, Any] | None = None,
    pictures: Sequence[NDArray[np.uint8]] | None = None,
    replace: bool = False,
) -> Bundle:
    """Write a bundle whose card follows from the model's own tensors.

    Args:
        model_path: the int8 or uint8 model.
        out_dir: the bundle's directory.
        classes: one per output channel, in order.
        name: the bundle's name.
        version: the bundle's version.
        task: what the model does.
        color: None for grey with one input channel and RGB with three.
        fit: how a picture becomes the model's input.
        tile_overlap_px: overlap of neighbouring tiles.
        interpolation: for ``Fit.RESIZE``.
        with_reference: the model's last channel is a picture of a faultless part.
        mean: in grey levels. None: a pixel's value is its quantized value (uint8), or that value
            less 128 (int8), as quantized image models expect.
        std: in grey levels; None as for ``mean``.
        activation: turns outputs into scores.
        stride_px: pixels per cell of the score map.
        reducer: turns a score map into one score.
        thresholds: None for review from 0.3 and reject from 0.5 for every defect class.
        licence: licence of the weights.
        attribution: credit to the owners.
        provenance: origin of the model.
        pictures: golden pictures of the size of a region; None for four drawn ones. Real ones are
            better: where a classifier is undecided, kernels differ most.
        replace: allow an existing bundle.

    Raises:
        ModelRefused: the file cannot be read or run, ``out_dir`` already exists, the outputs are
            not scores in [0, 1] under the given activation, or the arguments contradict the model
            or one another.
        StorageFault: the bundle cannot be written.
    """
    model = read_tried(Path(model_path))
    reference = open_model(model, source=str(model_path), kernels=Kernels.REFERENCE, probe=False)
    source, output = reference.input_spec, reference.output_spec
    reference.close()
    _check_range(output, activation, str(model_path))
    channels = source.shape[3] if len(source.shape) == 4 else 1
    channels -= with_reference
    if color is None:
        color = ColorOrder.GRAY if channels == 1 else ColorOrder.RGB
    offset = 0 if source.dtype == "uint8" else 128
    card = make_card(
        _tensor(source),
        _tensor(output),
        input={
            "color": color,
            "fit": fit,
            "tile_overlap_px": tile_overlap_px,
            "interpolation": interpolation,
            "reference": with_reference,
            "mean": tuple(mean or [float(source.zero_point + offset)] * channels),
            "std": tuple(std or [1.0 / source.scale] * channels),
        },
        output={"activation": activation, "stride_px": stride_px},
        name=name,
        version=version,
        task=task,
        classes=tuple(classes),
        reducer=reducer or ReducerCard(),
        thresholds=thresholds,
        provenance=dict(provenance or {}),
        licence=licence,
        attribution=attribution,
    )
    return write_checked_bundle(out_dir, card, model, pictures=pictures, replace=replace)


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {key: value for key, value in asdict(spec).items() if key != "name"}


def _check_range(output: TensorSpec, activation: Activation, source: str) -> None:
    """Outputs used as they are must be scores; those of e.g. an embedding are not."""
    if activation is not Activation.NONE:
        return
    low, high = ((end - output.zero_point) * output.scale for end in DTYPE_RANGE[output.dtype])
    if low < -_SLACK or high > 1 + _SLACK:
        raise ModelRefused(
            f"{source} gives values from {low:.3g} to {high:.3g}, which are not scores in [0, 1].",
            next_action="State the activation (sigmoid or softmax), or use a classifier.",
        )
