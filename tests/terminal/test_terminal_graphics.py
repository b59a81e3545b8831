"""Pictures for terminals, read back by a reader of our own, and by others' where there are some."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from edgeinspect.terminal import kitty
from edgeinspect.terminal.ask import GraphicsChoice, graphics_of, is_multiplexed
from edgeinspect.terminal.graphics import Encoded, Graphics, GraphicsKind, fit_blocks
from edgeinspect.terminal.sixel import reduce_colors, sixels
from tests.helpers.terminal_kinds import KITTY, XTERM, read_kitty, read_sixels

PICTURES = arrays(
    np.uint8,
    st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3)),
    elements=st.sampled_from([0, 51, 102, 255]),
)


def noisy(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3)).astype(np.uint8)


@given(PICTURES)
@settings(max_examples=60, deadline=None)
def test_sixels_are_the_picture(picture: NDArray[np.uint8]) -> None:
    indices, palette = reduce_colors(picture, 256)
    assert np.array_equal(palette[indices], picture), "few colours are kept as they are"
    assert np.array_equal(read_sixels(sixels(indices, palette)), np.round(picture / 2.55))


@given(PICTURES, st.integers(2, 16))
@settings(max_examples=40, deadline=None)
def test_no_more_colors_than_asked_for_and_each_is_a_mean(
    picture: NDArray[np.uint8], most: int
) -> None:
    indices, palette = reduce_colors(picture, most)
    assert 1 <= len(palette) <= most
    for number, color in enumerate(palette):
        mean = picture[indices == number].mean(axis=0)
        assert np.abs(mean - color).max() <= 0.5


def test_more_colors_come_closer() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    errors = []
    for most in (2, 8, 32):
        indices, palette = reduce_colors(ramp, most)
        errors.append(float(np.abs(palette[indices].astype(int) - ramp).mean()))
    assert errors[0] > 3 * errors[1] > 9 * errors[2] > 0


@pytest.mark.skipif(not shutil.which("sixel2png"), reason="libsixel's sixel2png is not installed")
def test_another_reader_of_sixels_sees_the_same(tmp_path: Path) -> None:
    picture = fit_blocks(noisy(60, 90), columns=45, rows=15)
    graphics = Graphics(kind=GraphicsKind.SIXEL)
    encoded = graphics.encode(picture, columns=45, rows=15, max_px=10**6, max_bytes=10**6)
    assert encoded is not None
    (tmp_path / "a.six").write_text(graphics.show(encoded, image_id=1))
    command = ["sixel2png", "-i", str(tmp_path / "a.six"), "-o", str(tmp_path / "a.png")]
    subprocess.run(command, check=True, capture_output=True)
    seen = cv2.imread(str(tmp_path / "a.png"))
    assert seen is not None
    indices, palette = reduce_colors(picture, graphics.colors)
    height, width = indices.shape
    difference = seen[:height, :width, ::-1].astype(int) - palette[indices]
    assert np.abs(difference).max() <= 2, "percents of 255, rounded"


def test_kitty_gets_the_pixels_in_pieces() -> None:
    graphics = Graphics(kind=GraphicsKind.KITTY, cell_width_px=10, cell_height_px=20)
    picture = noisy(70, 110)
    encoded = graphics.encode(picture, columns=12, rows=4, max_px=10**6, max_bytes=10**6)
    assert encoded is not None
    assert len(encoded.data) > 2 * kitty.PIECE
    keys, seen = read_kitty(graphics.show(encoded, image_id=77))
    wanted = {"a": "T", "f": "100", "i": "77", "c": "12", "r": "4", "q": "2"}
    assert wanted.items() <= keys.items()
    assert seen.shape == (80, 120, 4)
    indices, palette = reduce_colors(picture, graphics.colors)
    assert np.array_equal(seen[:70, :110, :3], palette[indices])
    assert (seen[:70, :110, 3] == 255).all()
    assert (seen[70:, :, 3] == 0).all()
    assert (seen[:, 110:, 3] == 0).all()


def test_kitty_forgets_by_number_and_never_answers() -> None:
    assert kitty.forget([3, 4]) == "\x1b_Ga=d,d=I,i=3,q=2\x1b\\\x1b_Ga=d,d=I,i=4,q=2\x1b\\"
    assert kitty.forget([]) == ""
    assert "q=2" in kitty.FORGET_ALL_SHOWN


@pytest.mark.parametrize("kind", [GraphicsKind.SIXEL, GraphicsKind.KITTY])
def test_the_worst_picture_stays_within_its_bytes_or_is_not_sent(kind: GraphicsKind) -> None:
    graphics = Graphics(kind=kind, cell_width_px=12, cell_height_px=25)
    size = graphics.size_px(columns=15, rows=5, max_px=24_000)
    assert size[0] * size[1] <= 24_000
    picture = noisy(size[1], size[0])

    def encode(max_bytes: int) -> Encoded | None:
        return graphics.encode(picture, columns=15, rows=5, max_px=24_000, max_bytes=max_bytes)

    rich = encode(10**6)
    assert rich is not None
    poor = encode(len(rich.data) - 1)
    assert poor is not None
    assert len(poor.data) < len(rich.data)
    assert encode(2_000) is None


def test_large_cells_are_drawn_smaller_and_shown_at_full_size() -> None:
    sixel = Graphics(kind=GraphicsKind.SIXEL, cell_width_px=20, cell_height_px=40)
    width, height = sixel.size_px(columns=15, rows=5, max_px=24_000)
    assert (width, height) == (150, 99), "half, and whole bands of six"
    encoded = sixel.encode(
        noisy(height, width) // 200 * 200,
        columns=15,
        rows=5,
        max_px=24_000,
        max_bytes=10**6,
    )
    assert encoded is not None
    seen = read_sixels(encoded.data)
    assert seen.shape == (198, 300, 3)
    assert np.array_equal(seen[::2, ::2], seen[1::2, 1::2])


def test_half_blocks_send_nothing_else() -> None:
    graphics = Graphics()
    assert graphics.size_px(columns=15, rows=5, max_px=1) == (15, 10)
    picture = noisy(10, 15)
    assert graphics.encode(picture, columns=15, rows=5, max_px=1, max_bytes=1) is None
    assert fit_blocks(picture, columns=15, rows=5) is picture
    assert fit_blocks(noisy(100, 300), columns=15, rows=5).shape == (5, 15, 3)


VT340 = b"\x1b[?63;1;2;4;6;9;15;16;22;28c\x1b[?1;0;1024S\x1b[?63;1;2;4;6;9;15;16;22;28c"
"""As xterm 379 answers with -ti vt340."""
AUTO = GraphicsChoice.AUTO


def test_what_real_terminals_answer() -> None:
    assert graphics_of(KITTY, AUTO) == Graphics(
        kind=GraphicsKind.KITTY, cell_width_px=9, cell_height_px=20
    )
    window = (24, 80, 800, 456)
    assert graphics_of(VT340, AUTO, window=window) == Graphics(
        kind=GraphicsKind.SIXEL, cell_width_px=10, cell_height_px=19
    )
    assert graphics_of(XTERM, AUTO, window=window).kind is GraphicsKind.BLOCKS


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\x1b[?\x00\xff;;4c?",
        b"\x1b[?4;6c",  # class 4 is no attribute 4
        b"\x1b_Gi=25961;ENOTSUPPORTED\x1b\\\x1b[?62;22c",
        b"\x1b_Gi=1;OK\x1b\\\x1b[?62c",
        b"\x1b_Gi=25961;OK\x1b\\",  # more may be to come
        b"\x1b[?62;4c",  # sixel, but how large is a character?
        b"\x1b[6;0;0t\x1b[?62;4c",
        b"\x1b[6;9999;2t\x1b[?62;4c",
        b"\x1b[4;10;10t\x1b[?62;4c",
    ],
)
def test_what_is_not_clearly_said_is_not_believed(answer: bytes) -> None:
    assert graphics_of(answer, AUTO, window=(24, 80, 0, 0)) == Graphics()


@given(st.binary(max_size=80))
@settings(max_examples=200, deadline=None)
def test_no_garbage_breaks_it(answer: bytes) -> None:
    assert graphics_of(answer, AUTO).kind in GraphicsKind
    assert graphics_of(answer, GraphicsChoice.KITTY).kind is GraphicsKind.KITTY


def test_few_color_registers_are_respected_and_a_named_kind_is_taken_at_its_word() -> None:
    answer = b"\x1b[?1;0;16S\x1b[6;20;10t\x1b[?62;4c"
    assert graphics_of(answer, AUTO).colors == 16
    forced = graphics_of(b"", GraphicsChoice.SIXEL)
    assert (forced.kind, forced.cell_width_px, forced.cell_height_px) == (
        GraphicsKind.SIXEL,
        10,
        20,
    )


def test_inside_tmux_and_screen() -> None:
    assert is_multiplexed({"TERM": "xterm", "TMUX": "/tmp/tmux-0/default,1,0"})
    assert is_multiplexed({"TERM": "xterm", "STY": "1.tty"})
    assert is_multiplexed({"TERM": "screen-256color"})
    assert is_multiplexed({"TERM": "tmux-256color"})
    assert not is_multiplexed({"TERM": "xterm-kitty"})
