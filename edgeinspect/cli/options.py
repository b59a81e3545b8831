"""Options that several commands share, and functions that read their values."""

from __future__ import annotations

import datetime
import functools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.errors import UsageError
from edgeinspect.files import one_line

if TYPE_CHECKING:
    from edgeinspect.records.reader import PartFilter
    from edgeinspect.settings.station_file import StationFile

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class FiniteRange(click.FloatRange):
    """A finite number between two bounds.

    click's own range accepts "nan" with any bounds, and "inf" if one bound is missing.
    """

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Convert the option's text to a number and refuse "nan" and "inf"."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
ANY_PATH = click.Path(path_type=Path)
GATES = ("normally-rejecting", "normally-passing", "normally-passing-guarded")
VERDICTS = ("PASS", "REJECT", "REVIEW", "CANNOT_INSPECT")
_AGO = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def option_group(*decorators: Decorator) -> Decorator:
    """Return one decorator that adds these options, in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        return functools.reduce(lambda made, add: add(made), reversed(decorators), function)

    return decorate


def station_option(help_text: str = "Station file.", *, required: bool = True) -> Decorator:
    """Return the option ``--config``: read and checked here, once, and passed as ``station``."""
    return click.option(
        "--config",
        "station",
        type=FILE,
        metavar="STATION_FILE",
        callback=_needed_station if required else _load_station,
        help=f"{help_text}  [required]" if required else help_text,
    )


def _needed_station(
    ctx: click.Context, parameter: click.Parameter, path: Path | None
) -> StationFile | None:
    if path is None and not ctx.resilient_parsing:
        raise UsageError("No station file given.", next_action="Give --config STATION_FILE.")
    return _load_station(ctx, parameter, path)


def _load_station(
    ctx: click.Context, parameter: click.Parameter, path: Path | None
) -> StationFile | None:
    del ctx, parameter
    if path is None:
        return None
    from edgeinspect.settings.station_file import load_station

    return load_station(path)


def _one_line(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    del ctx, parameter
    text = value.strip()
    if not one_line.is_one_line(text):
        raise UsageError(
            f"--reason: {value[:40]!r} is not a valid reason.",
            next_action=f"Give a reason of {one_line.EXPECTED}.",
        )
    return text


def _author(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str:
    del ctx, parameter
    from edgeinspect.settings.author import login_name

    name = login_name() if value is None else value.strip()
    if not name:
        raise UsageError("--author is empty.", next_action="Give a name, or leave out --author.")
    return name


author_option = click.option(
    "--author", metavar="NAME", callback=_author, help="Your name; the login name by default."
)
reason_option = click.option(
    "--reason",
    required=True,
    metavar="TEXT",
    callback=_one_line,
    help="Reason, for the audit trail.",
)
gate_option = click.option(
    "--gate", type=click.Choice(GATES), default=GATES[0], help="Kind of reject gate."
)
graphics_option = click.option(
    "--graphics",
    type=click.Choice(("auto", "kitty", "sixel", "blocks")),
    default="auto",
    envvar="EDGEINSPECT_GRAPHICS",
    show_envvar=True,
    help="How to draw pictures; auto detects what the terminal supports.",
)


records_options = option_group(
    click.option("--data-dir", type=FOLDER, help="Data directory with the records."),
    station_option("Station file that names the data directory.", required=False),
)
"""The options that ``find_data_dir`` reads."""


def data_dir_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--data-dir`` and ``--config``; the directory that they name is ``data_dir``."""

    @records_options
    @functools.wraps(function)
    def with_data_dir(
        *arguments: Any, data_dir: Path | None, station: StationFile | None, **others: Any
    ) -> Any:
        return function(*arguments, data_dir=find_data_dir(data_dir, station), **others)

    return with_data_dir


def find_data_dir(data_dir: Path | None, station: StationFile | None) -> Path:
    """Return the data directory that the two options name. Raises UsageError."""
    if data_dir is not None:
        return data_dir
    if station is None:
        raise UsageError(
            "No data directory given.",
            next_action="Give --data-dir DIR, or --config STATION_FILE.",
        )
    return station.data_dir


filter_options = option_group(
    click.option(
        "--verdict",
        type=click.Choice(VERDICTS, case_sensitive=False),
        help="Only parts with this verdict.",
    ),
    click.option(
        "--class", "defect_class", metavar="NAME", help="Only parts of this defect class."
    ),
    click.option(
        "--reason",
        metavar="NAME",
        help="Only parts counted under this reason: a defect class or a doubt.",
    ),
    click.option(
        "--gate-outcome",
        metavar="NAME",
        help="Only parts with this outcome, e.g. reject_unconfirmed.",
    ),
    click.option("--from", "from_part_id", type=int, metavar="N", help="First part id."),
    click.option("--to", "to_part_id", type=int, metavar="N", help="Last part id."),
    click.option(
        "--since",
        metavar="TIME",
        help="Parts from this time on: 2h or 3d ago, or 2026-05-01T06:00 (UTC).",
    ),
    click.option("--until", metavar="TIME", help="Parts before this time, in the same formats."),
)
"""The options that ``part_filter`` reads."""


def part_filter(options: dict[str, Any]) -> PartFilter:
    """Return the filter that the options describe. Raises UsageError."""
    from edgeinspect.part import GateOutcome, VerdictKind
    from edgeinspect.records.reader import PartFilter

    outcome = options["gate_outcome"]
    known = [entry.value for entry in GateOutcome]
    if outcome is not None and outcome not in known:
        raise UsageError(
            f"{outcome!r} is not a gate outcome.",
            next_action=f"Choose one of: {', '.join(known)}.",
        )
    verdict = options["verdict"]
    return PartFilter(
        verdict=None if verdict is None else VerdictKind(verdict.upper()),
        defect_class=options["defect_class"],
        reason=options["reason"],
        gate_outcome=None if outcome is None else GateOutcome(outcome),
        from_part_id=options["from_part_id"],
        to_part_id=options["to_part_id"],
        since_wall=parse_time(options["since"], "--since"),
        until_wall=parse_time(options["until"], "--until"),
    )


def parse_time(
    text: str | None, option: str, *, now: datetime.datetime | None = None
) -> datetime.datetime | None:
    """Read an age ("90s", "15m", "2h", "3d") or an ISO time; UTC if it has no offset."""
    if text is None:
        return None
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            seconds = float(ago[1]) * _SECONDS[ago[2]]
            present = now or datetime.datetime.now(datetime.UTC)
            return present - datetime.timedelta(seconds=seconds)
        time = datetime.datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option}: {text!r} is not a valid time.",
            next_action="Give an age such as 2h or 3d, or a time such as 2026-05-01T06:00.",
        ) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=datetime.UTC)
