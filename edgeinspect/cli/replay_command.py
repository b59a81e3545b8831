"""``edgeinspect replay``: inspect a folder of pictures as a station would."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.options import FILE, FOLDER, GATES, FiniteRange
from edgeinspect.errors import UsageError
from edgeinspect.terminal.output import (
    console,
    examples,
    json_option,
    print_json,
    print_result,
    progress,
    table,
)

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from edgeinspect.part import Region
    from edgeinspect.runtime.plan import StationPlan
    from edgeinspect.runtime.records_sink import RecordsSink
    from edgeinspect.runtime.replay import Replay
    from edgeinspect.runtime.replay_result import ReplayResult


@click.command(
    epilog=examples(
        "edgeinspect replay pictures/ --bundle models/sim-surface",
        "edgeinspect replay pictures/ --bundle my-bundle --pattern '*.jpg' --json",
        "edgeinspect replay pictures/ --bundle my-bundle --recipe 000004.yaml --data-dir replayed",
        "edgeinspect replay pictures/ --bundle my-bundle --pace 300",
    )
)
@click.argument("folder", type=FOLDER)
@click.option("--bundle", type=FOLDER, required=True, help="Bundle directory.")
@click.option(
    "--recipe", type=FILE, help="Recipe revision; the bundle's own thresholds by default."
)
@click.option("--roi", metavar="X,Y,WIDTH,HEIGHT", help="Region of interest in picture pixels.")
@click.option("--pattern", default="*", help="Inspect files that match this.")
@click.option(
    "--pace",
    type=FiniteRange(min=0.01),
    metavar="PARTS_PER_MIN",
    help="Parts per minute; as fast as possible by default.",
)
@click.option("--data-dir", type=FOLDER, help="Keep records and pictures in this directory.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    help="Pictures to inspect in parallel; one per core by default.",
)
@click.option("--gate", type=click.Choice(GATES[:2]), default=GATES[0], help="Kind of reject gate.")
@json_option
def command(
    *,
    folder: Path,
    bundle: Path,
    recipe: Path | None,
    roi: str | None,
    pattern: str,
    pace: float | None,
    data_dir: Path | None,
    jobs: int | None,
    gate: str,
    as_json: bool,
) -> None:
    """Inspect every picture in FOLDER, in order of file name.

    Each picture is treated as a part and goes through trigger, frame checks, model, verdict, gate
    and record. A file that is not a picture becomes a part that cannot be inspected. The command
    prints one line per picture and a summary at the end. With --json, each line is an object with
    file, verdict, class and score.
    """
    from edgeinspect.hw.folder_camera import list_pictures

    plan = _plan(bundle, recipe, parse_roi(roi), gate=gate, data_dir=data_dir)
    files = list_pictures(folder, pattern=pattern)
    with _inspectors(plan, jobs or os.cpu_count() or 1) as opened, _sink(plan, data_dir) as sink:
        from edgeinspect.runtime.replay import Replay

        run = Replay(
            config=plan.config,
            inspectors=opened.inspectors,
            files=files,
            folder=folder,
            pace_s=None if pace is None else 60 / pace,
            sink=sink,
            next_part_id=1 if sink is None else sink.first_part_id,
        )
        _print_pictures(run, total=len(files), as_json=as_json)
        summary = _summary(run, plan, engine=opened.description)
    print_result(summary, *_words(summary), as_json=as_json)


def parse_roi(text: str | None) -> Region | None:
    """Read the value of ``--roi``; None stays None. Raises UsageError."""
    if text is None:
        return None
    from edgeinspect.part import Region

    try:
        x, y, width, height = (int(word) for word in text.split(","))
    except ValueError:
        raise UsageError(
            f"--roi: {text!r} is not X,Y,WIDTH,HEIGHT in whole pixels.",
            next_action="Write it like 10,20,400,300.",
        ) from None
    if min(x, y) < 0 or min(width, height) < 1:
        raise UsageError(
            f"--roi: {text!r} lies outside every picture.",
            next_action="X and Y must be at least 0, WIDTH and HEIGHT at least 1.",
        )
    return Region(x, y, width, height)


def _plan(
    bundle: Path, recipe: Path | None, roi: Region | None, *, gate: str, data_dir: Path | None
) -> StationPlan:
    from edgeinspect.bundle.directory import load_bundle
    from edgeinspect.runtime.plan import bundle_recipe, make_plan
    from edgeinspect.settings.recipe import load_recipe
    from edgeinspect.settings.station_file import example_station

    if recipe is not None and roi is not None:
        raise UsageError(
            "--roi cannot be combined with --recipe, because the recipe contains the region.",
            next_action="Leave out one of them.",
        )
    loaded = load_bundle(bundle)
    # A replay uses neither the wiring nor the timing, and neither is in the recipe digest.
    station = example_station(gate, data_dir=data_dir or Path("replay"))
    if recipe is not None:
        chosen = load_recipe(recipe)
    else:
        chosen = bundle_recipe(loaded, product=loaded.card.name, roi=roi)
    return make_plan(station, chosen, loaded, from_files=True)


@contextlib.contextmanager
def _inspectors(plan: StationPlan, jobs: int) -> Iterator[Any]:
    from edgeinspect.runtime.models import open_inspectors
    from edgeinspect.settings.station_file import EngineSettings

    opened = open_inspectors(
        plan.bundle,
        engine=EngineSettings(arrangement="threads", threads=1),
        roi=plan.roi,
        reducer=plan.recipe.reducer,
        count=jobs,
        recipe_digest=plan.digest,
    )
    try:
        yield opened
    finally:
        opened.close()


@contextlib.contextmanager
def _sink(plan: StationPlan, data_dir: Path | None) -> Iterator[RecordsSink | None]:
    if data_dir is None:
        yield None
        return
    from edgeinspect.hw.clock import SystemClock
    from edgeinspect.records.images import ImagePolicy
    from edgeinspect.records.part_ids import no_gap
    from edgeinspect.records.writer import RecordWriter
    from edgeinspect.runtime.records_sink import RecordsSink

    policy = ImagePolicy()
    with RecordWriter(data_dir, clock=SystemClock(), policy=policy, draw=no_gap) as writer:
        sink = RecordsSink(writer, policy)
        sink.add_recipe(plan.digest, plan.config.thresholds, document=plan.document)
        yield sink
        writer.close(next_part_id=sink.next_part_id)


def _print_pictures(run: Replay, *, total: int, as_json: bool) -> None:
    """Print one line per picture, and a progress bar in a terminal."""
    shown = console(stderr=as_json)
    with progress("Inspecting", total, on=shown) as report:
        for done, result in enumerate(run.results(), start=1):
            if as_json:
                print_json(_fields(result))
            else:
                shown.print(_line(result), soft_wrap=True)
            report(done)


def _fields(result: ReplayResult) -> dict[str, object]:
    verdict = result.record.verdict
    fields: dict[str, object] = {
        "file": result.file,
        "verdict": verdict.kind.value,
        "class": result.class_name,
        "score": result.score,
        "top_class": result.top_class,
        "top_score": result.top_score,
        "reason": verdict.reason,
        "part_id": result.record.part_id,
        "gate_outcome": result.record.gate_outcome.value,
    }
    if verdict.detail:
        fields["detail"] = verdict.detail
    return fields


def _line(result: ReplayResult) -> Text:
    from rich.text import Text

    from edgeinspect.terminal.words import verdict_text

    verdict = result.record.verdict
    line = Text.assemble(verdict_text(verdict.kind), "  ", Text(result.file, "bold"))
    if verdict.doubt is not None:
        line.append(f"  {verdict.detail or verdict.reason}", "dim")
    else:
        line.append(f"  {result.class_name} {result.score:.3f}", "dim")
    return line


def _summary(run: Replay, plan: StationPlan, *, engine: str) -> dict[str, Any]:
    summary = run.summary
    return {
        **asdict(summary),
        "parts_per_min": summary.parts_per_min,
        "bundle": plan.bundle.card.title,
        "recipe_digest": plan.digest,
        "engine": engine,
    }


def _words(summary: dict[str, Any]) -> Iterator[RenderableType]:
    yield (
        f"{summary['pictures']} pictures in {summary['elapsed_s']:.1f} s, "
        f"{summary['parts_per_min']:,.0f} a minute; {summary['engine']}"
    )
    rows = [(name.replace("_", " "), count) for name, count in summary["verdicts"].items()]
    rows += [(f"  {name.replace('_', ' ')}", n) for name, n in summary["reasons"].items()]
    yield table(("verdict", "pictures"), rows, right=("pictures",))
