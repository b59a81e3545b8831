"""A check of our own, added as CONTRIBUTING says: a measurement, a limit, a line in the table.

Run as a program: the table is read when the recipe's schema is made, so the line is added before
anything else is imported. Prints what became of a striped and of a plain picture.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from edgeinspect.line.checks import all_checks
from edgeinspect.line.checks.frame_check import Bound, FrameCheck, Measurement
from edgeinspect.part import Doubt


def contrast(gray: NDArray[np.uint8]) -> float:
    """Brightest minus darkest grey level, [0, 255]."""
    return float(gray.max()) - float(gray.min())


CONTRAST = Measurement(name="contrast", words="contrast", measure=contrast)
CONTRAST_MIN = FrameCheck(
    limit="contrast_min",
    measurement=CONTRAST,
    bound=Bound.AT_LEAST,
    doubt=Doubt.BLURRED,
    lowest=0,
    highest=255,
)


def main() -> None:
    """Take the check from the recipe to the records."""
    all_checks.CHECKS = (*all_checks.CHECKS, CONTRAST_MIN)

    from edgeinspect.line.quality import measure_quality
    from edgeinspect.line.verdict import judge_quality
    from edgeinspect.records.rows import decode_record, encode_record
    from edgeinspect.settings.compile import frame_checks
    from edgeinspect.settings.recipe import Checks, default_recipe
    from tests.helpers.records_samples import record_with_quality

    recipe = default_recipe(
        product="cover",
        bundle_name="b",
        bundle_digest="0" * 64,
        thresholds={"pit": (0.4, 0.5)},
        checks=Checks.model_validate({"contrast_min": 30}),
    )
    limits = frame_checks(recipe)
    plain = np.full((8, 8), 100, np.uint8)
    striped = plain.copy()
    striped[::2] = 140
    for picture in (striped, plain):
        record = record_with_quality(measure_quality(picture))
        kept = decode_record(encode_record(record), record.recipe_digest)
        assert kept.inspection is not None and kept == record
        verdict = judge_quality(kept.inspection.quality, limits)
        sys.stdout.write(f"{verdict.detail if verdict is not None else 'good'}\n")


if __name__ == "__main__":
    main()
