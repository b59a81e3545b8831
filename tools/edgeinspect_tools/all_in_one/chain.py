"""The whole way with good defaults: data, train, quantize, pack, verify."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeinspect.atomic_file import make_folder, replace_file
from edgeinspect.bundle.card import CARD_FILE
from edgeinspect.bundle.directory import load_bundle
from edgeinspect.errors import ModelRefused
from edgeinspect.hw.picture_file import read_picture
from edgeinspect_tools.data.build import build_dataset
from edgeinspect_tools.data.dataset import Dataset, Split
from edgeinspect_tools.data.manifest import save_manifest
from edgeinspect_tools.data.read import read_source
from edgeinspect_tools.data_of import as_split_before, stored_split
from edgeinspect_tools.pack.bundle import Identity, Trained, pack
from edgeinspect_tools.quantize.draft import INT8_MODEL, QUANTIZED_FILE
from edgeinspect_tools.quantize.steps import quantize_trained
from edgeinspect_tools.quantize.ways import Way, check_gap
from edgeinspect_tools.train import Network, TrainSettings, train
from edgeinspect_tools.train.run import MANIFEST
from edgeinspect_tools.train.weights import width_of
from edgeinspect_tools.verify.measure import Verification, verify_bundle

Say = Callable[[str], None]

_TRAINING_SHARE = 0.6
_STEPS_WITHOUT_END = 100_000
_MINUTES_WITHOUT_END = 60_000.0
_CHECKS = 8
"""Validations of a training that is counted in steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a person may want otherwise.

    Attributes:
        weights: see ``TrainSettings``.
        minutes: for everything; most of it is training.
        steps: of training, instead of the minutes: the same on every machine. None: by the clock.
        network: None: a MobileNetV2 encoder where weights are given, else ``small``, or ``tiny``
            where there is less than ten minutes.
        resume: go on with the training that an interrupted run left in the run folder.
    """

    weights: str = "none"
    minutes: float = 30.0
    steps: int | None = None
    network: Network | None = None
    seed: int = 1
    accept_gap: bool = False
    replace: bool = False
    good: str = ""
    group_pattern: str = ""
    resume: bool = False


def run_chain(
    text: str, out: Path, run_folder: Path, wishes: Wishes, identity: Identity, *, say: Say
) -> tuple[Verification, dict[str, float]]:
    """Make the bundle ``out``; everything on the way is kept in ``run_folder``.

    Returns:
        What ``verify`` found of the finished bundle, and the seconds of each stage.

    Raises:
        EdgeInspectError: of the stage that failed; there is no new bundle then.
    """
    if out.exists() and not (wishes.replace and (out / CARD_FILE).is_file()):
        raise ModelRefused(
            f"{out} is in the way.", next_action="Choose another name or add --replace."
        )
    seconds: dict[str, float] = {}
    began = time.monotonic()

    def done(stage: str) -> None:
        seconds[stage] = round(time.monotonic() - began - sum(seconds.values()), 2)

    source = read_source(text, good=wishes.good)
    judged = build_dataset(source, seed=wishes.seed, group_pattern=wishes.group_pattern)
    dataset = judged.dataset
    say(
        f"{len(dataset.items)} pictures of {judged.findings.groups} parts: "
        + ", ".join(f"{len(dataset.of(split))} {split.value}" for split in Split)
    )
    make_folder(run_folder)
    save_manifest(dataset, run_folder / MANIFEST)
    done("data")
    settings = good_settings(dataset, wishes)
    trained = train(dataset, settings, run_folder, progress=_Training(say), resume=wishes.resume)
    done("train")
    float_model = trained.model.read_bytes()
    quantized = quantize_trained(
        trained.description, float_model, dataset, (Way.TRUE, Way.ROBUST, Way.TIGHT), say=say
    )
    check_gap(quantized.gap, quantized.worst_layers, accept=wishes.accept_gap)
    report = {"file": INT8_MODEL, **quantized.as_dict()}
    replace_file(run_folder / INT8_MODEL, quantized.model)
    replace_file(run_folder / QUANTIZED_FILE, (json.dumps(report, indent=1) + "\n").encode())
    done("quantize")
    pack(
        Trained(
            described=trained.description,
            float_model=float_model,
            int8_model=quantized.model,
            quantized=report,
        ),
        dataset,
        out,
        identity=identity,
        accept_gap=wishes.accept_gap,
        replace=wishes.replace,
        say=say,
    )
    done("pack")
    say("verifying the finished bundle")
    found = verify_written(out, dataset, float_model)
    done("verify")
    return found, seconds


class _Training:
    """Tells a training's progress in lines: one for every tenth of its budget."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._told = -1

    def __call__(self, *, done: float, text: str) -> None:
        tenth = int(done * 10)
        if tenth > self._told:
            self._told = tenth
            self._say(f"training, {done:.0%} of its time: {text}")


def verify_written(out: Path, dataset: Dataset, float_model: bytes) -> Verification:
    """The bundle as it is on the disk, on its test pictures."""
    bundle = load_bundle(out)
    items = as_split_before(dataset, stored_split(bundle)).of(Split.TEST)
    return verify_bundle(bundle, items, float_model)


def good_settings(dataset: Dataset, wishes: Wishes) -> TrainSettings:
    """Settings that suit the pictures' size and colours and the time there is.

    Where every picture has a reference, it is compared with it.
    """
    short = min(min(item.width, item.height) for item in dataset.items)
    tile = min(256, max(64, short // 32 * 32))
    network = wishes.network
    if network is None:
        small = Network.SMALL if wishes.minutes >= 10 else Network.TINY
        network = Network.MOBILENET_V2 if wishes.weights != "none" else small
    reference = all(item.reference is not None for item in dataset.items)
    return TrainSettings(
        network=network,
        weights=wishes.weights,
        alpha=1.0 if wishes.weights == "none" else width_of(wishes.weights),
        freeze_stride_px=0 if wishes.weights == "none" else 8,
        gray=reference or (_is_gray(dataset) and wishes.weights == "none"),
        reference=reference,
        tile_px=tile,
        tile_overlap_px=min(64, tile // 4),
        crop_px=min(tile, 192),
        max_validation=120 if wishes.minutes >= 10 else 40,
        seed=wishes.seed,
        **_budget(wishes),
    )


def _budget(wishes: Wishes) -> dict[str, Any]:
    if wishes.steps is not None:
        return {
            "minutes": _MINUTES_WITHOUT_END,
            "steps": wishes.steps,
            "check_every": max(20, min(200, wishes.steps // _CHECKS)),
        }
    return {
        "minutes": max(0.05, wishes.minutes * _TRAINING_SHARE),
        "steps": _STEPS_WITHOUT_END,
        "check_every": 200 if wishes.minutes >= 10 else 50,
    }


def _is_gray(dataset: Dataset) -> bool:
    """Whether no picture of a sample of them has colour."""
    sample = dataset.items[:: max(1, len(dataset.items) // 24)]
    for item in sample:
        pixels = read_picture(item.path)
        if pixels.ndim == 3 and (pixels.max(axis=2) != pixels.min(axis=2)).any():
            return False
    return True


def summary(found: Verification, out: Path, seconds: dict[str, float]) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {"bundle": str(out), **found.figures(), "seconds": seconds}
