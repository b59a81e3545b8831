"""Whether the station has to be proven again: pure functions of what is known.

A reason that was found once stays until a challenge has been passed (``ChallengeStore`` keeps it),
so nothing that a clock does later can take it back. Time that has passed since the last challenge
is monotonic within one boot; the wall clock only says where in the day it lies. Across boots it is
believed only if it followed a time server both times.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

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


Due = dict[Reason, str]
"""A sentence for each reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One instant on both clocks.

    Attributes:
        boot_id: ``mono_ns`` compares within one boot only; "" for an unknown one.
        wall: UTC, timezone aware.
        synchronized: whether ``wall`` followed a time server.
    """

    boot_id: str
    mono_ns: int
    wall: datetime.datetime
    synchronized: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LastPass:
    """The last challenge that was passed.

    Attributes:
        number: of its record.
        began: when it began, which is from when on it proves the station.
    """

    number: int
    began: Moment
    product: str
    recipe_digest: str


def due_at_start(
    policy: Challenge, last: LastPass | None, now: Moment, *, product: str, digest: str
) -> Due:
    """What a station that starts now owes."""
    due: Due = {}
    if last is None:
        due[Reason.NEVER_PASSED] = "no challenge has been passed yet"
    if Occasion.START in policy.when:
        due[Reason.START] = "the station has started"
    return (
        due
        | due_for_recipe(policy, last, product=product, digest=digest)
        | due_now(policy, last, now)
    )


def due_for_recipe(policy: Challenge, last: LastPass | None, *, product: str, digest: str) -> Due:
    """What a change to this product and recipe brings."""
    due: Due = {}
    if last is None:
        return due
    if Occasion.PRODUCT in policy.when and last.product != product:
        due[Reason.PRODUCT] = f"the product is now {product}, it was {last.product}"
    if Occasion.RECIPE in policy.when and last.recipe_digest != digest:
        due[Reason.RECIPE] = f"the recipe is now {digest[:12]}, it was {last.recipe_digest[:12]}"
    return due


def due_now(policy: Challenge, last: LastPass | None, now: Moment) -> Due:
    """What the time alone brings; to be asked again and again."""
    if Occasion.SHIFT not in policy.when or last is None:
        return {}
    began = last.began
    if began.boot_id != now.boot_id or not now.boot_id or now.mono_ns < began.mono_ns:
        return _across_boots(policy, began, now)
    for present, passed in _readings(began, now):
        start = latest_shift_start(policy, present)
        if start > passed:
            return {Reason.SHIFT: f"a shift has begun at {_shown(policy, start)}"}
    return {}


def locks(policy: Challenge, due: Due, *, shift_grace_over: bool) -> bool:
    """Whether the reasons that are due lock the station."""
    if policy.without is not Without.LOCK:
        return False
    return bool(set(due) - {Reason.SHIFT}) or (Reason.SHIFT in due and shift_grace_over)


def latest_shift_start(policy: Challenge, wall: datetime.datetime) -> datetime.datetime:
    """When the shift that ``wall`` lies in began, UTC."""
    return max(start for start in _starts_around(policy, wall) if start <= wall)


def _starts_around(policy: Challenge, wall: datetime.datetime) -> Iterator[datetime.datetime]:
    today = wall.astimezone(policy.zone).date()
    for days in (-2, -1, 0, 1):
        day = today + datetime.timedelta(days=days)
        for text in policy.shift_starts:
            local = datetime.datetime.combine(day, datetime.time.fromisoformat(text), policy.zone)
            yield local.astimezone(datetime.UTC)


def _readings(began: Moment, now: Moment) -> Iterator[tuple[datetime.datetime, datetime.datetime]]:
    """(now, begin of the last challenge) by each clock reading that may be right.

    Both ends of a pair are by the same reading, so a jump of the clock between them cannot make
    the time that has passed shorter.
    """
    elapsed = datetime.timedelta(microseconds=(now.mono_ns - began.mono_ns) // 1000)
    if now.synchronized or not began.synchronized:
        yield now.wall, now.wall - elapsed
    if began.synchronized or not now.synchronized:
        yield began.wall + elapsed, began.wall


def _across_boots(policy: Challenge, began: Moment, now: Moment) -> Due:
    if not (began.synchronized and now.synchronized):
        when = "now" if began.synchronized else "at the last challenge"
        return {
            Reason.CLOCK_UNKNOWN: "the machine was started again and its clock did not follow a "
            f"time server {when}, so nobody knows whether a shift has begun"
        }
    if now.wall < began.wall:
        return {Reason.CLOCK_UNKNOWN: "the clock is behind the last challenge"}
    start = latest_shift_start(policy, now.wall)
    if start > began.wall:
        return {Reason.SHIFT: f"a shift has begun at {_shown(policy, start)}"}
    return {}


def _shown(policy: Challenge, wall: datetime.datetime) -> str:
    return f"{wall.astimezone(policy.zone):%H:%M} ({policy.time_zone})"
