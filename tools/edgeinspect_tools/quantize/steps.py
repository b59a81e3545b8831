"""From a run and its data set, or from a bare file and pictures, to the best int8 model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeinspect.errors import ModelRefused, UsageError
from edgeinspect.hw.folder_camera import list_pictures
from edgeinspect_tools.data.dataset import Dataset, Item, Split
from edgeinspect_tools.data.pick import evenly
from edgeinspect_tools.quantize.calibration import calibration_samples
from edgeinspect_tools.quantize.draft_bundle import card_of
from edgeinspect_tools.quantize.gap import Labelled
from edgeinspect_tools.quantize.int8 import open_model
from edgeinspect_tools.quantize.int8_candidates import (
    FineTune,
    Int8Method,
    Quantized,
    quantize_best,
)
from edgeinspect_tools.quantize.real import FloatModel

MAX_CALIBRATION_PICTURES = 120
MAX_JUDGING_TILES = 400
ENOUGH_JUDGING_PICTURES = 80
"""However many tiles a picture is cut into."""

MAX_LESSON_PICTURES = 240
MAX_LESSON_TILES = 256

Say = Callable[[str], None]


def quantize_trained(
    described: dict[str, Any],
    float_model: bytes,
    dataset: Dataset,
    methods: Sequence[Int8Method],
    *,
    fine_tune: FineTune = FineTune.AUTO,
    minutes: float | None = None,
    say: Say = lambda _: None,
) -> Quantized:
    """Calibrate on the calibration split (training where it is empty), judge on validation.

    Fine-tuning, where there is any, learns from tiles of the training split, for about so many
    ``minutes`` at most.
    """
    source = dataset.of(Split.CALIBRATION) or dataset.of(Split.TRAIN)
    return _quantized(
        float_model,
        described,
        calibrating=labelled(spread(source, MAX_CALIBRATION_PICTURES)),
        teaching=labelled(spread(dataset.of(Split.TRAIN), MAX_LESSON_PICTURES)),
        judging=lambda most: labelled(spread(dataset.of(Split.VALIDATION), most)),
        methods=methods,
        fine_tune=fine_tune,
        minutes=minutes,
        say=say,
    )


def quantize_pictures(
    float_model: bytes,
    folder: Path,
    *,
    methods: Sequence[Int8Method],
    mean: float,
    std: float,
    activation: str,
    fine_tune: FineTune = FineTune.AUTO,
    say: Say = lambda _: None,
) -> Quantized:
    """A model of unknown origin: every second picture calibrates and teaches, the others judge.

    Raises:
        UsageError: fewer than four pictures.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.", next_action="Give a folder of pictures.")
    files = list_pictures(folder)
    if len(files) < 4:
        raise UsageError(f"{folder} holds {len(files)} pictures; at least 4 are needed.")
    described = describe_model(float_model, mean=mean, std=std, activation=activation)
    calibrating = [Labelled(path, None) for path in files[::2]]
    return _quantized(
        float_model,
        described,
        calibrating=calibrating[:MAX_CALIBRATION_PICTURES],
        teaching=calibrating[:MAX_LESSON_PICTURES],
        judging=lambda most: [Labelled(path, None) for path in evenly(files[1::2], most)],
        methods=methods,
        fine_tune=fine_tune,
        say=say,
    )


def _quantized(
    float_model: bytes,
    described: dict[str, Any],
    *,
    calibrating: Sequence[Labelled],
    teaching: Sequence[Labelled],
    judging: Callable[[int], Sequence[Labelled]],
    methods: Sequence[Int8Method],
    fine_tune: FineTune,
    say: Say,
    minutes: float | None = None,
) -> Quantized:
    card = card_of(described, float_model)
    floating = FloatModel(float_model, card)
    samples = calibration_samples(floating, card, calibrating)
    say(f"calibrated on {len(samples)} tiles of {len(calibrating)} pictures")
    tiles = len(floating.samples(calibrating[0].region(card)))
    return quantize_best(
        float_model,
        described,
        samples,
        judging(max(ENOUGH_JUDGING_PICTURES, MAX_JUDGING_TILES // tiles)),
        methods=methods,
        lessons=lambda: calibration_samples(floating, card, teaching, most=MAX_LESSON_TILES),
        fine_tune=fine_tune,
        minutes=minutes,
        say=say,
    )


def describe_model(
    float_model: bytes, *, mean: float, std: float, activation: str
) -> dict[str, Any]:
    """As much of a run's description as follows from a model's shapes.

    Raises:
        ModelRefused: it does not take one picture and give one map or one vector.
    """
    interpreter = open_model(float_model)
    ends = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    shapes = [tuple(int(extent) for extent in end["shape"]) for end in ends]
    if len(shapes) != 2 or len(shapes[0]) != 4 or shapes[0][3] not in (1, 3):
        raise ModelRefused(
            f"The model's inputs and outputs are {shapes}; one picture (1, height, width, 1 or 3) "
            "and one output are expected.",
            next_action="Convert it with edgeinspect-tools convert.",
        )
    source, sink = shapes
    is_map = len(sink) == 4 and sink[1] > 1
    names = [{"name": f"class_{n}", "role": "defect"} for n in range(sink[-1])]
    return {
        "task": "segmentation" if is_map else "classification",
        "classes": names,
        "input": {
            "color": "gray" if source[3] == 1 else "rgb",
            "mean": [mean] * source[3],
            "std": [std] * source[3],
            "fit": "resize",
        },
        "output": {
            "activation": activation,
            "stride_px": -(-source[1] // sink[1]) if is_map else None,
        },
        "thresholds": {"default": {"review": 0.5, "reject": 0.5}},
    }


def labelled(items: Sequence[Item]) -> list[Labelled]:
    """The items as pictures that are good or defective."""
    return [Labelled(item.path, not item.is_good, item.reference) for item in items]


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many, each class by its share but every class at least once."""
    if len(items) <= most:
        return list(items)
    by_label: dict[str, list[Item]] = {}
    for item in items:
        by_label.setdefault(item.label, []).append(item)
    chosen: list[Item] = []
    for same in by_label.values():
        count = max(1, most * len(same) // len(items))
        chosen.extend(evenly(same, count))
    return sorted(chosen, key=lambda item: item.path)
