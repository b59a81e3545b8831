"""The last exposures of a camera that runs freely, matched to requests by when they began.

A camera's own thread offers every exposure it completes; a capture takes the first one that began
late enough. So the frame is never older than the request, a request that comes a little late still
finds its frame, and nothing has to be started or flushed for a part.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgeinspect.errors import CameraFault, CameraLost

Payload = TypeVar("Payload")

LEAST_SILENCE_NS = 1_000_000_000
_SILENT_INTERVALS = 5
_LONGEST_INTERVAL_NS = 20_000_000_000


@dataclass(frozen=True, slots=True)
class Exposure(Generic[Payload]):
    """One exposure whose buffer is still kept.

    Attributes:
        sequence: the driver's counter.
        begin_mono_ns: when the exposure began, with an error of at most ``error_ns``.
        payload: the buffer that holds the picture.
    """

    sequence: int
    begin_mono_ns: int
    payload: Payload
    error_ns: int = 0


class ExposureBegin:
    """When did an exposure begin, given its stamp?

    Sensor stamps (libcamera's SensorTimestamp, the start of an MIPI frame) mark the moment at which
    the first row, exposed already, is read out; so its exposure began its exposure time before.
    If the camera does not report that time, it began no earlier than the readout of the frame
    before (a row is reset after it was read) and no later than its own. The first frame of all is
    then not to be trusted.
    """

    def __init__(self) -> None:
        self._last_stamp_ns: int | None = None

    def of(self, stamp_ns: int, *, exposure_us: float | None) -> tuple[int, int] | None:
        """The earliest and the latest moment at which it may have begun, in the stamp's own base.

        None: unknown. Call it once for every frame, in order.
        """
        before, self._last_stamp_ns = self._last_stamp_ns, stamp_ns
        if exposure_us is not None and exposure_us > 0:
            began = stamp_ns - round(exposure_us * 1000)
            return began, began
        return None if before is None else (before, stamp_ns)


def middle(earliest_ns: int, latest_ns: int) -> tuple[int, int]:
    """The middle of a span, and how far at most any moment of the span is from it."""
    return (earliest_ns + latest_ns) // 2, (latest_ns - earliest_ns + 1) // 2


class ExposureRing(Generic[Payload]):
    """Keeps the last exposures; every payload is given back exactly once through ``give_back``."""

    def __init__(
        self,
        *,
        give_back: Callable[[Payload], None],
        keep: int = 2,
        waits_for_trigger: bool = False,
        now_mono_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Make an empty ring.

        Args:
            give_back: returns a buffer to the camera; called without the ring's lock.
            keep: the most buffers to keep from the camera.
            waits_for_trigger: the camera exposes on an external signal, so silence is not a fault.
            now_mono_ns: the clock.
        """
        self._give_back = give_back
        self._keep = keep
        self._waits_for_trigger = waits_for_trigger
        self._now_mono_ns = now_mono_ns
        self._changed = threading.Condition()
        self._kept: deque[Exposure[Payload]] = deque()
        self._closed = False
        self._error: Exception | None = None
        self._alive_mono_ns = now_mono_ns()
        self._interval_ns = 0
        self.offered = 0

    def offer(self, exposure: Exposure[Payload]) -> None:
        """The camera's thread: one more exposure. Older ones go back once there are too many."""
        spare: list[Exposure[Payload]] = []
        with self._changed:
            now = self._now_mono_ns()
            self._interval_ns = min(now - self._alive_mono_ns, _LONGEST_INTERVAL_NS)
            self._alive_mono_ns = now
            self.offered += 1
            if self._closed:
                spare.append(exposure)
            else:
                self._kept.append(exposure)
                while len(self._kept) > self._keep:
                    spare.append(self._kept.popleft())
            self._changed.notify_all()
        self._return(spare)

    def fail(self, error: Exception) -> None:
        """The camera's thread: it has ended, because of ``error``."""
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def take(self, *, not_before_mono_ns: int, deadline_mono_ns: int) -> Exposure[Payload]:
        """The first exposure that surely began at or after ``not_before_mono_ns``.

        The caller owns it.

        Raises:
            CameraLost: the camera has stopped.
            CameraFault: no such exposure by the deadline.
        """
        while True:
            old: list[Exposure[Payload]] = []
            with self._changed:
                found = self._pop(not_before_mono_ns, old)
                if found is None and not old:
                    self._wait(deadline_mono_ns)
            self._return(old)
            if found is not None:
                return found

    def _pop(self, not_before: int, old: list[Exposure[Payload]]) -> Exposure[Payload] | None:
        while self._kept:
            exposure = self._kept.popleft()
            if exposure.begin_mono_ns - exposure.error_ns >= not_before:
                return exposure
            old.append(exposure)
        return None

    def _wait(self, deadline_mono_ns: int) -> None:
        self._refuse_if_lost()
        now = self._now_mono_ns()
        if now >= deadline_mono_ns:
            raise CameraFault(self._why_no_frame())
        until = deadline_mono_ns
        if not self._waits_for_trigger:
            until = min(until, self._alive_mono_ns + self._silence_ns() + 1)
        self._changed.wait((until - now) / 1e9)

    def _why_no_frame(self) -> str:
        if self._waits_for_trigger:
            return "The camera was not triggered for this part, or its frame arrived too late."
        return (
            "The camera runs, but no frame was exposed in time. It delivers a frame every "
            f"{self._interval_ns / 1e6:.0f} ms."
        )

    def check(self) -> None:
        """Raise CameraLost if the camera has stopped."""
        with self._changed:
            self._refuse_if_lost()

    def _refuse_if_lost(self) -> None:
        if self._error is not None:
            raise CameraLost(
                f"The camera has failed: {self._error}.",
                next_action="Check its cable and its power.",
            ) from self._error
        silent = self._now_mono_ns() - self._alive_mono_ns
        if not self._waits_for_trigger and silent > self._silence_ns():
            raise CameraLost(
                f"The camera has stopped: no frame for {silent / 1e9:.1f} s.",
                next_action="Check its cable and its power.",
            )

    def _silence_ns(self) -> int:
        return max(LEAST_SILENCE_NS, _SILENT_INTERVALS * self._interval_ns)

    def close(self) -> None:
        """Return all buffers to the camera; later ones are returned at once."""
        with self._changed:
            self._closed = True
            kept, self._kept = list(self._kept), deque()
            self._changed.notify_all()
        self._return(kept)

    def _return(self, exposures: list[Exposure[Payload]]) -> None:
        for exposure in exposures:
            self._give_back(exposure.payload)
