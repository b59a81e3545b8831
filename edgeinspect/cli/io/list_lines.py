"""``edgeinspect io list``: GPIO chips, their lines, and which program uses each line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.options import station_option
from edgeinspect.errors import LineFault
from edgeinspect.terminal.output import examples, json_option, print_json, print_text, table

if TYPE_CHECKING:
    from edgeinspect.hw.gpio_chips import ChipFacts, LineFacts
    from edgeinspect.settings.station_file import StationFile


@click.command(
    epilog=examples(
        "edgeinspect io list",
        "edgeinspect io list --chip pinctrl-rp1 --all",
        "edgeinspect io list --config station.yaml --json",
    )
)
@station_option("Station file; its lines are marked.", required=False)
@click.option("--chip", metavar="LABEL", help="Show only the chip with this label.")
@click.option("--all", "show_all", is_flag=True, help="Also show unnamed lines that are not used.")
@json_option
def command(
    *, station: StationFile | None, chip: str | None, show_all: bool, as_json: bool
) -> None:
    """List the GPIO chips of this machine, their lines, and which program uses each line.

    This opens no line, so you can use it while the station runs.
    """
    from edgeinspect.hw.gpio_chips import list_chips

    uses = _uses(station)
    chips = [facts for facts in list_chips() if chip is None or facts.label == chip]
    if not chips:
        wanted = "no GPIO chip" if chip is None else f"no GPIO chip with the label {chip!r}"
        raise LineFault(
            f"This machine has {wanted}.",
            next_action="Look for devices with: ls -l /dev/gpiochip*. Some boards need a device "
            "tree overlay.",
        )
    if as_json:
        print_json({"chips": [_chip_as_json(facts, uses) for facts in chips]})
        return
    for facts in chips:
        rows = [
            _row(facts, line, uses) for line in facts.lines if show_all or line.name or line.used
        ]
        title = f"{facts.label}, {facts.device}, {len(facts.lines)} lines"
        print_text(table(("line", "name", "held by", "direction", "station"), rows, title=title))


def _uses(station: StationFile | None) -> Mapping[tuple[str, int | str], str]:
    """Return what the station uses each line for, by chip label and line offset or name."""
    if station is None:
        return {}
    wires: dict[str, Any] = dict(station.lines.wired())
    if station.encoder is not None:
        wires["encoder"] = station.encoder
    default = station.io.chip or ""
    return {(wire.chip or default, wire.line): key for key, wire in wires.items()}


def _use(facts: ChipFacts, line: LineFacts, uses: Mapping[tuple[str, int | str], str]) -> str:
    for label in (facts.label, ""):
        for key in (line.offset, line.name):
            if (label, key) in uses:
                return uses[label, key]
    return ""


def _row(
    facts: ChipFacts, line: LineFacts, uses: Mapping[tuple[str, int | str], str]
) -> tuple[object, ...]:
    holder = line.consumer or ("the kernel" if line.used else "")
    return line.offset, line.name, holder, line.direction, _use(facts, line, uses)


def _chip_as_json(facts: ChipFacts, uses: Mapping[tuple[str, int | str], str]) -> dict[str, object]:
    return {
        "label": facts.label,
        "device": str(facts.device),
        "lines": [
            {**dataclasses.asdict(line), "station": _use(facts, line, uses)} for line in facts.lines
        ],
    }
