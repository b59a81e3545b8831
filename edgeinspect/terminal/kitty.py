"""Pictures in kitty's graphics protocol: a PNG in base64, cut into pieces. Pure functions.

The protocol is at https://sw.kovidgoyal.net/kitty/graphics-protocol/. Every command asks the
terminal not to answer (q=2): an answer would arrive as keystrokes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

import cv2
import numpy as np

from edgeinspect.drawing.canvas import Rgb

PIECE = 4096
"""How many characters of base64 one command may carry."""


def png_base64(picture: Rgb, *, width: int, height: int) -> str:
    """Encode a picture as a PNG of this size in base64, transparent to its right and below it."""
    padded = np.zeros((height, width, 4), np.uint8)
    padded[: picture.shape[0], : picture.shape[1], :3] = picture[:, :, ::-1]
    padded[: picture.shape[0], : picture.shape[1], 3] = 255
    data = cv2.imencode(".png", padded, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
    return base64.standard_b64encode(data.tobytes()).decode("ascii")


def show(png: str, *, image_id: int, columns: int, rows: int) -> str:
    """Return the commands that send a PNG and show it over these cells at the cursor.

    It replaces the picture that was shown under the same id. The cursor stays where it is.
    """
    pieces = [png[at : at + PIECE] for at in range(0, len(png), PIECE)]
    keys = f"a=T,f=100,i={image_id},p=1,c={columns},r={rows},C=1,q=2,"
    commands = []
    for number, piece in enumerate(pieces, start=1):
        is_more = int(number < len(pieces))
        commands.append(f"\x1b_G{keys}m={is_more};{piece}\x1b\\")
        keys = "q=2,"
    return "".join(commands)


def forget(image_ids: Iterable[int]) -> str:
    """Return the commands that remove pictures from the screen and the terminal's memory."""
    return "".join(f"\x1b_Ga=d,d=I,i={image_id},q=2\x1b\\" for image_id in image_ids)


FORGET_ALL_SHOWN = "\x1b_Ga=d,d=A,q=2\x1b\\"
"""The command that removes every picture from the screen."""
