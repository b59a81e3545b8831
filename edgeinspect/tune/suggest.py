"""Where the evidence puts a reject threshold, and how much more evidence a bound would take.

From good parts alone the threshold comes from their order statistics: with r of n good parts at
or above it, its true false-reject rate is at most p with confidence c if
P[Binomial(n, p) <= r] <= 1 - c (Wilks 1941). It holds for any distribution of scores, ties
included, as long as the parts are drawn like those to come. With labelled defects it can instead
be the threshold of least expected cost, or of least false rejects under an escape bound.

A score of an int8 model has a few hundred levels. A threshold is put between two of them, so that
rounding in a file or another library cannot move a part across it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import NotGood, UsageError
from edgeinspect.intervals import (
    allowed_exceedances,
    parts_needed,
    rule_of_three,
    upper_bound,
)

Scores = NDArray[np.float64]
_LONGEST_STEP = 1 / 256
"""A level of an even int8 scale: no further from the score that decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a number of parts shows of a rate.

    Attributes:
        failures, parts: counted at the threshold.
        upper_bound: exact one-sided bound of the true rate at ``confidence``.
    """

    failures: int
    parts: int
    upper_bound: float
    confidence: float

    @property
    def rate(self) -> float | None:
        """Share of failures; None without parts."""
        return self.failures / self.parts if self.parts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A threshold and the evidence for it.

    Attributes:
        method: "good-only", "least-cost" or "escape-bound".
        threshold: scores at or above it are rejected; (0, 1], between two levels.
        false_rejects: good parts at or above it. If defects chose the threshold, the bound holds
            for these very parts and is slightly optimistic.
        escapes: defective parts below it; None without any.
        expected_cost: cost per part; None if no costs were given.
        notes: sentences on what the data do not show.
    """

    method: str
    threshold: float
    false_rejects: Evidence
    escapes: Evidence | None
    expected_cost: float | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def suggest_from_good(
    good: Sequence[float] | Scores, *, false_reject_rate: float, confidence: float = 0.95
) -> Suggestion:
    """Return the lowest threshold with a proven false-reject rate of at most ``false_reject_rate``.

    The true rate of a suggested threshold exceeds the requested one in at most a share of ``1 -
    confidence`` of all samples of this size.

    Raises:
        UsageError: a score or rate is not valid.
        NotGood: the parts are too few, or their scores too equal, to prove it; the message gives
            the number of parts that are missing.
    """
    ordered = np.sort(_checked(good, "good"))
    _check_rate(false_reject_rate, "false-reject rate")
    _check_rate(confidence, "confidence")
    parts = len(ordered)
    allowed = allowed_exceedances(parts, rate=false_reject_rate, confidence=confidence)
    if allowed is None:
        raise NotGood(
            _too_few(parts, "good", false_reject_rate, confidence),
            next_action="Record and label more good parts, or allow a higher false-reject rate.",
        )
    threshold = _above(ordered[parts - 1 - allowed], ordered)
    if threshold is None:
        raise NotGood(
            f"{int((ordered == ordered[-1]).sum())} of {parts} good parts have the highest "
            f"possible score, {ordered[-1]:g}: no threshold below 1 can limit the false rejects "
            f"to {false_reject_rate:.4g}.",
            next_action="The model sees these parts as defective: check labels, light and ROI.",
        )
    failures = int((ordered >= threshold).sum())
    return Suggestion(
        method="good-only",
        threshold=threshold,
        false_rejects=_evidence(failures, parts, confidence),
        escapes=None,
        notes=(
            "No defective part was used, so the share of defects found is unknown.",
            *_ties(ordered, failures, allowed),
        ),
    )


def suggest_least_cost(
    good: Sequence[float] | Scores,
    defective: Sequence[float] | Scores,
    *,
    escape_cost: float,
    false_reject_cost: float,
    defect_rate: float,
    confidence: float = 0.95,
) -> Suggestion:
    """Return the threshold with the lowest expected cost per part.

    Expected cost = defect rate x share of defects below x escape cost + (1 - defect rate) x
    share of good parts at or above x false-reject cost. Of equal costs the lowest threshold wins.

    Raises:
        UsageError: costs or rates that are none.
        NotGood: there are no good or no defective parts.
    """
    for name, cost in (("escape", escape_cost), ("false-reject", false_reject_cost)):
        if not (np.isfinite(cost) and cost > 0):
            raise UsageError(f"The {name} cost is {cost:g}; expected a number above 0.")
    _check_rate(defect_rate, "defect rate")
    _check_rate(confidence, "confidence")
    good_scores, bad_scores = _both(good, defective)
    cuts = _cuts(np.concatenate([good_scores, bad_scores]))
    escapes, rejects = _failures(good_scores, bad_scores, cuts)
    costs = defect_rate * escape_cost * escapes / len(bad_scores) + (
        1 - defect_rate
    ) * false_reject_cost * rejects / len(good_scores)
    best = int(costs.argmin())
    return _with_defects(
        "least-cost",
        float(cuts[best]),
        good_scores,
        bad_scores,
        confidence=confidence,
        expected_cost=float(costs[best]),
    )


def suggest_under_escape_bound(
    good: Sequence[float] | Scores,
    defective: Sequence[float] | Scores,
    *,
    escape_rate: float,
    confidence: float = 0.95,
) -> Suggestion:
    """Return the threshold with fewest false rejects and a proven escape rate in the limit.

    By the order statistics of the defective parts, as exact as ``suggest_from_good``.

    Raises:
        UsageError: a rate that is none.
        NotGood: there are no good parts, or too few defective ones; says how many more it takes.
    """
    _check_rate(escape_rate, "escape rate")
    _check_rate(confidence, "confidence")
    good_scores, bad_scores = _both(good, defective)
    allowed = allowed_exceedances(len(bad_scores), rate=escape_rate, confidence=confidence)
    if allowed is None:
        raise NotGood(
            _too_few(len(bad_scores), "defective", escape_rate, confidence),
            next_action="Label more defective parts, or allow a higher escape rate.",
        )
    ordered = np.sort(bad_scores)
    threshold = _below(ordered[allowed], np.concatenate([good_scores, bad_scores]))
    if threshold is None:
        raise NotGood(
            f"{allowed + 1} of {len(bad_scores)} defective parts score 0: no threshold can limit "
            f"the escapes to {escape_rate:.4g}.",
            next_action="The model does not detect these defects: train it with more of them.",
        )
    return _with_defects("escape-bound", threshold, good_scores, bad_scores, confidence=confidence)


def _with_defects(
    method: str,
    threshold: float,
    good: Scores,
    defective: Scores,
    *,
    confidence: float,
    expected_cost: float | None = None,
) -> Suggestion:
    missed = int((defective < threshold).sum())
    rejected = int((good >= threshold).sum())
    notes = []
    if rejected == len(good):
        notes.append(
            "Every good part would be rejected: the model cannot separate good from "
            "defective parts."
        )
    if missed == len(defective):
        notes.append("Every labelled defective part would pass at this threshold.")
    if method == "least-cost":
        notes.append(
            "The threshold was chosen with the same parts, so the rates look slightly better than "
            "they are. The bounds are exact only for a threshold chosen with other parts."
        )
    return Suggestion(
        method=method,
        threshold=threshold,
        false_rejects=_evidence(rejected, len(good), confidence),
        escapes=_evidence(missed, len(defective), confidence),
        expected_cost=expected_cost,
        notes=tuple(notes),
    )


def _too_few(parts: int, kind: str, rate: float, confidence: float) -> str:
    needed = parts_needed(rate=rate, confidence=confidence)
    thumb = f" (rule of three: about {rule_of_three(rate)})" if confidence == 0.95 else ""
    best = upper_bound(0, parts, confidence=confidence)
    shows = f"they can show {best:.4g} at best" if parts else "without parts nothing can be shown"
    return (
        f"{parts} {kind} parts cannot show a rate of at most {rate:.4g} with confidence "
        f"{confidence:g}: {shows}. {needed} parts without a failure are needed{thumb}, "
        f"{needed - parts} more."
    )


def _ties(ordered: Scores, failures: int, allowed: int) -> tuple[str, ...]:
    """Return a note if equal scores made the threshold stricter than necessary."""
    if failures >= allowed:
        return ()
    return (
        f"Because some scores are equal, {failures} good parts are at or above the threshold; "
        f"{allowed} would have been allowed.",
    )


def _evidence(failures: int, parts: int, confidence: float) -> Evidence:
    bound = upper_bound(failures, parts, confidence=confidence)
    return Evidence(failures=failures, parts=parts, upper_bound=bound, confidence=confidence)


def _both(
    good: Sequence[float] | Scores, defective: Sequence[float] | Scores
) -> tuple[Scores, Scores]:
    good_scores, bad_scores = _checked(good, "good"), _checked(defective, "defective")
    for scores, kind in ((good_scores, "good"), (bad_scores, "defective")):
        if not len(scores):
            raise NotGood(
                f"The data have no {kind} parts, so a threshold between good and defective cannot "
                "be found.",
                next_action=f"Label some {kind} parts: edgeinspect label queue",
            )
    return good_scores, bad_scores


def _failures(
    good: Scores, defective: Scores, cuts: Scores
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Defective parts below, and good parts at or above each cut."""
    below = np.searchsorted(np.sort(defective), cuts, side="left")
    above = len(good) - np.searchsorted(np.sort(good), cuts, side="left")
    return below, above


def _cuts(scores: Scores) -> Scores:
    """Return the thresholds that separate the scores, ascending, none of them equal to a score."""
    levels = np.unique(scores)
    middle = [_short(low, high) for low, high in pairwise(levels.tolist())]
    outer = [_below(levels[0], levels), _above(levels[-1], levels)]
    cuts = [cut for cut in (outer[0], *middle, outer[1]) if cut is not None]
    return np.array(cuts or [1.0])


def _above(level: float, scores: Scores) -> float | None:
    """Just above a level, short of the next score that is known; None if the level is 1."""
    if level >= 1:
        return None
    higher = scores[scores > level]
    nearest = float(higher.min()) if len(higher) else 1.0
    return _short(float(level), min(nearest, float(level) + _step(scores)))


def _below(level: float, scores: Scores) -> float | None:
    """Just below a level, above the score before it; None if the level is 0."""
    if level <= 0:
        return None
    lower = scores[scores < level]
    nearest = float(lower.max()) if len(lower) else 0.0
    return _short(max(nearest, float(level) - _step(scores)), float(level))


def _step(scores: Scores) -> float:
    """The smallest distance between two different scores, as far as they show one."""
    gaps = np.diff(np.unique(scores))
    return min(_LONGEST_STEP, float(gaps.min())) if len(gaps) else _LONGEST_STEP


def _short(low: float, high: float) -> float:
    """The shortest number near the middle of (low, high); ``high`` if there is none between."""
    for digits in range(2, 18):
        middle = round((low + high) / 2, digits)
        if low < middle < high:
            return middle
    return high


def _checked(scores: Sequence[float] | Scores, kind: str) -> Scores:
    values = np.asarray(scores, np.float64).ravel()
    if not ((values >= 0) & (values <= 1)).all():
        raise UsageError(f"A score of a {kind} part is not a number from 0 to 1.")
    return values


def _check_rate(value: float, name: str) -> None:
    if not 0 < value < 1:
        raise UsageError(f"The {name} is {value:g}; expected a number between 0 and 1.")
