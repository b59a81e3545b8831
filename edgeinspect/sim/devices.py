"""The simulated line's camera and inspection worker.

The picture and the scores come through two small interfaces, ``Eye`` and ``Judge``. The built-in
pair writes the part's identity, place and score into a few bytes of "pixels" and reads them back,
so that a simulation of a million parts is quick; the judge uses nothing but the pixels. The real
renderer and the real model use the same interfaces.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from edgeinspect.errors import InferenceFailed
from edgeinspect.line.config import FrameChecks
from edgeinspect.line.messages import (
    Capture,
    CaptureFailed,
    Event,
    FrameArrived,
    Inspect,
    Inspected,
    InspectionFailed,
    QueueOverflow,
)
from edgeinspect.part import Frame, FrameMeta, FrameQuality, Inspection
from edgeinspect.sim.agenda import Agenda
from edgeinspect.sim.presets import DEFECT_CLASS, EXPOSURE_US, GAIN, MISPLACED_CLASS, MS, SECOND
from edgeinspect.sim.truth import FrameTruth, TruthLog
from edgeinspect.sim.world import LensView, World

WORKER_QUEUE = 8
HISTORY_BYTES = 64 * 1024 * 1024
"""Of pixels that the camera keeps, to show them again."""
LARGEST_STAMP_ERROR_NS = 14 * MS


class Eye(Protocol):
    """What the camera sees."""

    def expose(self, view: LensView, exposure_ns: int) -> NDArray[np.uint8]:
        """The picture of this view: uint8, (height, width) or (height, width, 3), read-only.

        Two exposures never give equal pixels, as with a live sensor's noise.
        """


class Judge(Protocol):
    """What the engine says of a picture; ``Inspector`` is one."""

    def inspect(self, frame: Frame) -> Inspection:
        """Raises InferenceFailed."""


_PIXELS = struct.Struct("<Bqdq")
_EMPTY, _MISPLACED, _PLACED = 0, 1, 2


class CodedEye(Eye):
    """Encodes the part before the lens in 25 bytes of pixels, in one row."""

    @override
    def expose(self, view: LensView, exposure_ns: int) -> NDArray[np.uint8]:
        part = view.part
        if part is None:
            row = _PIXELS.pack(_EMPTY, -1, 0.0, exposure_ns)
        else:
            place = _PLACED if view.placed else _MISPLACED
            row = _PIXELS.pack(place, part.number, part.score, exposure_ns)
        return np.frombuffer(row, np.uint8).reshape(1, -1)


class CodedJudge(Judge):
    """Decodes the rows of ``CodedEye``.

    The scores are those of the classes "defect" and "misplaced". The empty belt is dark and without
    texture. A part out of place scores 1.0 as misplaced, because a model that was trained on parts
    in place would see an arbitrary surface there.
    """

    @override
    def inspect(self, frame: Frame) -> Inspection:
        row = frame.pixels.tobytes()
        place, _, score, _ = _PIXELS.unpack(row)
        if place == _EMPTY:
            dark = FrameQuality(12.0, 0.2, 0.0, 3.0)
            return Inspection((0.0, 0.0), DEFECT_CLASS, 0.0, dark)
        sharp = FrameQuality(120.0, 0.0, 0.0, 400.0)
        if place == _MISPLACED:
            return Inspection((0.0, 1.0), MISPLACED_CLASS, 1.0, sharp)
        return Inspection((score, 0.0), DEFECT_CLASS, score, sharp)


Post = Callable[[Event, int], None]
"""Hands an event to the station that is alive now; called with the time."""


class VirtualCamera:
    """A camera that exposes when asked, on the agenda's clock; frames are logged in ``truth``.

    Attributes:
        mishaps: names of camera faults that strike the next captures, oldest first.
        dead_until_ns: every capture before this fails.
    """

    def __init__(
        self,
        *,
        world: World,
        rng: Random,
        eye: Eye,
        truth: TruthLog,
        agenda: Agenda,
        checks: FrameChecks,
    ) -> None:
        self.mishaps: deque[str] = deque()
        self.dead_until_ns = 0
        self._world = world
        self._rng = rng
        self._eye = eye
        asked = checks.controls
        self._controls = replace(
            asked,
            exposure_us=EXPOSURE_US if asked.exposure_us is None else asked.exposure_us,
            gain=GAIN if asked.gain is None else asked.gain,
        )
        self._truth = truth
        self._agenda = agenda
        self._sequence = 0
        self._free_ns = 0
        self._session = 0
        self._last: Frame | None = None
        self._last_view = LensView(None)
        self._shown: deque[Frame] = deque()
        self._shown_bytes = 0

    def reopen(self, now_ns: int) -> None:
        """A new process opens the camera: nothing of the old session is delivered any more."""
        self._session += 1
        self._last = None
        self._shown.clear()
        self._shown_bytes = 0
        self._free_ns = now_ns + 100 * MS

    def lost(self, frame: Frame) -> None:
        """The station did not see this frame, so it could not recognize it."""
        if frame in self._shown:
            self._shown.remove(frame)
            self._shown_bytes -= frame.pixels.nbytes

    def capture(self, request: Capture, post: Post, now_ns: int) -> None:
        """Serve one request; ``post`` ignores answers to a process that has died."""
        wait_ns = self._rng.randint(0, 3 * MS)
        exposure_ns = max(request.not_before_mono_ns, self._free_ns, now_ns) + wait_ns
        self._free_ns = exposure_ns + 10 * MS
        if now_ns < self.dead_until_ns:
            self._fail(request, post, now_ns + MS)
        elif exposure_ns > request.deadline_mono_ns:
            self._fail(request, post, request.deadline_mono_ns)
        else:
            mishap = self.mishaps.popleft() if self.mishaps else ""
            if mishap == "off_stamp":
                self._expose_off_stamp(request, exposure_ns, post, now_ns)
                return
            self._agenda.at(exposure_ns, lambda t: self._expose(request, mishap, post, t))

    def _expose_off_stamp(self, request: Capture, stamp_ns: int, post: Post, now_ns: int) -> None:
        """Half of the drivers allow for the error when they choose the frame; the others do not."""
        error_ns = self._rng.randint(MS, LARGEST_STAMP_ERROR_NS)
        if self._rng.random() < 0.5:
            stamp_ns += error_ns
        exposure_ns = max(now_ns, stamp_ns + self._rng.randint(-error_ns, error_ns))
        stamp = (stamp_ns, error_ns)
        self._agenda.at(exposure_ns, lambda t: self._expose(request, "off_stamp", post, t, stamp))

    def _fail(self, request: Capture, post: Post, at_ns: int) -> None:
        event = CaptureFailed(request.part_id, "the simulated camera gave no frame")
        self._agenda.at(at_ns, lambda t: post(event, t))

    def _expose(
        self,
        request: Capture,
        mishap: str,
        post: Post,
        now_ns: int,
        stamp: tuple[int, int] | None = None,
    ) -> None:
        view = self._world.look(now_ns)
        frame = self._frame(view, self._eye.expose(view, now_ns), now_ns)
        truth = self._truth.frames[self._sequence]
        self._truth.frames[self._sequence] = replace(truth, counted=self._world.counted)
        if stamp is not None:
            stamp_ns, error_ns = stamp
            meta = replace(frame.meta, exposure_mono_ns=stamp_ns, exposure_error_ns=error_ns)
            frame = Frame(meta, frame.pixels)
        delay_ns = self._rng.randint(8 * MS, 15 * MS)
        if mishap == "dropped_frame":
            if self._rng.random() < 0.5:
                self._fail(request, post, request.deadline_mono_ns)
            return
        if mishap == "late_frame":
            delay_ns = self._rng.randint(150 * MS, 1200 * MS)
        session = self._session

        def deliver(at_ns: int) -> None:
            if session == self._session:
                post(FrameArrived(self._tampered(frame, view, mishap)), at_ns)

        self._agenda.at(now_ns + delay_ns, deliver)

    def _tampered(self, frame: Frame, view: LensView, mishap: str) -> Frame:
        """Return the frame that is delivered instead of this one."""
        previous, previous_view = self._last, self._last_view
        if mishap == "off_exposure":
            frame = _off_recipe(frame, self._rng)
        elif previous is not None and mishap == "repeated_frame":
            frame, view = previous, previous_view
        elif previous is not None and mishap == "stale_frame":
            frame, view = self._stale(previous, previous_view), previous_view
        elif previous is not None and mishap == "frozen_frame":
            frame = self._frozen(frame, previous)
        elif self._shown and mishap == "reshown_frame":
            return self._reshown(frame)
        self._last, self._last_view = frame, view
        self._keep(frame)
        return frame

    def _keep(self, frame: Frame) -> None:
        self._shown.append(frame)
        self._shown_bytes += frame.pixels.nbytes
        while self._shown_bytes > HISTORY_BYTES:
            self._shown_bytes -= self._shown.popleft().pixels.nbytes

    def _reshown(self, frame: Frame) -> Frame:
        """An old picture in this frame's place; each of its marks may be old or new.

        Ages are drawn so that one frame ago, ten and thousands are about equally frequent.
        """
        age = int(len(self._shown) ** self._rng.random())
        old = self._shown[-max(1, age)]
        marks = self._rng.choice(("new", "new", "old", "old number", "old stamp"))
        if marks == "old":
            return old
        meta = frame.meta
        if marks == "old number":
            return Frame(replace(meta, sequence=old.meta.sequence), old.pixels)
        if marks == "old stamp":
            meta = replace(meta, exposure_mono_ns=old.meta.exposure_mono_ns)
        shown = self._truth.frames[old.meta.sequence]
        self._truth.frames[meta.sequence] = replace(shown, shown_again=True)
        return Frame(meta, old.pixels)

    def _frame(self, view: LensView, pixels: NDArray[np.uint8], exposure_ns: int) -> Frame:
        part = view.part.number if view.part is not None else None
        self._sequence += 1
        self._truth.frames[self._sequence] = FrameTruth(part, view.placed, exposure_ns)
        stamp = self._sequence, exposure_ns, exposure_ns + 8 * MS
        meta = FrameMeta(*stamp, self._controls)
        return Frame(meta, pixels)

    def _stale(self, previous: Frame, view: LensView) -> Frame:
        """Return a second exposure of the last view, kept in a buffer since."""
        exposure_ns = previous.meta.exposure_mono_ns + 5 * MS
        return self._frame(view, self._eye.expose(view, exposure_ns), exposure_ns)

    def _frozen(self, frame: Frame, previous: Frame) -> Frame:
        shown = self._truth.frames[previous.meta.sequence]
        self._truth.frames[frame.meta.sequence] = replace(shown, shown_again=True)
        return Frame(frame.meta, previous.pixels)


def _off_recipe(frame: Frame, rng: Random) -> Frame:
    controls = frame.meta.controls
    if rng.random() < 0.5:
        controls = replace(controls, exposure_us=1.5 * (controls.exposure_us or 0.0))
    else:
        controls = replace(controls, gain=2.0 * (controls.gain or 0.0))
    return Frame(replace(frame.meta, controls=controls), frame.pixels)


class VirtualEngine:
    """One inference worker with a bounded queue.

    Attributes:
        mishaps: names of engine faults that strike the next inspections, oldest first.
    """

    def __init__(self, *, rng: Random, judge: Judge, agenda: Agenda) -> None:
        self.mishaps: deque[str] = deque()
        self._rng = rng
        self._judge = judge
        self._agenda = agenda
        self._free_ns = 0
        self._waiting = 0

    def restart(self, now_ns: int) -> None:
        """Forget the waiting inspections, as a new process would."""
        self._free_ns = now_ns
        self._waiting = 0

    def inspect(self, request: Inspect, post: Post, now_ns: int) -> None:
        """Serve one request in turn."""
        mishap = self.mishaps.popleft() if self.mishaps else ""
        if mishap == "queue_overflow" or self._waiting >= WORKER_QUEUE:
            post(QueueOverflow(request.part_id, "inspection"), now_ns)
            return
        if mishap == "lost_inference":
            return
        took_ns = self._rng.randint(25 * MS, 45 * MS)
        if mishap == "slow_inference":
            took_ns += self._rng.randint(200 * MS, 1500 * MS)
        self._free_ns = max(self._free_ns, now_ns) + took_ns
        self._waiting += 1
        event = self._answer(request, failed=mishap == "failed_inference")
        self._agenda.at(self._free_ns, lambda t: self._deliver(event, post, t))
        if mishap == "engine_duplicate":
            again_ns = self._free_ns + self._rng.randint(0, 2 * SECOND)
            self._agenda.at(again_ns, lambda t: post(event, t))

    def _deliver(self, event: Event, post: Post, now_ns: int) -> None:
        self._waiting = max(0, self._waiting - 1)
        post(event, now_ns)

    def _answer(self, request: Inspect, *, failed: bool) -> Event:
        if failed:
            return InspectionFailed(request.part_id, "the simulated engine failed")
        try:
            return Inspected(request.part_id, self._judge.inspect(request.frame))
        except InferenceFailed as error:
            return InspectionFailed.because(request.part_id, error, str(error))
