"""``edgeinspect run``: a station, until it is told to stop."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.ui.options import FILE, config_option
from edgeinspect.ui.output import examples, json_option, print_json

if TYPE_CHECKING:
    from edgeinspect.runtime.assemble import AssembledStation
    from edgeinspect.runtime.plan import StationPlan
    from edgeinspect.runtime.station import Station
    from edgeinspect.runtime.watchdog import ServiceWatchdog


@click.command(
    epilog=examples(
        """
        edgeinspect check station.yaml && edgeinspect run --config station.yaml
        edgeinspect run --config station.yaml --recipe recipes/cover/000004.yaml
        """
    )
)
@config_option("The station file.")
@click.option("--recipe", type=FILE, help="This revision instead of the product's active one.")
@json_option
@click.pass_context
def command(ctx: click.Context, *, config: Path | None, recipe: Path | None, as_json: bool) -> None:
    """Run a station until SIGTERM or Ctrl-C.

    The first signal stops gracefully: parts on the belt are rejected and recorded, records are
    flushed, outputs go to their safe level. A second one stops at once. A station file whose
    drivers are sim runs on the simulated line, on any computer.
    """
    if config is None:
        raise click.UsageError("Missing option '--config STATION_FILE'.", ctx)
    from edgeinspect.runtime.assemble import AssembledStation, load_plan
    from edgeinspect.runtime.realtime import keep_the_collector_short
    from edgeinspect.runtime.watchdog import Notifier, ServiceWatchdog

    notifier = Notifier.from_environment()
    plan = load_plan(config, recipe_file=recipe)
    assembled = AssembledStation(plan)
    _announce(plan, assembled, config)
    keep_the_collector_short()
    assembled.start()
    previous = _stop_on_signals(assembled.station)
    watchdog = ServiceWatchdog(notifier, assembled.station)
    watchdog.ready()
    try:
        _log_until_stopped(assembled.station, watchdog)
    finally:
        watchdog.stopping()
        _log("Stopping: parts on the belt are rejected and recorded.")
        code = assembled.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)
    status = assembled.station.status()
    _log(f"Stopped; {status['records_acknowledged']} records are safe on disk.")
    if as_json:
        print_json({"exit_code": code, **status, "state": "stopped"})
    if code:
        ctx.exit(code)


def _announce(plan: StationPlan, assembled: AssembledStation, config: Path) -> None:
    recipe = plan.recipe
    _log(f"Station {plan.station.id}, {plan.config.gate.kind.value} gate.")
    _log(f"Recipe {recipe.product} revision {recipe.revision}, digest {plan.digest[:12]}.")
    _log(f"Bundle {plan.bundle.card.name} {plan.bundle.card.version} on {assembled.engine}.")
    _log(f"Records in {plan.station.data_dir}.")
    for name, count in assembled.records_report.faults.items():
        _log(f"Found at start: {name.replace('_', ' ')} {count}.")
    for sentence in plan.uncovered_faults:
        _log(f"Not covered: {sentence}")
    _log(f"Ask how it is with: edgeinspect status --config {config}")


def _stop_on_signals(station: Station) -> dict[int, Any]:
    """The first signal stops gracefully, the second at once; returns the former handlers."""
    received = []

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)
        station.request_stop(immediate=len(received) > 1)

    return {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}


def _log_until_stopped(station: Station, watchdog: ServiceWatchdog) -> None:
    """Tell of alarms, faults and recipes as they come; single parts are in the records."""
    following = 0
    while not station.wait(watchdog.period_s):
        watchdog.step()
        missed, entries = station.feed.read(following, 500)
        if missed:
            _log(f"{missed} events came too fast to be shown; the records have every part.")
        for entry in entries:
            following = entry.sequence + 1
            sentence = _sentence(entry.fields)
            if sentence:
                _log(sentence)


def _sentence(event: Mapping[str, Any]) -> str:
    kind = event["event"]
    if kind == "alarm":
        return f"Alarm: {event['name'].replace('_', ' ')}: {event['detail']}"
    if kind == "line_stop":
        return f"The station asks for a line stop: {event['reason']}"
    if kind == "recipe":
        return f"A new recipe is in force, digest {event['recipe_digest'][:12]}."
    if kind == "challenge":
        return f"Challenge by {event['author']} {event['outcome']}: {event['detail']}"
    if kind == "fault" and not event["name"].startswith("alarm_"):
        lasts = "lasts" if event["active"] else "counted, or over"
        return f"Fault ({lasts}): {event['name'].replace('_', ' ')}: {event['detail']}"
    return ""


def _log(sentence: str) -> None:
    # stderr, at once: for the journal; stdout is for the JSON object at the end.
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()
