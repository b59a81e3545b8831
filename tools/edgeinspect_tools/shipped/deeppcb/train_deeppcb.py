"""DeepPCB: the recipe for its circuit boards, and its figures.

python -m edgeinspect_tools.shipped.deeppcb.train_deeppcb PATH --out DIR
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from scipy import special

from edgeinspect.bundle.card import ThresholdCard
from edgeinspect.bundle.directory import Bundle
from edgeinspect.cli.application import run_command_line
from edgeinspect.files.atomic_file import make_folder
from edgeinspect.line.scores import ReducerKind
from edgeinspect.part import Frame
from edgeinspect.terminal.output import console, json_option, print_json
from edgeinspect_tools.pack.bundle import rewrite_card
from edgeinspect_tools.quantize.int8 import run_tflite
from edgeinspect_tools.shipped.deeppcb.boards import (
    BOX_FILL,
    CLASSES,
    HELD_OUT_BOARD,
    another_board,
    digest_of_split,
    drawn_boards,
    read_split,
    train_and_validation,
    true_boxes,
)
from edgeinspect_tools.shipped.deeppcb.boxes import (
    HIT_IOU,
    BoxFigures,
    Found,
    boxes_from_map,
    figures,
)
from edgeinspect_tools.train import checkpoint
from edgeinspect_tools.train.choice import choose
from edgeinspect_tools.train.fit import Say
from edgeinspect_tools.train.maps import MapMaker
from edgeinspect_tools.train.methods.segmentation import Segmentation, train_map
from edgeinspect_tools.train.methods.training_method import LabelledPictures, Learned, TrainingJob
from edgeinspect_tools.train.outcome import TrainedRun, write_outcome
from edgeinspect_tools.train.samples import Pictures, Sample
from edgeinspect_tools.train.station_check import quick_bundle, score_map_of, station_inspector
from edgeinspect_tools.train.training_run import described_run, lasting
from edgeinspect_tools.train.training_settings import Network, TrainSettings

ATTRIBUTION = (
    "Trained on DeepPCB (tangsanli5201, https://github.com/tangsanli5201/DeepPCB), MIT licence."
)

TOP_K = 16
"""Cells whose mean is a box's score, and a part's: 16 x 16 px, less than most defects' boxes."""

_CALIBRATION_PAIRS = 40
_SIDE_PX = 640

ScoreMapOf = Callable[[Sample], tuple[NDArray[np.float32], float]]
"""Score map (h, w, six classes) in [0, 1] of a picture, and its pixels per cell."""


def recipe(*, minutes: float, seed: int = 1) -> TrainSettings:
    """Grey pairs, small crops around defects, no change of light: the pictures are binary."""
    return TrainSettings(
        network=Network.MEDIUM,
        gray=True,
        reference=True,
        tile_px=_SIDE_PX,
        tile_overlap_px=64,
        crop_px=128,
        stride_px=4,
        box_fill=BOX_FILL,
        strength=0,
        paste=0,
        minutes=minutes,
        steps=100_000,
        batch=16,
        check_every=600,
        patience=0,
        rate=3e-3,
        seed=seed,
    )


def train_deeppcb(
    root: Path,
    out: Path,
    settings: TrainSettings,
    *,
    say: Say,
    held_out: str = HELD_OUT_BOARD,
    resume: bool = False,
) -> TrainedRun:
    """Train on the official training pairs of all boards but ``held_out``, which validates.

    Args:
        out: gets the run's files, and a checkpoint after each validation.
        resume: go on from that checkpoint.
    """
    training, validation = train_and_validation(root, held_out)
    checked = Pictures(validation, gray=True, reference=True)
    make_folder(out)
    identity = {"settings": lasting(settings), "classes": list(CLASSES), "held out": held_out}
    folder = out / "checkpoint"
    progress = checkpoint.load(folder, identity=identity) if resume else checkpoint.Progress()

    def value_of(maker: MapMaker) -> tuple[float, dict[str, float]]:
        found = validate(maker, checked)
        curve = {"map": found.mean_average_precision, "f_score": found.f_score}
        return sum(curve.values()), curve

    job = TrainingJob(
        pictures=LabelledPictures(classes=CLASSES, training=training, validation=validation),
        settings=settings,
        progress=progress,
        say=say,
        keep=lambda now: checkpoint.save(folder, now, identity=identity),
    )
    learned = train_map(job, value_of=value_of, vary=another_board)
    return write_run(out, job, learned, root, held_out)


def write_run(
    out: Path, job: TrainingJob, learned: Learned, root: Path, held_out: str
) -> TrainedRun:
    """The run's files, like those of ``train``."""
    choice = choose(Segmentation().score(learned, job.pictures.validation, job.settings))
    description = {
        "data": {"kind": "deeppcb", "name": root.name, "sha256": digest_of_split(root)},
        "held_out": held_out,
        **described_run(job, learned, choice),
    }
    return write_outcome(out, learned.float_model, description)


def validate(maker: MapMaker, pictures: Pictures, *, threshold: float | None = None) -> BoxFigures:
    """Figures of a float model on pairs; without a threshold with the best one there."""
    maps = {
        pictures.samples[n].path: np.asarray(
            special.expit(maker.logits(pictures[n].pixels)), np.float32
        )
        for n in range(len(pictures))
    }
    stride = float(maker.settings.stride_px)
    return evaluate_deeppcb(
        lambda sample: (maps[sample.path], stride),
        pictures.samples,
        threshold=threshold,
        box_fill=BOX_FILL,
    )


def make_bundle(run: TrainedRun, root: Path, out: Path) -> Bundle:
    """Quantize the model and write its bundle.

    The box threshold is chosen on all validation pairs with the station's own engine. The golden
    pictures are drawn because DeepPCB's pictures are not shipped.
    """
    training, validation = train_and_validation(root, run.description["held_out"])
    pictures = Pictures(
        training[:: max(1, len(training) // _CALIBRATION_PAIRS)], gray=True, reference=True
    )
    chosen = [pictures[n].pixels for n in range(len(pictures))]
    run.description["reducer"] = {"kind": ReducerKind.MEAN_TOP_K.value, "k": TOP_K}
    run.description["thresholds"] = {"default": _thresholds(0.5).model_dump()}
    bundle = quick_bundle(
        run,
        chosen,
        out,
        name="deeppcb",
        licence="Apache-2.0",
        attribution=ATTRIBUTION,
        golden=drawn_boards(),
    )
    found = evaluate_bundle(bundle, validation, threshold=None)
    provenance = {**bundle.card.provenance, "validation": described_figures(found)}
    chosen_limits = {"default": _thresholds(found.threshold)}
    return rewrite_card(bundle, thresholds=chosen_limits, provenance=provenance)


def _thresholds(reject: float) -> ThresholdCard:
    return ThresholdCard(review=round(reject / 2, 4), reject=round(reject, 4))


def evaluate_bundle(
    bundle: Bundle, samples: Sequence[Sample], *, threshold: float | None
) -> BoxFigures:
    """A bundle's figures by the station's own engine, each picture with its own template.

    Args:
        threshold: on a box's score; a bundle made here has it as its reject threshold.
    """
    box_fill = float(bundle.card.provenance.get("box_fill", 1.0))
    reducer = bundle.card.reducer
    top_k = reducer.k if reducer.kind is ReducerKind.MEAN_TOP_K else 1
    with station_inspector(bundle) as inspector:

        def map_of(sample: Sample) -> tuple[NDArray[np.float32], float]:
            picture = Pictures([sample], gray=True, reference=True)[0]
            tested, template = picture.pixels[..., 0], picture.pixels[..., 1]
            seen = inspector.inspect(Frame.of_picture(tested), want_map=True, reference=template)
            found = score_map_of(seen)
            order = [found.classes.index(name) for name in CLASSES]
            return found.scores[:, :, order], found.stride_px

        return evaluate_deeppcb(
            map_of, samples, threshold=threshold, box_fill=box_fill, top_k=top_k
        )


def described_figures(found: BoxFigures) -> dict[str, Any]:
    """For JSON."""
    return {
        "map": round(found.mean_average_precision, 5),
        "f_score": round(found.f_score, 5),
        "pooled_average_precision": round(found.pooled_average_precision, 5),
        "average_precision": dict(
            zip(CLASSES, (round(value, 5) for value in found.average_precision), strict=True)
        ),
        "f_scores": dict(zip(CLASSES, (round(v, 5) for v in found.f_scores), strict=True)),
        "threshold": round(found.threshold, 4),
    }


def evaluate_deeppcb(
    score_map_of: ScoreMapOf,
    samples: Sequence[Sample],
    *,
    threshold: float | None = None,
    box_fill: float = BOX_FILL,
    top_k: int = TOP_K,
) -> BoxFigures:
    """The mAP and F-score at IoU 0.33 as the data set's authors define them.

    Args:
        threshold: on the box's score, chosen on validation; None chooses it on these samples.
        top_k: cells whose mean is a box's score.
    """
    found: list[list[Found]] = []
    for sample in samples:
        scores, stride_px = score_map_of(sample)
        found.append(boxes_from_map(scores, stride_px=stride_px, box_fill=box_fill, top_k=top_k))
    truth = [true_boxes(sample) for sample in samples]
    return figures(found, truth, classes=len(CLASSES), threshold=threshold)


def finished_bundle(bundle: Bundle, run: TrainedRun, root: Path) -> dict[str, Any]:
    """Measure a bundle on the official test pairs and write the figures into it.

    Returns:
        The figures, int8 by the station's engine, float beside them.
    """
    test, held_out = read_split(root, "test"), run.description["held_out"]
    limit = bundle.card.threshold(CLASSES[0]).reject
    int8 = described_figures(evaluate_bundle(bundle, test, threshold=limit))
    seen_as = replace(recipe(minutes=1), tile_px=bundle.card.input.height)
    maker = MapMaker(run_tflite(run.model.read_bytes()), seen_as)
    pairs = Pictures(test, gray=True, reference=True)
    real = described_figures(validate(maker, pairs, threshold=limit))
    metrics = {
        "data": "DeepPCB, official test split",
        "pictures": len(test),
        "iou": HIT_IOU,
        **int8,
    }
    provenance = {
        **bundle.card.provenance,
        "script": "python -m edgeinspect_tools.shipped.deeppcb.train_deeppcb",
        "data": f"DeepPCB, official training split; {held_out} for validation only",
        "minutes": run.description["minutes"],
        "steps": run.description["steps"],
        "versions": run.description["versions"],
    }
    comparison = {
        "pictures": len(test),
        **{f"{name}_float": real[name] for name in ("map", "f_score")},
        **{f"{name}_int8": int8[name] for name in ("map", "f_score")},
    }
    rewrite_card(bundle, metrics=metrics, provenance=provenance, comparison=comparison)
    return {**int8, "model_bytes": len(bundle.model), "float": real}


@click.command()
@click.argument("root", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--minutes", default=47.0, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--resume", is_flag=True, help="Continue from OUT's checkpoint.")
@json_option
def main(  # noqa: PLR0917  click passes by name
    root: Path, out: Path, minutes: float, seed: int, resume: bool, as_json: bool
) -> None:
    """Train, quantize and measure the DeepPCB model; OUT/bundle is the result."""
    terminal = console(stderr=True)

    def say(*, done: float, text: str) -> None:
        if "best" in text:
            terminal.print(f"{done:.0%} {text}")

    settings = recipe(minutes=minutes, seed=seed)
    run = train_deeppcb(root, out, settings, say=say, resume=resume)
    found = finished_bundle(make_bundle(run, root, out / "bundle"), run, root)
    if as_json:
        print_json(found)
    else:
        terminal.print(json.dumps(found, indent=1))


if __name__ == "__main__":
    sys.exit(
        run_command_line(main, program="python -m edgeinspect_tools.shipped.deeppcb.train_deeppcb")
    )
