"""A bundle around a full-integer model that somebody else made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.card import (
    DEFAULT_THRESHOLD,
    DTYPE_RANGE,
    Activation,
    Card,
    ClassCard,
    ColorOrder,
    Fit,
    InputCard,
    Interpolation,
    OutputCard,
    ReducerCard,
    Task,
    ThresholdCard,
)
from edgeinspect.bundle.certificate import Certificate, Tolerance
from edgeinspect.bundle.directory import MAX_MODEL_BYTES, Bundle, read_bounded, write_bundle
from edgeinspect.bundle.golden import (
    GoldenReport,
    compare_with_golden,
    make_golden,
    parse_golden,
)
from edgeinspect.errors import ModelRefused
from edgeinspect.ports import Engine, TensorSpec

DEFAULT_TOLERANCE = Tolerance(output_steps=12, score_error=0.05)
"""For a model whose spread between kernels was not measured."""

_SLACK = 0.02


def wrap_model(
    model_path: Path,
    out_dir: Path,
    *,
    reference: Engine,
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
    tolerance: Tolerance | None = None,
    measured_on: Engine | None = None,
    replace: bool = False,
) -> Bundle:
    """Write a bundle whose card follows from the model's own tensors.

    Args:
        reference: an engine that runs this very model on the reference kernels; golden outputs
            come from it.
        classes: one per output channel, in order.
        color: None: grey for one input channel, RGB for three.
        with_reference: the model's last channel is a picture of a faultless part.
        mean: in grey levels; None: such that a pixel value is its quantized value (uint8),
            or that value less 128 (int8), as quantized image models expect.
        std: in grey levels; likewise.
        thresholds: None: review from 0.3 and reject from 0.5 for every defect class.
        pictures: golden ones, of the size of a region; None: four drawn ones. Real ones are
            better: where a classifier is undecided, kernels differ most.
        tolerance: of the golden check; None: half as much again as ``measured_on`` strays from
            the reference, or ``DEFAULT_TOLERANCE`` without it.
        measured_on: an engine that runs this model on the kernels of the stations.

    Raises:
        ModelRefused: the file cannot be read, ``out_dir`` already exists, or the outputs are no
            scores in [0, 1] under the given activation.
        pydantic.ValidationError: arguments that contradict the model or one another.
        StorageFault: the bundle cannot be written.
    """
    model = read_bounded(Path(model_path), MAX_MODEL_BYTES)
    source, output = reference.input_spec, reference.output_spec
    _check_range(output, activation, str(model_path))
    channels = source.shape[3] if len(source.shape) == 4 else 1
    channels -= with_reference
    if color is None:
        color = ColorOrder.GRAY if channels == 1 else ColorOrder.RGB
    offset = 0 if source.dtype == "uint8" else 128
    card = Card(
        name=name,
        version=version,
        task=task,
        input=InputCard(
            **_tensor(source),
            color=color,
            fit=fit,
            tile_overlap_px=tile_overlap_px,
            interpolation=interpolation,
            reference=with_reference,
            mean=tuple(mean or [float(source.zero_point + offset)] * channels),
            std=tuple(std or [1.0 / source.scale] * channels),
        ),
        output=OutputCard(**_tensor(output), activation=activation, stride_px=stride_px),
        classes=tuple(classes),
        reducer=reducer or ReducerCard(),
        thresholds=dict(thresholds or {DEFAULT_THRESHOLD: ThresholdCard(review=0.3, reject=0.5)}),
        provenance=dict(provenance or {}),
        licence=licence,
        attribution=attribution,
    )
    chosen = pictures if pictures is not None else drawn_pictures(card.input)
    golden = make_golden(card, chosen, reference)
    if tolerance is None:
        tolerance = DEFAULT_TOLERANCE
        if measured_on is not None:
            report = compare_with_golden(
                card, parse_golden(golden, card, str(out_dir)), measured_on
            )
            tolerance = tolerance_for(report, str(model_path))
    return write_bundle(
        out_dir,
        card=card,
        model=model,
        golden=golden,
        certificate=Certificate(tolerance=tolerance),
        replace=replace,
    )


def drawn_pictures(tile: InputCard, *, count: int = 4) -> list[NDArray[np.uint8]]:
    """Pictures of a tile's size with shapes, slopes and noise; the same on every machine."""
    rng = np.random.default_rng(20240229)
    height, width = tile.height, tile.width
    tail = () if tile.color is ColorOrder.GRAY else (3,)
    pictures: list[NDArray[np.uint8]] = []
    for index in range(count):
        slope = np.linspace(0, 160, width)[None, :] + np.linspace(0, 60, height)[:, None]
        picture = np.broadcast_to(
            slope.reshape(height, width, *([1] * len(tail))), (height, width, *tail)
        )
        picture = picture + rng.integers(0, 8 << index, (height, width, *tail))
        for _ in range(6):
            top, left = int(rng.integers(height)), int(rng.integers(width))
            picture[top : top + height // 4, left : left + width // 4] = rng.integers(0, 256, tail)
        pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
    return pictures


def tolerance_for(report: GoldenReport, source: str) -> Tolerance:
    """How far a station's engine may be from the reference kernels, given how far this one is.

    One and a half times the measured difference, because other processors round differently; and
    two output steps for a model on which this processor's kernels agree. A score in [0, 1] has
    256 steps, so 0.01 of score is the same allowance. More would hide an engine that computes
    wrongly.

    Raises:
        ModelRefused: the kernels differ by more than any certificate may allow.
    """
    steps = 2 + -(-3 * report.max_output_steps // 2)
    error = round(0.01 + 1.5 * report.max_score_error, 4)
    try:
        return Tolerance(output_steps=steps, score_error=error)
    except ValueError as cause:
        raise ModelRefused(
            f"{source}: the kernels differ by {report.max_output_steps} steps and "
            f"{report.max_score_error:.3f} in score on the golden pictures.",
            next_action="Give pictures on which the model is decided, or check its quantization.",
        ) from cause


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {
        "shape": spec.shape,
        "dtype": spec.dtype,
        "scale": spec.scale,
        "zero_point": spec.zero_point,
    }


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
