"""The machine's health: heat, power, disk space, clock."""

from __future__ import annotations

from edgeinspect.health.compare import HealthItem, HealthState, by_limits, judged
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
        board: the board's own measurements.
        free_bytes: of the disk with the data directory; None if it cannot be asked.
        min_free_bytes: below this no pictures are kept (the station file's ``storage``).
        clock_synchronized: whether the clock is synchronized with a time server.
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
    action = "Improve the board's cooling, with a fan for example; above 80 °C it slows down."
    return judged("temperature", state, f"{celsius:.0f} °C", action)


def _throttling(board: BoardState) -> HealthItem:
    return _now_or_before(
        "throttling",
        (board.throttled, "the processor is being slowed down now"),
        (board.throttled_before, "the processor was slowed down since the board started"),
        neither="none since the start",
        action="Cool the board and check its power supply; a slow board makes verdicts late.",
    )


def _power(board: BoardState) -> HealthItem:
    return _now_or_before(
        "supply voltage",
        (board.under_voltage, "too low now"),
        (board.under_voltage_before, "was too low since the board started"),
        neither="never too low",
        action="Use the board's own power supply and a short, thick cable; unplug devices that "
        "draw power from it.",
    )


def _now_or_before(
    name: str,
    now: tuple[bool | None, str],
    before: tuple[bool | None, str],
    *,
    neither: str,
    action: str,
) -> HealthItem:
    """Judge two flags of the board, each with its words: bad if true now, a warning if before."""
    if now[0] is None:
        return _not_reported(name)
    if now[0]:
        return judged(name, HealthState.BAD, now[1], action)
    if before[0]:
        return judged(name, HealthState.WARN, before[1], action)
    return judged(name, HealthState.OK, neither)


def _disk(free_bytes: int | None, min_free_bytes: int) -> HealthItem:
    if free_bytes is None:
        detail = "the free space of the data directory cannot be read"
        action = "Check that the disk is mounted and readable."
        return judged("disk", HealthState.BAD, detail, action)
    state, words, action = HealthState.OK, "", ""
    if free_bytes < _LEAST_FREE_BYTES:
        state, words = HealthState.BAD, "; there will soon be no space for records"
        action = "Free disk space now: export and delete files that do not belong to the station."
    elif free_bytes < min_free_bytes:
        state, words = HealthState.WARN, "; new pictures are not stored"
        action = "Free disk space, or lower storage.min_free_bytes in the station file."
    return judged("disk", state, f"{_size(free_bytes)} free{words}", action)


def _clock(synchronized: bool, jump_s: float) -> HealthItem:
    if jump_s > _JUMP_S:
        detail = f"the wall clock jumped by {jump_s:.0f} s while parts were recorded"
        action = "Use part ids instead of times around the jump; find out what changed the clock."
        return judged("clock", HealthState.WARN, detail, action)
    if not synchronized:
        detail = "not synchronized with a time server; dates in the records may be wrong"
        action = "Connect a time server, for example: timedatectl set-ntp true"
        return judged("clock", HealthState.WARN, detail, action)
    return judged("clock", HealthState.OK, "synchronized with a time server")


def _not_reported(name: str) -> HealthItem:
    return judged(name, HealthState.UNKNOWN, "this machine does not report it")


def _size(count: int) -> str:
    if count >= 1_000_000_000:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB"
