"""Terminals of several kinds, and readers of what is drawn on them."""

from __future__ import annotations

import base64
import re

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.terminal import kitty

SIXEL_TOKEN = re.compile(r'"(\d+);(\d+);(\d+);(\d+)|#(\d+)((?:;\d+)*)|!(\d+)([?-~])|([?-~])|([$-])')


def read_sixels(text: str) -> NDArray[np.int_]:
    """RGB in percent, -1 where nothing was drawn; written from the format alone."""
    body = text.removeprefix("\x1bP0;1;0q").removesuffix("\x1b\\")
    assert body != text
    colors: dict[int, tuple[int, ...]] = {}
    canvas = np.zeros((0, 0, 3), np.int_)
    x = y = color = at = 0
    while at < len(body):
        token = SIXEL_TOKEN.match(body, at)
        assert token is not None, body[at : at + 20]
        at = token.end()
        if token[1]:
            canvas = np.full((int(token[4]) + 5, int(token[3]), 3), -1)
            height = int(token[4])
        elif token[5]:
            color = int(token[5])
            if token[6]:
                space, *channels = map(int, token[6][1:].split(";"))
                assert space == 2
                colors[color] = tuple(channels)
        elif token[10] == "$":
            x = 0
        elif token[10] == "-":
            x, y = 0, y + 6
        else:
            count, bits = int(token[7] or 1), ord(token[8] or token[9]) - 63
            for row in range(6):
                if bits >> row & 1:
                    canvas[y + row, x : x + count] = colors[color]
            x += count
    assert (canvas[height:] == -1).all(), "below its own height"
    return canvas[:height]


def read_kitty(text: str) -> tuple[dict[str, str], NDArray[np.uint8]]:
    """The first command's keys and the picture, RGBA."""
    commands = re.findall(r"\x1b_G([^;\x1b]*);([^\x1b]*)\x1b\\", text)
    assert "".join(f"\x1b_G{keys};{data}\x1b\\" for keys, data in commands) == text
    first, *others = [dict(pair.split("=") for pair in keys.split(",")) for keys, _ in commands]
    assert all(set(keys) == {"m", "q"} for keys in others)
    assert [keys["m"] for keys in (first, *others)] == ["1"] * len(others) + ["0"]
    assert all(len(data) <= kitty.PIECE for _, data in commands)
    data = base64.b64decode("".join(data for _, data in commands), validate=True)
    bgra = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert bgra is not None
    return first, np.asarray(cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA), np.uint8)


KITTY = b"\x1b_Gi=25961;OK\x1b\\\x1b[4;440;801t\x1b[6;20;9t\x1b[?62;c"
"""As kitty 0.26 answers."""


XTERM = b"\x1b[?64;1;2;6;9;15;16;17;18;21;22;28c"
