"""Frame quality against plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeinspect.line.quality import measure_quality


@st.composite
def pictures(draw: st.DrawFn) -> NDArray[np.uint8]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    return rng.integers(0, 256, shape, dtype=np.uint8)


def reference_focus(gray: NDArray[np.uint8]) -> float:
    wide = np.pad(gray.astype(np.int64), 1, mode="reflect" if min(gray.shape) > 1 else "edge")
    laplacian = (
        wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:] - 4 * wide[1:-1, 1:-1]
    )
    return float(laplacian.var())


@given(pictures())
def test_figures_equal_their_definitions(gray: NDArray[np.uint8]) -> None:
    quality = measure_quality(gray)
    assert quality.mean == pytest.approx(gray.mean())
    assert quality.clipped_low == pytest.approx((gray <= 2).mean())
    assert quality.clipped_high == pytest.approx((gray >= 253).mean())
    if min(gray.shape) > 1:
        assert quality.focus == pytest.approx(reference_focus(gray), rel=1e-9, abs=1e-6)


@given(pictures())
def test_a_view_is_measured_as_its_pixels(gray: NDArray[np.uint8]) -> None:
    frame = np.zeros((60, 60), np.uint8)
    frame[3 : 3 + gray.shape[0], 5 : 5 + gray.shape[1]] = gray
    view = frame[3 : 3 + gray.shape[0], 5 : 5 + gray.shape[1]]
    assert measure_quality(view) == measure_quality(gray)


def test_blur_lowers_the_focus() -> None:
    rng = np.random.default_rng(5)
    sharp = rng.integers(0, 256, (64, 64)).astype(np.uint8)
    wide = sharp.astype(np.uint16)
    blurred = ((wide[:-1, :-1] + wide[1:, :-1] + wide[:-1, 1:] + wide[1:, 1:]) // 4).astype(
        np.uint8
    )
    assert measure_quality(blurred).focus < 0.5 * measure_quality(sharp).focus


def test_an_almost_flat_picture_has_almost_no_focus() -> None:
    gray = np.full((64, 64), 100, np.uint8)
    assert measure_quality(gray).focus == 0.0
    gray[30, 30] += 1
    assert measure_quality(gray).focus == pytest.approx(20 / 64**2)


def test_colour_is_measured_as_luma() -> None:
    gray = np.full((8, 8), 100, np.uint8)
    colour = np.repeat(gray[:, :, None], 3, axis=2)
    assert measure_quality(colour).mean == pytest.approx(100.0)


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 2)), np.zeros((0, 4), np.uint8), np.zeros(4, np.uint8)]
)
def test_what_is_no_picture_is_refused(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="not a picture"):
        measure_quality(pixels)
