"""``edgeinspect-tools bench station``: what the station costs on this machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.directory import load_bundle
from edgeinspect.bundle.shipped import SIM_BUNDLE, shipped_bundle
from edgeinspect.cli.options import FOLDER
from edgeinspect.settings.station_file import EngineSettings
from edgeinspect.sim.renderer import PART_ROI, draw_defects, render_part
from edgeinspect.terminal.output import examples, json_option, print_json, print_text, table
from edgeinspect_tools.bench.overhead import Overhead, measure_overhead
from edgeinspect_tools.bench.process import measure_process
from edgeinspect_tools.bench.throughput import parts_per_min

SEED = 20_260_101
PICTURES = 24
DEFECT_RATE = 0.2

OVERHEAD_BOUND = 1.05
EXTRA_P99_BOUND_US = 1000.0
START_BOUND_S = 3.0
RSS_BOUND_MIB = 200.0


@click.command(
    epilog=examples(
        """
        edgeinspect-tools bench station
        edgeinspect-tools bench station --parts 500 --json
        edgeinspect-tools bench station --bundle my-bundle
        """
    )
)
@click.option("--bundle", type=FOLDER, help="A segmentation bundle.  [default: the shipped one]")
@click.option(
    "--parts",
    type=click.IntRange(20, 100_000),
    default=200,
    show_default=True,
    help="Parts to measure.",
)
@json_option
def command(*, bundle: Path | None, parts: int, as_json: bool) -> None:
    """Measure this machine: overhead over the bare model, throughput, start-up time and memory.

    Each figure and its baseline are measured alternately in the same run, because the speed of a
    shared machine changes by the minute.
    """
    directory = bundle or shipped_bundle(SIM_BUNDLE)
    pictures = render_pictures(PICTURES)
    loaded = load_bundle(directory)
    one = measure_overhead(
        loaded, pictures, PART_ROI, parts=parts, engine=EngineSettings(threads=1)
    )
    best = measure_overhead(loaded, pictures, PART_ROI, parts=parts, engine=EngineSettings())
    throughput = measure_throughput(directory, pictures, parts=parts)
    process = measure_process()
    figures = _figures(one, best, throughput) | process._asdict()
    if as_json:
        print_json(figures)
    else:
        _say(one, best, figures)


def render_pictures(count: int) -> list[NDArray[np.uint8]]:
    """Simulated parts, some of them defective."""
    return [
        render_part(
            seed=SEED, part_number=number, defects=draw_defects(SEED, number, DEFECT_RATE)
        ).pixels
        for number in range(count)
    ]


def measure_throughput(
    directory: Path, pictures: Sequence[NDArray[np.uint8]], *, parts: int
) -> dict[str, float]:
    """Parts a minute of replay and of the naive loop, on one core and on two."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="edgeinspect-bench-") as folder:
        for number in range(parts):
            file = Path(folder) / f"{number:06d}.png"
            cv2.imwrite(str(file), pictures[number % len(pictures)])
        for suffix, used in (("_1_core", cores[:1]), ("", cores)):
            for what, name in (("naive", "naive_parts_per_min"), ("replay", "parts_per_min")):
                found[name + suffix] = parts_per_min(
                    what, directory, Path(folder), PART_ROI, cores=used
                )
    return found


def _figures(one: Overhead, best: Overhead, throughput: dict[str, float]) -> dict[str, Any]:
    return {
        "tiles_per_part": one.tiles,
        "invoke_us_p50": one.bare_invoke.p50_us,
        "invoke_us_p99": one.bare_invoke.p99_us,
        "frame_to_verdict_us_p50": one.frame_to_verdict.p50_us,
        "frame_to_verdict_us_p99": one.frame_to_verdict.p99_us,
        "overhead_ratio_p50": one.ratio_p50,
        "overhead_extra_us_p50": one.extra.p50_us,
        "overhead_extra_us_p99": one.extra_p99_us,
        "paired_extra_us_p99": one.extra.p99_us,
        "best_engine": best.engine,
        "best_frame_to_verdict_us_p50": best.frame_to_verdict.p50_us,
        "best_frame_to_verdict_us_p99": best.frame_to_verdict.p99_us,
        "stage_us": one.stages,
        **throughput,
        "parts": one.bare_invoke.samples,
    }


def _say(one: Overhead, best: Overhead, figures: dict[str, Any]) -> None:
    print_text(f"{one.tiles} tiles a part, {figures['parts']} parts, one thread: {one.engine}")
    rows = [
        ("bare interpreter, invoke alone", one.bare_invoke),
        ("station, frame to verdict", one.frame_to_verdict),
        ("the difference, part by part", one.extra),
        (f"station on {best.engine}", best.frame_to_verdict),
    ]
    lines = [
        (what, f"{found.p50_us:,.0f}", f"{found.p90_us:,.0f}", f"{found.p99_us:,.0f}")
        for what, found in rows
    ]
    stages = [
        (f"  stage {name}", f"{s['p50']:,.0f}", f"{s['p90']:,.0f}", f"{s['p99']:,.0f}")
        for name, s in one.stages.items()
        if name not in ("margin", "trigger_to_frame")
    ]
    columns = ("microseconds", "p50", "p90", "p99")
    print_text(table(columns, [*lines, *stages], right=columns[1:]))
    bounds = [
        ("overhead, ratio of the medians", "overhead_ratio_p50", OVERHEAD_BOUND, "3f"),
        ("overhead at p99, us", "overhead_extra_us_p99", EXTRA_P99_BOUND_US, "0f"),
        ("start to ready, s", "start_to_ready_s", START_BOUND_S, "2f"),
        ("resident memory, MiB", "rss_mib", RSS_BOUND_MIB, "0f"),
    ]
    held = [
        (what, f"{figures[key]:,.{form}}", f"{bound:g}", "yes" if figures[key] <= bound else "NO")
        for what, key, bound, form in bounds
    ]
    print_text(table(("figure", "found", "bound", "held"), held, right=("found", "bound")))
    speeds = [
        (
            cores,
            f"{figures['naive_parts_per_min' + suffix]:,.0f}",
            f"{figures['parts_per_min' + suffix]:,.0f}",
            f"{figures['parts_per_min' + suffix] / figures['naive_parts_per_min' + suffix]:.2f} x",
        )
        for cores, suffix in (("one core", "_1_core"), ("two cores", ""))
    ]
    columns = ("parts a minute", "naive loop", "replay", "ratio")
    print_text(table(columns, speeds, right=columns[1:]))
