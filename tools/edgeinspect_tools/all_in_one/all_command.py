"""``edgeinspect-tools all``: from a data set to a bundle, in one command."""

from __future__ import annotations

from pathlib import Path

import click

from edgeinspect.cli.options import FOLDER, FiniteRange
from edgeinspect.terminal.output import console, examples, json_option, print_json, print_text
from edgeinspect_tools.shared_options import (
    accept_gap_option,
    attribution_option,
    good_option,
    group_pattern_option,
    licence_option,
    replace_option,
)
from edgeinspect_tools.train.training_settings import NETWORK_NAMES, Network

UNRELEASED = "not-released"
"""Folder in the run folder for a bundle that has not been judged fit for use."""

EXAMPLES = """
edgeinspect-tools all pictures/ --out brackets           good/ or ok/, and a folder per defect
edgeinspect-tools all pictures/ --out brackets --good-only    from good pictures; test on the others
edgeinspect-tools all labels.csv --out brackets --budget-minutes 60
edgeinspect-tools all pictures/ --out brackets --weights mobilenet_v2.tflite --json
"""


@click.command(name="all", epilog=examples(EXAMPLES))
@click.argument("dataset")
@click.option("--out", type=FOLDER, required=True, help="The bundle to write.")
@click.option(
    "--weights",
    default="imagenet",
    show_default=True,
    metavar="none|imagenet|FILE",
    help="First weights of the encoder; imagenet is installed with this program.",
)
@click.option(
    "--budget-minutes",
    default=30.0,
    show_default=True,
    type=FiniteRange(0.2, 10_000),
    help="Time limit for everything, on this machine.",
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    help="Train this many steps instead; every machine then gives the same result.",
)
@click.option(
    "--network",
    type=click.Choice(NETWORK_NAMES),
    help="Network to train.  [default: efficientnet_lite0; with a file of weights mobilenet_v2; "
    "without weights by the time limit]",
)
@click.option("--run", type=FOLDER, help="Folder for intermediate files.  [default: OUT.run]")
@licence_option
@attribution_option
@good_option
@click.option(
    "--good-only",
    is_flag=True,
    help="Learn from good pictures and drawn defects; test on the real defects, if there are any.",
)
@group_pattern_option
@click.option(
    "--seed",
    default=1,
    show_default=True,
    type=click.IntRange(0, 2**31 - 1),
    help="Seed of the split and the training.",
)
@click.option(
    "--max-false-rejects",
    default=0.05,
    show_default=True,
    type=FiniteRange(0, 1, min_open=True),
    help="Share of good parts that may be rejected; 1 does not judge it.",
)
@click.option(
    "--max-escapes",
    default=0.05,
    show_default=True,
    type=FiniteRange(0, 1, min_open=True),
    help="Share of defective parts that may pass; 1 does not judge it.",
)
@accept_gap_option
@click.option("--resume", is_flag=True, help="Continue an interrupted training.")
@replace_option
@json_option
@click.pass_context
def command(  # noqa: PLR0917  click passes by name
    ctx: click.Context,
    dataset: str,
    out: Path,
    weights: str,
    budget_minutes: float,
    steps: int | None,
    network: str | None,
    run: Path | None,
    licence: str,
    attribution: str,
    good: str,
    good_only: bool,
    group_pattern: str,
    seed: int,
    max_false_rejects: float,
    max_escapes: float,
    accept_gap: bool,
    resume: bool,
    replace: bool,
    as_json: bool,
) -> None:
    """Train, quantize, pack and verify a model: from pictures to a bundle.

    DATASET is a folder with a subfolder for each class (good or ok is the good class), pictures
    with masks, or a CSV file with the columns path,label[,group]; see edgeinspect-tools data. OUT
    is written only if the model is fit for use; the exit code is 1 if it is not. With good pictures
    alone, the model learns to distinguish them from defects that the program draws onto copies.
    """
    from edgeinspect_tools.all_in_one.chain import check_free, released, run_chain, summary
    from edgeinspect_tools.all_in_one.plans import Wishes
    from edgeinspect_tools.judgement import Asked, judge
    from edgeinspect_tools.pack.bundle import Identity
    from edgeinspect_tools.pack.model_card import figure_sentences
    from edgeinspect_tools.pack.names import bundle_name

    progress = console(stderr=True)
    check_free(out, replace=replace)
    run_folder = run or out.with_name(f"{out.name}.run")
    staged = run_folder / UNRELEASED
    found, seconds = run_chain(
        dataset,
        staged,
        run_folder,
        Wishes(
            weights=weights,
            minutes=budget_minutes,
            steps=steps,
            network=Network(network) if network else None,
            seed=seed,
            accept_gap=accept_gap,
            replace=True,
            resume=resume,
            good=good,
            good_only=good_only,
            group_pattern=group_pattern,
        ),
        Identity(name=bundle_name(out), licence=licence, attribution=attribution),
        say=progress.print,
    )
    judgement = judge(found.figures(), Asked(false_rejects=max_false_rejects, escapes=max_escapes))
    place = released(staged, out, judgement, replace=replace)
    if as_json:
        print_json(summary(found, place, seconds, judgement))
    else:
        for sentence in figure_sentences(found.figures()):
            print_text(sentence)
        print_text(judgement.sentence)
        if judgement.fit_for_use:
            print_text(f"{out} is ready: edgeinspect check {out}; read {out}/card.html")
        else:
            print_text(f"{judgement.advice} The model was not released; it is in {place}.")
    ctx.exit(0 if judgement.fit_for_use else 1)
