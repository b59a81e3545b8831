"""Turns measured quality and scores into a verdict. Nothing else decides."""

from __future__ import annotations

from collections.abc import Sequence

from edgeinspect.line.config import ClassThresholds, FrameChecks
from edgeinspect.part import Doubt, FrameMeta, FrameQuality, Inspection, Verdict, VerdictKind


def cannot_inspect(doubt: Doubt, detail: str = "") -> Verdict:
    """Return a CANNOT_INSPECT verdict for this reason."""
    return Verdict(VerdictKind.CANNOT_INSPECT, doubt=doubt, detail=detail)


def judge_controls(meta: FrameMeta, checks: FrameChecks) -> Verdict | None:
    """Compare the camera's reported settings with the recipe's; return None if all is well."""
    if checks.exposure_us is not None:
        found = meta.exposure_us
        if found is None or _off(found, checks.exposure_us, checks.exposure_tolerance):
            detail = f"exposure {found} us, recipe says {checks.exposure_us} us"
            return cannot_inspect(Doubt.EXPOSURE_OFF_RECIPE, detail)
    if checks.gain is not None:
        found = meta.gain
        if found is None or _off(found, checks.gain, checks.gain_tolerance):
            detail = f"gain {found}, recipe says {checks.gain}"
            return cannot_inspect(Doubt.GAIN_OFF_RECIPE, detail)
    return _judge_colour_and_lens(meta, checks)


def _judge_colour_and_lens(meta: FrameMeta, checks: FrameChecks) -> Verdict | None:
    colour, lens = checks.white_balance_tolerance, checks.lens_tolerance
    for what, found, wanted, allowed in (
        ("red gain", meta.red_gain, checks.red_gain, colour * (checks.red_gain or 0)),
        ("blue gain", meta.blue_gain, checks.blue_gain, colour * (checks.blue_gain or 0)),
        (
            "white balance",
            meta.white_balance_k,
            checks.white_balance_k,
            colour * (checks.white_balance_k or 0),
        ),
        ("lens position", meta.lens_position, checks.lens_position, lens),
    ):
        if wanted is not None and (found is None or not abs(found - wanted) <= allowed):
            detail = f"{what} {found}, recipe says {wanted}"
            return cannot_inspect(Doubt.EXPOSURE_OFF_RECIPE, detail)
    return None


def judge_quality(quality: FrameQuality, checks: FrameChecks) -> Verdict | None:
    """Compare the picture's quality with the recipe's limits; return None if all is well."""
    limits: tuple[tuple[Doubt, str, float, float | None, bool], ...] = (
        (Doubt.TOO_DARK, "mean grey level", quality.mean, checks.mean_min, True),
        (Doubt.TOO_BRIGHT, "mean grey level", quality.mean, checks.mean_max, False),
        (Doubt.TOO_DARK, "share of black", quality.clipped_low, checks.clipped_low_max, False),
        (Doubt.SATURATED, "share of white", quality.clipped_high, checks.clipped_high_max, False),
        (Doubt.BLURRED, "focus", quality.focus, checks.focus_min, True),
    )
    for doubt, what, found, limit, is_minimum in limits:
        if limit is None:
            continue
        good = found >= limit if is_minimum else found <= limit
        if not good:
            word = "below" if is_minimum else "above"
            return cannot_inspect(doubt, f"{what} {found:.4g} is {word} {limit:g}")
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


def _off(found: float, wanted: float, tolerance: float) -> bool:
    return not abs(found - wanted) <= tolerance * abs(wanted)
