"""``edgeinspect camera stream-check``: check that frames are fresh, regular and as set."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import click

from edgeinspect.cli.camera.opened_camera import camera_options, off_controls, opened_camera
from edgeinspect.errors import NotGood
from edgeinspect.terminal.output import examples, json_option, print_result, progress, table

if TYPE_CHECKING:
    from edgeinspect.part import CameraControls, FrameMeta
    from edgeinspect.settings.station_file import StationFile


@click.command(
    epilog=examples(
        "edgeinspect camera stream-check --config station.yaml",
        "edgeinspect camera stream-check --config station.yaml --frames 2000 --json",
    )
)
@click.option("--frames", type=click.IntRange(min=10), default=200, help="Frames to check.")
@camera_options
@json_option
def command(*, frames: int, station: StationFile, force: bool, as_json: bool) -> int:
    """Take many frames in a row and check their rate, freshness and settings.

    The exit code is 1 if frames repeat or do not have the recipe's settings. A dropped frame does
    no harm by itself, but regular drops point to a bandwidth or power problem.
    """
    metas: list[FrameMeta] = []
    repeated = 0
    with opened_camera(station, force=force) as opened:
        from edgeinspect.line.seen_pictures import PictureMemory

        memory = PictureMemory()
        opened.frame()
        with progress("Frames", frames, quiet=as_json) as done:
            for number in range(frames):
                after = metas[-1].exposure_mono_ns + 1 if metas else None
                frame = opened.frame(after_mono_ns=after)
                repeated += memory.shown_before(frame.pixels)
                metas.append(frame.meta)
                done(number + 1)
    fields = stream_fields(metas, opened.controls) | {"repeated": repeated}
    good = not repeated and not fields["off_recipe"]
    code = 0 if good else NotGood.exit_code
    print_result(
        {"good": good, "exit_code": code, **fields},
        table(("", ""), [(key.replace("_", " "), _shown(fields[key])) for key in fields]),
        "Good." if good else "Not good: see 'repeated' and 'off recipe' above.",
        as_json=as_json,
    )
    return code


def _shown(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def stream_fields(metas: Sequence[FrameMeta], controls: CameraControls) -> dict[str, object]:
    """Measure rate, regularity, age and settings of consecutive frames.

    Returns:
        ``interval_ms_*`` between starts of exposures; ``age_ms_*`` from the start of the exposure
        until the driver delivers the frame; ``dropped`` counted by gaps in the camera's sequence;
        ``off_recipe``, the number of frames with wrong settings, and the last one's description.
    """
    import numpy as np

    begins = np.array([meta.exposure_mono_ns for meta in metas])
    ages = np.array([meta.arrived_mono_ns - meta.exposure_mono_ns for meta in metas]) / 1e6
    intervals = np.diff(begins) / 1e6
    described = (off_controls(meta, controls, must_report=True) for meta in metas)
    wrong = [words for words in described if words]
    median = float(np.median(intervals))
    return {
        "frames": len(metas),
        "frames_per_s": 1000 / median if median else 0.0,
        "interval_ms_median": median,
        "interval_ms_p99": float(np.quantile(intervals, 0.99)),
        "interval_ms_max": float(intervals.max()),
        "age_ms_median": float(np.median(ages)),
        "age_ms_p99": float(np.quantile(ages, 0.99)),
        "dropped": sum(max(0, b.sequence - a.sequence - 1) for a, b in pairwise(metas)),
        "off_recipe": len(wrong),
        "off_recipe_detail": wrong[-1] if wrong else "",
    }
