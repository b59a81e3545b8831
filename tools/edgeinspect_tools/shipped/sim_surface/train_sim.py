"""Make the shipped model: render pictures, then run the same tool chain as for anybody's pictures.

    python -m edgeinspect_tools.shipped.sim_surface.train_sim --out models/sim-surface

The pictures are a folder per class with masks. Everything after them is ``edgeinspect-tools all``,
with settings of its own. Parts of another seed then measure the bundle by the size of a defect.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from edgeinspect.bundle.directory import Bundle, load_bundle
from edgeinspect.cli.options import FOLDER, FiniteRange
from edgeinspect.sim.defects import DEFECT_KINDS
from edgeinspect_tools.all_in_one.chain import run_chain
from edgeinspect_tools.all_in_one.plans import Wishes, budget
from edgeinspect_tools.data.dataset import Dataset
from edgeinspect_tools.pack.bundle import Identity, rewrite_card
from edgeinspect_tools.shared_options import accept_gap_option
from edgeinspect_tools.shipped.sim_surface.evaluate_sim import evaluate
from edgeinspect_tools.shipped.sim_surface.sim_metrics import Report, table
from edgeinspect_tools.shipped.sim_surface.sim_parts import TEST_SEED, TRAIN_SEED, render_folder
from edgeinspect_tools.train import Network, TrainSettings

IDENTITY = Identity(
    name="sim-surface",
    licence="Apache-2.0",
    attribution="The edgeinspect authors; trained on rendered pictures only.",
    keep_float=False,
)
GOOD_SHARE = 0.4


def plan(dataset: Dataset, wishes: Wishes) -> dict[str, TrainSettings]:
    """Small tiles and crops, because the smallest defects are two pixels long."""
    del dataset
    settings = TrainSettings(
        network=Network.SMALL,
        gray=True,
        tile_px=160,
        tile_overlap_px=32,
        crop_px=96,
        stride_px=4,
        batch=24,
        seed=wishes.seed,
        **budget(wishes),
    )
    return {"map": settings}


def make_bundle(
    out: Path, run: Path, wishes: Wishes, *, pictures: int, test_parts: int
) -> tuple[Bundle, Report]:
    """Render, train, quantize, pack, verify, and measure on held-out parts.

    Args:
        run: keeps the pictures and the files of the run.

    Raises:
        EdgeInspectError: of the stage that failed.
    """
    good = round(pictures * GOOD_SHARE)
    folder = run / "pictures"
    render_folder(folder, good=good, each=(pictures - good) // len(DEFECT_KINDS))
    run_chain(str(folder), out, run, wishes, IDENTITY, plan=plan, say=click.echo)
    bundle = load_bundle(out)
    result = evaluate(bundle, parts=test_parts)
    measured = {"held_out_parts": test_parts, "defective_one_in": 3, **result.as_dict()}
    bundle = rewrite_card(
        bundle,
        metrics={**bundle.card.metrics, **measured},
        provenance={
            **bundle.card.provenance,
            "script": "python -m edgeinspect_tools.shipped.sim_surface.train_sim",
            "seeds": {"train": TRAIN_SEED, "test": TEST_SEED},
        },
    )
    return bundle, result


@click.command()
@click.option("--out", required=True, type=FOLDER, help="Bundle to write.")
@click.option("--run", type=FOLDER, help="Keep the pictures and the run here, for --resume.")
@click.option("--minutes", default=30.0, show_default=True, type=FiniteRange(min=0.2))
@click.option("--steps", type=click.IntRange(min=1), help="Training steps, instead of --minutes.")
@click.option("--pictures", default=2400, show_default=True, type=click.IntRange(min=60))
@click.option("--test-parts", default=3000, show_default=True, type=click.IntRange(min=30))
@click.option("--resume", is_flag=True, help="Continue the interrupted training in --run.")
@accept_gap_option
def main(
    *,
    out: Path,
    run: Path | None,
    minutes: float,
    steps: int | None,
    pictures: int,
    test_parts: int,
    resume: bool,
    accept_gap: bool,
) -> None:
    """Train, quantize, measure and write the model for the simulated line."""
    wishes = Wishes(
        minutes=minutes, steps=steps, resume=resume, accept_gap=accept_gap, replace=True
    )
    with tempfile.TemporaryDirectory() as folder:
        bundle, result = make_bundle(
            out, run or Path(folder), wishes, pictures=pictures, test_parts=test_parts
        )
    click.echo(table(result))
    click.echo(f"{bundle}: {len(bundle.model) / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
