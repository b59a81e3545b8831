"""A regularised linear head on the pooled features of a frozen encoder; trains in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special
from typing_extensions import override

from edgeinspect.bundle.card import Interpolation, Role, Task
from edgeinspect.bundle.preprocess import resize
from edgeinspect.errors import UsageError
from edgeinspect.line.scores import Activation, ReducerKind
from edgeinspect_tools.quantize import float_tflite
from edgeinspect_tools.quantize.int8 import Run, run_tflite
from edgeinspect_tools.statistics import auroc
from edgeinspect_tools.train.choice import Scored
from edgeinspect_tools.train.head import fit_head
from edgeinspect_tools.train.maps import real_input
from edgeinspect_tools.train.methods.training_method import (
    LabelledPictures,
    Learned,
    TrainingJob,
    TrainingMethod,
    check_both_kinds,
    check_first_weights,
    described_input,
)
from edgeinspect_tools.train.networks import classifier, pooled_features, set_classifier_head
from edgeinspect_tools.train.samples import Sample, read_pixels
from edgeinspect_tools.train.tensorflow_setup import prepare_tensorflow
from edgeinspect_tools.train.training_settings import EncoderChoice, TrainSettings
from edgeinspect_tools.train.weights import load_encoder

_VIEWS = 4
"""Each picture is seen as it is, mirrored along x, along y, and along both."""

Real = NDArray[np.float32]


class LinearHead(TrainingMethod):
    """Trains a linear head on a frozen encoder."""

    @override
    def check(self, pictures: LabelledPictures, settings: TrainSettings) -> None:
        check_whole_pictures(pictures, settings)
        check_loaded(settings)

    @override
    def train(self, job: TrainingJob) -> Learned:
        settings = job.settings
        prepare_tensorflow(settings)
        learned, checked = scaled_pictures(job)
        model = loaded_classifier(job)
        strength, value = set_frozen_head(model, learned, checked, settings)
        job.say(done=1.0, text=f"frozen encoder: {value:.4f} on validation")
        job.progress.curves = [{"step": 0, "value": value}]
        notes = {
            "encoder": EncoderChoice.FROZEN.value,
            "regularisation": strength,
            "frozen_value": round(value, 5),
        }
        return Learned(float_tflite(model), described_classifier(job) | notes)

    @override
    def score(
        self, learned: Learned, samples: Sequence[Sample], settings: TrainSettings
    ) -> list[Scored]:
        return score_whole_pictures(learned.float_model, samples, settings)


@dataclass(frozen=True, slots=True)
class WholePictures:
    """Pictures scaled to the network's input, as the station scales them.

    Attributes:
        pixels: uint8 (n, height, width, channels).
        labels: (n,), 0 good, class index + 1.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    labels: NDArray[np.int64]


def check_whole_pictures(pictures: LabelledPictures, settings: TrainSettings) -> None:
    """Raise UsageError where whole pictures cannot be classified with these settings."""
    check_both_kinds(pictures)
    check_first_weights(settings)
    if settings.reference:
        raise UsageError("A classifier cannot use references; choose --method segmentation.")


def check_loaded(settings: TrainSettings) -> None:
    """Raise UsageError where the encoder to be frozen has random weights."""
    if settings.weights == "none":
        raise UsageError("A frozen encoder needs weights; give them with --weights.")


def scaled_pictures(job: TrainingJob) -> tuple[WholePictures, WholePictures]:
    """The job's training and validation pictures, scaled; they stay in memory."""
    pictures, settings = job.pictures, job.settings
    return read_scaled(pictures.training, settings), read_scaled(pictures.validation, settings)


def read_scaled(samples: Sequence[Sample], settings: TrainSettings) -> WholePictures:
    """Read and scale pictures. Raises UsageError where one cannot be read."""
    height, width = settings.resize_shape
    pixels = []
    for sample in samples:
        whole = read_pixels(sample.path, gray=settings.gray)
        flat = whole[..., 0] if settings.gray else whole
        scaled = resize(flat, height, width, Interpolation.LINEAR)
        pixels.append(scaled.reshape(height, width, -1))
    labels = [0 if sample.index is None else sample.index + 1 for sample in samples]
    return WholePictures(np.stack(pixels), np.array(labels, np.int64))


def loaded_classifier(job: TrainingJob) -> Any:
    """The Keras classifier of the job, with its first weights where any are given."""
    settings = job.settings
    loaded = settings.weights != "none"
    model = classifier(
        settings,
        channels=1 if settings.gray else 3,
        classes=len(job.pictures.classes) + 1,
        shape_px=settings.resize_shape,
        norm=not loaded,
    )
    if loaded:
        load_encoder(model, settings)
    return model


def set_frozen_head(
    model: Any, learned: WholePictures, checked: WholePictures, settings: TrainSettings
) -> tuple[float, float]:
    """Put the best regularised head on the encoder as it is.

    The station's kernels compute the features, in a fraction of the time that Keras takes.

    Returns:
        The head's regularisation, and its value on validation: see ``class_value``.
    """
    encoder = run_tflite(float_tflite(pooled_features(model)))
    views = range(_VIEWS if settings.turns else 1)
    features = np.concatenate([outputs(encoder, _mirrored(learned.pixels, n)) for n in views])
    labels = np.concatenate([learned.labels] * len(views))
    held_out = outputs(encoder, checked.pixels)

    def value_of(logits: NDArray[np.float64]) -> float:
        return class_value(softmax(logits), checked.labels)

    classes = int(model.output_shape[-1])
    weights, bias, strength = fit_head(features, labels, held_out, value_of, classes=classes)
    set_classifier_head(model, weights, bias)
    return strength, value_of((held_out @ weights + bias).astype(np.float64))


def class_value(found: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean of balanced accuracy and AUROC of good against defective.

    Args:
        found: probabilities (n, classes), the first of them good.
    """
    hits = found.argmax(axis=1) == labels
    balanced = float(np.mean([hits[labels == k].mean() for k in np.unique(labels)]))
    good = labels == 0
    if good.all() or not good.any():
        return balanced
    defect = found[:, 1:].max(axis=1)
    return (balanced + auroc(defect[~good].tolist(), defect[good].tolist())) / 2


def score_whole_pictures(
    float_model: bytes, samples: Sequence[Sample], settings: TrainSettings
) -> list[Scored]:
    """The highest defect probability of each picture."""
    scaled = read_scaled(samples, settings)
    logits = outputs(run_tflite(float_model), scaled.pixels).astype(np.float64)
    defect = softmax(logits)[:, 1:].max(axis=1)
    return [
        Scored(sample.index, {(ReducerKind.MAX, 1): float(score)})
        for sample, score in zip(samples, defect, strict=True)
    ]


def described_classifier(job: TrainingJob) -> dict[str, Any]:
    """The part of ``run.json`` about a classifier of whole pictures."""
    settings = job.settings
    height, width = settings.resize_shape
    defects = [{"name": name, "role": Role.DEFECT.value} for name in job.pictures.classes]
    return {
        "task": Task.CLASSIFICATION.value,
        "classes": [{"name": "good", "role": Role.GOOD.value}, *defects],
        "input": {
            **described_input(settings),
            "fit": "resize",
            "tile_height_px": height,
            "tile_width_px": width,
            "tile_overlap_px": 0,
        },
        "output": {"activation": Activation.SOFTMAX.value, "stride_px": None},
    }


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (n, classes)."""
    return np.asarray(special.softmax(logits, axis=1), np.float64)


def outputs(run: Run, pixels: NDArray[np.uint8]) -> Real:
    """A TFLite model's outputs for pictures, one at a time."""
    parts = [run(real_input(pixels[at : at + 1])) for at in range(len(pixels))]
    return np.concatenate(parts).astype(np.float32)


def _mirrored(pixels: NDArray[np.uint8], view: int) -> NDArray[np.uint8]:
    if view in (1, 3):
        pixels = pixels[:, :, ::-1]
    return np.ascontiguousarray(pixels[:, ::-1] if view >= 2 else pixels)
