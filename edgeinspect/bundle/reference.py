"""The picture of a faultless part that some models compare every part with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.directory import FETCH_AGAIN, Bundle, read_bounded, sha256_of
from edgeinspect.errors import ModelRefused
from edgeinspect.files.picture_bytes import UnreadablePicture, decode_picture

REFERENCE_FILE = "reference.png"
"""A whole frame, beside the model; listed in the card's digests like every other file."""

_MAX_BYTES = 64 << 20


def bundle_reference(bundle: Bundle) -> NDArray[np.uint8] | None:
    """The bundle's reference picture as grey, uint8 (height, width).

    None where the model takes none, or the bundle leaves it to whoever inspects.

    Raises:
        ModelRefused: the file is not the one that the card was written for, or no picture.
    """
    wanted = bundle.card.digests.get(REFERENCE_FILE)
    if not bundle.card.input.reference or wanted is None:
        return None
    path = bundle.directory / REFERENCE_FILE
    data = read_bounded(path, _MAX_BYTES)
    if sha256_of(data) != wanted:
        raise ModelRefused(
            f"{path} is not the file that the card was written for.", next_action=FETCH_AGAIN
        )
    import cv2

    try:
        pixels = decode_picture(data, cv2.IMREAD_GRAYSCALE)
    except UnreadablePicture as error:
        raise ModelRefused(f"{path} {error}.", next_action=FETCH_AGAIN) from error
    return np.asarray(pixels, np.uint8)
