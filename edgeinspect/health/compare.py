"""Judges the health of the station, in sentences that a technician can act on.

docs/reference/health.md explains each one. The measurements come from elsewhere: from the records
(``edgeinspect.records.baseline``) and from the machine. Nothing here reads a clock or a sensor.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from edgeinspect.health.drift import PSI_LARGE, compare
from edgeinspect.records.baseline import BASELINE_PARTS, Sample, Samples
from edgeinspect.records.part_history import RecordsKept

_LEAST_GOOD = 64
_MORE_EVIDENCE = "Keep the line running; parts of the recipe in force are collected automatically."


class HealthState(StrEnum):
    """From good to bad; ``UNKNOWN`` if there is no evidence, which is not an alarm."""

    UNKNOWN = "unknown"
    OK = "ok"
    WARN = "warn"
    BAD = "bad"


_ORDER = tuple(HealthState)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthItem:
    """The result of one check.

    Attributes:
        name: what was checked.
        state: how good it is.
        detail: what was found, with numbers.
        next_action: what to do, in the imperative; empty if nothing needs to be done.
    """

    name: str
    state: HealthState
    detail: str
    next_action: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """All findings."""

    items: tuple[HealthItem, ...]

    @property
    def state(self) -> HealthState:
        """The state of the worst finding."""
        states = (item.state for item in self.items)
        return max(states, key=_ORDER.index, default=HealthState.UNKNOWN)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"state": self.state.value, "items": [asdict(item) for item in self.items]}


def records_health(kept: RecordsKept, *, now_wall: datetime.datetime) -> HealthItem:
    """Judge how far back the records go, and report what happened to older ones."""
    since = kept.complete_since
    days = 0.0 if since is None else (now_wall - since).total_seconds() / 86_400
    detail = (
        "no parts yet"
        if since is None
        else (
            f"complete since {since:%Y-%m-%d %H:%M} UTC ({days:,.1f} days, "
            f"{kept.file_bytes / 1e6:,.0f} MB)"
        )
    )
    if kept.parts_pruned:
        detail += f"; {kept.parts_pruned:,} older parts are kept as hourly counts"
    if kept.pruned_for_space:
        detail += f", {kept.pruned_for_space:,} of them because the disk was nearly full"
    if kept.pruned_unsent:
        detail += f", {kept.pruned_unsent:,} before a link had sent them"
    return HealthItem(name="records", state=HealthState.OK, detail=detail)


def parts_health(samples: Samples) -> tuple[HealthItem, ...]:
    """Findings on the recorded parts: drift of the scores, yield, focus, light, time."""
    baseline, latest = samples.baseline, samples.latest
    if baseline is None or latest is None or not samples.is_complete:
        taken = 0 if baseline is None else baseline.parts
        return (_learning(taken, waits_for_block=samples.is_complete),)
    return (
        _score_drift(baseline, latest),
        _yield(baseline, latest),
        _focus(baseline, latest),
        _light(baseline, latest),
        _invoke(baseline, latest),
        _time_left(latest),
    )


def judged(name: str, state: HealthState, detail: str, action: str = "") -> HealthItem:
    """Return a finding; its action is left out if nothing is wrong."""
    wrong = state in (HealthState.WARN, HealthState.BAD)
    return HealthItem(name=name, state=state, detail=detail, next_action=action if wrong else "")


def _learning(taken: int, *, waits_for_block: bool) -> HealthItem:
    detail = f"the baseline is being collected: {taken:,} of {BASELINE_PARTS:,} parts"
    if waits_for_block:
        detail = "the baseline is complete; the first block of parts after it is being collected"
    return HealthItem(
        name="drift", state=HealthState.UNKNOWN, detail=detail, next_action=_MORE_EVIDENCE
    )


def _score_drift(baseline: Sample, latest: Sample) -> HealthItem:
    before, now = baseline.good_scores, latest.good_scores
    if min(before.size, now.size) < _LEAST_GOOD:
        return HealthItem(
            name="score drift",
            state=HealthState.UNKNOWN,
            detail=f"only {now.size} of the latest {latest.parts} parts passed "
            f"({before.size} of the first {baseline.parts})",
            next_action="Check the reject reasons: edgeinspect parts stats.",
        )
    shift = compare(before, now)
    state = HealthState.OK
    if shift.is_real:
        state = HealthState.BAD if shift.psi >= PSI_LARGE else HealthState.WARN
    return judged(
        "score drift",
        state,
        f"scores of passed parts: median {shift.median_before:.3f} at first, "
        f"{shift.median_now:.3f} now; stability index {shift.psi:.2f}",
        "Look at the latest parts, the light and the lens. If the product itself has "
        "changed, check the thresholds with edgeinspect tune and apply them again; this starts a "
        "new baseline.",
    )


def _yield(baseline: Sample, latest: Sample) -> HealthItem:
    shift = compare(baseline.passed, latest.passed)
    before, now = float(baseline.passed.mean()), float(latest.passed.mean())
    return judged(
        "yield",
        by_limits(before - now if shift.is_real else 0.0, warn=0.1, bad=0.3),
        f"{now:.1%} of the latest {latest.parts} inspected parts passed, {before:.1%} at first",
        "Find the reject reason that has increased: edgeinspect parts stats --since 1h.",
    )


def _focus(baseline: Sample, latest: Sample) -> HealthItem:
    """Only a fall matters: sharper pictures are not a problem."""
    return _trend(
        "focus",
        baseline.focus,
        latest.focus,
        worse=lambda change: -change,
        limits=(0.2, 0.4),
        action="Clean and refocus the lens; check that nothing has moved.",
    )


def _light(baseline: Sample, latest: Sample) -> HealthItem:
    return _trend(
        "light",
        baseline.light,
        latest.light,
        worse=abs,
        limits=(0.1, 0.2),
        action="Check the lamp, its power supply and stray light; clean the cover glass.",
    )


def _invoke(baseline: Sample, latest: Sample) -> HealthItem:
    return _trend(
        "model time",
        baseline.invoke_ms,
        latest.invoke_ms,
        worse=lambda change: change,
        limits=(0.3, 1.0),
        action="Check for heat, throttling and other busy programs on this machine.",
        unit=" ms",
    )


def _trend(
    name: str,
    before: NDArray[np.float64],
    now: NDArray[np.float64],
    *,
    worse: Callable[[float], float],
    limits: tuple[float, float],
    action: str,
    unit: str = "",
) -> HealthItem:
    """Judge a real, relative change of the median by how much worse it is; limits: warn, bad."""
    before, now = _known(before), _known(now)
    if not (before.size and now.size):
        return judged(name, HealthState.UNKNOWN, "was not recorded")
    shift = compare(before, now)
    return judged(
        name,
        by_limits(worse(shift.change) if shift.is_real else 0.0, warn=limits[0], bad=limits[1]),
        f"median {shift.median_before:.4g}{unit} at first, {shift.median_now:.4g}{unit} "
        f"now ({shift.change:+.0%})",
        action,
    )


def _time_left(latest: Sample) -> HealthItem:
    left, allowed = _known(latest.left_ms), _known(latest.allowed_ms)
    if not (left.size and allowed.size):
        return judged("time left", HealthState.UNKNOWN, "no verdict was in time")
    shortest, usual = float(np.percentile(left, 1)), float(np.median(allowed))
    used = 1 - shortest / usual if usual > 0 else 1.0
    return judged(
        "time left",
        by_limits(used, warn=0.8, bad=0.95),
        f"99 % of the verdicts had at least {shortest:.0f} ms left of {usual:.0f} ms",
        "Make the ROI smaller, slow the belt down, or move the gate further away.",
    )


def by_limits(value: float, *, warn: float, bad: float) -> HealthState:
    """BAD from ``bad`` on, WARN from ``warn`` on."""
    if value >= bad:
        return HealthState.BAD
    return HealthState.WARN if value >= warn else HealthState.OK


def _known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[np.isfinite(values)]
