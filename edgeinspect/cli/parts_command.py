"""``edgeinspect parts``: list, show, export and count recorded parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.application import LazyGroup
from edgeinspect.cli.options import (
    FILE,
    FOLDER,
    data_dir_options,
    filter_options,
    find_data_dir,
    part_filter,
    records_options,
)
from edgeinspect.errors import NotGood, UsageError
from edgeinspect.terminal.output import examples, json_option, print_result, progress, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import RenderableType

    from edgeinspect.records.reader import PartFilter, RecordReader, StoredPart
    from edgeinspect.records.stats import PartStats
    from edgeinspect.settings.station_file import StationFile


@click.group(
    cls=LazyGroup,
    epilog=examples(
        "edgeinspect parts list --data-dir data --verdict REJECT --limit 5",
        "edgeinspect parts show 1742 --config station.yaml --image part-1742.png",
        "edgeinspect parts stats --config station.yaml --since 8h",
        "edgeinspect parts export shift.csv --config station.yaml --since 8h",
    ),
)
def command() -> None:
    """Read the records of a station, even while it runs."""


@command.command(
    "list",
    epilog=examples(
        "edgeinspect parts list --data-dir data",
        "edgeinspect parts list --data-dir data --reason late --since 2h",
        "edgeinspect parts list --config station.yaml --gate-outcome reject_unconfirmed --json",
    ),
)
@data_dir_options
@filter_options
@click.option("--limit", type=click.IntRange(1), default=20, help="Parts to list.")
@click.option("--oldest-first", is_flag=True, help="Start with the lowest part id.")
@json_option
def list_parts(
    *,
    data_dir: Path,
    limit: int,
    oldest_first: bool,
    as_json: bool,
    **filters: Any,
) -> None:
    """List parts, newest first."""
    from edgeinspect.records.part_history import missing
    from edgeinspect.records.parts_export import part_as_dict
    from edgeinspect.records.reader import RecordReader

    wanted = part_filter(filters)
    with RecordReader(data_dir) as reader:
        parts = list(reader.parts(wanted, limit=limit, newest_first=not oldest_first))
        total = reader.count(wanted)
        gone = missing(reader, wanted)
    words = [_part_table(parts) if parts else "No part matches."]
    if total > len(parts):
        words.append(f"{len(parts)} of {total} matching parts; more with --limit.")
    shown = [part_as_dict(part) for part in parts]
    fields = {"matching": total, "missing": gone, "parts": shown}
    print_result(fields, *words, *filter(None, [gone]), as_json=as_json)


def _part_table(parts: Iterable[StoredPart]) -> Any:
    from edgeinspect.terminal.words import verdict_text

    rows = []
    for part in parts:
        record = part.record
        inspected = record.inspection is not None
        rows.append(
            (
                record.part_id,
                _shown_time(part),
                verdict_text(record.verdict.kind),
                record.verdict.reason,
                f"{record.verdict.score:.3f}" if inspected else "",
                record.gate_outcome.value.replace("_", " "),
                part.image_kind.value if part.image_kind is not None else "",
            )
        )
    columns = ("part", "time (UTC)", "verdict", "reason", "score", "gate", "picture")
    return table(columns, rows, right=("part", "score"))


def _shown_time(part: StoredPart) -> str:
    """When the part was triggered; for a picture from a file, when it was recorded."""
    frame = part.record.frame
    replayed = frame is not None and frame.source
    time = part.recorded_wall if replayed else part.triggered_wall
    return time.strftime("%m-%d %H:%M:%S")


@command.command(
    "show",
    epilog=examples(
        "edgeinspect parts show 1742 --data-dir data",
        "edgeinspect parts show 1742 --data-dir data --image part-1742.png",
        "edgeinspect parts show 1742 --data-dir data --bundle models/sim-surface --image p.png",
    ),
)
@click.argument("part_id", type=int)
@records_options
@click.option("--image", type=FILE, metavar="PNG", help="Draw the part to this file.")
@click.option(
    "--bundle",
    type=FOLDER,
    help="Bundle that inspected the part, for the score map; found automatically if installed.",
)
@json_option
def show(
    *,
    part_id: int,
    data_dir: Path | None,
    station: StationFile | None,
    image: Path | None,
    bundle: Path | None,
    as_json: bool,
) -> None:
    """Show the full record of one part; with --image, draw it.

    The drawing shows the stored picture beside the score map, with the worst region and the
    thresholds. The bundle that inspected the part computes the score map again. Without that
    bundle, the drawing shows only the recorded worst region.
    """
    from edgeinspect.part import Doubt
    from edgeinspect.records.part_history import missing
    from edgeinspect.records.parts_export import part_as_dict
    from edgeinspect.records.reader import PartFilter, RecordReader
    from edgeinspect.terminal.words import late_advice

    place = find_data_dir(data_dir, station)
    with RecordReader(place) as reader:
        part = reader.part(part_id)
        if part is None:
            raise NotGood(
                f"Part {part_id} was not found in the records of {place}.",
                next_action=missing(reader, PartFilter(to_part_id=part_id)),
            )
        fields = part_as_dict(part)
        if image is not None:
            from edgeinspect.drawing.part_drawing import draw_stored_part

            fields |= draw_stored_part(reader, part, image, bundle=bundle, station=station)
    words = [table(("", ""), _rows(fields))]
    if part.record.verdict.doubt is Doubt.LATE:
        words.append(late_advice(part.record.verdict.detail))
    print_result(fields, *words, as_json=as_json)


def _rows(values: dict[str, Any]) -> list[tuple[str, object]]:
    shown: list[tuple[str, object]] = []
    for name, value in values.items():
        if value is None or value == "" or name == "order_statistics":
            continue
        if name == "scores":
            worst = sorted(value.items(), key=lambda item: -(item[1] or 0))[:8]
            value = ", ".join(f"{key} {_number(score)}" for key, score in worst)
        shown.append((name.replace("_", " "), _number(value)))
    return shown


def _number(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value


@command.command(
    "stats",
    epilog=examples(
        "edgeinspect parts stats --data-dir data",
        "edgeinspect parts stats --config station.yaml --since 8h --json",
        "edgeinspect parts stats --config station.yaml --by day",
    ),
)
@data_dir_options
@filter_options
@click.option(
    "--by", "by_time", type=click.Choice(("hour", "day")), help="Show the yield per hour or day."
)
@json_option
def stats(*, data_dir: Path, by_time: str | None, as_json: bool, **filters: Any) -> None:
    """Count parts by verdict, reason and gate outcome, and show how long each stage took.

    Parts whose records were pruned are included; their hourly counts are kept.
    """
    from edgeinspect.records.reader import RecordReader
    from edgeinspect.records.stats import part_stats

    wanted = part_filter(filters)
    with RecordReader(data_dir) as reader:
        if by_time is not None:
            _say_by_time(reader, wanted, by_time, as_json=as_json)
            return
        found = part_stats(reader, wanted)
    print_result(found.as_dict(), *_stats_words(found), as_json=as_json)


def _say_by_time(reader: RecordReader, wanted: PartFilter, unit: str, *, as_json: bool) -> None:
    from edgeinspect.records.part_history import hourly

    if wanted.from_part_id is not None or wanted.to_part_id is not None or wanted.with_image:
        raise UsageError(
            "--by cannot be combined with part ids or pictures.",
            next_action="Remove --from, --to and --with-image; use --since and --until instead.",
        )
    found = hourly(reader, wanted, digits={"hour": 13, "day": 10}[unit])
    fields = [
        {
            unit: counts.hour.isoformat(),
            "parts": counts.parts,
            "passed": counts.passed,
            "by_verdict": counts.by_verdict,
        }
        for counts in found
    ]
    verdicts = ("PASS", "REVIEW", "REJECT", "CANNOT_INSPECT")
    rows = [
        (
            counts.hour.strftime("%Y-%m-%d %H:%M" if unit == "hour" else "%Y-%m-%d"),
            counts.parts,
            *(counts.by_verdict.get(name, 0) for name in verdicts),
            f"{counts.passed / counts.parts:.2%}",
        )
        for counts in found
    ]
    words = [name.replace("_", " ").lower() for name in verdicts]
    columns = (f"{unit} (UTC)", "parts", *words, "passed the gate")
    shown = table(columns, rows, right=columns[1:])
    print_result({f"by_{unit}": fields}, shown, as_json=as_json)


def _stats_words(found: PartStats) -> Iterator[RenderableType]:
    if not found.parts:
        yield "No part matches."
        return
    share = "" if found.yield_share is None else f", {found.yield_share:.2%} passed the gate"
    yield f"{found.parts} parts, {found.first_part_id} to {found.last_part_id}{share}"
    if found.pruned_parts:
        yield (
            f"{found.pruned_parts} of them are stored only as hourly counts, without part ids, "
            "scores or times."
        )
    if found.missing:
        yield found.missing
    counted = (
        ("verdict", found.by_verdict),
        ("reason", found.by_reason),
        ("gate", found.by_gate_outcome),
    )
    rows = [
        (title if not index else "", name.replace("_", " "), count, f"{count / found.parts:.2%}")
        for title, counts in counted
        for index, (name, count) in enumerate(counts.items())
    ]
    yield table(("", "", "parts", "share"), rows, right=("parts", "share"))
    columns = ("p50", "p90", "p99", "max")
    stages = [
        (stage.replace("_", " "), *(f"{spread[name] / 1000:.2f}" for name in ("min", *columns)))
        for stage, spread in found.duration_us.items()
    ]
    if stages:
        yield table(("stage, ms", "min", *columns), stages, right=("min", *columns))


@command.command(
    "export",
    epilog=examples(
        "edgeinspect parts export shift.csv --data-dir data --since 8h",
        "edgeinspect parts export rejects.parquet --data-dir data --verdict REJECT",
        "edgeinspect parts export - --format jsonl --data-dir data | jq .score",
    ),
)
@click.argument("output", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@data_dir_options
@filter_options
@click.option(
    "--format",
    "format_name",
    type=click.Choice(("csv", "jsonl", "parquet")),
    help="File format; taken from the file name by default.",
)
@json_option
def export(
    *,
    output: Path,
    data_dir: Path,
    format_name: str | None,
    as_json: bool,
    **filters: Any,
) -> None:
    """Write parts to OUTPUT as CSV, JSON lines or Parquet; use - for standard output.

    The file appears only when it is complete.
    """
    from edgeinspect.records.part_history import missing
    from edgeinspect.records.parts_export import ExportFormat, export_parts
    from edgeinspect.records.reader import RecordReader

    kind = ExportFormat(format_name or _format_of(output))
    if str(output) == "-" and as_json:
        raise UsageError(
            "--json cannot be combined with an export to standard output.",
            next_action="Name a file, or leave out --json.",
        )
    wanted = part_filter(filters)
    with RecordReader(data_dir) as reader:
        if str(output) == "-":
            _export_to_stdout(reader.parts(wanted), kind.value)
            return
        with progress("Exporting", reader.count(wanted)) as report:
            written = export_parts(reader.parts(wanted), output, format=kind, progress=report)
        gone = missing(reader, wanted)
    print_result(
        {"parts": written, "file": str(output), "format": kind.value, "missing": gone},
        f"{written} parts written to {output}.",
        *filter(None, [gone]),
        as_json=as_json,
    )


def _format_of(output: Path) -> str:
    suffix = output.suffix.lower().lstrip(".")
    if suffix not in ("csv", "jsonl", "parquet"):
        raise UsageError(
            f"Cannot tell the format from the file name {output}.",
            next_action="Give --format csv, jsonl or parquet.",
        )
    return suffix


def _export_to_stdout(parts: Iterable[StoredPart], kind: str) -> None:
    import sys

    from edgeinspect.records.parts_export import part_as_dict, write_csv, write_jsonl

    writers = {"csv": write_csv, "jsonl": write_jsonl}
    if kind not in writers:
        raise UsageError(
            "Parquet cannot be written to standard output.", next_action="Name a file."
        )
    writers[kind]((part_as_dict(part) for part in parts), sys.stdout)


@command.command("compact", epilog=examples("edgeinspect parts compact --config station.yaml"))
@data_dir_options
@json_option
def compact(*, data_dir: Path, as_json: bool) -> None:
    """Shrink the parts database by the space that pruned records left.

    Stop the station first. Only a database created by an early version of edgeinspect needs this;
    newer ones shrink by themselves. The disk needs free space for a second copy of the records
    that remain. A power cut during the work leaves the records unchanged.
    """
    from edgeinspect.records.retention import compact as remake

    before, after = remake(data_dir)
    print_result(
        {"bytes_before": before, "bytes_after": after},
        f"The database shrank from {before / 1e6:,.1f} MB to {after / 1e6:,.1f} MB.",
        as_json=as_json,
    )
