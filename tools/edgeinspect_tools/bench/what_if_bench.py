"""``edgeinspect-tools bench what-if``: how long a million stored parts take to replay."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from edgeinspect.bundle.directory import load_bundle
from edgeinspect.bundle.shipped import SIM_BUNDLE, shipped_bundle
from edgeinspect.errors import NotGood
from edgeinspect.line.scores import ORDER_STATISTIC_RANKS
from edgeinspect.part import (
    CameraControls,
    FrameMeta,
    FrameQuality,
    GateOutcome,
    Inspection,
    PartRecord,
    Region,
    StageTimes,
)
from edgeinspect.records.repeated_parts import write_repeated_parts
from edgeinspect.runtime.plan import StationPlan, make_plan, simulated_recipe
from edgeinspect.settings.station_file import example_station
from edgeinspect.terminal.output import examples, json_option, print_json, print_text

_POOL = 4096


@click.command(
    epilog=examples(
        """
        edgeinspect-tools bench what-if
        edgeinspect-tools bench what-if --parts 1000000 --json
        """
    )
)
@click.option(
    "--parts",
    default=1_000_000,
    show_default=True,
    type=click.IntRange(1),
    help="Number of stored parts.",
)
@json_option
def command(*, parts: int, as_json: bool) -> None:
    """Time the whole command `edgeinspect tune what-if` on generated records.

    The command runs in a process of its own. The records are like those of a station with the
    shipped model. The command is timed with other thresholds and with another reducer.
    """
    figures = measure(parts)
    if as_json:
        print_json(figures)
        return
    print_text(
        f"{parts:,} parts: {figures['seconds']:.2f} s under other thresholds, "
        f"{figures['reducer_seconds']:.2f} s under another reducer, {figures['rss_mib']:.0f} MiB "
        f"resident at most; the database has {figures['database_mib']:.0f} MiB."
    )


def measure(parts: int) -> dict[str, Any]:
    """Make the records and time the command on them. Raises NotGood if it fails."""
    with tempfile.TemporaryDirectory(prefix="edgeinspect-bench-") as folder:
        data_dir = Path(folder)
        fill(data_dir, parts)
        size = sum(file.stat().st_size for file in data_dir.iterdir())
        seconds, printed = _timed(data_dir, "--reject", "0.97", "--review", "0.9")
        again, reduced = _timed(data_dir, "--reducer", "kth_largest:4")
        most_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if printed["parts"] != parts or reduced["parts"] != parts:
        raise NotGood(f"{printed['parts']} parts were replayed; expected {parts}.")
    return {
        "parts": parts,
        "seconds": seconds,
        "replay_seconds": printed["seconds"],
        "reducer_seconds": again,
        "rss_mib": most_kib / 1024,
        "database_mib": size / 2**20,
        "flips": printed["flips"],
    }


def _timed(data_dir: Path, *options: str) -> tuple[float, dict[str, Any]]:
    """Seconds from the command's start to its end, and its answer."""
    program = [sys.executable, "-m", "edgeinspect", "tune", "what-if", "--data-dir", str(data_dir)]
    began = time.monotonic()
    done = subprocess.run(
        [*program, *options, "--json"], capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - began
    if done.returncode != 0:
        raise NotGood(f"edgeinspect tune what-if failed: {done.stderr.strip()[-300:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seconds, answer


def fill(data_dir: Path, parts: int, *, seed: int = 1) -> None:
    """Records of so many parts, a few thousand different ones over and over."""
    bundle = load_bundle(shipped_bundle(SIM_BUNDLE))
    station = example_station("normally-rejecting", data_dir=data_dir)
    plan = make_plan(station, simulated_recipe(bundle), bundle)
    write_repeated_parts(
        data_dir,
        _pool(plan, seed),
        parts=parts,
        classes=bundle.card.defect_classes,
        document=plan.document,
    )


def _pool(plan: StationPlan, seed: int) -> list[PartRecord]:
    """Different parts: most parts score low, some reach the thresholds."""
    from edgeinspect.line.verdict import judge_scores

    random = np.random.default_rng(seed)
    table = 1 / (1 + np.exp(-np.linspace(-8, 8, 256)))
    thresholds = plan.config.thresholds
    levels = 255 * random.beta(0.6, 4, (_POOL, len(thresholds), len(ORDER_STATISTIC_RANKS)))
    ordered = -np.sort(-table[levels.astype(int)], axis=2)
    records = []
    for number, statistics in enumerate(ordered, 1):
        scores = tuple(float(row[0]) for row in statistics)
        verdict = judge_scores(scores, thresholds)
        inspection = Inspection(
            scores=scores,
            top_class=thresholds[int(np.argmax(scores))].name,
            top_score=max(scores),
            quality=FrameQuality(121.5, 0.001, 0.002, 512.25),
            order_statistics=tuple(map(tuple, statistics.tolist())),
            worst_region=Region(10, 20, 30, 40),
            times=StageTimes(400_000, 16_000_000, 500_000, 300_000),
        )
        record = PartRecord(
            part_id=number,
            trigger_mono_ns=10**15,
            verdict=verdict,
            gate_outcome=GateOutcome.PASSED,
            recipe_digest=plan.digest,
            frame=FrameMeta(number, 10**15, 10**15, CameraControls(exposure_us=250.0, gain=1.5)),
            inspection=inspection,
            frame_mono_ns=10**15,
            verdict_mono_ns=10**15,
            deadline_mono_ns=10**15,
            window_start_mono_ns=10**15,
            window_end_mono_ns=10**15,
        )
        records.append(record)
    return records
