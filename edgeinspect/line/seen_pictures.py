"""Detects that a picture was shown before, by a digest of every pixel.

The noise of a live sensor never repeats over a whole picture. So equal pixels mean that an old
picture is shown again, whatever its stamp and number say. This does not hold for pictures almost
without noise: binarised, all black, all white, or a test pattern. Two fresh ones can then be equal,
and the second is refused.
"""

from __future__ import annotations

import functools
from collections import deque
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

PICTURES_KEPT = 65_536
"""At five parts a second this lasts 3.6 hours; a driver has only a handful of buffers."""
_ROW_WORDS = 4096
_SMALL_BYTES = 1024
_SETS = 64


def content_digest(pixels: NDArray[np.uint8]) -> int:
    """Return 64 bits computed from the shape and every pixel.

    A cryptographic hash of all bytes takes milliseconds (3 ms for 1456 x 1088 grey with BLAKE2b, on
    x86); this takes 0.1 ms. Each row of 4096 words of 64 bits is multiplied, modulo 2**64, with a
    row of odd numbers and summed, and only the sums are hashed. Two different pictures have equal
    sums with a probability of about 2**-64, unless they were constructed to.

    Args:
        pixels: uint8, any shape.
    """
    flat = np.ascontiguousarray(pixels).reshape(-1)
    digest = blake2b(str(pixels.shape).encode(), digest_size=8)
    if flat.nbytes > _SMALL_BYTES:
        words = flat[: flat.nbytes // 8 * 8].view(np.uint64)
        whole = words.size // _ROW_WORDS * _ROW_WORDS
        factors, rest = _factors(), words[whole:]
        rows = words[:whole].reshape(-1, _ROW_WORDS)
        digest.update(np.einsum("ij,j->i", rows, factors).data)
        digest.update(np.einsum("i,i->", rest, factors[: rest.size]).tobytes())
        flat = flat[words.nbytes :]
    digest.update(flat.data)
    return int.from_bytes(digest.digest(), "little")


@functools.cache
def _factors() -> NDArray[np.uint64]:
    """Return odd numbers without a pattern: the output of SplitMix64 (Steele, Lea, Flood 2014)."""
    z = np.arange(1, _ROW_WORDS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    factors: NDArray[np.uint64] = (z ^ (z >> np.uint64(31))) | np.uint64(1)
    factors.setflags(write=False)
    return factors


class PictureMemory:
    """Remembers the digests of at least the last ``kept`` different pictures.

    It keeps them in small sets, by age. One large set would stop every thread for milliseconds
    whenever it grows or is freed.
    """

    def __init__(self, kept: int = PICTURES_KEPT) -> None:
        sets = min(kept, _SETS)
        self._set_size = -(-kept // sets)
        self._newest: set[int] = set()
        self._older: deque[set[int]] = deque(maxlen=sets)

    def shown_before(self, pixels: NDArray[np.uint8]) -> bool:
        """Return whether this picture is remembered, and remember it from now on."""
        digest = content_digest(pixels)
        if digest in self._newest:
            return True
        known = any(digest in digests for digests in self._older)
        if len(self._newest) >= self._set_size:
            self._older.append(self._newest)
            self._newest = set()
        self._newest.add(digest)
        return known
