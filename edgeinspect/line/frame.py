"""Decides which part a frame shows, by its exposure time and content only.

A frame belongs to the part that was in view when its exposure began: not before the part reached
the lens and not after it left the view, allowing for the error of the stamp. Any other frame is
refused for a named reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgeinspect.line.ledger import InFlight
from edgeinspect.line.seen_pictures import PictureMemory
from edgeinspect.line.track import Track
from edgeinspect.part import Doubt, Frame, FrameMeta


@dataclass(frozen=True, slots=True)
class Match:
    """What a frame was matched to.

    Attributes:
        part: the part in view, or None.
        doubt: why the frame cannot be used; if there is a part, it cannot be inspected.
    """

    part: InFlight | None
    doubt: Doubt | None = None


class FrameMatcher:
    """Matches frames to the parts that wait for one, in the order of their exposures."""

    def __init__(self, memory: PictureMemory | None = None) -> None:
        self._last: FrameMeta | None = None
        self._memory = memory or PictureMemory()

    def match(
        self, frame: Frame, waiting: Iterable[InFlight], track: Track, now_mono_ns: int
    ) -> Match:
        """Decide which part the frame shows, and whether the frame may be used at all.

        Args:
            frame: as the driver delivered it.
            waiting: the parts without a frame, oldest first.
            track: the belt's positions; settled for the whole time in which the exposure can have
                begun.
            now_mono_ns: the present time. A driver whose exposures begin later has a wrong clock.
        """
        meta = frame.meta
        frozen = self._memory.shown_before(frame.pixels)
        if meta.earliest_mono_ns > now_mono_ns:
            return Match(None, Doubt.STALE)
        if self._seen_before(meta):
            return Match(None, Doubt.REPEATED)
        self._last = meta
        part, doubt = _view(meta, track, waiting)
        if part is not None and frozen and part.config.checks.reject_frozen:
            return Match(part, Doubt.FROZEN)
        return Match(part, doubt)

    def _seen_before(self, meta: FrameMeta) -> bool:
        """Return whether the frame's number or its exposure is not later than the last frame's."""
        last = self._last
        if last is None:
            return False
        return meta.sequence <= last.sequence or meta.earliest_mono_ns <= last.latest_mono_ns


def _view(
    meta: FrameMeta, belt: Track, waiting: Iterable[InFlight]
) -> tuple[InFlight | None, Doubt | None]:
    """Find the part that was in view for every position that the belt can have had."""
    first, last = belt.place_at(meta.earliest_mono_ns), belt.place_at(meta.latest_mono_ns)
    doubt: Doubt = Doubt.STALE
    for part in waiting:
        if meta.earliest_mono_ns < part.edge_mono_ns or not part.settled:
            continue
        track = part.config.track
        comes = part.position + track.to_lens
        goes = part.position - part.slack + track.to_lens + track.exposure_window
        if comes <= first.position - first.slack and last.position <= goes:
            return part, None
        if last.position > goes:
            doubt = Doubt.MISALIGNED
    return None, doubt


def in_view(meta: FrameMeta, belt: Track, parts: Iterable[InFlight]) -> InFlight | None:
    """Return which of these parts was certainly in view when the exposure began, or None."""
    return _view(meta, belt, parts)[0]
