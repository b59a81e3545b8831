"""Options that several commands share, and how their values are understood."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.errors import UsageError

if TYPE_CHECKING:
    from edgeinspect.records.reader import PartFilter

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class FiniteRange(click.FloatRange):
    """A number between two bounds; click lets "nan" through every bound, and "inf" where one
    is open."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
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


def config_option(help_text: str = "The station file.") -> Decorator:
    return click.option("--config", type=FILE, metavar="STATION_FILE", help=help_text)


def graphics_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--graphics``: how the terminal is to show pictures."""
    return click.option(
        "--graphics",
        type=click.Choice(("auto", "kitty", "sixel", "blocks")),
        default="auto",
        show_default=True,
        envvar="EDGEINSPECT_GRAPHICS",
        show_envvar=True,
        help="How pictures are drawn; auto asks the terminal.",
    )(function)


def data_dir_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--data-dir`` and ``--config``, one of which says where the records are."""
    for decorate in (
        config_option("The station file that names the data directory."),
        click.option("--data-dir", type=FOLDER, help="The data directory with the records."),
    ):
        function = decorate(function)
    return function


def find_data_dir(data_dir: Path | None, config: Path | None) -> Path:
    """The data directory that the two options name. Raises UsageError, ConfigError."""
    if data_dir is not None:
        return data_dir
    if config is None:
        raise UsageError(
            "It is not said where the records are.",
            next_action="Give --data-dir DIR, or --config STATION_FILE.",
        )
    from edgeinspect.settings.station_file import load_station

    return load_station(config).data_dir


def filter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of ``part_filter``."""
    for decorate in reversed(
        (
            click.option("--verdict", type=click.Choice(VERDICTS, case_sensitive=False)),
            click.option("--class", "defect_class", metavar="NAME", help="The defect class."),
            click.option("--reason", metavar="NAME", help="Defect class or doubt, as counted."),
            click.option("--gate-outcome", metavar="NAME", help="E.g. reject_unconfirmed."),
            click.option("--from", "from_part_id", type=int, metavar="N", help="First part id."),
            click.option("--to", "to_part_id", type=int, metavar="N", help="Last part id."),
            click.option("--since", metavar="TIME", help="2h, 3d, or 2026-05-01T06:00 (UTC)."),
            click.option("--until", metavar="TIME", help="The same, excluded."),
        )
    ):
        function = decorate(function)
    return function


def part_filter(options: dict[str, Any]) -> PartFilter:
    """What the filter options ask for. Raises UsageError."""
    from edgeinspect.part import GateOutcome, VerdictKind
    from edgeinspect.records.reader import PartFilter

    outcome = options["gate_outcome"]
    known = [entry.value for entry in GateOutcome]
    if outcome is not None and outcome not in known:
        raise UsageError(f"{outcome!r} is no gate outcome; there are: {', '.join(known)}.")
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
    """A time ago ("90s", "15m", "2h", "3d") or an ISO time, UTC where no offset is given."""
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
            f"{option} {text!r} is no time.",
            next_action="Give a time ago like 2h or 3d, or one like 2026-05-01T06:00.",
        ) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=datetime.UTC)
