"""What the ``io`` commands share: options, and the lines of a stopped station."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import click

from edgeinspect.cli.options import option_group, reason_option, station_option
from edgeinspect.errors import StationBusy, UsageError

if TYPE_CHECKING:
    from edgeinspect.hw.registry import IoModule
    from edgeinspect.settings.station_file import StationFile
    from edgeinspect.settings.wiring import InputLine, OutputLine

INPUT_KEYS = ("trigger", "confirm", "guard", "line_stopped")


force_option = click.option(
    "--force", is_flag=True, help="Work even while the station runs. Parts may pass unseen."
)
person_options = option_group(
    click.option("--author", required=True, metavar="NAME", help="Your name, for the audit trail."),
    reason_option,
)


def wired_station_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--config``; the station file must name real hardware."""

    @station_option()
    @functools.wraps(function)
    def with_wires(*, station: StationFile, **others: Any) -> Any:
        from edgeinspect.settings.driver_tables import SIM

        if station.io.driver == SIM:
            raise UsageError(
                f"The station {station.id} uses the simulated line, so it has no real wires.",
                next_action="Give a station file with another io.driver.",
            )
        return function(station=station, **others)

    return with_wires


@contextlib.contextmanager
def idle_station(station: StationFile, *, force: bool) -> Iterator[None]:
    """Keep the station from starting during the block. Raises StationBusy if it runs."""
    from edgeinspect.files.atomic_file import make_folder
    from edgeinspect.records.records_lock import DataDirectoryLock

    make_folder(station.data_dir)
    lock = None
    try:
        lock = DataDirectoryLock(station.data_dir)
    except StationBusy as error:
        if not force:
            raise StationBusy(
                error.message,
                next_action="Stop it first. With --force the command works anyway, but parts may "
                "pass unseen.",
            ) from error
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def io_module(station: StationFile) -> IoModule:
    """Return the station's io driver module. Raises DriverMissing."""
    from edgeinspect.hw import registry

    return registry.io_module(station.io.driver)


def inputs_of(station: StationFile) -> dict[str, InputLine]:
    """Return the wired inputs, encoder included, by their keys in the station file."""
    found = {key: wire for key, wire in station.lines.wired() if key in INPUT_KEYS}
    if station.encoder is not None:
        found["encoder"] = station.encoder
    return cast("dict[str, InputLine]", found)


def outputs_of(station: StationFile) -> dict[str, OutputLine]:
    """Return the wired outputs by their keys in the station file."""
    return {key: wire for key, wire in station.lines.wired() if key not in INPUT_KEYS}


def chosen(names: tuple[str, ...], wired: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the wires with these keys; all of them if none is named. Raises UsageError."""
    for name in names:
        if name not in wired:
            known = ", ".join(wired) or "none"
            raise UsageError(
                f"The station has no {kind} {name!r}.", next_action=f"Wired {kind}s: {known}."
            )
    return {name: wired[name] for name in names} if names else wired
