"""All steps with good defaults: data, train, quantize, pack, verify."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeinspect.bundle.card import CARD_FILE
from edgeinspect.bundle.directory import load_bundle
from edgeinspect.errors import ModelRefused
from edgeinspect.files.atomic_file import make_folder, replace_file
from edgeinspect_tools.all_in_one.plans import FINE_TUNING_SHARE, Wishes, candidates
from edgeinspect_tools.data.build import build_dataset
from edgeinspect_tools.data.dataset import Dataset, Split
from edgeinspect_tools.data.dataset_formats import read_source
from edgeinspect_tools.data.good_only import with_drawn_defects
from edgeinspect_tools.data.manifest import save_manifest
from edgeinspect_tools.data.training_data import as_split_before, stored_split
from edgeinspect_tools.judgement import Judgement
from edgeinspect_tools.pack.bundle import Identity, Trained, copy_bundle, pack
from edgeinspect_tools.quantize.draft_bundle import INT8_MODEL, QUANTIZED_FILE
from edgeinspect_tools.quantize.int8_candidates import Int8Method, Quantized, check_gap
from edgeinspect_tools.quantize.steps import quantize_trained
from edgeinspect_tools.train import TrainedRun, TrainSettings, train
from edgeinspect_tools.train.checkpoint import CHECKPOINT_FILE
from edgeinspect_tools.train.training_run import CHECKPOINT_FOLDER, MANIFEST
from edgeinspect_tools.verify.measure import Verification, verify_bundle

Say = Callable[[str], None]
Plan = Callable[[Dataset, Wishes], Mapping[str, TrainSettings]]
"""Settings that are worth training on a data set, by name."""


def run_chain(
    text: str,
    out: Path,
    run_folder: Path,
    wishes: Wishes,
    identity: Identity,
    *,
    say: Say,
    plan: Plan = candidates,
) -> tuple[Verification, dict[str, float]]:
    """Make the bundle ``out``; everything on the way is kept in ``run_folder``.

    Args:
        text: the data set, as ``read_source`` takes it.
        plan: what to train; the int8 models are compared on validation pictures.

    Returns:
        What ``verify`` found of the finished bundle, and the seconds of each stage.

    Raises:
        EdgeInspectError: from the stage that failed; no bundle is written then.
    """
    check_free(out, replace=wishes.replace)
    seconds: dict[str, float] = {}
    began = time.monotonic()

    def done(stage: str) -> None:
        seconds[stage] = round(time.monotonic() - began - sum(seconds.values()), 2)

    source = read_source(text, good=wishes.good)
    judged = build_dataset(
        source, seed=wishes.seed, group_pattern=wishes.group_pattern, needs_defects=False
    )
    dataset = judged.dataset
    say(
        f"{len(dataset.items)} pictures of {judged.findings.groups} parts: "
        + ", ".join(f"{len(dataset.of(split))} {split.value}" for split in Split)
    )
    make_folder(run_folder)
    if wishes.good_only or not dataset.defect_classes:
        dataset = with_drawn_defects(dataset, run_folder, seed=wishes.seed)
        drawn = sum(item.drawn for item in dataset.items)
        say(f"learning from good pictures alone, beside {drawn} copies with a drawn defect")
    save_manifest(dataset, run_folder / MANIFEST)
    done("data")
    runs = train_each(plan(dataset, wishes), dataset, run_folder, wishes, say=say)
    done("train")
    minutes = None if wishes.steps else wishes.minutes * FINE_TUNING_SHARE / len(runs)
    best = best_of(
        {name: _quantized(run, dataset, minutes, say=say) for name, run in runs.items()}, say=say
    )
    quantized = best.quantized
    check_gap(quantized.gap, quantized.worst_layers, accept=wishes.accept_gap)
    report = {"file": INT8_MODEL, **quantized.as_dict()}
    replace_file(run_folder / INT8_MODEL, quantized.model)
    replace_file(run_folder / QUANTIZED_FILE, (json.dumps(report, indent=1) + "\n").encode())
    done("quantize")
    pack(
        Trained(
            described=best.description,
            float_model=best.float_model,
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
    found = verify_written(out, dataset, best.float_model)
    done("verify")
    return found, seconds


def check_free(out: Path, *, replace: bool) -> None:
    """Raise ModelRefused where something other than a bundle to be replaced is at ``out``."""
    if out.exists() and not (replace and (out / CARD_FILE).is_file()):
        raise ModelRefused(
            f"{out} already exists.", next_action="Choose another name or add --replace."
        )


def train_each(
    choices: Mapping[str, TrainSettings],
    dataset: Dataset,
    run_folder: Path,
    wishes: Wishes,
    *,
    say: Say,
) -> dict[str, TrainedRun]:
    """Train one model in the run folder itself, or several in a folder each."""
    if len(choices) == 1:
        ((name, settings),) = choices.items()
        progress, resume = _Training(say), wishes.resume
        return {name: train(dataset, settings, run_folder, progress=progress, resume=resume)}
    runs = {}
    for name, settings in choices.items():
        say(f"training a {name}")
        folder = run_folder / name.replace(" ", "-")
        begun = (folder / CHECKPOINT_FOLDER / CHECKPOINT_FILE).is_file()
        runs[name] = train(
            dataset, settings, folder, progress=_Training(say), resume=wishes.resume and begun
        )
    return runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A trained model and its int8 version."""

    description: dict[str, Any]
    float_model: bytes = field(repr=False)
    quantized: Quantized


def _quantized(run: TrainedRun, dataset: Dataset, minutes: float | None, *, say: Say) -> Candidate:
    float_model = run.model.read_bytes()
    quantized = quantize_trained(
        run.description,
        float_model,
        dataset,
        (Int8Method.TRUE, Int8Method.ROBUST, Int8Method.TIGHT),
        minutes=minutes,
        say=say,
    )
    return Candidate(description=run.description, float_model=float_model, quantized=quantized)


def best_of(made: Mapping[str, Candidate], *, say: Say) -> Candidate:
    """Choose among the int8 models, which are what will run, on validation pictures.

    Models that stay close enough to their float model come first. Among these the one that
    separates good from defective pictures best is chosen.
    """
    if len(made) == 1:
        (only,) = made.values()
        return only
    gaps = {name: one.quantized.gap for name, one in made.items()}
    worth = {name: gap.auroc_int8 or 0.0 for name, gap in gaps.items()}
    best = max(made, key=lambda name: (gaps[name].is_within_bound, worth[name]))
    listed = ", ".join(
        f"{name} {value:.4f}"
        + ("" if gaps[name].is_within_bound else ", which strays from its float model")
        for name, value in worth.items()
    )
    say(f"AUROC of int8 on validation pictures: {listed}; the {best} is taken")
    return replace(made[best], description={**made[best].description, "chosen_among": worth})


class _Training:
    """Reports a training: one line for every tenth of its time limit."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._reported = -1

    def __call__(self, *, done: float, text: str) -> None:
        tenth = int(done * 10)
        if tenth > self._reported:
            self._reported = tenth
            self._say(f"training, {done:.0%} of its time: {text}")


def verify_written(out: Path, dataset: Dataset, float_model: bytes) -> Verification:
    """Verify the bundle on disk with its test pictures."""
    bundle = load_bundle(out)
    items = as_split_before(dataset, stored_split(bundle)).of(Split.TEST)
    return verify_bundle(bundle, items, float_model)


def released(staged: Path, out: Path, judgement: Judgement, *, replace: bool) -> Path:
    """Put a bundle that is fit for use at ``out``, and name the place where it is now."""
    if not judgement.fit_for_use:
        return staged
    copy_bundle(load_bundle(staged), out, replace=replace)
    return out


def summary(
    found: Verification, place: Path, seconds: dict[str, float], judgement: Judgement
) -> dict[str, Any]:
    """The figures that ``--json`` prints."""
    return {
        "bundle": str(place),
        "fit_for_use": judgement.fit_for_use,
        "judgement": judgement.sentence,
        **found.figures(),
        "seconds": seconds,
    }
