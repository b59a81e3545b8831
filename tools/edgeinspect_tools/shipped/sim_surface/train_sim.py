"""Make the shipped model: train, quantize, choose thresholds, measure, write the bundle.

    python -m edgeinspect_tools.shipped.sim_surface.train_sim \\
        --out models/sim-surface [--minutes 20]

Everything the model ever sees is rendered from seeds; three disjoint seeds serve training,
validation (best weights, reducer, thresholds) and the held-out measurement.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edgeinspect import __version__
from edgeinspect.bundle.card import Card, ColorOrder, Role, Task
from edgeinspect.bundle.certificate import Certificate
from edgeinspect.bundle.directory import Bundle, write_bundle
from edgeinspect.cli.options import FiniteRange
from edgeinspect.files.atomic_file import replace_file
from edgeinspect.line.scores import Activation, ReducerKind
from edgeinspect.sim.defects import DEFECT_KINDS
from edgeinspect.sim.renderer import FRAME_HEIGHT_PX, FRAME_WIDTH_PX
from edgeinspect_tools.certify import band, layer_findings, score_error
from edgeinspect_tools.pack.bundle import golden_of
from edgeinspect_tools.pack.wrap_model import tolerance_for
from edgeinspect_tools.quantize import float_tflite, quantize_int8
from edgeinspect_tools.quantize.draft_bundle import bundle_in_memory, card_of
from edgeinspect_tools.quantize.gap import flips_around
from edgeinspect_tools.quantize.int8_candidates import LOGITS
from edgeinspect_tools.shipped.sim_surface.evaluate_sim import (
    evaluate,
    open_inspector,
    sample_parts,
    see_through_station,
    station_look,
)
from edgeinspect_tools.shipped.sim_surface.sim_data import (
    MEAN,
    OVERLAP_PX,
    STD,
    STRIDE_PX,
    TEST_SEED,
    TILE_PX,
    TRAIN_SEED,
    VALIDATION_SEED,
    labelled_part,
)
from edgeinspect_tools.shipped.sim_surface.sim_metrics import Report, table
from edgeinspect_tools.shipped.sim_surface.sim_model import build_model, real_input
from edgeinspect_tools.shipped.sim_surface.sim_thresholds import Choice, choose
from edgeinspect_tools.shipped.sim_surface.sim_training import logit_map, roi_tiles, train
from edgeinspect_tools.statistics import auroc

NAME = "sim-surface"
VERSION = "1"

_CALIBRATION_PARTS = 60
_VALIDATION_PARTS = 2000
_COMPARED_PARTS = 300
_GOLDEN_PARTS = 8
_GOLDEN_PX = (221, 183)
_PARTS_PER_RUN = 10_000_000
"""Each training run renders parts of its own."""
_UNDECIDED = Choice(rank=1, review=0.5, reject=0.7, cost=0.0)


def build_card(
    int8_model: bytes,
    choice: Choice,
    *,
    provenance: dict[str, Any],
    metrics: dict[str, Any] | None = None,
) -> Card:
    """The card of the shipped model."""
    kind = ReducerKind.MAX if choice.rank == 1 else ReducerKind.KTH_LARGEST
    limits = {"review": choice.review, "reject": choice.reject}
    described = {
        "task": Task.SEGMENTATION.value,
        "classes": [{"name": name, "role": Role.DEFECT.value} for name in DEFECT_KINDS],
        "input": {
            "color": ColorOrder.GRAY.value,
            "tile_overlap_px": OVERLAP_PX,
            "mean": [MEAN],
            "std": [STD],
        },
        "output": {"activation": Activation.SIGMOID.value, "stride_px": STRIDE_PX},
        "reducer": {"kind": kind.value, "k": choice.rank},
        "thresholds": dict.fromkeys(DEFECT_KINDS, limits),
    }
    return card_of(
        described,
        int8_model,
        name=NAME,
        version=VERSION,
        licence="Apache-2.0",
        attribution="The edgeinspect authors; trained on rendered pictures only.",
        provenance=provenance,
        metrics=metrics or {},
    )


def calibration_samples() -> list[NDArray[np.float32]]:
    """Training parts' tiles, and one tile with every grey level so that none is ever clipped."""
    every_level = np.resize(np.arange(256, dtype=np.uint8), (1, TILE_PX, TILE_PX, 1))
    samples = [real_input(every_level)]
    for number in range(_CALIBRATION_PARTS):
        part = labelled_part(TRAIN_SEED, number, defective=number % 3 > 0)
        samples.extend(real_input(tile[None]) for tile in roi_tiles(part.pixels))
    return samples


def compare(
    model: Any, float_model: bytes, bundle: Bundle, samples: Sequence[NDArray[np.float32]]
) -> dict[str, Any]:
    """Float against int8 on validation parts, through the station's path for the int8 side."""
    rank = bundle.card.reducer.k
    float_maps, int8_maps, defective = [], [], []
    with open_inspector(bundle) as inspector:
        look = station_look(inspector)
        for _, part in sample_parts(VALIDATION_SEED, _COMPARED_PARTS):
            float_maps.append(1 / (1 + np.exp(-logit_map(model, part.pixels))))
            int8_maps.append(look(part.pixels).score_map)
            defective.append(bool(part.defects))
    before, after = (_reduced(maps, rank) for maps in (float_maps, int8_maps))
    bad = np.array(defective)
    return {
        "parts": len(bad),
        "auroc_float": round(auroc(before[bad].max(1).tolist(), before[~bad].max(1).tolist()), 6),
        "auroc_int8": round(auroc(after[bad].max(1).tolist(), after[~bad].max(1).tolist()), 6),
        "score_map_error": score_error(float_maps, int8_maps),
        "score_error_max": round(float(np.abs(before - after).max()), 6),
        "flip_band": band(),
        "flips": flips_around(before, after, bundle.card),
        "layers": layer_findings(float_model, bundle.model, samples),
    }


def make_bundle(
    out: Path, weights: Path, training: list[dict[str, Any]], *, test_parts: int
) -> tuple[Bundle, Report]:
    """Everything after the training; the bundle at ``out`` is replaced as a whole."""
    model = build_model(TILE_PX)
    model.load_weights(weights)
    samples = calibration_samples()
    float_model = float_tflite(model)
    int8_model = quantize_int8(float_model, samples, output_range=LOGITS)
    provenance = _provenance(training)
    card = build_card(int8_model, _UNDECIDED, provenance=provenance)
    draft = bundle_in_memory(card, int8_model)
    choice = choose(see_through_station(draft, VALIDATION_SEED, _VALIDATION_PARTS))
    click.echo(f"chosen on {_VALIDATION_PARTS} validation parts: {choice}")
    draft = bundle_in_memory(build_card(int8_model, choice, provenance=provenance), int8_model)
    result = evaluate(draft, parts=test_parts)
    metrics = {"held_out_parts": test_parts, "defective_one_in": 3, **result.as_dict()}
    card = build_card(int8_model, choice, provenance=provenance, metrics=metrics)
    golden, spread = golden_of(card, int8_model, golden_pictures())
    comparison = compare(model, float_model, draft, samples)
    comparison["fast_kernels_against_reference"] = asdict(spread)
    bundle = write_bundle(
        out,
        card=card,
        model=int8_model,
        golden=golden,
        certificate=Certificate(
            tolerance=tolerance_for(spread, draft.card.name), comparison=comparison
        ),
        replace=True,
    )
    return bundle, result


def golden_pictures() -> list[NDArray[np.uint8]]:
    """Cuts from held-out parts, most with defects, of an odd size so that tiles overlap."""
    pictures = []
    for number in range(_GOLDEN_PARTS):
        part = labelled_part(TEST_SEED, 900_000 + number, defective=number % 4 > 0)
        x, y, width, height = part.defects[0].box if part.defects else (60, 60, 0, 0)
        left = min(max(x + width // 2 - _GOLDEN_PX[0] // 2, 0), FRAME_WIDTH_PX - _GOLDEN_PX[0])
        top = min(max(y + height // 2 - _GOLDEN_PX[1] // 2, 0), FRAME_HEIGHT_PX - _GOLDEN_PX[1])
        cut = part.pixels[top : top + _GOLDEN_PX[1], left : left + _GOLDEN_PX[0]]
        pictures.append(np.ascontiguousarray(cut))
    return pictures


def _provenance(training: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "script": "python -m edgeinspect_tools.shipped.sim_surface.train_sim",
        "edgeinspect": __version__,
        "data": "rendered by edgeinspect.sim.renderer, no photograph and no third-party material",
        "seeds": {"train": TRAIN_SEED, "validation": VALIDATION_SEED, "test": TEST_SEED},
        "calibration_parts": _CALIBRATION_PARTS,
        "validation_parts": _VALIDATION_PARTS,
        "training_runs": training,
    }


def _reduced(maps: Sequence[NDArray[np.floating]], rank: int) -> NDArray[np.float64]:
    """The k-th largest value of each class of each map: (parts, classes)."""
    cells = [np.sort(m.reshape(-1, m.shape[-1]), axis=0)[-rank] for m in maps]
    return np.asarray(cells, dtype=np.float64)


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Bundle to write.")
@click.option("--minutes", default=20.0, show_default=True, type=FiniteRange(min=0.1))
@click.option(
    "--steps",
    default=5000,
    show_default=True,
    type=click.IntRange(min=0),
    help="0 with --resume: no further training.",
)
@click.option("--test-parts", default=3000, show_default=True, type=click.IntRange(min=30))
@click.option(
    "--save-weights",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep the trained weights in NAME.weights.h5, to resume from later.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Continue from weights kept earlier.",
)
def main(
    *,
    out: Path,
    minutes: float,
    steps: int,
    test_parts: int,
    save_weights: Path | None,
    resume: Path | None,
) -> None:
    """Train, quantize, measure and write the model for the simulated line.

    About 25 minutes on two idle cores: 5,000 steps of training, then the measurement.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with tempfile.TemporaryDirectory() as folder:
        weights = save_weights or Path(folder) / "best.weights.h5"
        runs = json.loads(_history(resume).read_text()) if resume else []
        if steps or resume is None:
            told = train(
                weights,
                steps=steps,
                minutes=minutes,
                say=click.echo,
                resume=resume,
                first_part=len(runs) * _PARTS_PER_RUN,
            )
            runs.append(asdict(told))
            replace_file(_history(weights), json.dumps(runs).encode())
        else:
            weights = resume
        bundle, result = make_bundle(out, weights, runs, test_parts=test_parts)
    click.echo(table(result))
    click.echo(f"{bundle}: {len(bundle.model) / 1024:.0f} KiB")


def _history(weights: Path) -> Path:
    """What is known of the training runs that led to some weights."""
    return weights.with_name(weights.name + ".json")


if __name__ == "__main__":
    main()
