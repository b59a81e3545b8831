"""Whether a challenge is due: pure functions of the station file and the last challenge passed.

A reason stays until a challenge has been passed, so no clock can take it back later. Within one
boot the time since the last challenge is monotonic; the wall clock only places it in the day.
Across boots the wall clock is believed only if it followed a time server both times.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

from pydantic import AwareDatetime

from edgeinspect.settings.challenge import Challenge, Occasion, Without


class Reason(StrEnum):
    """Why a challenge is due."""

    NEVER_PASSED = "never_passed"
    START = "start"
    SHIFT = "shift"
    CLOCK_UNKNOWN = "clock_unknown"
    PRODUCT = "product"
    RECIPE = "recipe"
    UNFINISHED = "unfinished"
    FAILED = "failed"
    STATE_LOST = "state_lost"


DueReasons = dict[Reason, str]
"""Why a challenge is due, with a sentence for each reason; empty if none is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One instant on both clocks.

    Attributes:
        boot_id: ``mono_ns`` compares within one boot only; "" for an unknown one.
        wall: In UTC.
        synchronized: Whether ``wall`` followed a time server.
    """

    boot_id: str
    mono_ns: int
    wall: AwareDatetime
    synchronized: bool

    def as_dict(self) -> dict[str, object]:
        """Return it JSON-safe."""
        return {**asdict(self), "wall": self.wall.isoformat()}


@dataclass(frozen=True, slots=True, kw_only=True)
class LastPass:
    """The last challenge that was passed.

    Attributes:
        number: Of its record.
        began: A challenge proves the station from the moment at which it began.
    """

    number: int
    began: Moment
    product: str
    recipe_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DueState:
    """What the station keeps across restarts.

    Attributes:
        due: Why a challenge is due.
        last_pass: None if no challenge has been passed.
    """

    due: DueReasons
    last_pass: LastPass | None


NOTHING_DUE = DueState(due={}, last_pass=None)


def due_at_start(
    policy: Challenge, last: LastPass | None, now: Moment, *, product: str, digest: str
) -> DueReasons:
    """Return the reasons that are due when the station starts."""
    due: DueReasons = {}
    if last is None:
        due[Reason.NEVER_PASSED] = "no challenge has been passed yet"
    if Occasion.START in policy.when:
        due[Reason.START] = "the station was started"
    return (
        due
        | due_for_recipe(policy, last, product=product, digest=digest)
        | due_now(policy, last, now)
    )


def due_for_recipe(
    policy: Challenge, last: LastPass | None, *, product: str, digest: str
) -> DueReasons:
    """Return the reasons that are due for this product and recipe."""
    due: DueReasons = {}
    if last is None:
        return due
    if Occasion.PRODUCT in policy.when and last.product != product:
        due[Reason.PRODUCT] = f"the product has changed from {last.product} to {product}"
    if Occasion.RECIPE in policy.when and last.recipe_digest != digest:
        due[Reason.RECIPE] = (
            f"the recipe has changed from {last.recipe_digest[:12]} to {digest[:12]}"
        )
    return due


def due_now(policy: Challenge, last: LastPass | None, now: Moment) -> DueReasons:
    """Return the reasons that are due because of the time; call it periodically."""
    if Occasion.SHIFT not in policy.when or last is None:
        return {}
    began = last.began
    if began.boot_id != now.boot_id or not now.boot_id or now.mono_ns < began.mono_ns:
        return _across_boots(policy, began, now)
    for present, passed in _readings(began, now):
        start = latest_shift_start(policy, present)
        if start > passed:
            return {Reason.SHIFT: f"a shift began at {_shown(policy, start)}"}
    return {}


def locks(policy: Challenge, due: DueReasons, *, shift_grace_over: bool) -> bool:
    """Whether these reasons lock the station."""
    if policy.without is not Without.LOCK:
        return False
    return bool(set(due) - {Reason.SHIFT}) or (Reason.SHIFT in due and shift_grace_over)


def latest_shift_start(policy: Challenge, wall: datetime.datetime) -> datetime.datetime:
    """Return when the shift that contains ``wall`` began, in UTC."""
    return max(start for start in _starts_around(policy, wall) if start <= wall)


def _starts_around(policy: Challenge, wall: datetime.datetime) -> Iterator[datetime.datetime]:
    today = wall.astimezone(policy.zone).date()
    for days in (-2, -1, 0, 1):
        day = today + datetime.timedelta(days=days)
        for text in policy.shift_starts:
            local = datetime.datetime.combine(day, datetime.time.fromisoformat(text), policy.zone)
            yield local.astimezone(datetime.UTC)


def _readings(began: Moment, now: Moment) -> Iterator[tuple[datetime.datetime, datetime.datetime]]:
    """Yield (now, start of the last challenge) for each clock reading that may be right.

    Both ends of a pair come from one reading, so a clock that jumps between them cannot shorten
    the time that has passed.
    """
    elapsed = datetime.timedelta(microseconds=(now.mono_ns - began.mono_ns) // 1000)
    if now.synchronized or not began.synchronized:
        yield now.wall, now.wall - elapsed
    if began.synchronized or not now.synchronized:
        yield began.wall + elapsed, began.wall


def _across_boots(policy: Challenge, began: Moment, now: Moment) -> DueReasons:
    if not (began.synchronized and now.synchronized):
        when = "afterwards" if began.synchronized else "at the last challenge"
        return {
            Reason.CLOCK_UNKNOWN: "the machine was restarted and its clock was not synchronized "
            f"{when}, so it is unknown whether a shift has begun"
        }
    if now.wall < began.wall:
        return {Reason.CLOCK_UNKNOWN: "the clock shows a time before the last challenge"}
    start = latest_shift_start(policy, now.wall)
    if start > began.wall:
        return {Reason.SHIFT: f"a shift began at {_shown(policy, start)}"}
    return {}


def _shown(policy: Challenge, wall: datetime.datetime) -> str:
    return f"{wall.astimezone(policy.zone):%H:%M} ({policy.time_zone})"
