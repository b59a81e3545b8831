"""How often drift is reported by chance, and how soon when it is there. Printed, not asserted.

    python -m tests.evidence.drift_rate --weeks 50 --parts-per-s 5

Draws scores as an int8 model makes them (a few dozen distinct values, most parts near zero),
compares block after block with one baseline of the same process, and counts. The second line asks
the same at a limit ten thousand times laxer, where alarms are frequent enough to check the test
itself; the others shift the scores.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from numpy.typing import NDArray

from edgeinspect.health.drift import CHANCE_LIMIT, compare
from edgeinspect.intervals import clopper_pearson
from edgeinspect.records.baseline import BASELINE_PARTS, BLOCK_IDS

WEEK_S = 7 * 86_400
LAX_LIMIT = 1e-3


def draw(generator: np.random.Generator, parts: int, *, shift: float = 0.0) -> NDArray[np.float64]:
    """Scores of good parts: a logistic model's, on the 256 levels of int8."""
    logits = generator.normal(-3.0 + shift, 0.8, parts)
    levels = np.round(np.clip(logits, -8, 8) * 16)
    return np.asarray(1 / (1 + np.exp(-levels / 16)), np.float64)


def false_alarms(*, blocks: int, limit: float, seed: int) -> int:
    """How many of ``blocks`` unchanged blocks differ from their baseline beyond ``limit``.

    A baseline serves a week's blocks, as on a line that gets a new recipe once a week.
    """
    generator = np.random.default_rng(seed)
    alarms = 0
    for number in range(blocks):
        if number % 6000 == 0:
            baseline = draw(generator, BASELINE_PARTS)
        alarms += compare(baseline, draw(generator, BLOCK_IDS)).chance <= limit
    return alarms


def detected_share(*, shift: float, repeats: int, seed: int) -> float:
    """The share of shifted blocks that are reported."""
    generator = np.random.default_rng(seed)
    found = sum(
        compare(draw(generator, BASELINE_PARTS), draw(generator, BLOCK_IDS, shift=shift)).is_real
        for _ in range(repeats)
    )
    return found / repeats


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weeks", type=float, default=10)
    parser.add_argument("--parts-per-s", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    a_week = options.parts_per_s * WEEK_S / BLOCK_IDS
    blocks = round(options.weeks * a_week)
    for limit in (CHANCE_LIMIT, LAX_LIMIT):
        alarms = false_alarms(blocks=blocks, limit=limit, seed=options.seed)
        low, high = clopper_pearson(alarms, blocks)
        sys.stdout.write(
            f"limit {limit:g}: {alarms} alarms in {blocks} unchanged blocks"
            f" ({options.weeks:g} weeks at {options.parts_per_s:g} parts/s);"
            f" {alarms / blocks:.2g} a block [{low:.2g}, {high:.2g}];"
            f" at most {limit * a_week:.2g} a week by the bound\n"
        )
    for shift in (0.1, 0.2, 0.3, 0.5, 1.0):
        share = detected_share(shift=shift, repeats=200, seed=options.seed)
        sys.stdout.write(
            f"scores shifted by {shift / 0.8:.2f} standard deviations: {share:.0%} of the blocks"
            f" of {BLOCK_IDS} parts report it\n"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
