"""The simulated parts' pictures: repeatable, plausible, and honest about what they show."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeinspect.errors import UsageError
from edgeinspect.sim.renderer import (
    DEFECT_KINDS,
    FRAME_HEIGHT_PX,
    FRAME_WIDTH_PX,
    PART_ROI,
    DefectSpec,
    draw_defects,
    render_empty_belt,
    render_part,
)


def _spec(kind: str, *, size_px: float, x_px: float = 330.0, y_px: float = 180.0) -> DefectSpec:
    if kind == "chip":
        x_px, y_px = 240.0, 48.0
    return DefectSpec(
        kind=kind,
        x_px=x_px,
        y_px=y_px,
        size_px=size_px,
        angle_rad=0.4,
        contrast=0.5,
        shape_seed=5,
    )


def test_the_same_arguments_give_the_same_picture() -> None:
    defects = draw_defects(3, 8, 1.0)
    first = render_part(seed=3, part_number=8, defects=defects)
    second = render_part(seed=3, part_number=8, defects=defects)
    assert np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(first.mask, second.mask)
    assert first.defects == second.defects


@pytest.mark.parametrize(("seed", "number"), [(3, 9), (4, 8)])
def test_another_part_or_seed_gives_another_picture(seed: int, number: int) -> None:
    first = render_part(seed=3, part_number=8)
    assert not np.array_equal(first.pixels, render_part(seed=seed, part_number=number).pixels)


def test_picture_and_mask_have_the_promised_form() -> None:
    part = render_part(seed=1, part_number=1)
    for array in (part.pixels, part.mask):
        assert array.shape == (FRAME_HEIGHT_PX, FRAME_WIDTH_PX)
        assert array.dtype == np.uint8
        assert not array.flags.writeable
    assert not part.mask.any()
    assert part.defects == ()


@pytest.mark.parametrize("number", range(12))
def test_a_good_part_is_bright_on_a_darker_belt_and_neither_clips(number: int) -> None:
    part = render_part(seed=11, part_number=number)
    x, y, width, height = PART_ROI
    assert part.pixels[y + 150 : y + 200, x + 230 : x + 330].mean() > 85
    assert part.pixels[:20].mean() < 60
    roi = part.pixels[y : y + height, x : x + width]
    assert np.mean((roi <= 2) | (roi >= 253)) < 0.001


@pytest.mark.parametrize("number", range(12))
def test_the_roi_holds_the_whole_part(number: int) -> None:
    pixels = render_part(seed=12, part_number=number).pixels
    x, y, width, height = PART_ROI
    outside = np.ones(pixels.shape, dtype=bool)
    outside[y : y + height, x : x + width] = False
    assert pixels[outside].max() < 85


def test_an_offset_moves_the_part_by_that_much() -> None:
    def centre_of_light(offset: float) -> float:
        pixels = render_part(seed=2, part_number=2, offset_px=(offset, 0)).pixels
        return float(np.mean(np.nonzero(pixels > 80)[1]))

    assert centre_of_light(12.0) - centre_of_light(0.0) == pytest.approx(12.0, abs=1.0)


@given(
    kind=st.sampled_from(DEFECT_KINDS),
    size_px=st.floats(4, 60),
    number=st.integers(0, 500),
)
@settings(max_examples=40, deadline=None)
def test_a_planted_defect_is_where_box_and_mask_say(kind: str, size_px: float, number: int) -> None:
    part = render_part(seed=6, part_number=number, defects=[_spec(kind, size_px=size_px)])
    (planted,) = part.defects
    assert planted.kind == kind
    rows, columns = np.nonzero(part.mask)
    box = planted.box
    assert (int(columns.min()), int(rows.min())) == (box.x, box.y)
    assert (int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1) == (box.width, box.height)
    assert set(np.unique(part.mask)) == {0, DEFECT_KINDS.index(kind) + 1}
    assert max(box.width, box.height) <= planted.size_px + 1
    assert planted.size_px <= math.hypot(box.width, box.height) + 1


@pytest.mark.parametrize("kind", ["scratch", "pit", "crack", "stain"])
@pytest.mark.parametrize("size_px", [4.0, 10.0, 22.0])
def test_the_visible_size_is_near_the_asked_one(kind: str, size_px: float) -> None:
    sizes = [
        render_part(seed=7, part_number=n, defects=[_spec(kind, size_px=size_px)])
        .defects[0]
        .size_px
        for n in range(10)
    ]
    assert np.median(sizes) == pytest.approx(size_px, rel=0.2, abs=1.2)


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_a_defect_changes_its_own_pixels_several_times_the_noise_and_no_others(kind: str) -> None:
    spec = _spec(kind, size_px=12.0)
    good = render_part(seed=9, part_number=4).pixels.astype(int)
    part = render_part(seed=9, part_number=4, defects=[spec])
    change = np.abs(part.pixels.astype(int) - good)
    noise_sigma = 2.6  # read noise 1.2 and shot noise 0.009 a grey level, at the brightest 150
    assert change[part.mask > 0].mean() > 4 * noise_sigma
    box = part.defects[0].box
    far = np.ones(good.shape, dtype=bool)
    far[box.y - 8 : box.y + box.height + 8, box.x - 8 : box.x + box.width + 8] = False
    assert change[far].max() == 0


def test_defects_cover_the_part_and_never_the_belt() -> None:
    for number in range(60):
        part = render_part(seed=15, part_number=number, defects=draw_defects(15, number, 1.0))
        good = render_part(seed=15, part_number=number).pixels
        # Compare with the sound picture: a defect on the belt would sit on dark pixels.
        if part.mask.any():
            assert np.median(good[part.mask > 0]) > 60


def test_a_defect_outside_the_picture_is_not_listed() -> None:
    part = render_part(
        seed=1, part_number=1, defects=[_spec("pit", size_px=5)], offset_px=(400.0, 0.0)
    )
    assert part.defects == ()
    assert not part.mask.any()


def test_drawing_depends_only_on_its_arguments_and_keeps_the_rate() -> None:
    drawn = [draw_defects(21, number, 0.1) for number in range(3000)]
    assert drawn == [draw_defects(21, number, 0.1) for number in range(3000)]
    share = sum(bool(defects) for defects in drawn) / len(drawn)
    assert 0.08 < share < 0.12
    assert {d.kind for defects in drawn for d in defects} == set(DEFECT_KINDS)
    sizes = [d.size_px for defects in drawn for d in defects]
    assert min(sizes) < 4
    assert max(sizes) > 40


def test_drawing_honours_extremes_and_the_smallest_size() -> None:
    assert not any(draw_defects(1, number, 0.0) for number in range(100))
    for number in range(200):
        defects = draw_defects(1, number, 1.0, min_size_px=6.0)
        assert 1 <= len(defects) <= 3
        assert all(6.0 <= defect.size_px <= 60.0 for defect in defects)


def test_an_empty_belt_is_dark_and_differs_from_shot_to_shot() -> None:
    first, second = render_empty_belt(1, 1), render_empty_belt(1, 2)
    assert first.shape == (FRAME_HEIGHT_PX, FRAME_WIDTH_PX)
    assert 20 < first.mean() < 60
    assert not np.array_equal(first, second)
    assert np.array_equal(first, render_empty_belt(1, 1))


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"kind": "dent"}, "dent"), ({"size_px": 0.5}, "size"), ({"contrast": 1.5}, "contrast")],
)
def test_an_impossible_defect_is_refused(changes: dict[str, object], word: str) -> None:
    good = {
        "kind": "pit",
        "x_px": 1.0,
        "y_px": 1.0,
        "size_px": 4.0,
        "angle_rad": 0.0,
        "contrast": 0.5,
        "shape_seed": 1,
    }
    with pytest.raises(UsageError, match=word):
        DefectSpec(**(good | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("call", [(-1, 0, 0.5), (0, -1, 0.5), (0, 0, 1.5)])
def test_drawing_refuses_what_is_out_of_range(call: tuple[int, int, float]) -> None:
    with pytest.raises(UsageError):
        draw_defects(*call)


def test_rendering_refuses_a_negative_seed() -> None:
    with pytest.raises(UsageError, match="negative"):
        render_part(seed=-1, part_number=0)
