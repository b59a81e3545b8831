"""Grouped cross-validation of a segmentation recipe, measured by the station's own engine.

python -m edgeinspect_tools.train.cross_validation magnetic-tile:PATH --out DIR --weights FILE

Every fold trains anew, is quantized and wrapped into a bundle, and inspects pictures of groups
that it never saw in any role. ``--fold N`` runs one fold; without it all, and then the summary.
A part's several exposures are one group. ``--groups near-duplicates`` keeps only look-alikes
together, as published figures do at best: it shows what those are worth, not what a line will see.
A fold that is finished, of the same data and settings, is taken as it is; only the encoder's
features are shared among folds, which no picture's label has any part in.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.inspector import Inspector
from edgeinspect.files.atomic_file import make_folder, replace_file
from edgeinspect.files.json_text import parse_json
from edgeinspect.intervals import clopper_pearson
from edgeinspect.part import Frame
from edgeinspect.terminal.output import console, json_option, print_json
from edgeinspect_tools.data.build import build_dataset, k_folds
from edgeinspect_tools.data.dataset import Dataset, Source, Split
from edgeinspect_tools.data.dataset_formats import read_source
from edgeinspect_tools.quantize.gap import gap_against_float
from edgeinspect_tools.quantize.steps import labelled
from edgeinspect_tools.statistics import auroc
from edgeinspect_tools.train.checkpoint import CHECKPOINT_FILE
from edgeinspect_tools.train.samples import UNKNOWN, Pictures, spread
from edgeinspect_tools.train.station_check import quick_bundle, score_map_of, station_inspector
from edgeinspect_tools.train.tile_source import Features
from edgeinspect_tools.train.training_run import (
    CHECKPOINT_FOLDER,
    manifest_digest,
    samples_of,
    train,
)
from edgeinspect_tools.train.training_settings import FROZEN_ENCODER, Network, TrainSettings

_CALIBRATION_PICTURES = 30
_GOLDEN_PICTURES = 4
GROUPS = ("parts", "near-duplicates")
_GAP = "int8_against_float"
_PIXEL_SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def run_fold(
    dataset: Dataset,
    number: int,
    settings: TrainSettings,
    out: Path,
    *,
    say: Any,
    features: Features | None = None,
) -> dict[str, Any]:
    """Train, quantize and measure one fold; its result is kept as ``fold_N.json``.

    A result that is there is given back instead, if it is of the same data and settings; an
    interrupted training of them goes on.
    """
    identity = identity_of(dataset, settings)
    known = _result(out / f"fold_{number}.json")
    if known is not None and known["identity"] == identity:
        return known
    # The quantizer needs no pictures of its own: it calibrates on training pictures.
    items = tuple(
        replace(item, split=Split.TRAIN) if item.split is Split.CALIBRATION else item
        for item in dataset.items
    )
    dataset = replace(dataset, items=items)
    folder = out / f"fold_{number}"
    resume = _begun_before(folder, identity)
    run = train(dataset, settings, folder, progress=say, resume=resume, features=features)
    training = Pictures(samples_of(dataset, Split.TRAIN), gray=settings.gray, reference=False)
    chosen = spread(training.samples, _CALIBRATION_PICTURES)
    bundle = quick_bundle(
        run,
        [training[n].pixels for n in chosen],
        folder / "bundle",
        name=f"fold-{number}",
        licence="for measuring only",
        golden=[training[n].pixels for n in chosen[:: -(-len(chosen) // _GOLDEN_PICTURES)]],
    )
    test = Pictures(samples_of(dataset, Split.TEST), gray=settings.gray, reference=False)
    classes = len(dataset.defect_classes)
    confusion = np.zeros((classes + 1, classes + 1), np.int64)
    rows: list[dict[str, Any]] = []
    with station_inspector(bundle) as inspector:
        pixel_score = best_pixel_score(inspector, dataset, settings)
        for sample, item in zip(test.samples, dataset.of(Split.TEST), strict=True):
            picture = test[len(rows)]
            seen = inspector.inspect(Frame.of_picture(picture.pixels), want_map=True)
            confusion += pixel_confusion(
                score_map_of(seen).scores, picture.labels, classes, settings.stride_px, pixel_score
            )
            rows.append(
                {
                    "file": os.path.relpath(item.path, dataset.root),
                    "label": item.label,
                    "index": sample.index,
                    "scores": [round(score, 5) for score in seen.scores],
                }
            )
    limits = bundle.card.threshold(bundle.card.defect_classes[0])
    pictures = labelled(dataset.of(Split.TEST))
    int8 = np.array([row["scores"] for row in rows])
    gap = gap_against_float(run.model.read_bytes(), bundle.card, pictures, int8)
    result = {
        "fold": number,
        "identity": identity,
        "classes": list(dataset.defect_classes),
        "confusion": confusion.tolist(),
        "pixel_score": pixel_score,
        "pictures": rows,
        "reject": limits.reject,
        "review": limits.review,
        "minutes": run.description["minutes"],
        "steps": run.description["steps"],
        "model_bytes": len(bundle.model),
        _GAP: gap.as_dict(),
    }
    replace_file(out / f"fold_{number}.json", json.dumps(result).encode())
    return result


def best_pixel_score(inspector: Inspector, dataset: Dataset, settings: TrainSettings) -> float:
    """The score from which on a pixel counts as defective: best on the validation pictures."""
    checked = Pictures(samples_of(dataset, Split.VALIDATION), gray=settings.gray, reference=False)
    classes = len(dataset.defect_classes)
    counts = np.zeros((len(_PIXEL_SCORES), classes + 1, classes + 1), np.int64)
    for number in range(len(checked)):
        picture = checked[number]
        seen = inspector.inspect(Frame.of_picture(picture.pixels), want_map=True)
        scores = score_map_of(seen).scores
        for count, least in zip(counts, _PIXEL_SCORES, strict=True):
            count += pixel_confusion(scores, picture.labels, classes, settings.stride_px, least)
    return _PIXEL_SCORES[int(np.argmax([np.mean(ious(count)) for count in counts]))]


def pixel_confusion(
    scores: NDArray[np.float32],
    labels: NDArray[np.uint8],
    classes: int,
    stride_px: int,
    pixel_score: float = 0.5,
) -> NDArray[np.int64]:
    """Pixels by true (row) and reported (column) class; 0 is background.

    The score map is scaled up by its stride; a pixel is of the class that scores highest, from
    ``pixel_score`` on.
    """
    height, width = labels.shape
    size = (scores.shape[1] * stride_px, scores.shape[0] * stride_px)
    full = np.asarray(cv2.resize(scores, size, interpolation=cv2.INTER_LINEAR), np.float32)
    full = full.reshape(size[1], size[0], -1)[:height, :width]
    reported = np.where(full.max(axis=2) >= pixel_score, full.argmax(axis=2) + 1, 0)
    known = labels != UNKNOWN
    flat = labels[known].astype(np.int64) * (classes + 1) + reported[known]
    return np.bincount(flat, minlength=(classes + 1) ** 2).reshape(classes + 1, classes + 1)


def identity_of(dataset: Dataset, settings: TrainSettings) -> dict[str, Any]:
    """What a fold's result is of."""
    return {"data": manifest_digest(dataset), "settings": settings.as_dict()}


def _begun_before(folder: Path, identity: dict[str, Any]) -> bool:
    """Whether the folder holds a checkpoint of this very run; if not, it will from now on."""
    file = folder / "identity.json"
    text = json.dumps(identity).encode()
    if file.is_file() and file.read_bytes() == text:
        return (folder / CHECKPOINT_FOLDER / CHECKPOINT_FILE).is_file()
    shutil.rmtree(folder / CHECKPOINT_FOLDER, ignore_errors=True)
    make_folder(folder)
    replace_file(file, text)
    return False


def _result(file: Path) -> dict[str, Any] | None:
    """A finished fold; None where there is none, or nothing that this version wrote."""
    try:
        found = parse_json(file.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and _GAP in found else None


def summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Figures over all test pictures of all folds."""
    classes = results[0]["classes"]
    rows = [(row, result["reject"]) for result in results for row in result["pictures"]]
    good = [max(row["scores"]) for row, _ in rows if row["index"] is None]
    bad = [max(row["scores"]) for row, _ in rows if row["index"] is not None]
    missed = sum(max(r["scores"]) < limit for r, limit in rows if r["index"] is not None)
    alarmed = sum(max(r["scores"]) >= limit for r, limit in rows if r["index"] is None)
    by_fold = [_fold_auroc(result) for result in results]
    iou = ious(np.sum([np.array(result["confusion"]) for result in results], axis=0))
    return {
        "folds": len(results),
        "n_good": len(good),
        "n_defective": len(bad),
        "auroc_pooled": round(auroc(bad, good), 5),
        "auroc_mean": round(float(np.mean(by_fold)), 5),
        "auroc_by_fold": [round(value, 5) for value in by_fold],
        "miou": round(float(np.mean(iou)), 4),
        "iou": dict(zip(["background", *classes], [round(v, 4) for v in iou], strict=True)),
        "escape_rate": round(missed / max(1, len(bad)), 5),
        "escape_interval95": [round(v, 5) for v in clopper_pearson(missed, len(bad))],
        "false_reject_rate": round(alarmed / max(1, len(good)), 5),
        "false_reject_interval95": [round(v, 5) for v in clopper_pearson(alarmed, len(good))],
        "minutes_a_fold": [result["minutes"] for result in results],
        "steps_a_fold": [result["steps"] for result in results],
        "model_bytes": results[0]["model_bytes"],
        **_against_float([result[_GAP] for result in results]),
    }


def _against_float(gaps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "auroc_mean_float": round(float(np.mean([gap["auroc_float"] for gap in gaps])), 5),
        "flips": sum(gap["flips"] for gap in gaps),
        "flips_outside_band": sum(gap["flips_outside_band"] for gap in gaps),
        "score_error_max": max(gap["score_error_max"] for gap in gaps),
    }


def ious(confusion: NDArray[np.int64]) -> list[float]:
    """Intersection over union per class, background first."""
    hits = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    return [float(h / u) if u else 1.0 for h, u in zip(hits, union, strict=True)]


def _fold_auroc(result: dict[str, Any]) -> float:
    good = [max(row["scores"]) for row in result["pictures"] if row["index"] is None]
    bad = [max(row["scores"]) for row in result["pictures"] if row["index"] is not None]
    return auroc(bad, good)


@click.command()
@click.argument("dataset")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--weights", default="none", show_default=True)
@click.option("--folds", default=5, show_default=True, type=click.IntRange(min=2))
@click.option("--fold", "only", multiple=True, type=int, help="Run these folds only.")
@click.option("--steps", default=900, show_default=True, help="Training steps of a fold.")
@click.option("--minutes", default=60.0, show_default=True, help="At most so long a fold.")
@click.option("--seed", default=1, show_default=True)
@click.option("--pooled-head", default=1.0, show_default=True, help="As in the command train.")
@click.option(
    "--groups",
    type=click.Choice(list(GROUPS)),
    default=GROUPS[0],
    show_default=True,
    help="What never straddles two folds; near-duplicates alone lets a part's exposures straddle.",
)
@json_option
def main(
    *,
    dataset: str,
    out: Path,
    weights: str,
    folds: int,
    only: tuple[int, ...],
    steps: int,
    minutes: float,
    seed: int,
    pooled_head: float,
    groups: str,
    as_json: bool,
) -> None:
    """Cross-validate the magnetic-tile recipe on a data set with masks."""
    terminal = console(stderr=True)
    settings = magnetic_tile_recipe(
        weights, steps=steps, minutes=minutes, seed=seed, pooled_head=pooled_head
    )
    make_folder(out)
    source = read_source(dataset)
    judged = build_dataset(source if groups == GROUPS[0] else without_groups(source), seed=seed)
    parts = k_folds(judged.dataset, folds, seed=seed)
    terminal.print(f"{len(judged.dataset.items)} pictures, {judged.findings.groups} groups")

    def say(*, done: float, text: str) -> None:
        if "best" in text:
            terminal.print(f"{done:.0%} {text}")

    features = Features()
    for number in only or range(folds):
        run_fold(parts[number], number, settings, out, say=say, features=features)
    every = [_result(out / f"fold_{number}.json") for number in range(folds)]
    found = [result for result in every if result is not None]
    figures = {"groups": groups, "n_groups": judged.findings.groups, **summary(found)}
    if as_json:
        print_json(figures)
    else:
        terminal.print(json.dumps(figures, indent=1))


def without_groups(source: Source) -> Source:
    """The same pictures, of which nobody said which show the same part."""
    return replace(source, pictures=tuple(replace(each, group="") for each in source.pictures))


def magnetic_tile_recipe(
    weights: str, *, steps: int, minutes: float, seed: int, pooled_head: float = 1.0
) -> TrainSettings:
    """Settings for few parts of each class, on ground steel, and a computer with two cores.

    The published encoder stays as it is, and a decoder from stride 32 learns from its features. A
    tile holds nearly a whole picture because ``uneven`` shows only if both sides of an edge are
    compared.
    """
    fitting = dict(FROZEN_ENCODER)
    if weights == "none":
        fitting |= {"network": Network.SMALL, "encoder_stride_px": 16, "freeze_stride_px": 0}
        pooled_head = 0.0
    return TrainSettings(
        **{**fitting, "pooled_head": pooled_head},
        weights=weights,
        gray=True,
        grain=True,
        contrast=2.0,
        brightness=110.0,
        stride_px=4,
        strength=0.3,
        batch=8,
        steps=steps,
        minutes=minutes,
        check_every=300,
        max_validation=80,
        patience=0,
        rate=3e-3,
        seed=seed,
    )


if __name__ == "__main__":
    main()
