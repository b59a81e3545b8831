"""``edgeinspect status``: show the state of a running station, read from its socket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.options import ANY_PATH, FOLDER, FiniteRange, station_option
from edgeinspect.errors import NotGood, UsageError
from edgeinspect.terminal.output import examples, json_option, print_result, print_text, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeinspect.health.compare import Health
    from edgeinspect.settings.station_file import StationFile

_PERCENTILES = ("p50", "p90", "p99", "max")


@click.command(
    epilog=examples(
        "edgeinspect status --config station.yaml",
        "edgeinspect status --socket /run/edgeinspect/control.sock --json",
    )
)
@station_option("Station file that names the sockets.", required=False)
@click.option("--data-dir", type=FOLDER, help="Data directory that contains the sockets.")
@click.option("--socket", type=ANY_PATH, help="Path of the watch or the control socket.")
@click.option(
    "--timeout",
    "timeout_s",
    type=FiniteRange(0.1, 60),
    default=5.0,
    help="Seconds to wait for an answer.",
)
@json_option
def command(
    *,
    station: StationFile | None,
    data_dir: Path | None,
    socket: Path | None,
    timeout_s: float,
    as_json: bool,
) -> int:
    """Show the state of a running station, and the health of its parts and machine.

    The exit code is 0 while the station inspects. It is 1 while the station is paused, faulted,
    starting or stopping, or if no part has passed for a long time. It is 4 if no station answers.
    Health does not change the exit code. With only --socket, the command shows the machine's
    health but not the parts' health. See docs/reference/health.md.
    """
    from edgeinspect.control.client import ControlClient
    from edgeinspect.errors import StationUnreachable
    from edgeinspect.health.station_health import health_table

    sockets = _sockets(station, data_dir, socket)
    health = _health(station, data_dir)
    try:
        with ControlClient.to_watch(*sockets, timeout_s=timeout_s) as client:
            status = dict(client.call("status"))
    except StationUnreachable:
        if not as_json:
            print_text(health_table(health))
        raise
    fields = status | {"health": health.as_dict()}
    print_result(fields, *_words(status), health_table(health), as_json=as_json)
    inspects = status.get("state") == "inspecting" and status.get("nothing_passes") is None
    return 0 if inspects else NotGood.exit_code


def _health(station: StationFile | None, data_dir: Path | None) -> Health:
    from edgeinspect.health.station_health import DEFAULT_MIN_FREE_BYTES, station_health

    if station is None:
        return station_health(data_dir, min_free_bytes=DEFAULT_MIN_FREE_BYTES)
    return station_health(station.data_dir, min_free_bytes=station.storage.min_free_bytes)


def _sockets(
    station: StationFile | None, data_dir: Path | None, socket: Path | None
) -> tuple[Path, ...]:
    """Return the sockets to try; the read-only watch socket comes first."""
    if socket is not None:
        return (socket,)
    if station is not None:
        return station.watch_path, station.socket_path
    if data_dir is not None:
        return data_dir / "watch.sock", data_dir / "control.sock"
    raise UsageError(
        "No station given.",
        next_action="Give --config STATION_FILE, --data-dir DIR or --socket PATH.",
    )


def _words(status: Mapping[str, Any]) -> Iterator[RenderableType]:
    from rich.text import Text

    from edgeinspect.runtime.station_status import state_words

    first = state_words(status)
    good = first == "inspecting"
    if nothing := status.get("nothing_passes"):
        first += f" ({nothing['share']:.0%} of the last {nothing['parts']} parts, for "
        first += f"{_duration(nothing['seconds'])})"
        first += f". {nothing['detail']}" if nothing["detail"] else ""
    yield Text(first, "bold green" if good else "bold yellow")
    rows = [
        ("up for", _duration(status["uptime_s"])),
        ("engine", status["engine"]),
        ("recipe digest", str(status["recipe_digest"])[:12]),
        ("parts in flight", status["parts_in_flight"]),
        ("records acknowledged", f"{status['records_acknowledged']:,}"),
        ("control socket", status["control_socket"]),
        ("watch socket", status["watch_socket"]),
        ("rejecting everything", ", ".join(status["rejecting_everything"]) or "no"),
        ("open alarms", ", ".join(status["open_alarms"]) or "none"),
    ]
    yield table(("", ""), rows)
    counts = [(name.replace("_", " "), f"{n:,}") for name, n in status["counts"].items() if n]
    if counts:
        yield table(("counted since start", "parts"), counts, right=("parts",))
    faults = [
        (name.replace("_", " "), fault["count"], "now" if fault["active"] else "", fault["detail"])
        for name, fault in status["faults"].items()
    ]
    if faults:
        yield table(("fault", "times", "", "last"), faults, right=("times",))
    for sentence in status["uncovered_faults"]:
        yield Text(f"Not covered: {sentence}", "yellow")
    stages = [
        (stage.replace("_", " "), *(f"{spread[name] / 1000:.2f}" for name in _PERCENTILES))
        for stage, spread in status["stage_latency_us"].items()
        if spread
    ]
    if stages:
        yield table(("stage, ms", *_PERCENTILES), stages, right=_PERCENTILES)


def _duration(seconds: float) -> str:
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"
