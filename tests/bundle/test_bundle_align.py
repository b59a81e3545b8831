"""A part that lies off its reference picture: found again, or not inspected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edgeinspect.bundle.align import DEFAULT_AGREEMENT, align, aligned, compared
from edgeinspect.bundle.card import InputCard
from edgeinspect.bundle.preprocess import with_reference
from edgeinspect.errors import Misaligned
from edgeinspect.part import Region
from tests.helpers.align_samples import Pixels, product


def seen(reference: Pixels, right: int, down: int, *, gain: float = 1.0, seed: int = 9) -> Pixels:
    """The product somewhere else, under other light, with noise and a defect."""
    moved = np.roll(reference, (down, right), (0, 1)).astype(np.float64)
    moved = moved * gain + np.random.default_rng(seed).normal(0, 6, moved.shape)
    moved[60:72, 90:102] = 255
    return np.asarray(moved.clip(0, 255), np.uint8)


def card(search_px: int = 24, agreement: float = DEFAULT_AGREEMENT) -> InputCard:
    return InputCard.model_validate(
        {
            "shape": (1, 32, 32, 2), "dtype": "int8", "scale": 1.0, "zero_point": -128,
            "color": "gray", "reference": True, "mean": (0.0,), "std": (1.0,),
            "reference_search_px": search_px, "reference_agreement": agreement,
        }
    )  # fmt: skip


WHOLE = Region(0, 0, 200, 160)


@given(st.integers(-20, 20), st.integers(-20, 20), st.floats(0.6, 1.2))
@settings(max_examples=25, deadline=None)
def test_the_shift_is_found_under_other_light_and_with_a_defect(
    right: int, down: int, gain: float
) -> None:
    reference = product(1)
    found = align(seen(reference, right, down, gain=gain), reference, WHOLE)
    assert (found.right_px, found.down_px) == (right, down)
    assert found.agreement > 0.8


def test_the_reference_is_laid_under_a_region_of_the_frame() -> None:
    reference = product(2)
    picture = seen(reference, 7, -5)
    roi = Region(40, 30, 120, 100)
    cut = picture[30:130, 40:160]
    both = compared(card(), cut, reference, roi)
    assert both.shape == (100, 120, 2)
    assert (both[..., 0] == cut).all()
    assert (both[..., 1] == reference[35:135, 33:153]).all()
    colour = np.repeat(cut[..., None], 3, axis=2)
    assert (compared(card(), colour, reference, roi)[..., 1] == both[..., 1]).all()


def test_beyond_its_edge_the_reference_goes_on_as_at_the_edge() -> None:
    reference = product(3)
    found = aligned(seen(reference, 10, 0), reference, WHOLE, 24, 0.5)
    assert (found[:, 10:] == reference[:, :-10]).all()
    assert (found[:, :10] == reference[:, :1]).all()


@pytest.mark.parametrize("what", ["another product", "too far", "plain", "turned"])
def test_what_does_not_agree_is_never_given_an_arbitrary_place(what: str) -> None:
    reference = product(4)
    picture = {
        "another product": product(5),
        "too far": seen(reference, 40, 0),
        "plain": np.full((160, 200), 90, np.uint8),
        "turned": np.ascontiguousarray(seen(reference, 0, 0)[::-1, ::-1]),
    }[what]
    with pytest.raises(Misaligned, match=r"matches the reference picture by"):
        compared(card(), picture, reference, WHOLE)


def test_large_frames_are_found_to_the_pixel() -> None:
    reference = product(6, 1200, 1600)
    found = align(seen(reference, -13, 22), reference, Region(0, 0, 1600, 1200))
    assert abs(found.right_px + 13) <= 1
    assert abs(found.down_px - 22) <= 1
    assert found.agreement > 0.8


def test_without_a_search_the_reference_is_taken_as_it_is() -> None:
    reference, picture = product(7), product(8)
    both = compared(card(0, 0.0), picture, reference, WHOLE)
    assert (both == with_reference(picture, reference)).all()


def test_a_card_without_a_reference_cannot_search() -> None:
    plain = card(0, 0.0).model_dump() | {"reference": False, "shape": (1, 32, 32, 1)}
    InputCard.model_validate(plain)
    for key, value in (("reference_search_px", 8), ("reference_agreement", 0.5)):
        with pytest.raises(ValidationError, match=key):
            InputCard.model_validate(plain | {key: value})
