"""``edgeinspect-tools bench guarantee``: whether suggested thresholds keep their guarantee."""

from __future__ import annotations

import click

from edgeinspect.cli.options import FiniteRange
from edgeinspect.errors import NotGood
from edgeinspect.terminal.output import examples, json_option, print_json, print_text
from edgeinspect_tools.bench.guarantee import check_guarantee

SHARE = FiniteRange(0, 1, min_open=True, max_open=True)


@click.command(
    epilog=examples(
        """
        edgeinspect-tools bench guarantee
        edgeinspect-tools bench guarantee --parts 500 --max-false-rejects 0.02 --levels 16 --json
        """
    )
)
@click.option(
    "--draws", default=1000, show_default=True, type=click.IntRange(1), help="Number of draws."
)
@click.option(
    "--parts", default=3000, show_default=True, type=click.IntRange(1), help="Parts in each draw."
)
@click.option(
    "--max-false-rejects",
    type=SHARE,
    default=0.01,
    show_default=True,
    metavar="P",
    help="Requested false-reject rate.",
)
@click.option(
    "--confidence",
    type=SHARE,
    default=0.95,
    show_default=True,
    help="Requested confidence of the guarantee.",
)
@click.option(
    "--levels",
    default=256,
    show_default=True,
    type=click.IntRange(2, 65_536),
    help="Number of different scores that the model can give.",
)
@click.option("--seed", default=1, show_default=True, help="Seed of the draws.")
@json_option
def command(
    *,
    draws: int,
    parts: int,
    max_false_rejects: float,
    confidence: float,
    levels: int,
    seed: int,
    as_json: bool,
) -> None:
    """Draw good parts again and again and compare the suggested threshold with the truth.

    The scores come from a known distribution, so the true false-reject rate of each suggestion is
    known. It may exceed the requested rate in at most 1 - confidence of the draws. The exit code
    is 1 if the exact 95 % interval of that share lies above this limit.
    """
    found = check_guarantee(
        draws=draws,
        parts=parts,
        false_reject_rate=max_false_rejects,
        confidence=confidence,
        levels=levels,
        seed=seed,
    )
    if as_json:
        print_json(found.as_dict())
    else:
        low, high = found.interval95
        print_text(
            f"{found.exceeded} of {draws} draws of {parts} good parts had a true false-reject rate "
            f"above {max_false_rejects:g}: {found.share:.2%} (95 %: {low:.2%} to {high:.2%}), "
            f"{found.allowed_share:.2%} allowed. The mean true rate was {found.mean_true_rate:.4%}."
        )
    if not found.holds:
        raise NotGood("The guarantee does not hold.")
