"""From scores to a verdict: what is missing or impossible is never a PASS."""

from __future__ import annotations

import pytest

from edgeinspect.line.config import ClassThresholds
from edgeinspect.line.verdict import judge_scores
from edgeinspect.part import Doubt, VerdictKind

TWO = (
    ClassThresholds(name="scratch", review=0.4, reject=0.6),
    ClassThresholds(name="pit", review=0.3, reject=0.5),
)


@pytest.mark.parametrize(
    ("scores", "thresholds"),
    [
        ((0.1,), TWO),
        ((0.1, 0.1, 0.1), TWO),
        ((), TWO),
        ((0.1, 0.1), TWO[:1]),
        ((0.1,), ()),
        ((), ()),
    ],
)
def test_a_score_for_each_class_or_no_verdict(
    scores: tuple[float, ...], thresholds: tuple[ClassThresholds, ...]
) -> None:
    verdict = judge_scores(scores, thresholds)
    assert (verdict.kind, verdict.doubt) == (VerdictKind.CANNOT_INSPECT, Doubt.ENGINE_FAILED)
    assert verdict.detail == f"{len(scores)} scores for {len(thresholds)} classes"


def test_the_class_that_decides_is_named_with_its_score() -> None:
    verdict = judge_scores((0.62, 0.9), TWO)
    assert (verdict.kind, verdict.defect_class, verdict.score) == (VerdictKind.REJECT, "pit", 0.9)
    verdict = judge_scores((0.59, 0.1), TWO)
    assert (verdict.kind, verdict.defect_class) == (VerdictKind.REVIEW, "scratch")
    verdict = judge_scores((0.39, 0.2), TWO)
    assert (verdict.kind, verdict.score) == (VerdictKind.PASS, 0.39)
