"""Measure a bundle on held-out simulated parts, through the station's own inspection path.

Run it with::

    python -m edgeinspect_tools.shipped.sim_surface.evaluate_sim \\
        --bundle models/sim-surface --parts 3000 [--json]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.directory import Bundle, load_bundle
from edgeinspect.bundle.inspector import Inspector
from edgeinspect.cli.options import FOLDER
from edgeinspect.part import Frame
from edgeinspect.sim.defects import DEFECT_KINDS
from edgeinspect.sim.renderer import PART_ROI, RenderedPart
from edgeinspect.terminal.output import json_option, print_json
from edgeinspect_tools.shipped.sim_surface.sim_metrics import (
    Look,
    Report,
    SeenPart,
    report,
    see,
    table,
)
from edgeinspect_tools.shipped.sim_surface.sim_parts import TEST_SEED, labelled_part
from edgeinspect_tools.train.station_check import score_map_of, station_inspector

DEFECTIVE_EVERY = 3
"""One part in three of a measured sample is defective."""


def sample_parts(seed: int, count: int, *, first: int = 0) -> Iterator[tuple[int, RenderedPart]]:
    """``count`` parts of a seed, every third defective."""
    for number in range(first, first + count):
        defective = number % DEFECTIVE_EVERY == 0
        yield number, labelled_part(seed, number, defective=defective)


def see_through_station(bundle: Bundle, seed: int, count: int, *, first: int = 0) -> list[SeenPart]:
    """Inspect ``count`` parts exactly as the station would."""
    with station_inspector(bundle, PART_ROI) as inspector:
        return see(sample_parts(seed, count, first=first), station_look(inspector))


def station_look(inspector: Inspector) -> Callable[[NDArray[np.uint8]], Look]:
    """An Inspector's answer for a picture, in the order of ``DEFECT_KINDS``."""

    def look(pixels: NDArray[np.uint8]) -> Look:
        inspection = inspector.inspect(Frame.of_picture(pixels), want_map=True)
        shown = score_map_of(inspection)
        order = [shown.classes.index(kind) for kind in DEFECT_KINDS]
        scores = [inspection.scores[column] for column in order]
        return Look(scores, shown.scores[:, :, order], shown.roi, shown.stride_px)

    return look


def review_thresholds(bundle: Bundle) -> list[float]:
    """The thresholds from which a part does not pass, in the order of ``DEFECT_KINDS``."""
    return [bundle.card.threshold(kind).review for kind in DEFECT_KINDS]


def evaluate(bundle: Bundle, *, parts: int, seed: int = TEST_SEED, first: int = 0) -> Report:
    """The bundle's performance at its default thresholds on held-out parts."""
    seen = see_through_station(bundle, seed, parts, first=first)
    return report(seen, review_thresholds(bundle))


@click.command()
@click.option("--bundle", "directory", required=True, type=FOLDER, help="Bundle to measure.")
@click.option("--parts", default=3000, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=TEST_SEED, show_default=True, type=click.IntRange(min=0))
@json_option
def main(*, directory: Path, parts: int, seed: int, as_json: bool) -> None:
    """Measure a bundle on held-out simulated parts, one in three defective."""
    result = evaluate(load_bundle(directory), parts=parts, seed=seed)
    if as_json:
        print_json({"parts": parts, "seed": seed, **result.as_dict()})
    else:
        click.echo(table(result))


if __name__ == "__main__":
    main()
