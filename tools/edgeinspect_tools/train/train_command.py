"""``edgeinspect-tools train``: a float model with ``run.json`` from a data set."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edgeinspect.terminal.output import console, examples, json_option, print_json, say, table
from edgeinspect_tools.shared_options import good_option, group_pattern_option
from edgeinspect_tools.train.training_methods import METHODS
from edgeinspect_tools.train.training_settings import AUTO, SEGMENTATION

EXAMPLES = """
edgeinspect-tools train pictures/ --out run/                     a small network, random weights
edgeinspect-tools train pictures/ --out run/ --network mobilenet_v2 --weights mobilenet_v2.tflite
edgeinspect-tools train pictures/ --out run/ --resume            after an interruption
edgeinspect-tools train labels.csv --out run/ --method classification --weights imagenet
edgeinspect-tools train ground/ --out run/ --weights mobilenet_v2.tflite --encoder frozen --grain
edgeinspect-tools train deeppcb:PCBData --out run/ --reference --gray --box-fill 0.7
"""

_NETWORKS = ("tiny", "small", "mobilenet_v2")
_ENCODERS = ("auto", "frozen", "fine-tuned")


@click.command(epilog=examples(EXAMPLES))
@click.argument("dataset")
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the run.",
)
@click.option("--resume", is_flag=True, help="Continue an interrupted run.")
@click.option("--network", default="small", show_default=True, type=click.Choice(_NETWORKS))
@click.option(
    "--method",
    "--task",
    default=AUTO,
    show_default=True,
    type=click.Choice((AUTO, *METHODS)),
    help="How to learn; auto is segmentation, which learns from labels, boxes or masks.",
)
@click.option(
    "--weights",
    default="none",
    show_default=True,
    metavar="none|imagenet|FILE",
    help="First weights of mobilenet_v2: a .tflite (int8 or float) or .keras file.",
)
@click.option("--alpha", default=1.0, show_default=True, help="Width of mobilenet_v2.")
@click.option(
    "--encoder",
    default="auto",
    show_default=True,
    type=click.Choice(_ENCODERS),
    help="frozen: keep the first weights; auto: for a classifier, whichever validates better.",
)
@click.option(
    "--freeze-stride",
    "freeze_stride_px",
    default=None,
    type=click.Choice(["0", "2", "4", "8", "16", "32"]),
    help="Keep the first weights of layers up to this stride.  [default: 8 with --weights]",
)
@click.option(
    "--encoder-stride",
    "encoder_stride_px",
    default="16",
    show_default=True,
    type=click.Choice(["16", "32"]),
    help="Depth of mobilenet_v2; 32 sees a whole tile.",
)
@click.option(
    "--contrast",
    default=1.0,
    show_default=True,
    help="Multiply the contrast of pictures by this, for loaded weights.",
)
@click.option(
    "--brightness",
    default=127.5,
    show_default=True,
    help="Grey level mapped to the pretrained mid-point.",
)
@click.option("--gray/--color", default=False, help="Train on grey pictures.")
@click.option("--reference", is_flag=True, help="Compare with each picture's reference picture.")
@click.option("--tile", "tile_px", default=256, show_default=True, help="Side of a tile, px.")
@click.option(
    "--overlap", "tile_overlap_px", default=64, show_default=True, help="Overlap of tiles, px."
)
@click.option("--crop", "crop_px", default=192, show_default=True, help="Side of a crop, px.")
@click.option(
    "--stride",
    "stride_px",
    default="4",
    show_default=True,
    type=click.Choice(["2", "4", "8"]),
    help="Pixels per cell of the score map.",
)
@click.option(
    "--resize",
    "resize_px",
    default=224,
    show_default=True,
    help="Picture side for a classifier, px.",
)
@click.option(
    "--box-fill",
    default=1.0,
    show_default=True,
    help="Share of a box's sides that counts as defect.",
)
@click.option("--turns/--no-turns", default=True, help="Also learn from turned pictures.")
@click.option(
    "--grain", is_flag=True, help="The surface has a direction: never turn pictures by 90 degrees."
)
@click.option(
    "--good-share", default=0.35, show_default=True, help="Share of crops from good pictures."
)
@click.option(
    "--coverage-gain",
    default=1.5,
    show_default=True,
    help="1 gives true outlines of defects; more gives larger ones.",
)
@click.option(
    "--picture-loss",
    default=0.0,
    show_default=True,
    help="Weight of the loss on each crop's highest scores.",
)
@click.option(
    "--pooled-head",
    default=0.0,
    show_default=True,
    help="Weight of the head that scores each tile as a whole; 1 with --encoder frozen.",
)
@click.option(
    "--paste",
    default=0.2,
    show_default=True,
    help="Share of good crops that get a defect pasted in.",
)
@click.option(
    "--strength",
    default=1.0,
    show_default=True,
    help="Strength of changes in light, noise and blur.",
)
@click.option("--batch", default=8, show_default=True, help="Crops in a step.")
@click.option("--steps", default=4000, show_default=True, help="Most steps.")
@click.option(
    "--minutes",
    default=30.0,
    show_default=True,
    help="Time limit; stops at --steps or --minutes, whichever comes first.",
)
@click.option("--rate", default=2e-3, show_default=True, help="Peak learning rate.")
@click.option(
    "--patience",
    default=8,
    show_default=True,
    help="Stop after this many validations without progress.",
)
@click.option("--check-every", default=200, show_default=True, help="Steps between validations.")
@click.option("--threads", default=0, show_default=True, help="Threads; 0: one for each core.")
@click.option("--seed", default=1, show_default=True, help="Seed of the split and the training.")
@good_option
@group_pattern_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    dataset: str,
    out: Path,
    resume: bool,
    good: str,
    group_pattern: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a network on DATASET: a folder per class, pictures with masks or boxes, or a CSV.

    All choices are made on the validation split; calibration and test pictures are never opened.
    The run's folder gets model.float.tflite, run.json, curves.png and a checkpoint. Continue with
    quantize, verify and pack, and give them the run's manifest.json as --data. For few defective
    parts use --encoder frozen, which changes the defaults of other options to suit it.
    """
    from edgeinspect.files.atomic_file import make_folder
    from edgeinspect_tools.data.build import build_dataset
    from edgeinspect_tools.data.dataset_formats import read_source
    from edgeinspect_tools.data.manifest import save_manifest
    from edgeinspect_tools.train.training_run import MANIFEST, train

    settings = settings_of(options, given=_given(context))
    judged = build_dataset(
        read_source(dataset, good=good), seed=settings.seed, group_pattern=group_pattern
    )
    make_folder(out)
    save_manifest(judged.dataset, out / MANIFEST)
    with _progress(shown=not as_json) as progress:
        run = train(judged.dataset, settings, out, progress=progress, resume=resume)
    found = run.description
    summary = {
        "model": str(run.model),
        "task": found["task"],
        "steps": found["steps"],
        "minutes": found["minutes"],
        "validation_auroc": found["validation"]["auroc"],
        "reducer": found["reducer"],
        "thresholds": found["thresholds"]["default"],
    }
    if as_json:
        print_json(summary)
        return
    say(table(("what", "value"), list(summary.items())))


def _given(context: click.Context) -> frozenset[str]:
    """The options that somebody named, as against left at their default."""
    default = click.core.ParameterSource.DEFAULT
    return frozenset(
        name for name in context.params if context.get_parameter_source(name) is not default
    )


def settings_of(options: dict[str, Any], *, given: Collection[str] = ()) -> Any:
    """The command's options as ``TrainSettings``.

    Args:
        given: names of those that somebody chose; a frozen encoder decides on others.

    Raises:
        UsageError: a value is out of range.
    """
    from edgeinspect_tools.train.training_settings import (
        FROZEN_ENCODER,
        EncoderChoice,
        Network,
        TrainSettings,
    )

    loaded = options["weights"] != "none" and options["method"] in (AUTO, SEGMENTATION)
    if loaded and options["encoder"] == "frozen":
        fitting = {key: value for key, value in FROZEN_ENCODER.items() if key not in given}
        options = {**options, **fitting}
    freeze = options["freeze_stride_px"]
    if freeze is None:
        freeze = 8 if loaded else 0
    chosen = {
        **options,
        "network": Network(options["network"]),
        "encoder": EncoderChoice(options["encoder"]),
        "stride_px": int(options["stride_px"]),
        "encoder_stride_px": int(options["encoder_stride_px"]),
        "freeze_stride_px": int(freeze),
    }
    without = TrainSettings(**{**chosen, "pooled_head": 0.0})
    if "pooled_head" not in given and not without.frozen_encoder:
        return without
    return replace(without, pooled_head=chosen["pooled_head"])


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[..., None]]:
    """A bar on a terminal, a line every half minute elsewhere, nothing for programs."""
    terminal = console(stderr=True)
    if not shown:
        yield lambda *, done, text: None
        return
    if not terminal.is_terminal:
        yield _lines(terminal)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=terminal) as bar:
        task = bar.add_task("reading", total=1.0)

        def show(*, done: float, text: str) -> None:
            bar.update(task, completed=done, description=text)
            if "best" in text or "frozen" in text:
                terminal.print(text)

        yield show


def _lines(terminal: Any) -> Callable[..., None]:
    last = [time.monotonic() - 30]

    def show(*, done: float, text: str) -> None:
        now = time.monotonic()
        if "best" in text or "frozen" in text or now - last[0] >= 30:
            last[0] = now
            terminal.print(f"{done:4.0%}  {text}")

    return show
