"""Preprocessing against a float reference, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeinspect.bundle.card import InputCard
from edgeinspect.bundle.preprocess import Preprocessor
from edgeinspect.bundle.quantization import (
    PixelPath,
    pixel_table,
    quantize,
    round_half_away,
)
from edgeinspect.line.scores import Quantization


def input_card(**changes: object) -> InputCard:
    values: dict[str, object] = {
        "shape": (1, 8, 8, 3),
        "dtype": "uint8",
        "scale": 1 / 128,
        "zero_point": 128,
        "color": "rgb",
        "mean": (128.0,) * 3,
        "std": (128.0,) * 3,
    }
    return InputCard.model_validate({**values, **changes})


def random_picture(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@given(
    st.sampled_from(["int8", "uint8"]),
    st.floats(1e-4, 4.0),
    st.integers(0, 255),
    st.lists(st.floats(-50, 300), min_size=3, max_size=3),
    st.lists(st.floats(0.1, 400), min_size=3, max_size=3),
    st.sampled_from(["rgb", "bgr"]),
    st.integers(0, 2**32 - 1),
)
def test_every_pixel_equals_the_float_reference(
    dtype: str,
    scale: float,
    offset: int,
    mean: list[float],
    std: list[float],
    color: str,
    seed: int,
) -> None:
    limits = np.iinfo(dtype)
    zero_point = limits.min + offset
    card = input_card(
        dtype=dtype, scale=scale, zero_point=zero_point, mean=mean, std=std, color=color
    )
    pixels = random_picture(seed, 5, 7, 3)
    found = Preprocessor(card).prepare(pixels)
    assert found.dtype == dtype
    ordered = pixels if color == "rgb" else pixels[:, :, ::-1]
    exact = (ordered.astype(np.float64) - mean) / std / scale
    inside = np.clip(exact + zero_point, limits.min, limits.max)
    assert np.abs(found.astype(np.float64) - inside).max() <= 0.5 + 1e-6


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_rounding_is_to_the_nearest_and_halves_away_from_zero(values: list[float]) -> None:
    rounded = round_half_away(np.array(values))
    for value, result in zip(values, rounded, strict=True):
        assert abs(result - value) <= 0.5
        if abs(value - round(value)) == 0.5:
            assert abs(result) > abs(value)


def test_halves_round_as_tflite_rounds_them() -> None:
    quantization = Quantization(dtype="int8", scale=2.0, zero_point=0)
    assert quantize(np.array([1.0, 3.0, -1.0, -3.0, 999.0]), quantization).tolist() == [
        1, 2, -1, -2, 127,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({}, PixelPath.IDENTITY),
        ({"dtype": "int8", "zero_point": 0}, PixelPath.FLIP_SIGN_BIT),
        ({"dtype": "int8", "scale": 1 / 255, "zero_point": -128, "mean": (0,) * 3,
          "std": (255,) * 3},
         PixelPath.FLIP_SIGN_BIT),
        ({"mean": (127.0, 128.0, 128.0)}, PixelPath.TABLE),
        ({"std": (64.0,) * 3}, PixelPath.TABLE),
    ],
)  # fmt: skip
def test_fast_paths_are_taken_and_equal_the_table(
    changes: dict[str, object], path: PixelPath
) -> None:
    card = input_card(**changes)
    preprocessor = Preprocessor(card)
    assert preprocessor.path is path
    pixels = random_picture(3, 16, 16, 3)
    quantization = Quantization(dtype=card.dtype, scale=card.scale, zero_point=card.zero_point)
    table = pixel_table(mean=card.mean, std=card.std, quantization=quantization)
    expected = np.stack([table[pixels[:, :, c], c] for c in range(3)], axis=2)
    assert np.array_equal(preprocessor.prepare(pixels), expected)


def test_identity_is_a_view_and_nothing_writes_to_the_frame() -> None:
    frame = random_picture(4, 30, 30, 3)
    frame.setflags(write=False)
    region = frame[3:11, 5:13]
    assert np.shares_memory(Preprocessor(input_card()).prepare(region), frame)
    flipped = Preprocessor(input_card(dtype="int8", zero_point=0)).prepare(region)
    assert not np.shares_memory(flipped, frame)


def test_colour_becomes_grey_by_luma_and_grey_fills_three_channels() -> None:
    gray_card = input_card(shape=(1, 8, 8, 1), color="gray", mean=(128.0,), std=(128.0,))
    pixels = random_picture(6, 8, 8, 3)
    found = Preprocessor(gray_card).prepare(pixels)
    assert found.shape == (8, 8)
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    assert np.abs(found.astype(float) - luma).max() <= 1.0
    spread = Preprocessor(input_card()).prepare(pixels[:, :, 0])
    assert all(np.array_equal(spread[:, :, c], pixels[:, :, 0]) for c in range(3))


@pytest.mark.parametrize("interpolation", ["linear", "area", "nearest"])
def test_resize_gives_the_input_size_and_keeps_flat_areas(interpolation: str) -> None:
    card = input_card(fit="resize", interpolation=interpolation)
    pixels = np.zeros((40, 24, 3), np.uint8)
    pixels[:20] = 200
    found = Preprocessor(card).prepare(pixels)
    assert found.shape == (8, 8, 3)
    assert (found[:4] == 200).all()
    assert (found[4:] == 0).all()


def test_one_preprocessor_takes_regions_of_different_sizes() -> None:
    preprocessor = Preprocessor(input_card(dtype="int8", zero_point=0))
    for height in (8, 12, 8):
        pixels = random_picture(height, height, 9, 3)
        assert np.array_equal(preprocessor.prepare(pixels).view(np.uint8), pixels ^ 0x80)
