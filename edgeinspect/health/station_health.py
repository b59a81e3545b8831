"""Reads the machine and the records, and shows the station's health as a table."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edgeinspect.errors import StorageFault

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from edgeinspect.health.compare import Health, HealthItem, HealthState
    from edgeinspect.ports import Board, Clock

HEALTH_STYLE = {"ok": "green", "unknown": "bright_black", "warn": "bold yellow", "bad": "bold red"}
DEFAULT_MIN_FREE_BYTES = 200_000_000


def station_health(
    data_dir: Path | None,
    *,
    min_free_bytes: int = DEFAULT_MIN_FREE_BYTES,
    board: Board | None = None,
    clock: Clock | None = None,
) -> Health:
    """Examine the records and the machine; anything that cannot be read is a finding, too.

    It changes nothing, and reads a few thousand rows, however many records there are.

    Args:
        data_dir: the station's data directory; None examines only the machine.
        min_free_bytes: the station file's limit for storing pictures.
        board: reads temperature and power; None uses the board of this machine.
        clock: the wall clock; None uses the clock of this machine.
    """
    from edgeinspect.health.compare import Health
    from edgeinspect.health.machine_health import machine_health
    from edgeinspect.hw.board_health import SystemBoard
    from edgeinspect.hw.clock import SystemClock

    clock = clock or SystemClock()
    jump_s = 0.0
    parts: tuple[HealthItem, ...] = ()
    if data_dir is not None:
        jump_s, parts = _records_health(data_dir, clock)
    machine = machine_health(
        (board or SystemBoard()).read(),
        free_bytes=None if data_dir is None else _free_bytes(data_dir),
        min_free_bytes=min_free_bytes,
        clock_synchronized=clock.is_synchronized(),
        clock_jump_s=jump_s,
    )
    if data_dir is None:
        machine = tuple(item for item in machine if item.name != "disk")
    return Health((*parts, *machine))


def health_table(health: Health) -> RenderableType:
    """One line for each finding, followed by its instruction if it has one."""
    from edgeinspect.terminal.output import table

    rows: list[tuple[object, ...]] = []
    for item in health.items:
        rows.append((state_text(item.state), item.name, item.detail))
        if item.next_action:
            rows.append(("", "", f"→ {item.next_action}"))
    return table(("health", "", ""), rows)


def state_text(state: HealthState) -> Text:
    """Return the state as coloured text."""
    from rich.text import Text

    return Text(state.value, HEALTH_STYLE[state.value])


def worst_first(items: Iterable[HealthItem]) -> list[HealthItem]:
    """Sort the findings: BAD, WARN, OK, UNKNOWN."""
    order = ("bad", "warn", "ok", "unknown")
    return sorted(items, key=lambda item: order.index(item.state.value))


def _records_health(data_dir: Path, clock: Clock) -> tuple[float, tuple[HealthItem, ...]]:
    from edgeinspect.health.compare import HealthItem, HealthState, parts_health, records_health
    from edgeinspect.records.baseline import clock_jump_s, read_samples
    from edgeinspect.records.part_history import records_kept
    from edgeinspect.records.reader import RecordReader

    try:
        with RecordReader(data_dir) as reader:
            kept = records_health(records_kept(reader), now_wall=clock.now_wall())
            return clock_jump_s(reader), (*parts_health(read_samples(reader)), kept)
    except StorageFault as error:
        item = HealthItem(
            name="records",
            state=HealthState.UNKNOWN,
            detail=error.message,
            next_action=error.next_action,
        )
        return 0.0, (item,)


def _free_bytes(data_dir: Path) -> int | None:
    try:
        return shutil.disk_usage(data_dir).free
    except OSError:
        return None
