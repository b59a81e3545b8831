"""Pictures that are shown again are known again, and others are not taken for them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeinspect.line.seen_pictures import PICTURES_KEPT, PictureMemory, _factors, content_digest

SHAPES = [(1, 25), (31, 33), (2, 4), (128, 129), (181, 181), (256, 256, 3), (300, 301, 3)]
Pixels = NDArray[np.uint8]


def noise(shape: tuple[int, ...], seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def numbered(number: int) -> Pixels:
    return np.frombuffer(number.to_bytes(8, "little"), np.uint8).reshape(2, 4)


@pytest.mark.parametrize("shape", SHAPES)
def test_equal_pixels_have_equal_digests_however_they_lie_in_memory(shape: tuple[int, ...]) -> None:
    pixels = noise(shape)
    larger = np.zeros((shape[0] * 2, *shape[1:]), np.uint8)
    larger[::2] = pixels
    unaligned = np.frombuffer(b"x" + pixels.tobytes(), np.uint8, offset=1).reshape(shape)
    assert content_digest(larger[::2]) == content_digest(pixels) == content_digest(unaligned)


@given(shape=st.sampled_from(SHAPES), where=st.integers(0, 10**6), step=st.integers(1, 255))
def test_any_one_pixel_changes_the_digest(shape: tuple[int, ...], where: int, step: int) -> None:
    pixels = noise(shape)
    changed = pixels.copy()
    flat = changed.reshape(-1)
    flat[where % flat.size] = (int(flat[where % flat.size]) + step) % 256
    assert content_digest(changed) != content_digest(pixels)


@pytest.mark.parametrize("value", [0, 255])
def test_saturated_pictures_differ_by_their_shape_and_by_one_pixel(value: int) -> None:
    digests = set()
    for shape in SHAPES:
        flat = np.full(shape, value, np.uint8)
        digests.add(content_digest(flat))
        for place in (0, flat.size // 2, flat.size - 1):
            spot = flat.copy()
            spot.reshape(-1)[place] = 128
            digests.add(content_digest(spot))
    assert len(digests) == 4 * len(SHAPES)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_picture_that_moved_is_another_picture(axis: int) -> None:
    binarised = np.where(noise((512, 512)) > 250, 255, 0).astype(np.uint8)
    moved = [np.roll(binarised, step, axis) for step in range(0, 512, 8)]
    assert len({content_digest(picture) for picture in moved}) == len(moved)


@pytest.mark.parametrize("kept", [1, 10, 16, 64, 100, 1000])
def test_at_least_the_last_pictures_are_remembered_and_not_many_more(kept: int) -> None:
    memory = PictureMemory(kept=kept)
    shown = 3 * kept + 50
    assert not any(memory.shown_before(numbered(n)) for n in range(shown))
    known = [memory.shown_before(numbered(n)) for n in range(shown - kept, shown)]
    assert all(known)
    assert not any(memory.shown_before(numbered(n)) for n in range(shown - kept - 50))


@pytest.mark.parametrize("age", [1, 16, 17, 1000, 40_000, PICTURES_KEPT - 1])
def test_a_picture_is_known_however_long_ago_it_was_shown(age: int) -> None:
    memory = PictureMemory()
    for n in range(age + 100):
        assert not memory.shown_before(numbered(n))
    assert memory.shown_before(numbered(100))


@pytest.mark.parametrize("kept", [64, 128])
def test_what_is_remembered_beyond_the_promise_is_one_small_set(kept: int) -> None:
    """Each picture is asked for in a copy of the memory, because asking makes it remembered."""
    memory, small = PictureMemory(kept=kept), kept // 64
    for n in range(3 * kept):
        memory.shown_before(numbered(n))
    known = [copy.deepcopy(memory).shown_before(numbered(n)) for n in range(0, 3 * kept, small)]
    assert known == sorted(known)
    assert kept <= small * sum(known) <= kept + small


def test_a_digest_has_64_bits() -> None:
    digests = [content_digest(numbered(n)) for n in range(200)]
    assert max(digests).bit_length() == 64


def test_the_factors_are_those_published_for_splitmix64_made_odd() -> None:
    factors = _factors()
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [int(factor) for factor in factors[:3]] == [number | 1 for number in published]
    assert len(set(factors.tolist())) == len(factors) == 4096
    with pytest.raises(ValueError, match="read-only"):
        factors[0] = 1
