"""What a training method is: it learns from labelled pictures and scores others.

A candidate is a name, a method and settings. Its out-of-fold scores are those of ``score`` on each
fold, by a model trained on the other folds; the final model is trained once more on all pictures.
Scores from any method can be compared, because ``choose`` needs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from edgeinspect.errors import UsageError
from edgeinspect_tools.train.checkpoint import Progress
from edgeinspect_tools.train.choice import Scored
from edgeinspect_tools.train.fit import Say
from edgeinspect_tools.train.maps import MEAN, STD
from edgeinspect_tools.train.samples import MAX_CLASSES, Sample
from edgeinspect_tools.train.tile_source import Features
from edgeinspect_tools.train.training_settings import TrainSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPictures:
    """The pictures of a training run.

    Attributes:
        classes: names of the defect classes, in the order of ``Sample.index``.
        training: pictures to learn from.
        validation: pictures that decide when to stop and what to keep; never learned from.
        reference_search_px: how far a part may lie off its reference picture.
    """

    classes: tuple[str, ...]
    training: Sequence[Sample]
    validation: Sequence[Sample]
    reference_search_px: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """One training run, as a method gets it.

    Attributes:
        pictures: to learn from and to validate on.
        settings: as ``check`` accepted them.
        progress: where an interrupted run stopped; the method keeps it up to date.
        say: reports progress to a person.
        keep: saves a checkpoint of the progress.
        features: of a frozen encoder, shared with other runs that use the same encoder.
    """

    pictures: LabelledPictures
    settings: TrainSettings
    progress: Progress
    say: Say
    keep: Callable[[Progress], None]
    features: Features | None = None


@dataclass(frozen=True, slots=True)
class Learned:
    """A trained model.

    Attributes:
        float_model: a float .tflite that gives raw logits.
        description: its part of ``run.json``: task, classes, input, output, and figures of its
            own. Quantization and packing need nothing else.
    """

    float_model: bytes = field(repr=False)
    description: Mapping[str, Any]


class TrainingMethod(Protocol):
    """One way to make a model from labelled pictures; it keeps nothing between calls."""

    def check(self, pictures: LabelledPictures, settings: TrainSettings) -> None:
        """Raise UsageError where this method cannot learn from these pictures or settings."""
        ...

    def train(self, job: TrainingJob) -> Learned:
        """Learn from the training pictures.

        Raises:
            UsageError: a picture cannot be read, or the first weights do not fit the network.
            ModelRefused: the file of first weights holds another architecture.
            FloatingPointError: training diverged.
            KeyboardInterrupt: after a checkpoint, where the method keeps one.
        """
        ...

    def score(
        self, learned: Learned, samples: Sequence[Sample], settings: TrainSettings
    ) -> list[Scored]:
        """Score pictures that the model did not learn from, one result each, in their order."""
        ...


def check_both_kinds(pictures: LabelledPictures) -> None:
    """Raise UsageError where good or defective pictures are missing."""
    classes, training = pictures.classes, pictures.training
    if not classes:
        raise UsageError("The data set has good pictures only; training needs defective ones too.")
    if len(classes) > MAX_CLASSES:
        raise UsageError(f"{len(classes)} defect classes are too many; at most {MAX_CLASSES}.")
    for name, samples in (("training", training), ("validation", pictures.validation)):
        if not any(sample.index is not None for sample in samples):
            raise UsageError(
                f"No defective picture is in the {name} split.",
                next_action="Add pictures: a few of every class, in different groups.",
            )
    marked = any(sample.index is not None and sample.located for sample in training)
    if not marked and not any(sample.index is None for sample in training):
        raise UsageError(
            "No good picture is in the training split, and no mask or box marks good areas."
        )


def check_references(pictures: LabelledPictures, settings: TrainSettings) -> None:
    """Raise UsageError where a picture lacks the reference that the settings need."""
    if settings.reference and not all(sample.reference for sample in pictures.training):
        raise UsageError("Some pictures have no reference picture, which --reference needs.")


def check_first_weights(settings: TrainSettings) -> None:
    """Raise UsageError where random weights are to be frozen."""
    if settings.freeze_stride_px and settings.weights == "none":
        raise UsageError("--freeze-stride needs weights; give --weights, or set it to 0.")


def described_input(settings: TrainSettings) -> dict[str, Any]:
    """The part of ``run.json`` about colours, shared by every network."""
    channels = 1 if settings.gray else 3
    return {
        "color": "gray" if settings.gray else "rgb",
        "mean": [MEAN] * channels,
        "std": [STD] * channels,
        "reference": settings.reference,
    }
