"""``edgeinspect-tools train``: a float model with ``run.json`` from a data set."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edgeinspect.cli.options import FOLDER
from edgeinspect.terminal.output import (
    console,
    examples,
    json_option,
    print_json,
    print_text,
    table,
)
from edgeinspect_tools.shared_options import good_option, group_pattern_option
from edgeinspect_tools.train.training_methods import METHODS
from edgeinspect_tools.train.training_settings import (
    AUTO,
    FROZEN_ENCODER,
    NETWORK_NAMES,
    SEGMENTATION,
    EncoderChoice,
    Network,
    TrainSettings,
)

EXAMPLES = """
edgeinspect-tools train pictures/ --out run/                     a small network, random weights
edgeinspect-tools train pictures/ --out run/ --network mobilenet_v2 --weights mobilenet_v2.tflite
edgeinspect-tools train pictures/ --out run/ --resume            after an interruption
edgeinspect-tools train labels.csv --out run/ --method classification --weights imagenet
edgeinspect-tools train ground/ --out run/ --weights mobilenet_v2.tflite --encoder frozen --grain
edgeinspect-tools train deeppcb:PCBData --out run/ --reference --gray --box-fill 0.7
"""

_DEFAULTS = TrainSettings()


def _setting(flags: str, text: str, *, name: str = "", **more: Any) -> Callable[[Any], Any]:
    """An option whose default is that of the setting with the same name.

    Args:
        flags: the option's flags.
        text: the help.
        name: of the setting, if it differs from the flag.
        more: for ``click.option``; choices are numbers where the setting is one.
    """
    name = name or flags.partition("/")[0].removeprefix("--").replace("-", "_")
    default = getattr(_DEFAULTS, name)
    if "type" in more:
        default = str(default)
    if not isinstance(default, bool):
        more.setdefault("show_default", True)
    return click.option(flags, name, **{"default": default, "help": text, **more})


def _choice(*values: str) -> click.Choice[str]:
    return click.Choice(values)


_SETTINGS = (
    _setting("--network", "Network to train.", type=_choice(*NETWORK_NAMES)),
    click.option(
        "--method",
        "--task",
        default=AUTO,
        show_default=True,
        type=_choice(AUTO, *METHODS),
        help="Training method; auto is segmentation, which learns from labels, boxes or masks.",
    ),
    _setting(
        "--weights",
        "First weights of a published network: imagenet, or a .tflite or .keras file.",
        metavar="none|imagenet|FILE",
    ),
    _setting("--alpha", "Width of a published network."),
    _setting(
        "--encoder",
        "frozen: keep the first weights; auto: for a classifier, whichever validates better.",
        type=_choice("auto", "frozen", "fine-tuned"),
    ),
    _setting(
        "--freeze-stride",
        "Keep the first weights of layers up to this stride.  [default: 8 with --weights]",
        name="freeze_stride_px",
        default=None,
        type=_choice("0", "2", "4", "8", "16", "32"),
    ),
    _setting(
        "--encoder-stride",
        "Depth of a published network; 32 sees a whole tile.",
        name="encoder_stride_px",
        type=_choice("16", "32"),
    ),
    _setting("--contrast", "Multiply the contrast of pictures by this, for loaded weights."),
    _setting("--brightness", "Grey level mapped to the pretrained mid-point."),
    _setting("--gray/--color", "Train on grey pictures."),
    _setting("--reference", "Compare with each picture's reference picture.", is_flag=True),
    _setting("--tile", "Side of a tile, px.", name="tile_px"),
    _setting("--overlap", "Overlap of tiles, px.", name="tile_overlap_px"),
    _setting("--crop", "Side of a crop, px.", name="crop_px"),
    _setting(
        "--stride",
        "Pixels per cell of the score map.",
        name="stride_px",
        type=_choice("2", "4", "8"),
    ),
    _setting("--resize", "Side of a classifier's picture, px.", name="resize_px"),
    _setting("--box-fill", "Share of a box's sides that counts as defective."),
    _setting("--turns/--no-turns", "Also learn from turned pictures."),
    _setting(
        "--grain",
        "The surface has a direction: never turn pictures by 90 degrees.",
        is_flag=True,
    ),
    _setting("--good-share", "Share of crops from good pictures."),
    _setting("--coverage-gain", "1 gives true outlines of defects; more gives larger ones."),
    _setting("--picture-loss", "Weight of the loss on each crop's highest scores."),
    _setting(
        "--pooled-head",
        "Weight of the head that scores each tile as a whole; 1 with --encoder frozen.",
    ),
    _setting("--paste", "Share of good crops that get a defect pasted in."),
    _setting("--strength", "Strength of changes in light, noise and blur."),
    _setting("--batch", "Crops per step."),
    _setting("--steps", "Maximum number of steps."),
    _setting("--minutes", "Time limit; stops at --steps or --minutes, whichever comes first."),
    _setting("--rate", "Peak learning rate."),
    _setting("--patience", "Stop after this many validations without progress."),
    _setting("--check-every", "Steps between validations."),
    _setting("--threads", "Number of threads; 0 for one per core."),
    _setting("--seed", "Seed of the split and the training."),
)


def _settings(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_SETTINGS):
        command = option(command)
    return command


@click.command(epilog=examples(EXAMPLES))
@click.argument("dataset")
@click.option("--out", required=True, type=FOLDER, help="Folder for the run.")
@click.option("--resume", is_flag=True, help="Continue an interrupted run.")
@_settings
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
    The command writes model.float.tflite, run.json, curves.png and a checkpoint to the run's
    folder. Continue with quantize, pack and verify, and give them the run's manifest.json as
    --data. For few defective parts use --encoder frozen, which also changes the defaults of other
    options.
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
    print_text(table(("what", "value"), list(summary.items())))


def _given(context: click.Context) -> frozenset[str]:
    """The options that somebody named, as against left at their default."""
    default = click.core.ParameterSource.DEFAULT
    return frozenset(
        name for name in context.params if context.get_parameter_source(name) is not default
    )


def settings_of(options: dict[str, Any], *, given: Collection[str] = ()) -> TrainSettings:
    """The command's options as ``TrainSettings``.

    Args:
        options: values by the name of the setting.
        given: names of the options that somebody chose; a frozen encoder changes the default of
            others.

    Raises:
        UsageError: a value is out of range.
    """
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
