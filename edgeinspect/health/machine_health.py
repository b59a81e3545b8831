"""The machine's health: heat, power, disk space, clock."""

from __future__ import annotations

from edgeinspect.health.compare import HealthItem, HealthState, by_limits
from edgeinspect.ports import BoardState

_WARM_C, _HOT_C = 75.0, 80.0
"""A Raspberry Pi begins to slow down at 80 degrees (its documentation, "Frequency management")."""
_LEAST_FREE_BYTES = 50_000_000
_JUMP_S = 2.0


def machine_health(
    board: BoardState,
    *,
    free_bytes: int | None,
    min_free_bytes: int,
    clock_synchronized: bool,
    clock_jump_s: float = 0.0,
) -> tuple[HealthItem, ...]:
    """Judge the machine's own measurements.

    Args:
        free_bytes: of the disk with the data directory; None if it cannot be asked.
        min_free_bytes: below this no pictures are kept (the station file's ``storage``).
        clock_jump_s: by how much the wall clock was moved lately.
    """
    return (
        _temperature(board),
        _throttling(board),
        _power(board),
        _disk(free_bytes, min_free_bytes),
        _clock(clock_synchronized, clock_jump_s),
    )


def _temperature(board: BoardState) -> HealthItem:
    celsius = board.temperature_c
    if celsius is None:
        return _not_reported("temperature")
    state = by_limits(celsius, warn=_WARM_C, bad=_HOT_C)
    return HealthItem(
        name="temperature",
        state=state,
        detail=f"{celsius:.0f} °C",
        next_action=""
        if state is HealthState.OK
        else "Give the board air or a fan; above 80 °C it slows down.",
    )


def _throttling(board: BoardState) -> HealthItem:
    if board.throttled is None:
        return _not_reported("throttling")
    action = "Cool the board and check its supply; a slow board makes verdicts late."
    if board.throttled:
        return HealthItem(
            name="throttling",
            state=HealthState.BAD,
            detail="the processor is being slowed down now",
            next_action=action,
        )
    if board.throttled_before:
        return HealthItem(
            name="throttling",
            state=HealthState.WARN,
            detail="the processor was slowed down since the board started",
            next_action=action,
        )
    return HealthItem(name="throttling", state=HealthState.OK, detail="none since the start")


def _power(board: BoardState) -> HealthItem:
    if board.under_voltage is None:
        return _not_reported("supply voltage")
    action = "Use the board's own supply and a short, thick cable; unplug what feeds on it."
    if board.under_voltage:
        return HealthItem(
            name="supply voltage",
            state=HealthState.BAD,
            detail="too low now",
            next_action=action,
        )
    if board.under_voltage_before:
        return HealthItem(
            name="supply voltage",
            state=HealthState.WARN,
            detail="was too low since the board started",
            next_action=action,
        )
    return HealthItem(name="supply voltage", state=HealthState.OK, detail="never too low")


def _disk(free_bytes: int | None, min_free_bytes: int) -> HealthItem:
    if free_bytes is None:
        return HealthItem(
            name="disk",
            state=HealthState.BAD,
            detail="the free space of the data directory cannot be read",
            next_action="Check that the disk is mounted and readable.",
        )
    state, words, action = HealthState.OK, "", ""
    if free_bytes < _LEAST_FREE_BYTES:
        state, words = HealthState.BAD, "; records will soon find no room"
        action = "Make room now: export and remove files that do not belong to the station."
    elif free_bytes < min_free_bytes:
        state, words = HealthState.WARN, "; no more pictures are kept"
        action = "Make room, or lower storage.min_free_bytes in the station file."
    return HealthItem(
        name="disk", state=state, detail=f"{_size(free_bytes)} free{words}", next_action=action
    )


def _clock(synchronized: bool, jump_s: float) -> HealthItem:
    if jump_s > _JUMP_S:
        return HealthItem(
            name="clock",
            state=HealthState.WARN,
            detail=f"the wall clock jumped by {jump_s:.0f} s while parts were recorded",
            next_action="Rely on part ids, not on times around it; find out what set the clock.",
        )
    if not synchronized:
        return HealthItem(
            name="clock",
            state=HealthState.WARN,
            detail="does not follow a time server; dates in the records may be wrong",
            next_action="Connect a time server, for example: timedatectl set-ntp true",
        )
    return HealthItem(name="clock", state=HealthState.OK, detail="follows a time server")


def _not_reported(name: str) -> HealthItem:
    return HealthItem(
        name=name, state=HealthState.UNKNOWN, detail="this machine does not report it"
    )


def _size(count: int) -> str:
    if count >= 1_000_000_000:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB"
