"""Lines of the kernel's character device, through ``gpiod`` 2.x: the driver ``gpiod``.

Edges carry the kernel's CLOCK_MONOTONIC stamp, and one thread reports the edges of all lines in the
order of their stamps (``edgeinspect.hw.edge_reader``). With ``debounce_us``, the stamp is taken
when the level has been steady for that long, so it is that much later than the edge itself. The
kernel numbers the edges of a line, so a lost edge is noticed and reported. Edges so close together
that the chip or its driver makes one interrupt of them are merged before they are numbered, and the
numbers do not show that.

An output is requested, at its safe level, in one system call and held until ``close``. When a
process is killed, the kernel releases the line, and the hardware's pull decides its level.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from typing_extensions import override

from edgeinspect.errors import UsageError
from edgeinspect.hw.driven_output import DrivenOutput
from edgeinspect.hw.edge_reader import Told, reader
from edgeinspect.hw.gpio_chips import holder_of, line_offset, open_chip, vendor
from edgeinspect.hw.gpio_faults import consumer, gone, line_fault
from edgeinspect.hw.input_faults import InputFaults, ReportsFaults
from edgeinspect.ports import EdgeInput, EdgeListener, EncoderInput, LevelInput
from edgeinspect.settings.wiring import Active, Bias, EncoderLine, InputLine, Io, OutputLine

NUMBERS = 1 << 32
EVENT_BUFFER = 1024
"""Edges that the kernel keeps for us; it allows no more for one line."""


def edge_input(io: Io, wire: InputLine) -> EdgeLine:
    """Make an edge input; ``start`` opens the line."""
    return EdgeLine(io, wire)


def level_input(io: Io, wire: InputLine) -> LevelLine:
    """Make a level input; ``start`` opens the line."""
    return LevelLine(io, wire)


def encoder_input(io: Io, wire: EncoderLine) -> EncoderCounter:
    """Make an encoder input; ``start`` opens the line."""
    return EncoderCounter(io, wire)


def output(io: Io, wire: OutputLine) -> DrivenOutput:
    """Open an output at its safe level. Raises LineFault."""
    gpiod = vendor()
    value = gpiod.line.Value
    settings = gpiod.LineSettings(
        direction=gpiod.line.Direction.OUTPUT,
        active_low=wire.active is Active.LOW,
        output_value=value.INACTIVE,
    )
    name, offset, request = _request(io, wire, settings)

    def drive(active: bool) -> None:
        try:
            request.set_value(offset, value.ACTIVE if active else value.INACTIVE)
        except OSError as error:
            raise line_fault(error, line=name, doing="driven") from error

    def release() -> None:
        with contextlib.suppress(OSError):
            request.release()

    return DrivenOutput(name, drive=drive, release=release)


class _Line(ReportsFaults):
    """What the three kinds of input share."""

    def __init__(self, events: _Events) -> None:
        self._events = events

    @override
    def report_faults_to(self, listener: InputFaults) -> None:
        self._events.faults = listener

    def close(self) -> None:
        """See ``edgeinspect.ports.EdgeInput``."""
        self._events.close()


class EdgeLine(_Line, EdgeInput):
    """An input whose active edges are reported; see ``edgeinspect.ports.EdgeInput``."""

    def __init__(self, io: Io, wire: InputLine) -> None:
        super().__init__(_Events(io, wire, edges="RISING"))

    @override
    def start(self, listener: EdgeListener) -> None:
        self._events.start(lambda event: listener(event.timestamp_ns))


class LevelLine(_Line, LevelInput):
    """An input whose level is reported; see ``edgeinspect.ports.LevelInput``."""

    def __init__(self, io: Io, wire: InputLine) -> None:
        super().__init__(_Events(io, wire, edges="BOTH"))

    @override
    def start(self, listener: Callable[[bool, int], None]) -> bool:
        rising = vendor().EdgeEvent.Type.RISING_EDGE

        def report(event: Any) -> None:
            listener(event.event_type is rising, event.timestamp_ns)

        return self._events.start(report)


class EncoderCounter(_Line, EncoderInput):
    """A counter of active edges; see ``edgeinspect.ports.EncoderInput``.

    The count is the kernel's own number of the edge, so it is right even if the program was too
    slow to receive every edge. One channel has no direction: a belt that runs backwards counts up,
    too.
    """

    def __init__(self, io: Io, wire: EncoderLine) -> None:
        super().__init__(_Events(io, wire, edges="RISING", counts=True))
        self._count = 0

    @override
    def start(self, listener: Callable[[int, int], None]) -> None:
        def report(event: Any) -> None:
            # The kernel's number has 32 bits: at 10,000 counts a second it lasts for five days.
            self._count += (event.line_seqno - self._count) % NUMBERS
            listener(self._count, event.timestamp_ns)

        self._events.start(report)


class _Events:
    """A requested input; the process's single reader reports its events."""

    def __init__(self, io: Io, wire: InputLine, *, edges: str, counts: bool = False) -> None:
        self._io, self._wire, self._edges = io, wire, edges
        self.read_last = counts
        self._name = line_name(io, wire)
        self._request: Any = None
        self._report: Callable[[Any], None] | None = None
        self._reading = False
        self._closed = False
        self._last_number = 0
        self.faults: InputFaults | None = None

    def start(self, report: Callable[[Any], None]) -> bool:
        """Request the line and report from now on; returns the level now. Raises LineFault."""
        if self._request is not None:
            raise UsageError(f"The line {self._name} was started twice.")
        if self._closed:
            raise UsageError(f"The line {self._name} was started after it was closed.")
        settings = _input_settings(self._wire, self._edges)
        _, offset, self._request = _request(self._io, self._wire, settings)
        self._report = report
        try:
            level = self._request.get_value(offset) is vendor().line.Value.ACTIVE
            reader.add(self)
        except OSError as error:
            self._request.release()
            raise line_fault(error, line=self._name, doing="read") from error
        self._reading = True
        return level

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if not self._reading or not reader.remove(self):
            return  # it was never read, or a listener hangs: the line is not taken from under it
        with contextlib.suppress(OSError):
            self._request.release()

    # --- what the reader uses -----------------------------------------------------------------

    def fileno(self) -> int:
        return int(self._request.fd)

    def read(self) -> list[Told]:
        events = self._request.read_edge_events(EVENT_BUFFER)
        self._watch_numbers(events)
        assert self._report is not None
        return [(event.timestamp_ns, partial(self._report, event)) for event in events]

    def fail(self, error: OSError | None) -> None:
        if self.faults is not None:
            failed = gone(self._name)
            if error is not None:
                failed = line_fault(error, line=self._name, doing="read")
            self.faults.failed(failed)

    def _watch_numbers(self, events: Sequence[Any]) -> None:
        """Notice a gap in the kernel's edge numbers: edges that its buffer had no room for."""
        lost = events[-1].line_seqno - self._last_number - len(events)
        self._last_number = events[-1].line_seqno
        if lost > 0 and not self.read_last and self.faults is not None:
            self.faults.edges_lost(lost)


def line_name(io: Io, wire: OutputLine) -> str:
    """As people know it: "GPIO17 of pinctrl-rp1"."""
    return f"{wire.line} of {wire.chip or io.chip}"


def _input_settings(wire: InputLine, edges: str) -> Any:
    gpiod = vendor()
    biases = {
        Bias.PULL_UP: gpiod.line.Bias.PULL_UP,
        Bias.PULL_DOWN: gpiod.line.Bias.PULL_DOWN,
        Bias.DISABLED: gpiod.line.Bias.DISABLED,
        Bias.AS_IS: gpiod.line.Bias.AS_IS,
    }
    return gpiod.LineSettings(
        direction=gpiod.line.Direction.INPUT,
        edge_detection=gpiod.line.Edge[edges],
        bias=biases[wire.bias],
        active_low=wire.active is Active.LOW,
        debounce_period=datetime.timedelta(microseconds=wire.debounce_us),
        event_clock=gpiod.line.Clock.MONOTONIC,
    )


def _request(io: Io, wire: OutputLine, settings: Any) -> tuple[str, int, Any]:
    """Request one line; returns its name for people, its offset and gpiod's request."""
    label, name = wire.chip or io.chip or "", line_name(io, wire)
    chip = open_chip(label)
    try:
        offset = line_offset(chip, wire.line, label)
        try:
            request = chip.request_lines(
                {offset: settings}, consumer=consumer(), event_buffer_size=EVENT_BUFFER
            )
        except OSError as error:
            raise line_fault(error, line=name, holder=holder_of(chip, offset)) from error
    finally:
        chip.close()
    return name, offset, request
