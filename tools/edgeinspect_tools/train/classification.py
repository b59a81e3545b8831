"""Training of a classifier on whole pictures: a frozen encoder under a regularised head, against
the same network tuned as a whole; validation says which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.card import Interpolation
from edgeinspect.bundle.preprocess import resize
from edgeinspect.errors import UsageError
from edgeinspect.line.scores import ReducerKind
from edgeinspect_tools.quantize import float_tflite
from edgeinspect_tools.statistics import auroc
from edgeinspect_tools.train.augment import relit, turned
from edgeinspect_tools.train.checkpoint import Progress, assign, values
from edgeinspect_tools.train.choice import Choice, thresholds
from edgeinspect_tools.train.crops import Arrays, prepared
from edgeinspect_tools.train.fit import Say, Task, fit
from edgeinspect_tools.train.head import fit_head
from edgeinspect_tools.train.maps import Run, real_input, run_tflite
from edgeinspect_tools.train.networks import classifier, pooled_features, set_classifier_head
from edgeinspect_tools.train.samples import Sample, read_pixels
from edgeinspect_tools.train.training_settings import EncoderChoice, TrainSettings
from edgeinspect_tools.train.weights import load_encoder

_AT_ONCE = 8
_VARIANTS = 4

Real = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TrainedClassifier:
    """The float model, its choice on validation, how it came about, and which way won."""

    float_model: bytes
    choice: Choice
    progress: Progress
    notes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Squares:
    """Pictures scaled to the network's square, as the station scales them.

    Attributes:
        pixels: uint8 (n, side, side, channels).
        labels: (n,), 0 good, class index + 1.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    labels: NDArray[np.int64]


def train_classifier(
    training: Sequence[Sample],
    validation: Sequence[Sample],
    *,
    classes: int,
    settings: TrainSettings,
    progress: Progress,
    say: Say,
    keep: Callable[[Progress], None],
) -> TrainedClassifier:
    """Train a classifier with ``classes`` outputs, the first of them good.

    Raises:
        UsageError: a picture cannot be read; a frozen encoder without loaded weights; a
            reference, which classifiers do not take.
    """
    if settings.reference:
        raise UsageError("A classifier takes no reference picture; choose the task segmentation.")
    loaded = settings.weights != "none"
    if settings.encoder is EncoderChoice.FROZEN and not loaded:
        raise UsageError("A frozen encoder needs weights; name them with --weights.")
    learned, checked = (read_squares(part, settings) for part in (training, validation))
    model = classifier(
        settings,
        channels=1 if settings.gray else 3,
        classes=classes,
        side_px=settings.resize_px,
        norm=not loaded,
    )
    notes: dict[str, Any] = {"encoder": EncoderChoice.FINE_TUNED.value}
    best = -1.0
    frozen: list[NDArray[Any]] = []
    if loaded:
        load_encoder(model, settings)
    if loaded and settings.encoder is not EncoderChoice.FINE_TUNED:
        notes["regularisation"], best = frozen_head(model, learned, checked, classes, settings)
        frozen = values(model.weights)
        notes["frozen_value"] = round(best, 5)
        say(done=0.0, text=f"frozen encoder: {best:.4f} on validation")
    if settings.encoder is not EncoderChoice.FROZEN:
        progress = _tuned(
            model,
            learned,
            checked,
            classes=classes,
            settings=settings,
            progress=progress,
            say=say,
            keep=keep,
        )
        notes["fine_tuned_value"] = round(progress.best, 5)
    if frozen and (settings.encoder is EncoderChoice.FROZEN or best >= progress.best):
        assign(model.weights, frozen)
        notes["encoder"] = EncoderChoice.FROZEN.value
    progress.curves = progress.curves or [{"step": 0, "value": best}]
    float_model = float_tflite(model)
    logits = _features(run_tflite(float_model), checked.pixels).astype(np.float64)
    return TrainedClassifier(
        float_model, _choice(_softmax(logits), checked.labels), progress, notes
    )


def read_squares(samples: Sequence[Sample], settings: TrainSettings) -> Squares:
    """Read and scale all pictures; they stay in memory."""
    side = settings.resize_px
    pixels = []
    for sample in samples:
        whole = read_pixels(sample.path, gray=settings.gray)
        flat = whole[..., 0] if settings.gray else whole
        scaled = resize(flat, side, side, Interpolation.LINEAR)
        pixels.append(scaled.reshape(side, side, -1))
    labels = [0 if sample.index is None else sample.index + 1 for sample in samples]
    return Squares(np.stack(pixels), np.array(labels, np.int64))


def frozen_head(
    model: Any, learned: Squares, checked: Squares, classes: int, settings: TrainSettings
) -> tuple[float, float]:
    """Put the best regularised head on the encoder as it is; its regularisation and its worth.

    The features are computed by the station's kernels, which take a fraction of Keras's time.
    """
    encoder = run_tflite(float_tflite(pooled_features(model)))
    variants = _VARIANTS if settings.turns else 1
    parts, labels = [], []
    for variant in range(variants):
        laid = learned.pixels if variant == 0 else _laid(learned.pixels, variant)
        parts.append(_features(encoder, laid))
        labels.append(learned.labels)
    held_out = _features(encoder, checked.pixels)

    def worth_of(logits: NDArray[np.float64]) -> float:
        return worth(_softmax(logits), checked.labels)

    weights, bias, strength = fit_head(
        np.concatenate(parts), np.concatenate(labels), held_out, worth_of, classes=classes
    )
    set_classifier_head(model, weights, bias)
    return strength, worth_of((held_out @ weights + bias).astype(np.float64))


def squares_batch(learned: Squares, classes: int, settings: TrainSettings, number: int) -> Arrays:
    """A batch with every class equally often; the same number gives the same batch."""
    rng = np.random.default_rng((settings.seed, number))
    there = np.unique(learned.labels)
    pixels, labels = [], []
    for _ in range(settings.batch):
        label = int(there[rng.integers(len(there))])
        chosen = np.flatnonzero(learned.labels == label)
        square = learned.pixels[chosen[rng.integers(len(chosen))]]
        if settings.turns:
            square, _ = turned(square, square[..., 0], rng)
        pixels.append(relit(square, rng, settings.strength))
        labels.append(label)
    one_hot = np.eye(classes, dtype=np.float32)[labels]
    return [real_input(np.stack(pixels))], [one_hot]


def _tuned(
    model: Any,
    learned: Squares,
    checked: Squares,
    *,
    classes: int,
    settings: TrainSettings,
    progress: Progress,
    say: Say,
    keep: Callable[[Progress], None],
) -> Progress:
    """Train the whole network, from the frozen head on where there is one."""

    def loss(targets: Any, logits: Any) -> Any:
        import tensorflow as tf

        soft = 0.95 * targets + 0.05 / classes
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=soft, logits=logits))

    def validate() -> tuple[float, dict[str, float]]:
        value = _value(model, checked)
        return value, {"validation": value}

    task = Task(
        model=model,
        loss=loss,
        batches=lambda first: prepared(
            lambda number: squares_batch(learned, classes, settings, number), first
        ),
        validate=validate,
        refresh=lambda state: None,
    )
    return fit(task, settings, progress, say=say, keep=keep)


def _value(model: Any, checked: Squares) -> float:
    return worth(_probabilities(model, checked.pixels), checked.labels)


def worth(found: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
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


def _choice(found: NDArray[np.float64], labels: NDArray[np.int64]) -> Choice:
    defect = found[:, 1:].max(axis=1)
    good, bad = defect[labels == 0], defect[labels != 0]
    review, reject = thresholds(good, bad)
    both = len(good) and len(bad)
    return Choice(
        kind=ReducerKind.MAX,
        k=1,
        review=review,
        reject=reject,
        auroc=round(auroc(bad.tolist(), good.tolist()), 6) if both else None,
        good=len(good),
        defective=len(bad),
    )


def _probabilities(model: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    return _softmax(_run(model, pixels).astype(np.float64))


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float64)


def _features(run: Run, pixels: NDArray[np.uint8]) -> Real:
    """What a TFLite model makes of pictures, by the station's kernels."""
    parts = [run(real_input(pixels[at : at + 1])) for at in range(len(pixels))]
    return np.concatenate(parts).astype(np.float32)


def _run(model: Any, pixels: NDArray[np.uint8]) -> Real:
    """A Keras model over pictures, a few at a time."""
    parts = [
        np.asarray(model(real_input(pixels[first : first + _AT_ONCE]), training=False))
        for first in range(0, len(pixels), _AT_ONCE)
    ]
    return np.concatenate(parts).astype(np.float32)


def _laid(pixels: NDArray[np.uint8], variant: int) -> NDArray[np.uint8]:
    """All pictures mirrored along x, y or both."""
    if variant in (1, 3):
        pixels = pixels[:, :, ::-1]
    return np.ascontiguousarray(pixels[:, ::-1] if variant >= 2 else pixels)
