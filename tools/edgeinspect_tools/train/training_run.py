"""One training run, from a data set to the files of a finished run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgeinspect.bundle.align import DEFAULT_AGREEMENT, DEFAULT_SEARCH_PX
from edgeinspect.bundle.card import Role, Task
from edgeinspect.errors import NotGood, UsageError
from edgeinspect.files.atomic_file import make_folder
from edgeinspect.line.scores import Activation
from edgeinspect_tools.data.dataset import Dataset, Item, Split
from edgeinspect_tools.missing import need
from edgeinspect_tools.train import checkpoint
from edgeinspect_tools.train.checkpoint import Progress
from edgeinspect_tools.train.choice import Choice
from edgeinspect_tools.train.classification import TrainedClassifier, train_classifier
from edgeinspect_tools.train.fit import Say
from edgeinspect_tools.train.maps import MEAN, STD
from edgeinspect_tools.train.outcome import RUN_FILE, TrainedRun, write_outcome
from edgeinspect_tools.train.samples import MAX_CLASSES, Box, Sample
from edgeinspect_tools.train.segmentation import Trained, train_map
from edgeinspect_tools.train.tile_source import Features
from edgeinspect_tools.train.training_settings import TaskChoice, TrainSettings

CHECKPOINT_FOLDER = "checkpoint"
ALIGNED_LAYOUTS = frozenset({"deeppcb"})
"""Data sets whose references lie on their pictures to within a pixel or two."""
MANIFEST = "manifest.json"


def train(
    dataset: Dataset,
    settings: TrainSettings,
    out_dir: Path,
    *,
    progress: Say,
    resume: bool = False,
    features: Features | None = None,
) -> TrainedRun:
    """Train on the data set's training split, choosing everything on its validation split.

    Calibration and test pictures are never opened. Ends early on Ctrl-C with the checkpoint
    written; ``resume`` goes on from there with the same batches that would have come.

    Args:
        out_dir: gets ``model.float.tflite``, ``run.json`` (last), ``curves.png`` and
            ``checkpoint/``.
        progress: hears how it goes.
        features: see ``train_map``.

    Raises:
        UsageError: the data set cannot be learned from, a picture cannot be read, or there is
            nothing to resume, or weights that do not fit the network.
        ModelRefused: the weights' file holds another architecture.
        NotGood: training diverged, or was interrupted.
        StorageFault: the run cannot be written.
    """
    classes = dataset.defect_classes
    training, validation = (samples_of(dataset, split) for split in (Split.TRAIN, Split.VALIDATION))
    check_enough(classes, training, validation)
    settings = fitted(settings, training)
    prepare_libraries(settings)
    make_folder(out_dir)
    (out_dir / RUN_FILE).unlink(missing_ok=True)
    digest = manifest_digest(dataset)
    identity = {"settings": lasting(settings), "data": digest, "classes": list(classes)}
    folder = out_dir / CHECKPOINT_FOLDER
    state = checkpoint.load(folder, identity=identity) if resume else Progress()

    def keep(now: Progress) -> None:
        checkpoint.save(folder, now, identity=identity)

    arguments: dict[str, Any] = {
        "settings": settings,
        "progress": state,
        "say": progress,
        "keep": keep,
    }
    description: dict[str, Any] = {
        "data": {"kind": dataset.kind, "name": dataset.root.name, "sha256": digest}
    }
    try:
        if settings.task is TaskChoice.CLASSIFICATION:
            names = ("good", *classes)
            classified = train_classifier(training, validation, classes=len(names), **arguments)
            made: Trained | TrainedClassifier = classified
            description |= _described_classifier(names, settings) | classified.notes
        else:
            made = train_map(
                training, validation, classes=len(classes), features=features, **arguments
            )
            description |= described_map(classes, settings) | made.notes
            if settings.reference:
                description["input"] |= described_alignment(dataset)
    except KeyboardInterrupt:
        raise NotGood(
            f"Training was interrupted after {state.step} steps.",
            next_action=f"Go on with --resume; the checkpoint is in {folder}.",
        ) from None
    except FloatingPointError as error:
        raise NotGood(
            f"Training diverged after {state.step} steps: {error}.",
            next_action="Choose a lower --rate.",
        ) from error
    description |= described_choice(made.choice) | {
        "seed": settings.seed,
        "settings": settings.as_dict(),
        "pictures": {"train": len(training), "validation": len(validation)},
        "steps": state.step,
        "minutes": round(state.seconds / 60, 2),
        "curves": state.curves,
    }
    return write_outcome(out_dir, made.float_model, description)


def samples_of(dataset: Dataset, split: Split) -> list[Sample]:
    """The training samples of one split; classes are numbered as in ``defect_classes``."""
    number = {name: index for index, name in enumerate(dataset.defect_classes)}
    search_px = reference_search_px(dataset)
    return [_sample(item, number, search_px) for item in dataset.of(split)]


def reference_search_px(dataset: Dataset) -> int:
    """How far a part may lie off its reference; 0 where the data set was aligned by its makers."""
    return 0 if dataset.kind in ALIGNED_LAYOUTS else DEFAULT_SEARCH_PX


def check_enough(
    classes: Sequence[str], training: Sequence[Sample], validation: Sequence[Sample]
) -> None:
    """Raises UsageError where nothing can be learned, or nothing be chosen."""
    if not classes:
        raise UsageError("The data set has good pictures only; training needs defective ones too.")
    if len(classes) > MAX_CLASSES:
        raise UsageError(f"{len(classes)} defect classes are too many; at most {MAX_CLASSES}.")
    for name, samples in (("training", training), ("validation", validation)):
        if not any(sample.index is not None for sample in samples):
            raise UsageError(
                f"No defective picture is in the {name} split.",
                next_action="Add pictures: a few of every class, in different groups.",
            )
    marked = any(sample.index is not None and sample.located for sample in training)
    if not marked and not any(sample.index is None for sample in training):
        raise UsageError(
            "No good picture is in the training split and no mask or box says what is good."
        )


def fitted(settings: TrainSettings, training: Sequence[Sample]) -> TrainSettings:
    """The settings with what ``auto`` means for this data, and a threads setting that is used."""
    task = settings.task
    if task is TaskChoice.AUTO:
        task = TaskChoice.SEGMENTATION
    if settings.freeze_stride_px and settings.weights == "none":
        raise UsageError("Random weights are not worth freezing; set freeze_stride_px to 0.")
    if settings.reference and not all(sample.reference for sample in training):
        raise UsageError("reference is asked for, but some pictures have no reference picture.")
    return replace(settings, task=task)


def prepare_libraries(settings: TrainSettings) -> None:
    """Load TensorFlow quietly and seed it. Raises DriverMissing with the install command."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tensorflow = need("tensorflow")
    keras = need("keras")
    tensorflow.get_logger().setLevel("ERROR")
    if settings.threads:
        try:
            tensorflow.config.threading.set_intra_op_parallelism_threads(settings.threads)
            tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:  # already running in this process: it keeps its threads
            pass
    keras.backend.clear_session()
    keras.utils.set_random_seed(settings.seed)


def manifest_digest(dataset: Dataset) -> str:
    """SHA-256 over every picture's digest, label and split: equal data gives equal digests."""
    rows = sorted(
        (
            item.sha256,
            item.mask_sha256,
            item.label,
            item.split.value,
            [asdict(b) for b in item.boxes],
        )
        for item in dataset.items
    )
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _sample(item: Item, number: dict[str, int], search_px: int) -> Sample:
    boxes = tuple(
        Box(
            round(box.left),
            round(box.top),
            max(1, round(box.right) - round(box.left)),
            max(1, round(box.bottom) - round(box.top)),
            number[box.label],
        )
        for box in item.boxes
    )
    return Sample(
        path=item.path,
        index=None if item.is_good else number[item.label],
        mask=item.mask,
        boxes=boxes,
        reference=item.reference,
        reference_search_px=search_px,
        group=item.group,
    )


def lasting(settings: TrainSettings) -> dict[str, Any]:
    """The settings that a resumed run must share; its budget and speed may change."""
    free = ("minutes", "steps", "threads", "patience", "pooled_head")
    return {key: value for key, value in settings.as_dict().items() if key not in free}


def described_map(classes: Sequence[str], settings: TrainSettings) -> dict[str, Any]:
    """What ``run.json`` says of a segmentation model."""
    return {
        "task": Task.SEGMENTATION.value,
        "classes": [{"name": name, "role": Role.DEFECT.value} for name in classes],
        "input": {
            **_described_input(settings),
            "fit": "tiles",
            "tile_height_px": settings.tile_px,
            "tile_width_px": settings.tile_px,
            "tile_overlap_px": settings.tile_overlap_px,
        },
        "output": {"activation": Activation.SIGMOID.value, "stride_px": settings.stride_px},
        "box_fill": settings.box_fill,
    }


def _described_classifier(names: Sequence[str], settings: TrainSettings) -> dict[str, Any]:
    roles = [Role.GOOD, *[Role.DEFECT] * (len(names) - 1)]
    return {
        "task": Task.CLASSIFICATION.value,
        "classes": [
            {"name": name, "role": role.value} for name, role in zip(names, roles, strict=True)
        ],
        "input": {
            **_described_input(settings),
            "fit": "resize",
            "tile_height_px": settings.resize_px,
            "tile_width_px": settings.resize_px,
            "tile_overlap_px": 0,
        },
        "output": {"activation": Activation.SOFTMAX.value, "stride_px": None},
    }


def _described_input(settings: TrainSettings) -> dict[str, Any]:
    channels = 1 if settings.gray else 3
    return {
        "color": "gray" if settings.gray else "rgb",
        "mean": [MEAN] * channels,
        "std": [STD] * channels,
        "reference": settings.reference,
    }


def described_alignment(dataset: Dataset) -> dict[str, Any]:
    """What ``run.json`` says of how the reference is laid on a picture."""
    search_px = reference_search_px(dataset)
    agreement = DEFAULT_AGREEMENT if search_px else 0.0
    return {"reference_search_px": search_px, "reference_agreement": agreement}


def described_choice(choice: Choice) -> dict[str, Any]:
    """What ``run.json`` says of reducer, thresholds and validation."""
    return {
        "reducer": {"kind": choice.kind.value, "k": choice.k},
        "thresholds": {"default": {"review": choice.review, "reject": choice.reject}},
        "validation": {
            "auroc": choice.auroc,
            "good": choice.good,
            "defective": choice.defective,
        },
    }
