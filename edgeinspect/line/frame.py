"""Which part does a frame show? Only its exposure time and its content may answer.

A frame belongs to the part that was in view while it was exposed: not earlier than the part's
arrival at the lens, not later than its leaving the view. Anything else is named and refused.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeinspect.line.ledger import InFlight
from edgeinspect.line.track import Track
from edgeinspect.part import Doubt, Frame

DIGEST_BYTES = 65_536
DIGESTS_KEPT = 16
"""A driver that hands a buffer over twice may do so after others, so several are remembered."""


@dataclass(frozen=True, slots=True)
class Match:
    """Attributes:
    part: the part in view, or None.
    doubt: why the frame cannot be used; with a part, the part cannot be inspected.
    """

    part: InFlight | None
    doubt: Doubt | None = None


def content_digest(pixels: NDArray[np.uint8]) -> int:
    """A digest over at most about ``DIGEST_BYTES`` evenly spread bytes of the picture.

    A live sensor's noise never repeats over so many pixels; equal digests mean that the camera
    delivered the same picture twice.
    """
    step = max(1, pixels.nbytes // DIGEST_BYTES)
    rows = np.ascontiguousarray(pixels[::step])
    return zlib.crc32(rows.data, zlib.crc32(str(pixels.shape).encode()))


class FrameMatcher:
    """Matches frames to the parts that wait for one, in the order of their exposures."""

    def __init__(self) -> None:
        self._last_sequence: int | None = None
        self._last_exposure_mono_ns: int | None = None
        self._digests: deque[int] = deque(maxlen=DIGESTS_KEPT)

    def match(
        self, frame: Frame, waiting: Iterable[InFlight], track: Track, now_mono_ns: int
    ) -> Match:
        """Say which part the frame shows, and whether the frame may be used at all.

        Args:
            frame: as the driver delivered it.
            waiting: the parts without a frame, oldest first.
            track: where the belt was when.
            now_mono_ns: an exposure after now is a driver's mixed-up clock.
        """
        meta = frame.meta
        digest = content_digest(frame.pixels)
        frozen = digest in self._digests
        self._digests.append(digest)
        if meta.exposure_mono_ns > now_mono_ns:
            return Match(None, Doubt.STALE)
        if self._seen_before(frame):
            return Match(None, Doubt.REPEATED)
        self._last_sequence = meta.sequence
        self._last_exposure_mono_ns = meta.exposure_mono_ns
        part, doubt = _in_view(track.position_at(meta.exposure_mono_ns), waiting)
        if part is not None and frozen and part.config.checks.reject_frozen:
            return Match(part, Doubt.FROZEN)
        return Match(part, doubt)

    def _seen_before(self, frame: Frame) -> bool:
        last = self._last_exposure_mono_ns
        if last is None:
            return False
        same_sequence = frame.meta.sequence == self._last_sequence
        return same_sequence or frame.meta.exposure_mono_ns <= last


def _in_view(position: int, waiting: Iterable[InFlight]) -> tuple[InFlight | None, Doubt | None]:
    doubt: Doubt = Doubt.STALE
    for part in waiting:
        track = part.config.track
        travelled = position - part.position
        if track.to_lens <= travelled <= track.to_lens + track.exposure_window:
            return part, None
        if travelled > track.to_lens:
            doubt = Doubt.MISALIGNED
    return None, doubt
