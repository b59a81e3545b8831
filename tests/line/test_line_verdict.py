"""The verdict's edges: what is exactly on a limit, and input that must never become a PASS."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from edgeinspect.line.config import ClassThresholds, FrameChecks
from edgeinspect.line.verdict import judge_controls, judge_quality, judge_scores
from edgeinspect.part import CameraControls, Doubt, FrameMeta, FrameQuality, VerdictKind

EXACT = CameraControls(
    exposure_us=512.0,
    gain=4.0,
    red_gain=2.0,
    blue_gain=1.0,
    white_balance_k=4096.0,
    lens_position=8.0,
)
WANTED = FrameChecks(
    controls=EXACT,
    exposure_tolerance=0.125,
    gain_tolerance=0.25,
    white_balance_tolerance=0.25,
    lens_tolerance=0.5,
)
LIMITS = [
    ("exposure_us", 448.0, 576.0),
    ("gain", 3.0, 5.0),
    ("red_gain", 1.5, 2.5),
    ("blue_gain", 0.75, 1.25),
    ("white_balance_k", 3072.0, 5120.0),
    ("lens_position", 7.5, 8.5),
]
"""Lowest and highest value that ``WANTED`` allows."""


def frame_with(**controls: float | None) -> FrameMeta:
    return FrameMeta(1, 0, 0, replace(EXACT, **controls))


@pytest.mark.parametrize(("control", "lowest", "highest"), LIMITS)
def test_a_control_may_be_off_by_exactly_its_tolerance(
    control: str, lowest: float, highest: float
) -> None:
    for allowed in (lowest, highest):
        assert judge_controls(frame_with(**{control: allowed}), WANTED) is None
    for off in (math.nextafter(lowest, 0.0), math.nextafter(highest, 1e9), 0.0, math.nan, None):
        verdict = judge_controls(frame_with(**{control: off}), WANTED)
        assert verdict is not None and verdict.kind is VerdictKind.CANNOT_INSPECT
        gain = control == "gain"
        assert verdict.doubt is (Doubt.GAIN_OFF_RECIPE if gain else Doubt.EXPOSURE_OFF_RECIPE)
        assert f"{off}" in verdict.detail


@pytest.mark.parametrize(("control", "lowest", "highest"), LIMITS)
def test_a_control_that_the_recipe_leaves_out_is_not_checked(
    control: str, lowest: float, highest: float
) -> None:
    del lowest
    free = replace(WANTED, controls=replace(EXACT, **{control: None}))
    assert judge_controls(frame_with(**{control: 10 * highest}), free) is None
    assert judge_controls(frame_with(**{control: None}), free) is None


QUALITY = FrameQuality(mean=100.0, focus=50.0, clipped_low=0.125, clipped_high=0.25)
QUALITY_LIMITS = [
    ("mean_min", 100.0, Doubt.TOO_DARK, "below"),
    ("mean_max", 100.0, Doubt.TOO_BRIGHT, "above"),
    ("clipped_low_max", 0.125, Doubt.TOO_DARK, "above"),
    ("clipped_high_max", 0.25, Doubt.SATURATED, "above"),
    ("focus_min", 50.0, Doubt.BLURRED, "below"),
]


@pytest.mark.parametrize(("limit", "value", "doubt", "word"), QUALITY_LIMITS)
def test_a_quality_may_be_exactly_at_its_limit(
    limit: str, value: float, doubt: Doubt, word: str
) -> None:
    assert judge_quality(QUALITY, FrameChecks()) is None
    assert judge_quality(QUALITY, FrameChecks(limits={limit: value})) is None
    beyond = math.nextafter(value, 1e9 if word == "below" else 0.0)
    verdict = judge_quality(QUALITY, FrameChecks(limits={limit: beyond}))
    assert verdict is not None and verdict.doubt is doubt
    assert f"is {word} " in verdict.detail


TWO = (
    ClassThresholds(name="pit", review=0.25, reject=0.5),
    ClassThresholds(name="scratch", review=0.5, reject=0.75),
)


@pytest.mark.parametrize(
    "scores",
    [
        (),
        (0.0,),
        (0.0, 0.0, 0.0),
        (0.0, math.nan),
        (math.nan, 0.0),
        (0.0, math.inf),
        (-0.01, 0.0),
        (0.0, 1.01),
    ],
)
def test_scores_that_cannot_be_are_an_engine_fault(scores: tuple[float, ...]) -> None:
    verdict = judge_scores(scores, TWO)
    assert (verdict.kind, verdict.doubt) == (VerdictKind.CANNOT_INSPECT, Doubt.ENGINE_FAILED)


def test_no_classes_are_an_engine_fault() -> None:
    assert judge_scores((), ()).doubt is Doubt.ENGINE_FAILED


@pytest.mark.parametrize(
    ("scores", "kind", "defect_class", "score"),
    [
        ((0.0, 0.0), VerdictKind.PASS, "", 0.0),
        ((0.2, 0.1), VerdictKind.PASS, "", 0.2),
        ((0.1, 0.4), VerdictKind.PASS, "", 0.4),
        ((0.25, 0.4), VerdictKind.REVIEW, "pit", 0.25),
        ((0.3, 0.6), VerdictKind.REVIEW, "scratch", 0.6),
        ((0.49, 0.5), VerdictKind.REVIEW, "scratch", 0.5),
        ((0.5, 0.7), VerdictKind.REJECT, "pit", 0.5),
        ((0.9, 0.8), VerdictKind.REJECT, "pit", 0.9),
        ((0.8, 0.9), VerdictKind.REJECT, "scratch", 0.9),
        ((0.0, 0.75), VerdictKind.REJECT, "scratch", 0.75),
        ((1.0, 1.0), VerdictKind.REJECT, "pit", 1.0),
    ],
)
def test_the_worst_class_over_its_threshold_decides(
    scores: tuple[float, float], kind: VerdictKind, defect_class: str, score: float
) -> None:
    verdict = judge_scores(scores, TWO)
    assert (verdict.kind, verdict.defect_class, verdict.score) == (kind, defect_class, score)
