"""A classifier of whole pictures.

The whole network is tuned. If first weights are given, a linear head on the frozen encoder is
trained before. Validation decides between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from edgeinspect_tools.quantize import float_tflite
from edgeinspect_tools.train.augment import relit, turned
from edgeinspect_tools.train.checkpoint import assign, values
from edgeinspect_tools.train.choice import Scored
from edgeinspect_tools.train.crops import Arrays, prepared
from edgeinspect_tools.train.fit import Task, fit
from edgeinspect_tools.train.maps import real_input
from edgeinspect_tools.train.methods.linear_head import (
    Real,
    WholePictures,
    check_loaded,
    check_whole_pictures,
    class_value,
    described_classifier,
    loaded_classifier,
    scaled_pictures,
    score_whole_pictures,
    set_frozen_head,
    softmax,
)
from edgeinspect_tools.train.methods.training_method import (
    LabelledPictures,
    Learned,
    TrainingJob,
    TrainingMethod,
)
from edgeinspect_tools.train.samples import Sample
from edgeinspect_tools.train.tensorflow_setup import prepare_tensorflow
from edgeinspect_tools.train.training_settings import EncoderChoice, TrainSettings

_AT_ONCE = 8


class Classification(TrainingMethod):
    """Trains a classifier of whole pictures."""

    @override
    def check(self, pictures: LabelledPictures, settings: TrainSettings) -> None:
        check_whole_pictures(pictures, settings)
        if settings.encoder is EncoderChoice.FROZEN:
            check_loaded(settings)

    @override
    def train(self, job: TrainingJob) -> Learned:
        settings, progress = job.settings, job.progress
        prepare_tensorflow(settings)
        learned, checked = scaled_pictures(job)
        model = loaded_classifier(job)
        notes: dict[str, Any] = {"encoder": EncoderChoice.FINE_TUNED.value}
        frozen_value = -1.0
        frozen: list[NDArray[Any]] = []
        if settings.weights != "none" and settings.encoder is not EncoderChoice.FINE_TUNED:
            notes["regularisation"], frozen_value = set_frozen_head(
                model, learned, checked, settings
            )
            frozen = values(model.weights)
            notes["frozen_value"] = round(frozen_value, 5)
            job.say(done=0.0, text=f"frozen encoder: {frozen_value:.4f} on validation")
        if settings.encoder is not EncoderChoice.FROZEN:
            _tune(model, learned, checked, job)
            notes["fine_tuned_value"] = round(progress.best, 5)
        only_frozen = settings.encoder is EncoderChoice.FROZEN
        if frozen and (only_frozen or frozen_value >= progress.best):
            assign(model.weights, frozen)
            notes["encoder"] = EncoderChoice.FROZEN.value
        progress.curves = progress.curves or [{"step": 0, "value": frozen_value}]
        return Learned(float_tflite(model), described_classifier(job) | notes)

    @override
    def score(
        self, learned: Learned, samples: Sequence[Sample], settings: TrainSettings
    ) -> list[Scored]:
        return score_whole_pictures(learned.float_model, samples, settings)


def picture_batch(
    learned: WholePictures, classes: int, settings: TrainSettings, number: int
) -> Arrays:
    """A batch with every class equally often; the same number gives the same batch."""
    rng = np.random.default_rng((settings.seed, number))
    present = np.unique(learned.labels)
    pixels, labels = [], []
    for _ in range(settings.batch):
        label = int(present[rng.integers(len(present))])
        chosen = np.flatnonzero(learned.labels == label)
        picture = learned.pixels[chosen[rng.integers(len(chosen))]]
        if settings.turns:
            upright = settings.grain or picture.shape[0] != picture.shape[1]
            picture, _ = turned(picture, picture[..., 0], rng, grain=upright)
        pixels.append(relit(picture, rng, settings.strength))
        labels.append(label)
    one_hot = np.eye(classes, dtype=np.float32)[labels]
    return [real_input(np.stack(pixels))], [one_hot]


def _tune(model: Any, learned: WholePictures, checked: WholePictures, job: TrainingJob) -> None:
    """Train the whole network, from the frozen head on where there is one."""
    classes = int(model.output_shape[-1])

    def loss(targets: Any, logits: Any) -> Any:
        import tensorflow as tf

        soft = 0.95 * targets + 0.05 / classes
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=soft, logits=logits))

    def validate() -> tuple[float, dict[str, float]]:
        found = softmax(_run_keras(model, checked.pixels).astype(np.float64))
        value = class_value(found, checked.labels)
        return value, {"validation": value}

    task = Task(
        model=model,
        loss=loss,
        batches=lambda first: prepared(
            lambda number: picture_batch(learned, classes, job.settings, number), first
        ),
        validate=validate,
        refresh=lambda state: None,
    )
    fit(task, job.settings, job.progress, say=job.say, keep=job.keep)


def _run_keras(model: Any, pixels: NDArray[np.uint8]) -> Real:
    """A Keras model over pictures, a few at a time."""
    parts = [
        np.asarray(model(real_input(pixels[first : first + _AT_ONCE]), training=False))
        for first in range(0, len(pixels), _AT_ONCE)
    ]
    return np.concatenate(parts).astype(np.float32)
