"""``edgeinspect run``: run a station until it is stopped."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.options import FILE, station_option
from edgeinspect.terminal.output import examples, json_line, json_option

if TYPE_CHECKING:
    from edgeinspect.assembly.assemble import AssembledStation
    from edgeinspect.runtime.plan import StationPlan
    from edgeinspect.runtime.station import Station
    from edgeinspect.settings.station_file import StationFile
    from edgeinspect.terminal.streams import Journal

_LAST_WORD_S = 5.0
"""Longest time that the reader of the JSON line may take."""


@click.command(
    epilog=examples(
        "edgeinspect check station.yaml && edgeinspect run --config station.yaml",
        "edgeinspect run --config station.yaml --recipe recipes/cover/000004.yaml",
    )
)
@station_option()
@click.option(
    "--recipe", type=FILE, help="Use this recipe revision instead of the product's active one."
)
@json_option
def command(*, station: StationFile, recipe: Path | None, as_json: bool) -> int:
    """Run a station until SIGTERM, Ctrl-C or the end of the session.

    The first signal stops the station gracefully: parts on the belt leave as they were judged,
    all records are written, and outputs go to their safe level. A second SIGTERM or Ctrl-C does
    not wait for the belt. The station keeps running if its log can no longer be written. A station
    file whose drivers are sim uses the simulated line and runs on any computer.
    """
    from edgeinspect.terminal.streams import journal_on_stderr, write_within

    with journal_on_stderr() as journal:
        code, status = _run(station, recipe, journal)
    if as_json:
        line = json_line({"exit_code": code, **status, "state": "stopped"})
        sys.stdout.flush()
        write_within(sys.stdout.fileno(), line.encode(), _LAST_WORD_S)
    return code


def _run(
    station_file: StationFile, recipe: Path | None, journal: Journal
) -> tuple[int, Mapping[str, Any]]:
    """Run the station until it is stopped; return the exit code and the last status."""
    from edgeinspect.assembly.assemble import AssembledStation
    from edgeinspect.assembly.run_until_stopped import run_until_stopped
    from edgeinspect.runtime.plan import plan_station
    from edgeinspect.runtime.realtime import keep_the_collector_short
    from edgeinspect.runtime.watchdog import Notifier, ServiceWatchdog

    notifier = Notifier.from_environment()
    plan = plan_station(station_file, recipe_file=recipe)
    assembled = AssembledStation(plan)
    station = assembled.station
    _announce(plan, assembled, journal)
    keep_the_collector_short()
    watchdog = ServiceWatchdog(notifier, station)
    log = _Log(station, journal)

    def stopping() -> None:
        watchdog.stopping()
        journal.write_line("Stopping. Waiting for the parts on the belt.")

    def watch() -> None:
        watchdog.step()
        log.step()

    code = run_until_stopped(
        station,
        start=assembled.start,
        stop=assembled.stop,
        on_ready=watchdog.ready,
        on_stopping=stopping,
        watch=watch,
        watch_period_s=watchdog.period_s,
    )
    status = station.status()
    journal.write_line(f"Stopped. {status['records_acknowledged']} records are stored on disk.")
    return code, status


def _announce(plan: StationPlan, assembled: AssembledStation, journal: Journal) -> None:
    from edgeinspect.runtime.bundle_age import note_older_start

    recipe = plan.recipe
    journal.write_line(f"Station {plan.station.id}, {plan.config.gate.kind.value} gate.")
    journal.write_line(
        f"Recipe {recipe.product} revision {recipe.revision}, digest {plan.digest[:12]}."
    )
    card = plan.bundle.card
    journal.write_line(f"Bundle {card.title} on {assembled.engine}.")
    journal.write_line(f"Records in {plan.station.data_dir}.")
    for name, count in assembled.records_report.faults.items():
        journal.write_line(f"Found in the records at start: {name.replace('_', ' ')} ({count}).")
    older = note_older_start(plan)
    if older:
        journal.write_line(older)
    for sentence in plan.uncovered_faults:
        journal.write_line(f"Not covered: {sentence}")
    journal.write_line(f"To see its state: edgeinspect status --config {plan.station.path}")


class _Log:
    """Logs alarms, faults and recipe changes; the records have the single parts."""

    def __init__(self, station: Station, journal: Journal) -> None:
        self._station = station
        self._journal = journal
        self._following = 0

    def step(self) -> None:
        missed, entries = self._station.feed.read(self._following, 500)
        if missed:
            self._journal.write_line(
                f"{missed} events arrived too fast to be logged; the records contain every part."
            )
        for entry in entries:
            self._following = entry.sequence + 1
            sentence = _sentence(entry.fields)
            if sentence:
                self._journal.write_line(sentence)


def _sentence(event: Mapping[str, Any]) -> str:
    kind = event["event"]
    if kind == "alarm":
        return f"Alarm: {event['name'].replace('_', ' ')}: {event['detail']}"
    if kind == "line_stop":
        return f"The station requests a line stop: {event['reason']}"
    if kind == "recipe":
        return f"A new recipe is in force, digest {event['recipe_digest'][:12]}."
    if kind == "challenge":
        return f"Challenge by {event['author']} {event['outcome']}: {event['detail']}"
    if kind == "fault" and not event["name"].startswith("alarm_"):
        lasts = "active" if event["active"] else "counted or cleared"
        return f"Fault ({lasts}): {event['name'].replace('_', ' ')}: {event['detail']}"
    return ""
