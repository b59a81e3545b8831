"""Strict fakes of the line seams: they record everything and refuse misuse."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from typing_extensions import override

from edgeinspect.errors import LineFault, UsageError
from edgeinspect.hw.input_faults import InputFaults
from edgeinspect.ports import EdgeInput, EdgeListener, EncoderInput, LevelInput, Output

Listener = TypeVar("Listener")


class _FakeInput(Generic[Listener]):
    """What the inputs share: a test makes them fail as a real driver would.

    Attributes:
        is_closed: whether the input was closed.
    """

    def __init__(self) -> None:
        self._faults: InputFaults | None = None
        self._listener: Listener | None = None
        self.is_closed = False

    @property
    def is_started(self) -> bool:
        """Whether a listener was given."""
        return self._listener is not None

    def report_faults_to(self, listener: InputFaults) -> None:
        self._faults = listener

    def lose_edges(self, count: int) -> None:
        """Report this number of lost edges."""
        if self._faults is not None:
            self._faults.edges_lost(count)

    def fail(self, error: LineFault) -> None:
        """Act as if the input's chip was removed."""
        if self._faults is not None:
            self._faults.failed(error)

    def close(self) -> None:
        """Report nothing more."""
        self._listener = None
        self.is_closed = True

    def _listen(self, listener: Listener) -> None:
        refuse_start(started=self.is_started, closed=self.is_closed)
        self._listener = listener


class FakeEdgeInput(_FakeInput[EdgeListener], EdgeInput):
    """Trigger, confirm or guard sensor whose edges a test makes with ``edge``.

    Attributes:
        edges: the timestamps of all edges made, mono ns.
    """

    def __init__(self, *, start_error: Exception | None = None) -> None:
        super().__init__()
        self._start_error = start_error
        self.edges: list[int] = []

    @override
    def start(self, listener: EdgeListener) -> None:
        if self._start_error is not None:
            raise self._start_error
        self._listen(listener)

    def edge(self, edge_mono_ns: int) -> None:
        """Make one active edge; time never runs backwards on one line."""
        if self._listener is None:
            raise UsageError("An edge was made on a line that is not started.")
        if self.edges and edge_mono_ns < self.edges[-1]:
            raise UsageError("Edges of one line must be made in time order.")
        self.edges.append(edge_mono_ns)
        self._listener(edge_mono_ns)


class FakeLevelInput(_FakeInput[Callable[[bool, int], None]], LevelInput):
    """The line-stopped input; a test changes it with ``set``."""

    def __init__(self, *, active: bool = False) -> None:
        super().__init__()
        self._active = active

    @override
    def start(self, listener: Callable[[bool, int], None]) -> bool:
        self._listen(listener)
        return self._active

    def set(self, active: bool, edge_mono_ns: int) -> None:
        """Change the level; setting the level that it has is refused: it would be no edge."""
        if self._listener is None:
            raise UsageError("A level was changed on a line that is not started.")
        if active == self._active:
            raise UsageError("The line already has this level.")
        self._active = active
        self._listener(active, edge_mono_ns)


class FakeEncoder(_FakeInput[Callable[[int, int], None]], EncoderInput):
    """The belt's counter; a test moves it with ``move_to``."""

    count = 0

    @override
    def start(self, listener: Callable[[int, int], None]) -> None:
        self._listen(listener)

    def move_to(self, count: int, edge_mono_ns: int) -> None:
        """Report this count. Raises UsageError if it decreases or nobody listens."""
        if self._listener is None:
            raise UsageError("The encoder was moved before it was started.")
        if count < self.count:
            raise UsageError("The encoder's count never decreases.")
        self.count = count
        self._listener(count, edge_mono_ns)


class FakeOutput(Output):
    """An output line that remembers how it was driven.

    Attributes:
        levels: every level driven, in order; the safe level is False and not in the list.
        active: the present level.
    """

    def __init__(
        self,
        *,
        errors: Iterable[Exception | None] = (),
        on_drive: Callable[[bool], None] | None = None,
    ) -> None:
        """Set the script.

        Args:
            errors: for the first calls of ``drive``, one each; None lets the call succeed.
            on_drive: called after each successful change, in the thread that drives.
        """
        self._errors = iter(errors)
        self._on_drive = on_drive
        self.levels: list[bool] = []
        self.active = False
        self.is_closed = False

    @override
    def drive(self, active: bool) -> None:
        if self.is_closed:
            raise UsageError("A closed output was driven.")
        error = next(self._errors, None)
        if error is not None:
            raise error
        self.levels.append(active)
        self.active = active
        if self._on_drive is not None:
            self._on_drive(active)

    @override
    def close(self) -> None:
        self.active = False
        self.is_closed = True


def refuse_start(*, started: bool, closed: bool) -> None:
    """Raise UsageError if a line is started twice or after it was closed."""
    if started:
        raise UsageError("The line was started twice.")
    if closed:
        raise UsageError("The line was started after it was closed.")
