"""The tuning screen's arithmetic: the same verdicts as the line, whatever is moved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.line.config import ClassThresholds
from edgeinspect.records.judge_many import judge_many
from edgeinspect.screens.tune.draft_thresholds import Draft, restore_draft, save_draft
from edgeinspect.screens.tune.evidence import Evidence, Parts, codes_of, histogram, joined, sound
from edgeinspect.screens.tune.tune_drawing import THUMBNAIL_COLUMNS, bar_rows, short_id, too_small
from tests.helpers.tune_screen_samples import THRESHOLDS, many_parts, parts_of

SCORE = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
LIMIT = st.tuples(SCORE, SCORE).map(sorted)


def limits_of(pairs: list[list[float]]) -> list[ClassThresholds]:
    return [
        ClassThresholds(name=f"c{index}", review=low, reject=high)
        for index, (low, high) in enumerate(pairs)
    ]


@given(
    scores=st.lists(st.lists(SCORE, min_size=3, max_size=3), min_size=1, max_size=30),
    first=st.lists(LIMIT, min_size=3, max_size=3),
    second=LIMIT,
    moving=st.integers(0, 2),
)
def test_verdicts_are_those_of_the_line(
    scores: list[list[float]], first: list[list[float]], second: list[float], moving: int
) -> None:
    """Judged at once, and with only one class compared again, ties at the thresholds included."""
    array = np.array(scores)
    parts = Parts(part_ids=np.arange(len(scores), dtype=np.int64), scores=array)
    evidence = Evidence(parts, {})
    for pairs in (first, [*first[:moving], second, *first[moving + 1 :]]):
        limits = limits_of(pairs)
        expected = judge_many(array, limits)[0].tolist()
        assert codes_of(parts, limits).tolist() == expected
        assert evidence.codes(limits, moving).tolist() == expected


def test_scores_that_are_no_numbers_are_doubts_and_never_pass() -> None:
    scores = np.array([[0.1], [np.nan], [1.2], [-0.1]])
    parts = sound(np.arange(4, dtype=np.int64), scores, doubts=2)
    assert (parts.part_ids.tolist(), parts.doubts) == ([0], 5)


def test_parts_that_come_late_or_twice_are_put_in_their_place_once() -> None:
    old = parts_of([[0.1, 0.1], [0.2, 0.1]], first=10)
    old = replace(old, part_ids=np.array([10, 12]))
    new = replace(parts_of([[0.5, 0.1], [0.2, 0.1], [0.7, 0.1]]), part_ids=np.array([11, 12, 13]))
    both = joined(old, replace(new, doubts=3))
    assert both.part_ids.tolist() == [10, 11, 12, 13]
    assert both.scores[:, 0].tolist() == [0.1, 0.5, 0.2, 0.7]
    assert both.doubts == 3


def test_every_part_is_in_the_histogram_and_a_single_one_is_seen() -> None:
    parts = many_parts(1000)
    bins = histogram(parts.scores[:, 0], 64)
    assert bins.sum() == 1000
    for row in bar_rows(bins, 1):
        assert [bar != " " for bar in row] == [count > 0 for count in bins]
    assert histogram(np.array([0.0, 1.0]), 4).tolist() == [1, 0, 0, 1]


DRAFT = Draft(in_force=THRESHOLDS, drafted=THRESHOLDS)


@given(st.lists(st.sampled_from([0.001, -0.001, 0.02, -0.02, None, 1]), max_size=200))
def test_thresholds_stay_in_order_and_in_range(steps: list[float | None]) -> None:
    draft = DRAFT
    for step in steps:
        if step is None:
            draft = draft.other_threshold()
        elif step == 1:
            draft = draft.next_class(1)
        else:
            draft = draft.step(step)
        assert all(0 <= limit.review <= limit.reject <= 1 for limit in draft.drafted)
    assert draft.reset().drafted == THRESHOLDS


def test_a_damaged_or_foreign_draft_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "draft.json"
    for content in (
        "",
        "[]",
        "{",
        '{"scratch": [0.9, 0.1]}',
        '{"scratch": 3}',
        '{"other": [0, 1]}',
    ):
        file.write_text(content)
        assert restore_draft(file, DRAFT) == DRAFT, content
    changed = DRAFT.step(0.02)
    save_draft(file, changed)
    assert restore_draft(file, DRAFT) == changed


@given(st.integers(1, 79), st.integers(1, 30))
def test_too_small_fits_any_terminal(width: int, height: int) -> None:
    lines = too_small(width=width, height=height)
    assert len(lines) == height
    if width >= 12:
        assert max(line.cell_len for line in lines) <= width


def test_a_long_part_id_leaves_room_for_the_score() -> None:
    assert (short_id(41), short_id(1234567)) == ("41", "1234567")
    assert short_id(520278969326) == "…969326"
    assert len(f"{short_id(10**15)} 0.123") <= THUMBNAIL_COLUMNS
