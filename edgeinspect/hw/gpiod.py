"""Lines of the kernel's character device, through ``gpiod`` 2.x: the driver ``gpiod``.

Edges carry the kernel's CLOCK_MONOTONIC stamp. Where ``debounce_us`` is set, the stamp is taken
when the level has been steady for that long, so it comes that much later than the edge itself.
The kernel numbers the edges of a line, so one that was lost on the way is noticed and told. Edges
so close together that the chip or its driver makes one interrupt of them are merged before they are
numbered, and no number shows those.

An output is requested, at its safe level, in one system call and held until ``close``; a process
that is killed leaves it to the hardware's pull, as the kernel then releases the line.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import select
import threading
from collections.abc import Callable, Sequence
from typing import Any

from edgeinspect.errors import LineFault, UsageError
from edgeinspect.hw.gpio_chips import holder_of, line_offset, open_chip, vendor
from edgeinspect.hw.gpio_faults import consumer, gone, line_fault
from edgeinspect.hw.input_faults import InputFaults
from edgeinspect.ports import EdgeListener
from edgeinspect.settings.wiring import Active, Bias, EncoderLine, InputLine, Io, OutputLine

EVENT_BUFFER = 1024
"""Edges that the kernel keeps for us; it allows no more for one line."""
_JOIN_S = 2.0


def edge_input(io: Io, wire: InputLine) -> EdgeLine:
    return EdgeLine(io, wire)


def level_input(io: Io, wire: InputLine) -> LevelLine:
    return LevelLine(io, wire)


def encoder_input(io: Io, wire: EncoderLine) -> EncoderCounter:
    return EncoderCounter(io, wire)


def output(io: Io, wire: OutputLine) -> DrivenLine:
    return DrivenLine(io, wire)


class EdgeLine:
    """An input whose active edges are reported; see ``edgeinspect.ports.EdgeInput``."""

    def __init__(self, io: Io, wire: InputLine) -> None:
        self._events = _Events(io, wire, edges="RISING")

    def tell_faults(self, listener: InputFaults) -> None:
        self._events.faults = listener

    def start(self, listener: EdgeListener) -> None:
        def report(events: Sequence[Any]) -> None:
            for event in events:
                listener(event.timestamp_ns)

        self._events.start(report)

    def close(self) -> None:
        self._events.close()


class LevelLine:
    """An input whose level is reported; see ``edgeinspect.ports.LevelInput``."""

    def __init__(self, io: Io, wire: InputLine) -> None:
        self._events = _Events(io, wire, edges="BOTH")

    def tell_faults(self, listener: InputFaults) -> None:
        self._events.faults = listener

    def start(self, listener: Callable[[bool, int], None]) -> bool:
        rising = vendor().EdgeEvent.Type.RISING_EDGE

        def report(events: Sequence[Any]) -> None:
            # Only the newest level matters, and it is right even where edges were lost.
            newest = events[-1]
            listener(newest.event_type is rising, newest.timestamp_ns)

        return self._events.start(report)

    def close(self) -> None:
        self._events.close()


class EncoderCounter:
    """A counter of active edges; see ``edgeinspect.ports.EncoderInput``.

    The count is the kernel's own number of the edge, so it is right even where the program was
    too slow to hear of every single one. One channel tells no direction: a belt that runs
    backwards counts up, too.
    """

    def __init__(self, io: Io, wire: EncoderLine) -> None:
        self._events = _Events(io, wire, edges="RISING", numbers_matter=False)

    def tell_faults(self, listener: InputFaults) -> None:
        self._events.faults = listener

    def start(self, listener: Callable[[int, int], None]) -> None:
        def report(events: Sequence[Any]) -> None:
            listener(events[-1].line_seqno, events[-1].timestamp_ns)

        self._events.start(report)

    def close(self) -> None:
        self._events.close()


class DrivenLine:
    """An output; see ``edgeinspect.ports.Output``. Requested at its safe level when it is made."""

    def __init__(self, io: Io, wire: OutputLine) -> None:
        gpiod = vendor()
        self._value = gpiod.line.Value
        settings = gpiod.LineSettings(
            direction=gpiod.line.Direction.OUTPUT,
            active_low=wire.active is Active.LOW,
            output_value=self._value.INACTIVE,
        )
        self._lock = threading.Lock()
        self._name, self._offset, self._request = _request(io, wire, settings)
        self._closed = False

    def drive(self, active: bool) -> None:
        with self._lock:
            if self._closed:
                raise UsageError(f"The closed output {self._name} was driven.")
            self._set(active)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                self._set(False)
            finally:
                with contextlib.suppress(OSError):
                    self._request.release()

    def _set(self, active: bool) -> None:
        value = self._value.ACTIVE if active else self._value.INACTIVE
        try:
            self._request.set_value(self._offset, value)
        except OSError as error:
            raise line_fault(error, line=self._name, doing="driven") from error


class _Events:
    """A requested input and the thread that reads its events."""

    def __init__(self, io: Io, wire: InputLine, *, edges: str, numbers_matter: bool = True) -> None:
        self._io, self._wire, self._edges = io, wire, edges
        self._numbers_matter = numbers_matter
        self._name = line_name(io, wire)
        self._request: Any = None
        self._closed = False
        self._last_number = 0
        self._wake_reader, self._wake_writer = -1, -1
        self._thread: threading.Thread | None = None
        self.faults: InputFaults | None = None

    def start(self, report: Callable[[Sequence[Any]], None]) -> bool:
        """Request the line and report from now on; returns the level now. Raises LineFault."""
        if self._request is not None:
            raise UsageError(f"The line {self._name} was started twice.")
        if self._closed:
            raise UsageError(f"The line {self._name} was started after it was closed.")
        settings = _input_settings(self._wire, self._edges)
        _, offset, self._request = _request(self._io, self._wire, settings)
        try:
            level = self._request.get_value(offset) is vendor().line.Value.ACTIVE
            self._wake_reader, self._wake_writer = os.pipe()
        except OSError as error:
            self._request.release()
            raise line_fault(error, line=self._name, doing="read") from error
        self._thread = threading.Thread(
            target=self._run, args=(report,), name=f"gpio-{self._wire.line}", daemon=True
        )
        self._thread.start()
        return level

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._thread is None:
            return
        os.write(self._wake_writer, b"x")
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            return  # a listener hangs; the line must not be taken away under it
        os.close(self._wake_reader)
        os.close(self._wake_writer)
        with contextlib.suppress(OSError):
            self._request.release()

    def _run(self, report: Callable[[Sequence[Any]], None]) -> None:
        poller = select.poll()
        poller.register(self._request.fd, select.POLLIN)
        poller.register(self._wake_reader, select.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._closed:
                return
            try:
                if not ready.get(self._request.fd, 0) & select.POLLIN:
                    self._tell_failed(gone(self._name))
                    return
                events = self._request.read_edge_events(EVENT_BUFFER)
            except OSError as error:
                self._tell_failed(line_fault(error, line=self._name, doing="read"))
                return
            self._watch_numbers(events)
            report(events)

    def _watch_numbers(self, events: Sequence[Any]) -> None:
        """The kernel counts every edge of the line from 1; a gap is what it had no room for."""
        lost = events[-1].line_seqno - self._last_number - len(events)
        self._last_number = events[-1].line_seqno
        if lost > 0 and self._numbers_matter and self.faults is not None:
            self.faults.edges_lost(lost)

    def _tell_failed(self, error: LineFault) -> None:
        if self.faults is not None:
            self.faults.failed(error)


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
