"""DeepPCB: its pictures, the recipe for them, and its figures.

1,500 pairs of binarized circuit board pictures, a tested one and its defect-free template, with
boxes of six defect types (tangsanli5201, "DeepPCB", MIT licence).

python -m edgeinspect_tools.train.deeppcb PATH --out DIR
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.atomic_file import make_folder
from edgeinspect.bundle.directory import Bundle, write_bundle
from edgeinspect.errors import NotGood, UsageError
from edgeinspect.ui.output import console, json_option, print_json
from edgeinspect_tools.train import checkpoint
from edgeinspect_tools.train.boxes import (
    HIT_IOU,
    BoxFigures,
    Corners,
    Found,
    boxes_from_map,
    figures,
)
from edgeinspect_tools.train.fit import Say
from edgeinspect_tools.train.maps import MapMaker, run_tflite
from edgeinspect_tools.train.outcome import TrainedRun, write_outcome
from edgeinspect_tools.train.run import described_choice, described_map, prepare_libraries
from edgeinspect_tools.train.samples import Box, Pictures, Sample
from edgeinspect_tools.train.segmentation import Trained, train_map
from edgeinspect_tools.train.settings import Network, TrainSettings
from edgeinspect_tools.train.station import frame_of, quick_bundle, station_inspector

CLASSES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
"""The data set's types 1 to 6."""

BOX_FILL = 0.7
"""Share of each box's sides that the models here are taught."""

ATTRIBUTION = (
    "Trained on DeepPCB (tangsanli5201, https://github.com/tangsanli5201/DeepPCB), MIT licence."
)

_VALIDATION_EVERY = 10
_CHECKED_PAIRS = 60
_CALIBRATION_PAIRS = 40
_SIDE_PX = 640

ScoreMapOf = Callable[[Sample], tuple[NDArray[np.float32], float]]
"""Score map (h, w, six classes) in [0, 1] of a picture, and its pixels per cell."""


def recipe(*, minutes: float, seed: int = 1) -> TrainSettings:
    """Grey pairs, small crops around defects, no change of light: the pictures are binary."""
    return TrainSettings(
        network=Network.SMALL,
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
        check_every=200,
        patience=0,
        rate=3e-3,
        seed=seed,
    )


def train_deeppcb(root: Path, out: Path, settings: TrainSettings, *, say: Say) -> TrainedRun:
    """Train on the official training pairs; the box threshold is chosen on validation."""
    training, validation = train_and_validation(root)
    checked = Pictures(validation, gray=True, reference=True)
    prepare_libraries(settings)
    make_folder(out)
    identity = {"settings": settings.as_dict(), "classes": list(CLASSES)}

    def value_of(maker: MapMaker) -> tuple[float, dict[str, float]]:
        found = validate(maker, checked, _CHECKED_PAIRS)
        curve = {"map": found.mean_average_precision, "f_score": found.f_score}
        return sum(curve.values()), curve

    made = train_map(
        training,
        validation,
        classes=len(CLASSES),
        settings=settings,
        progress=checkpoint.Progress(),
        say=say,
        keep=lambda now: checkpoint.save(out / "checkpoint", now, identity=identity),
        value_of=value_of,
    )
    return write_run(out, made, settings, root)


def write_run(out: Path, made: Trained, settings: TrainSettings, root: Path) -> TrainedRun:
    """The run's files, like those of ``train``."""
    description = {
        "data": {"kind": "deeppcb", "name": root.name, "sha256": _digest_of_split(root)},
        **described_map(CLASSES, settings),
        **described_choice(made.choice),
        "seed": settings.seed,
        "settings": settings.as_dict(),
        "steps": made.progress.step,
        "minutes": round(made.progress.seconds / 60, 2),
        "curves": made.progress.curves,
    }
    return write_outcome(out, made.float_model, description)


def validate(
    maker: MapMaker, pictures: Pictures, most: int, *, threshold: float | None = None
) -> BoxFigures:
    """Figures of a float model on the first pairs; without a threshold with the best one there."""
    count = min(most, len(pictures))
    maps = {
        pictures.samples[n].path: np.asarray(
            1 / (1 + np.exp(-maker.logits(pictures[n].pixels))), np.float32
        )
        for n in range(count)
    }
    stride = float(maker.settings.stride_px)
    return evaluate_deeppcb(
        lambda sample: (maps[sample.path], stride),
        pictures.samples[:count],
        threshold=threshold,
        box_fill=BOX_FILL,
    )


def make_bundle(run: TrainedRun, root: Path, out: Path) -> Bundle:
    """The quantized model in a bundle, with the box threshold chosen on all validation pairs
    through the station's own engine. Its golden pictures are drawn: DeepPCB's do not ship."""
    training, validation = train_and_validation(root)
    pictures = Pictures(
        training[:: max(1, len(training) // _CALIBRATION_PAIRS)], gray=True, reference=True
    )
    chosen = [pictures[n].pixels for n in range(len(pictures))]
    threshold = 0.5
    for _ in range(2):
        run.description["reducer"] = {"kind": "max", "k": 1}
        run.description["thresholds"] = {
            "default": {"review": round(threshold / 2, 4), "reject": round(threshold, 4)}
        }
        bundle = quick_bundle(
            run,
            chosen,
            out,
            name="deeppcb",
            licence="Apache-2.0",
            attribution=ATTRIBUTION,
            golden=drawn_boards(),
        )
        threshold = evaluate_bundle(bundle, validation, threshold=None).threshold
    return bundle


def evaluate_bundle(
    bundle: Bundle, samples: Sequence[Sample], *, threshold: float | None
) -> BoxFigures:
    """A bundle's figures by the station's own engine, each picture with its own template.

    Args:
        threshold: on a box's score; a bundle made here has it as its reject threshold.
    """
    box_fill = float(bundle.card.provenance.get("box_fill", 1.0))
    with station_inspector(bundle) as inspector:

        def score_map_of(sample: Sample) -> tuple[NDArray[np.float32], float]:
            picture = Pictures([sample], gray=True, reference=True)[0]
            tested, template = picture.pixels[..., 0], picture.pixels[..., 1]
            seen = inspector.inspect(frame_of(tested), want_map=True, reference=template)
            if seen.score_map is None:
                raise NotGood("The bundle gives no score map.")
            order = [seen.score_map.classes.index(name) for name in CLASSES]
            return seen.score_map.scores[:, :, order], seen.score_map.stride_px

        return evaluate_deeppcb(score_map_of, samples, threshold=threshold, box_fill=box_fill)


def described_figures(found: BoxFigures) -> dict[str, Any]:
    """For JSON."""
    return {
        "map": round(found.mean_average_precision, 5),
        "f_score": round(found.f_score, 5),
        "average_precision": dict(
            zip(CLASSES, (round(value, 5) for value in found.average_precision), strict=True)
        ),
        "f_scores": dict(zip(CLASSES, (round(v, 5) for v in found.f_scores), strict=True)),
        "threshold": round(found.threshold, 4),
    }


def drawn_boards(count: int = 2, side_px: int = 320) -> list[NDArray[np.uint8]]:
    """Drawn pairs that look like binarized boards, uint8 (side, side, 2); always the same."""
    rng = np.random.default_rng(640)
    boards = []
    for _ in range(count):
        template = np.zeros((side_px, side_px), np.uint8)
        for at in range(20, side_px, 40):
            bend = int(rng.integers(40, side_px - 40))
            track = np.array([(at, 0), (at, bend), (at + 16, bend + 16), (at + 16, side_px)])
            cv2.polylines(template, [track.astype(np.int32)], False, 255, 12)
            cv2.circle(template, (at, int(rng.integers(20, side_px - 20))), 14, 255, -1)
        tested = template.copy()
        for _ in range(8):
            x, y = (int(value) for value in rng.integers(20, side_px - 20, 2))
            cv2.circle(tested, (x, y), int(rng.integers(3, 9)), int(rng.integers(2)) * 255, -1)
        boards.append(np.stack([tested, template], axis=2))
    return boards


def read_split(root: Path, name: str) -> list[Sample]:
    """The pairs of ``trainval`` or ``test``, in the list's order.

    Raises:
        UsageError: the list or a label file is missing or malformed; pictures are not opened.
    """
    listed = root / f"{name}.txt"
    try:
        lines = listed.read_text().splitlines()
    except OSError as error:
        raise UsageError(f"{listed} cannot be read: {error.strerror or error}.") from error
    return [_pair(root, line, listed) for line in lines if line.strip()]


def train_and_validation(root: Path) -> tuple[list[Sample], list[Sample]]:
    """The official training pairs, every tenth of them kept apart for validation."""
    pairs = read_split(root, "trainval")
    validation = pairs[::_VALIDATION_EVERY]
    return [pair for n, pair in enumerate(pairs) if n % _VALIDATION_EVERY], validation


def evaluate_deeppcb(
    score_map_of: ScoreMapOf,
    samples: Sequence[Sample],
    *,
    threshold: float | None = None,
    box_fill: float = BOX_FILL,
) -> BoxFigures:
    """mAP and F-score at IoU 0.33 as the data set's authors define them.

    Args:
        threshold: on the box's score, chosen on validation; None chooses it on these samples.
    """
    found: list[list[Found]] = []
    for sample in samples:
        scores, stride_px = score_map_of(sample)
        found.append(boxes_from_map(scores, stride_px=stride_px, box_fill=box_fill))
    truth = [true_boxes(sample) for sample in samples]
    return figures(found, truth, classes=len(CLASSES), threshold=threshold)


def true_boxes(sample: Sample) -> list[Corners]:
    """The labelled boxes by their corners."""
    return [
        Corners(box.x, box.y, box.x + box.width, box.y + box.height, box.kind)
        for box in sample.boxes
    ]


def _digest_of_split(root: Path) -> str:
    """SHA-256 over the official lists and every label file of the training pairs."""
    digest = hashlib.sha256()
    for name in ("trainval.txt", "test.txt"):
        digest.update((root / name).read_bytes())
    for sample in read_split(root, "trainval"):
        digest.update(repr((sample.path.name, sample.boxes)).encode())
    return digest.hexdigest()


def _pair(root: Path, line: str, listed: Path) -> Sample:
    try:
        picture, labels = line.split()
        stem = root / picture
        rows = [row.split() for row in (root / labels).read_text().splitlines() if row.strip()]
        boxes = tuple(_box(*(int(value) for value in row)) for row in rows)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{listed}: the line {line!r} or its label file is wrong.") from error
    tested = stem.with_name(f"{stem.stem}_test{stem.suffix}")
    return Sample(
        path=tested,
        index=boxes[0].kind if boxes else None,
        boxes=boxes,
        reference=stem.with_name(f"{stem.stem}_temp{stem.suffix}"),
        group=picture.split("/")[0],
    )


def _box(left: int, top: int, right: int, bottom: int, kind: int) -> Box:
    if not 1 <= kind <= len(CLASSES) or right <= left or bottom <= top:
        raise ValueError("not a box of one of the six types")
    return Box(left, top, right - left, bottom - top, kind - 1)


def finished_bundle(bundle: Bundle, run: TrainedRun, root: Path) -> dict[str, Any]:
    """Measure a bundle on the official test pairs and write what was found into it.

    Returns:
        The figures, int8 by the station's engine, float beside them.
    """
    test = read_split(root, "test")
    limit = bundle.card.threshold(CLASSES[0]).reject
    int8 = described_figures(evaluate_bundle(bundle, test, threshold=limit))
    seen_as = replace(recipe(minutes=1), tile_px=bundle.card.input.height)
    maker = MapMaker(run_tflite(run.model.read_bytes()), seen_as)
    pairs = Pictures(test, gray=True, reference=True)
    real = described_figures(validate(maker, pairs, len(test), threshold=limit))
    metrics = {
        "data": "DeepPCB, official test split",
        "pictures": len(test),
        "iou": HIT_IOU,
        **int8,
    }
    provenance = {
        **bundle.card.provenance,
        "script": "python -m edgeinspect_tools.train.deeppcb",
        "data": "DeepPCB, official training split; every tenth pair for validation",
        "minutes": run.description["minutes"],
        "steps": run.description["steps"],
        "versions": run.description["versions"],
    }
    comparison = {
        "pictures": len(test),
        **{f"{name}_float": real[name] for name in ("map", "f_score")},
        **{f"{name}_int8": int8[name] for name in ("map", "f_score")},
    }
    write_bundle(
        bundle.directory,
        card=bundle.card.model_copy(update={"metrics": metrics, "provenance": provenance}),
        model=bundle.model,
        golden=bundle.golden,
        certificate=bundle.certificate.model_copy(update={"comparison": comparison}),
        replace=True,
    )
    return {**int8, "model_bytes": len(bundle.model), "float": real}


@click.command()
@click.argument("root", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--minutes", default=54.0, show_default=True)
@click.option("--seed", default=1, show_default=True)
@json_option
def main(root: Path, out: Path, minutes: float, seed: int, as_json: bool) -> None:
    """Train, quantize and measure the DeepPCB model; OUT/bundle is the result."""
    terminal = console(stderr=True)

    def say(*, done: float, text: str) -> None:
        if "best" in text:
            terminal.print(f"{done:.0%} {text}")

    run = train_deeppcb(root, out, recipe(minutes=minutes, seed=seed), say=say)
    found = finished_bundle(make_bundle(run, root, out / "bundle"), run, root)
    if as_json:
        print_json(found)
    else:
        terminal.print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
