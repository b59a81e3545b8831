"""The camera seam's strict fake: scripted answers, everything recorded, misuse refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from typing_extensions import override

from edgeinspect.errors import CameraFault, UsageError
from edgeinspect.hw.camera_drops import DropListener, ignore_drop
from edgeinspect.part import CameraControls, Frame
from edgeinspect.ports import Camera


class CaptureCall(NamedTuple):
    """The arguments of one capture."""

    not_before_mono_ns: int
    deadline_mono_ns: int


Answer = Frame | Exception | Callable[[CaptureCall], Frame]
"""A frame to return, an error to raise, or a function that makes (or raises) one of them."""


class FakeCamera(Camera):
    """Answers each capture with the next entry of a script.

    Attributes:
        captures: the arguments of every capture, in order.
        controls: the controls of ``open`` and every ``apply``, in order.
        opened: how often the camera was opened.
        otherwise: answers every capture after the script.
        open_errors: raised by the next calls of ``open``, one each.
        lost: raised by every ``check`` while it is set.
        drop: reports a dropped frame to the listener.
    """

    def __init__(
        self,
        answers: Iterable[Answer] = (),
        *,
        otherwise: Answer | None = None,
        open_errors: Iterable[Exception] = (),
    ) -> None:
        """Set the script.

        Args:
            answers: used once each, in order.
            otherwise: answers every later capture; None makes such a capture an error.
            open_errors: raised by the first calls of ``open``, one each.
        """
        self._answers = iter(answers)
        self.otherwise = otherwise
        self.open_errors = list(open_errors)
        self._is_open = False
        self.captures: list[CaptureCall] = []
        self.controls: list[CameraControls] = []
        self.opened = 0
        self.lost: CameraFault | None = None
        self.drop: DropListener = ignore_drop

    @property
    def is_open(self) -> bool:
        """Whether the camera is open."""
        return self._is_open

    def report_drops_to(self, listener: DropListener) -> None:
        """Report dropped frames to this listener."""
        self.drop = listener

    @override
    def open(self, controls: CameraControls) -> None:
        if self._is_open:
            raise UsageError("The camera is already open.")
        if self.open_errors:
            raise self.open_errors.pop(0)
        self._is_open = True
        self.opened += 1
        self.controls.append(controls)

    @override
    def apply(self, controls: CameraControls) -> None:
        self._require_open("apply")
        self.controls.append(controls)

    @override
    def capture(self, *, not_before_mono_ns: int, deadline_mono_ns: int) -> Frame:
        self._require_open("capture")
        if deadline_mono_ns < not_before_mono_ns:
            raise UsageError("The capture's deadline is before its exposure.")
        call = CaptureCall(not_before_mono_ns, deadline_mono_ns)
        self.captures.append(call)
        answer = next(self._answers, self.otherwise)
        if answer is None:
            raise CameraFault("The fake camera's script has ended.")
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Frame) else answer(call)

    @override
    def check(self) -> None:
        self._require_open("check")
        if self.lost is not None:
            raise self.lost

    @override
    def close(self) -> None:
        self._is_open = False

    def _require_open(self, what: str) -> None:
        if not self._is_open:
            raise UsageError(f"{what} was called on a camera that is not open.")
