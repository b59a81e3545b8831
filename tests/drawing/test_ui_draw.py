"""Score maps on pictures, on a sheet and in a terminal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeinspect.drawing.canvas import (
    outline,
    overlay,
    score_colors,
    scores_on_frame,
    small_overlay,
    to_rgb,
)
from edgeinspect.drawing.contact_sheet import Threshold, part_sheet, save_png
from edgeinspect.part import (
    FrameQuality,
    GateOutcome,
    Inspection,
    PartRecord,
    Region,
    ScoreMap,
    Verdict,
    VerdictKind,
)
from edgeinspect.terminal.half_blocks import half_blocks


def score_map(shape: tuple[int, int], roi: Region, stride: float) -> ScoreMap:
    return ScoreMap(np.zeros((*shape, 2), np.float32), roi, stride, ("scratch", "pit"))


def luminance(rgb: np.ndarray) -> np.ndarray:
    return np.asarray(rgb @ np.array([0.2126, 0.7152, 0.0722]))


def test_higher_scores_are_brighter_colours() -> None:
    colors = score_colors()
    assert colors.shape == (256, 3)
    assert np.all(np.diff(luminance(colors.astype(float))) > -1.0)
    assert luminance(colors[255]) - luminance(colors[0]) > 150


@settings(max_examples=60, deadline=None)
@given(
    x=st.integers(0, 40),
    y=st.integers(0, 30),
    width=st.integers(8, 90),
    height=st.integers(8, 70),
    stride=st.sampled_from((1, 2, 4, 8)),
    data=st.data(),
)
def test_a_hit_is_drawn_where_the_model_saw_it(
    x: int, y: int, width: int, height: int, stride: int, data: st.DataObject
) -> None:
    shape = (-(-height // stride), -(-width // stride))
    found = score_map(shape, Region(x, y, width, height), stride)
    row = data.draw(st.integers(0, shape[0] - 1))
    column = data.draw(st.integers(0, shape[1] - 1))
    found.scores[row, column, 1] = 0.9
    drawn = scores_on_frame(found, height=100, width=120)
    ys, xs = np.nonzero(drawn)
    bottom, right = min(100, y + height), min(120, x + width)
    if y + row * stride >= bottom or x + column * stride >= right:
        assert not ys.size
        return
    assert drawn.max() == pytest.approx(0.9)
    assert (ys.min(), xs.min()) == (y + row * stride, x + column * stride)
    assert ys.max() == min(y + (row + 1) * stride, bottom) - 1
    assert xs.max() == min(x + (column + 1) * stride, right) - 1


def test_a_map_beyond_the_picture_is_cut_and_one_outside_draws_nothing() -> None:
    beyond = score_map((4, 4), Region(8, 8, 16, 16), 4)
    beyond.scores[:] = 1.0
    drawn = scores_on_frame(beyond, height=12, width=12)
    assert drawn[8:, 8:].min() == 1.0
    assert drawn.sum() == 16
    outside = score_map((4, 4), Region(50, 50, 16, 16), 4)
    outside.scores[:] = 1.0
    assert not scores_on_frame(outside, height=12, width=12).any()


def test_scores_that_are_no_numbers_draw_as_zero() -> None:
    broken = score_map((2, 2), Region(0, 0, 8, 8), 4)
    broken.scores[:] = np.nan
    assert not scores_on_frame(broken, height=8, width=8).any()


def test_low_scores_leave_the_picture_alone_and_high_ones_cover_it() -> None:
    picture = np.full((1, 3, 3), 100, np.uint8)
    drawn = overlay(picture, np.array([[0.02, 0.5, 1.0]], np.float32))
    assert drawn[0, 0].tolist() == [100, 100, 100]
    middle, high = (np.abs(drawn[0, at].astype(int) - 100).sum() for at in (1, 2))
    assert 0 < middle < high


def test_a_small_defect_survives_being_drawn_small() -> None:
    found = score_map((90, 120), Region(0, 0, 480, 360), 4)
    found.scores[41, 77, 0] = 1.0
    picture = np.full((360, 480), 90, np.uint8)
    plain = small_overlay(picture, None, width=30, height=22)
    drawn = small_overlay(picture, found, width=30, height=22)
    changed = np.argwhere((plain != drawn).any(axis=2))
    assert changed.tolist() == [[41 * 4 * 22 // 360, 77 * 4 * 30 // 480]]


def test_an_outline_stays_off_what_it_points_at() -> None:
    picture = np.zeros((50, 60, 3), np.uint8)
    outline(picture, Region(20, 20, 4, 4), (255, 0, 0))
    assert not picture[18:26, 18:26].any()
    assert picture[:, :, 0].max() == 255
    outline(picture, Region(0, 0, 60, 50), (0, 255, 0))
    assert picture[0, 0, 1] == 255


def test_half_blocks_carry_two_rows_a_line_in_true_colour() -> None:
    picture = np.arange(3 * 2 * 3, dtype=np.uint8).reshape(3, 2, 3)
    text = half_blocks(picture)
    assert text.plain == "▀▀\n▀▀"
    first = text.spans[0].style
    assert not isinstance(first, str)
    assert first.color is not None and first.color.triplet == (0, 1, 2)
    assert first.bgcolor is not None and first.bgcolor.triplet == (6, 7, 8)
    last = text.spans[-1].style
    assert not isinstance(last, str)
    assert last.bgcolor is not None and last.bgcolor.triplet == (15, 16, 17)


def record(kind: VerdictKind, worst: Region | None) -> PartRecord:
    quality = FrameQuality(100.0, 0.0, 0.0, 50.0)
    inspection = Inspection((0.9, 0.1), "scratch", 0.9, quality, worst_region=worst)
    verdict = Verdict(kind, "" if kind is VerdictKind.PASS else "scratch", 0.9)
    return PartRecord(7, 0, verdict, GateOutcome.PASSED, "digest", inspection=inspection)


@pytest.mark.parametrize("size", [(12, 9), (360, 480), (900, 300), (200, 2000)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", list(VerdictKind))
def test_any_picture_gives_a_sheet(size: tuple[int, int], channels: int, kind: VerdictKind) -> None:
    height, width = size
    pixels = np.full(size if channels == 1 else (*size, 3), 60, np.uint8)
    cells = (-(-height // 4), -(-width // 4))
    found = score_map(cells, Region(0, 0, width, height), 4)
    found.scores[0, 0, 0] = 0.9
    sheet = part_sheet(
        record(kind, Region(0, 0, 4, 4)),
        pixels,
        score_map=found,
        threshold=Threshold(review=0.4, reject=0.6),
        notes=("naïve café",),
    )
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] >= 720
    assert sheet.std() > 5
    assert save_png(sheet).startswith(b"\x89PNG")


def test_without_a_map_the_sheet_still_shows_the_worst_region() -> None:
    pixels = np.full((200, 200), 60, np.uint8)
    without = part_sheet(record(VerdictKind.REJECT, None), pixels)
    shown = part_sheet(record(VerdictKind.REJECT, Region(90, 90, 20, 20)), pixels)
    assert without.shape == shown.shape
    assert (without != shown).any()


def test_grey_pictures_become_rgb_copies() -> None:
    grey = np.array([[1, 2]], np.uint8)
    rgb = to_rgb(grey)
    assert rgb.tolist() == [[[1, 1, 1], [2, 2, 2]]]
    rgb[:] = 9
    assert grey.tolist() == [[1, 2]]
