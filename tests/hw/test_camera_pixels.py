"""Pixels out of camera buffers of every layout, with and without padding."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.errors import CameraFault
from edgeinspect.hw.camera_pixels import BufferFormat, Layout, pixels_of

PLANAR = [Layout.YUV420, Layout.YVU420, Layout.NV12, Layout.NV21]


def form_of(layout: Layout, width: int, height: int, stride: int) -> BufferFormat:
    return BufferFormat(layout=layout, width_px=width, height_px=height, stride_bytes=stride)


def planar_buffer(layout: Layout, rgb: np.ndarray, pad: int) -> tuple[np.ndarray, np.ndarray]:
    """(buffer with ``pad`` bytes after each row, its Y plane)."""
    height, width = rgb.shape[:2]
    i420 = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
    luma = i420[:height]
    u = i420[height:].ravel()[: width * height // 4].reshape(height // 2, width // 2)
    v = i420[height:].ravel()[width * height // 4 :].reshape(height // 2, width // 2)
    padded = [np.pad(luma, ((0, 0), (0, pad)), constant_values=99)]
    if layout in (Layout.NV12, Layout.NV21):
        pair = (u, v) if layout is Layout.NV12 else (v, u)
        chroma = np.dstack(pair).reshape(height // 2, width)
        padded.append(np.pad(chroma, ((0, 0), (0, pad)), constant_values=99))
    else:
        pair = (u, v) if layout is Layout.YUV420 else (v, u)
        padded += [np.pad(p, ((0, 0), (0, pad // 2)), constant_values=99) for p in pair]
    return np.concatenate([plane.ravel() for plane in padded]), luma


@given(
    layout=st.sampled_from(PLANAR),
    half=st.tuples(st.integers(1, 12), st.integers(1, 9)),
    pad=st.sampled_from([0, 2, 16]),
    seed=st.integers(0, 99),
)
def test_grey_is_the_y_plane_and_colour_as_without_padding(
    layout: Layout, half: tuple[int, int], pad: int, seed: int
) -> None:
    width, height = 4 * half[0], 4 * half[1]
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    buffer, luma = planar_buffer(layout, rgb, pad)
    grey = pixels_of(buffer, form_of(layout, width, height, width + pad), color=False)
    assert np.array_equal(grey, luma)
    assert not np.shares_memory(grey, buffer) and not grey.flags.writeable
    i420, _ = planar_buffer(Layout.YUV420, rgb, 0)
    expected = cv2.cvtColor(i420.reshape(-1, width), cv2.COLOR_YUV2RGB_I420)
    colour = pixels_of(buffer, form_of(layout, width, height, width + pad), color=True)
    assert np.array_equal(colour, expected)


@pytest.mark.parametrize("layout", [Layout.YUYV, Layout.UYVY])
def test_packed_yuv(layout: Layout) -> None:
    luma = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    packed = np.full((4, 6, 2), 128, np.uint8)
    packed[..., 0 if layout is Layout.YUYV else 1] = luma
    form = form_of(layout, 6, 4, 12)
    assert np.array_equal(pixels_of(packed.ravel(), form, color=False), luma)
    colour = pixels_of(packed.ravel(), form, color=True)
    assert np.ptp(colour, axis=2).max() == 0  # without chroma it is grey


@pytest.mark.parametrize(
    ("layout", "order"),
    [(Layout.RGB, "RGB"), (Layout.BGR, "BGR"), (Layout.RGBX, "RGBX"), (Layout.BGRX, "BGRX")],
)
def test_interleaved_colours_come_in_rgb_order(layout: Layout, order: str) -> None:
    level = {"R": 200, "G": 100, "B": 50, "X": 7}
    buffer = np.array([level[c] for c in order] * 6, np.uint8)
    form = form_of(layout, 3, 2, 3 * len(order))
    assert (pixels_of(buffer, form, color=True) == (200, 100, 50)).all()
    grey = pixels_of(buffer, form, color=False)
    assert grey.shape == (2, 3) and (grey == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)).all()


def test_mjpeg_is_decoded_and_a_cut_off_one_is_not_shown_half_grey() -> None:
    picture = np.full((16, 24, 3), (30, 90, 160), np.uint8)
    data = np.frombuffer(cv2.imencode(".jpg", picture)[1].tobytes(), np.uint8)
    form = form_of(Layout.MJPEG, 24, 16, 0)
    assert np.allclose(pixels_of(data, form, color=True), (160, 90, 30), atol=4)
    assert pixels_of(data, form, color=False).shape == (16, 24)
    for cut in (data[: len(data) // 2], data[:-2], data[:1]):
        with pytest.raises(CameraFault, match="picture of the camera"):
            pixels_of(cut, form, color=False)
    with pytest.raises(CameraFault, match="whose size is not"):
        pixels_of(data, form_of(Layout.MJPEG, 32, 16, 0), color=False)


def test_buffers_that_are_too_short_and_colour_from_a_grey_camera() -> None:
    form = form_of(Layout.NV12, 8, 4, 8)
    with pytest.raises(CameraFault, match="too few for 8 x 4 NV12"):
        pixels_of(np.zeros(31, np.uint8), form, color=False)
    with pytest.raises(CameraFault, match="too few"):
        pixels_of(np.zeros(47, np.uint8), form, color=True)
    with pytest.raises(CameraFault, match="The camera delivers grey"):
        pixels_of(np.zeros(32, np.uint8), form_of(Layout.GREY, 8, 4, 8), color=True)
