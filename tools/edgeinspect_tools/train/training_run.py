"""One training run, from a data set to the files of a finished run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgeinspect.bundle.align import DEFAULT_SEARCH_PX
from edgeinspect.errors import NotGood
from edgeinspect.files.atomic_file import make_folder
from edgeinspect_tools.data.dataset import Dataset, Item, Split
from edgeinspect_tools.data.dataset_formats import format_named
from edgeinspect_tools.quantize.draft_bundle import RUN_FILE
from edgeinspect_tools.train import checkpoint
from edgeinspect_tools.train.checkpoint import Progress
from edgeinspect_tools.train.choice import Choice, choose
from edgeinspect_tools.train.fit import Say
from edgeinspect_tools.train.methods.training_method import LabelledPictures, Learned, TrainingJob
from edgeinspect_tools.train.outcome import TrainedRun, write_outcome
from edgeinspect_tools.train.samples import Box, Sample
from edgeinspect_tools.train.tile_source import Features
from edgeinspect_tools.train.training_methods import method_named
from edgeinspect_tools.train.training_settings import AUTO, SEGMENTATION, TrainSettings

CHECKPOINT_FOLDER = "checkpoint"
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
        progress: reports progress to a person.
        features: of a frozen encoder, kept from other runs with the same encoder.

    Raises:
        UsageError: the data set cannot be learned from, a picture cannot be read, or there is
            nothing to resume, or weights that do not fit the network.
        ModelRefused: the weights' file holds another architecture.
        NotGood: training diverged, or was interrupted.
        StorageFault: the run cannot be written.
    """
    pictures = LabelledPictures(
        classes=dataset.defect_classes,
        training=samples_of(dataset, Split.TRAIN),
        validation=samples_of(dataset, Split.VALIDATION),
        reference_search_px=reference_search_px(dataset),
    )
    if settings.method == AUTO:
        settings = replace(settings, method=SEGMENTATION)
    method = method_named(settings.method)
    method.check(pictures, settings)
    make_folder(out_dir)
    (out_dir / RUN_FILE).unlink(missing_ok=True)
    digest = manifest_digest(dataset)
    identity = {
        "settings": lasting(settings),
        "data": digest,
        "classes": list(pictures.classes),
    }
    folder = out_dir / CHECKPOINT_FOLDER
    state = checkpoint.load(folder, identity=identity) if resume else Progress()
    job = TrainingJob(
        pictures=pictures,
        settings=settings,
        progress=state,
        say=progress,
        keep=lambda now: checkpoint.save(folder, now, identity=identity),
        features=features,
    )
    try:
        learned = method.train(job)
        choice = choose(method.score(learned, pictures.validation, settings))
    except KeyboardInterrupt:
        raise NotGood(
            f"Training was interrupted after {state.step} steps.",
            next_action=f"Continue with --resume; the checkpoint is in {folder}.",
        ) from None
    except FloatingPointError as error:
        raise NotGood(
            f"Training diverged after {state.step} steps: {error}.",
            next_action="Choose a lower --rate.",
        ) from error
    description = {
        "data": {"kind": dataset.kind, "name": dataset.root.name, "sha256": digest},
        **described_run(job, learned, choice),
        "pictures": {"train": len(pictures.training), "validation": len(pictures.validation)},
    }
    return write_outcome(out_dir, learned.float_model, description)


def samples_of(dataset: Dataset, split: Split) -> list[Sample]:
    """The training samples of one split; classes are numbered as in ``defect_classes``."""
    number = {name: index for index, name in enumerate(dataset.defect_classes)}
    search_px = reference_search_px(dataset)
    return [_sample(item, number, search_px) for item in dataset.of(split)]


def reference_search_px(dataset: Dataset) -> int:
    """How far a part may lie off its reference; 0 where the data set was aligned by its makers."""
    known = format_named(dataset.kind)
    return 0 if known is not None and known.aligned_references else DEFAULT_SEARCH_PX


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


def described_run(job: TrainingJob, learned: Learned, choice: Choice) -> dict[str, Any]:
    """The part of ``run.json`` about the model and how it was trained and validated."""
    settings, progress = job.settings, job.progress
    return {
        **learned.description,
        "seed": settings.seed,
        "settings": settings.as_dict(),
        "steps": progress.step,
        "minutes": round(progress.seconds / 60, 2),
        "curves": progress.curves,
        "reducer": {"kind": choice.kind.value, "k": choice.k},
        "thresholds": {"default": {"review": choice.review, "reject": choice.reject}},
        "validation": {
            "auroc": choice.auroc,
            "good": choice.good,
            "defective": choice.defective,
        },
    }
