"""Turns measured quality and scores into a verdict. Nothing else decides."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

from edgeinspect.line.checks.all_checks import CHECKS
from edgeinspect.line.checks.control_checks import CONTROL_CHECKS
from edgeinspect.line.config import ClassThresholds, FrameChecks
from edgeinspect.part import Doubt, FrameMeta, FrameQuality, Inspection, Verdict, VerdictKind


def cannot_inspect(doubt: Doubt, detail: str = "") -> Verdict:
    """Return a CANNOT_INSPECT verdict for this reason."""
    return Verdict(VerdictKind.CANNOT_INSPECT, doubt=doubt, detail=detail)


def judge_controls(meta: FrameMeta, checks: FrameChecks) -> Verdict | None:
    """Compare the camera's reported settings with the recipe's; return None if all is well."""
    for check in CONTROL_CHECKS:
        found: float | None = getattr(meta.controls, check.control)
        wanted: float | None = getattr(checks.controls, check.control)
        if wanted is None:
            continue
        tolerance: float = getattr(checks, check.tolerance)
        allowed = tolerance * abs(wanted) if check.is_relative else tolerance
        if found is None or not abs(found - wanted) <= allowed:
            return cannot_inspect(check.doubt, check.describe(found, wanted))
    return None


def judge_quality(quality: FrameQuality, checks: FrameChecks) -> Verdict | None:
    """Compare the picture's quality with the recipe's limits; return None if all is well."""
    values = quality.values()
    for check in CHECKS:
        limit = checks.limits.get(check.limit)
        if limit is None:
            continue
        value = values.get(check.measurement.name, nan)  # a missing value is not good
        if not check.is_good(value, limit):
            return cannot_inspect(check.doubt, check.describe(value, limit))
    return None


def judge_scores(scores: Sequence[float], thresholds: Sequence[ClassThresholds]) -> Verdict:
    """Compare each class's defect score with its two thresholds.

    Missing scores, scores that are not finite and scores out of range are an engine fault and never
    a PASS.

    Args:
        scores: one per defect class, [0, 1], in the order of ``thresholds``.
        thresholds: the recipe's thresholds.
    """
    if len(scores) != len(thresholds) or not scores:
        detail = f"{len(scores)} scores for {len(thresholds)} classes"
        return cannot_inspect(Doubt.ENGINE_FAILED, detail)
    if not all(0.0 <= score <= 1.0 for score in scores):  # false for NaN too
        return cannot_inspect(Doubt.ENGINE_FAILED, "a score is not a number in [0, 1]")
    for kind, limits in (
        (VerdictKind.REJECT, [limit.reject for limit in thresholds]),
        (VerdictKind.REVIEW, [limit.review for limit in thresholds]),
    ):
        over = [i for i, limit in enumerate(limits) if scores[i] >= limit]
        if over:
            worst = max(over, key=lambda i: scores[i])
            return Verdict(kind, defect_class=thresholds[worst].name, score=scores[worst])
    return Verdict(VerdictKind.PASS, score=max(scores))


def judge_inspection(
    inspection: Inspection, thresholds: Sequence[ClassThresholds], checks: FrameChecks
) -> Verdict:
    """Return the verdict on a part that was inspected in time."""
    doubt = judge_quality(inspection.quality, checks)
    return doubt if doubt is not None else judge_scores(inspection.scores, thresholds)
