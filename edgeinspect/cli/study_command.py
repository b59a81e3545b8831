"""``edgeinspect study``: an attribute agreement study of the station and of people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.application import LazyGroup
from edgeinspect.cli.options import FILE, FiniteRange, data_dir_options
from edgeinspect.errors import NotGood, UsageError
from edgeinspect.terminal.output import examples, json_option, print_result, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from edgeinspect.study.study import Proportion, StudyResult

STATION = "station"
parts_option = click.option(
    "--parts", type=FILE, help="List of parts with their references, for blind sheets."
)


@click.group(
    cls=LazyGroup,
    epilog=examples(
        "edgeinspect study plan parts.csv --appraiser station --appraiser operator-1 -o sheet.csv",
        "edgeinspect study station sheet.csv --config station.yaml --from 1201 --to 1350",
        "edgeinspect study report sheet.csv --html study.html",
    ),
)
def command() -> None:
    """Measure how well the station and people agree with the truth and with themselves."""


@command.command(
    "plan",
    epilog=examples(
        "edgeinspect study plan parts.csv --appraiser station --appraiser operator-1 -o sheet.csv",
        "edgeinspect study plan parts.csv --appraiser station --trials 3 --seed 7 -o sheet.csv",
    ),
)
@click.argument("parts", type=FILE)
@click.option(
    "--appraiser",
    "appraisers",
    multiple=True,
    required=True,
    metavar="NAME",
    help="Station or person that decides; repeat for more.",
)
@click.option(
    "--trials",
    type=click.IntRange(1, 20),
    default=3,
    help="How often each appraiser sees each part.",
)
@click.option("--seed", type=int, default=1, help="Random seed that sets the order.")
@click.option("--blind", is_flag=True, help="Leave the references out of the sheet.")
@click.option("-o", "--output", type=FILE, required=True, help="Sheet to write (CSV).")
@json_option
def plan(
    *,
    parts: Path,
    appraisers: tuple[str, ...],
    trials: int,
    seed: int,
    blind: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Create a sheet with the parts in PARTS in random order.

    PARTS is a CSV file with the columns part,reference. Each appraiser gets a different order in
    each trial, so that nobody can remember earlier decisions. Fill in the column decision. --blind
    leaves the references out of the sheet; then give --parts PARTS to the other study commands.
    """
    from edgeinspect.files.atomic_file import create_file
    from edgeinspect.study.study_file import plan_rows, read_parts, write_rows

    rows = plan_rows(read_parts(parts), appraisers, trials=trials, seed=seed)
    if not create_file(output, write_rows(rows, blind=blind), mode=0o644):
        raise UsageError(
            f"{output} already exists and may contain decisions.",
            next_action="Name another file.",
        )
    fields = {"file": str(output), "decisions": len(rows), "seed": seed}
    words = f"Wrote {output} with {len(rows)} decisions to fill in."
    print_result(fields, words, as_json=as_json)


@command.command(
    "station",
    epilog=examples(
        "edgeinspect study station sheet.csv --config station.yaml --from 1201 --to 1350"
    ),
)
@click.argument("sheet", type=FILE)
@data_dir_options
@click.option("--from", "from_part_id", type=int, required=True, metavar="N", help="First part id.")
@click.option("--to", "to_part_id", type=int, metavar="N", help="Last part id; latest by default.")
@click.option("--appraiser", default=STATION, help="Name of the station in the sheet.")
@parts_option
@json_option
def station(
    *,
    sheet: Path,
    data_dir: Path,
    from_part_id: int,
    to_part_id: int | None,
    appraiser: str,
    parts: Path | None,
    as_json: bool,
) -> None:
    """Fill in the station's decisions in SHEET from the records of parts run in that order.

    A part that the gate passed counts as good, every other part as bad. The number of records must
    equal the number of open lines, so that no part can be added or missed unnoticed.
    """
    from edgeinspect.files.atomic_file import replace_file
    from edgeinspect.records.reader import PartFilter, RecordReader
    from edgeinspect.study.study_file import read_rows, write_rows
    from edgeinspect.study.study_parts import fill_in

    rows = read_rows(sheet, allow_open=True, references=_references(parts))
    open_before = sum(row.decision is None for row in rows)
    wanted = PartFilter(from_part_id=from_part_id, to_part_id=to_part_id)
    with RecordReader(data_dir) as reader:
        filled = fill_in(rows, reader.parts(wanted, limit=len(rows) + 1), appraiser=appraiser)
    replace_file(sheet, write_rows(filled, blind=parts is not None))
    still_open = sum(row.decision is None for row in filled)
    done = open_before - still_open
    fields = {"file": str(sheet), "filled": done, "still_open": still_open}
    words = f"Filled in {done} decisions of {appraiser}; {still_open} are still open."
    print_result(fields, words, as_json=as_json)


@command.command(
    "report",
    epilog=examples(
        "edgeinspect study report sheet.csv",
        "edgeinspect study report station.csv people.csv --html study.html --json",
    ),
)
@click.argument("sheets", type=FILE, nargs=-1, required=True)
@click.option("--html", type=FILE, help="Write a report with plots, ready to print.")
@parts_option
@click.option("--title", default="Attribute agreement study", help="Title of the report.")
@click.option(
    "--confidence",
    type=FiniteRange(0.5, 0.9999),
    default=0.95,
    help="Confidence level of the intervals.",
)
@json_option
def report(
    *,
    sheets: tuple[Path, ...],
    html: Path | None,
    parts: Path | None,
    title: str,
    confidence: float,
    as_json: bool,
) -> int:
    """Evaluate the decisions in SHEETS against the limits of the AIAG MSA manual.

    SHEETS are CSV files with the columns part,reference,appraiser,trial,decision. The exit code is
    1 if an appraiser is unacceptable.
    """
    from edgeinspect.study.study import Grade, analyse
    from edgeinspect.study.study_file import read_study

    study = read_study(sheets, references=_references(parts))
    result = analyse(study, confidence=confidence)
    if html is not None:
        from edgeinspect.files.atomic_file import replace_file
        from edgeinspect.study.study_report import report_html

        remark = "from " + ", ".join(sheet.name for sheet in sheets)
        replace_file(html, report_html(study, result, title=title, remark=remark))
    fields = {**result.as_dict(), "html": None if html is None else str(html)}
    print_result(fields, *_words(result, html), as_json=as_json)
    return NotGood.exit_code if result.grade is Grade.UNACCEPTABLE else 0


def _references(parts: Path | None) -> dict[str, int] | None:
    if parts is None:
        return None
    from edgeinspect.study.study_file import read_parts

    return dict(read_parts(parts))


def _words(result: StudyResult, html: Path | None) -> Iterator[RenderableType]:
    lines = [
        (
            a.name,
            _share(a.effectiveness),
            _share(a.miss_rate),
            _share(a.false_alarm_rate),
            f"{a.kappa.value:.3f}",
            _share(a.repeatability),
            a.grade.value,
        )
        for a in result.appraisers
    ]
    columns = ("", "effective", "misses", "false alarms", "kappa", "repeats itself", "")
    yield table(columns, lines)
    pairs: list[tuple[Any, ...]] = [
        (f"{pair.first} with {pair.second}", f"{pair.kappa.value:.3f}") for pair in result.pairs
    ]
    if result.kappa_between is not None:
        pairs.append(("all with all (Fleiss)", f"{result.kappa_between.value:.3f}"))
    yield table(("agreement", "kappa"), pairs, right=("kappa",))
    yield from result.remarks
    if html is not None:
        yield f"Wrote the report to {html}."


def _share(share: Proportion) -> str:
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"
