"""A GPIO chip in memory: an io driver whose wires a test pulls and whose outputs it reads.

It answers as the real drivers do, errors and their wording included, so that one suite of
contract tests runs against it and against them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from edgeinspect.errors import LineFault, UsageError
from edgeinspect.hw.fake_io import FakeEdgeInput, FakeEncoder, FakeLevelInput, refuse_start
from edgeinspect.hw.gpio_faults import busy, gone, no_permission
from edgeinspect.hw.input_faults import InputFaults
from edgeinspect.ports import EdgeListener
from edgeinspect.settings.wiring import Active, EncoderLine, InputLine, Io, OutputLine

FakeInput = FakeEdgeInput | FakeLevelInput | FakeEncoder


@dataclass(slots=True)
class _Pin:
    """The state of one pin.

    Attributes:
        driven: the electrical level that an output gives it; None: nobody drives it.
        heard: reports each change of the electrical level to the input on it.
    """

    pull: bool = False
    driven: bool | None = None
    holder: str = ""
    heard: Callable[[bool], None] | None = None
    history: list[bool] = field(default_factory=list)


class FakeChip:
    """The chip, and the io driver for it (``edgeinspect.hw.registry.IoModule``).

    Attributes:
        denied: this user may not use the chip.
    """

    def __init__(self, label: str, *, lines: int = 54) -> None:
        self.label = label
        self.denied = False
        self._present = True
        self._pins = [_Pin() for _ in range(lines)]
        self._inputs: list[_FakeInputLine] = []

    # --- the other side of the wires ----------------------------------------------------------

    def pull(self, offset: int, high: bool) -> None:
        """Give an input this electrical level."""
        pin = self._pins[offset]
        if pin.pull == high:
            return
        pin.pull = high
        if pin.heard is not None:
            pin.heard(high)

    def level(self, offset: int) -> bool:
        """The electrical level of a line."""
        pin = self._pins[offset]
        return pin.pull if pin.driven is None else pin.driven

    def history(self, offset: int) -> list[bool]:
        """Every level that an output was given since the chip was made, the safe one first."""
        return self._pins[offset].history

    def hold(self, offset: int, holder: str) -> None:
        """Another program takes the line; "" gives it back."""
        self._pins[offset].holder = holder

    def unplug(self) -> None:
        """Remove the chip, as if somebody pulled its cable."""
        self._present = False
        for line in list(self._inputs):
            line.chip_has_gone()

    # --- the io driver --------------------------------------------------------------------------

    def edge_input(self, io: Io, wire: InputLine) -> _FakeEdgeLine:
        """Make an edge input on this chip."""
        return _FakeEdgeLine(self, io, wire)

    def level_input(self, io: Io, wire: InputLine) -> _FakeLevelLine:
        """Make a level input on this chip."""
        return _FakeLevelLine(self, io, wire)

    def encoder_input(self, io: Io, wire: EncoderLine) -> _FakeEncoderLine:
        """Make an encoder input on this chip."""
        return _FakeEncoderLine(self, io, wire)

    def output(self, io: Io, wire: OutputLine) -> _FakeDrivenLine:
        """Make an output on this chip."""
        return _FakeDrivenLine(self, io, wire)

    # --- what the lines use -----------------------------------------------------------------------

    def take(self, io: Io, wire: OutputLine) -> _Pin:
        """Reserve a pin. Raises LineFault as the kernel would refuse it."""
        name = f"{wire.line} of {wire.chip or io.chip}"
        if self.denied:
            raise no_permission(name)
        if not self._present or (wire.chip or io.chip) != self.label:
            raise LineFault(f"No GPIO chip has the label {wire.chip or io.chip!r}.")
        number = wire.line if isinstance(wire.line, int) else _number(wire.line)
        if not 0 <= number < len(self._pins):
            raise LineFault(f"The chip {self.label} has no line {wire.line!r}.")
        pin = self._pins[number]
        if pin.holder:
            raise busy(name, pin.holder)
        pin.holder = "edgeinspect"
        return pin

    def drive(self, pin: _Pin, level: bool, name: str) -> None:
        """Set a pin's electrical level. Raises LineFault if the chip was removed."""
        if not self._present:
            raise gone(name)
        pin.driven = level
        pin.history.append(level)

    def register(self, line: _FakeInputLine) -> None:
        """Report the removal of the chip to this input, too."""
        self._inputs.append(line)

    def forget(self, line: _FakeInputLine) -> None:
        """Stop reporting to this input."""
        if line in self._inputs:
            self._inputs.remove(line)


class _FakeInputLine:
    """One started input on the chip."""

    def __init__(self, chip: FakeChip, io: Io, wire: InputLine, fake: FakeInput) -> None:
        self._chip, self._io, self._wire, self._fake = chip, io, wire, fake
        self._pin: _Pin | None = None
        self._closed = False

    def report_faults_to(self, listener: InputFaults) -> None:
        self._fake.report_faults_to(listener)

    def close(self) -> None:
        self._closed = True
        self._fake.close()
        self._chip.forget(self)
        if self._pin is not None:
            self._pin.heard, self._pin.holder = None, ""
            self._pin = None

    def chip_has_gone(self) -> None:
        self._fake.fail(gone(f"{self._wire.line} of {self._chip.label}"))

    def _take(self, heard: Callable[[bool, int], None]) -> bool:
        refuse_start(started=self._pin is not None, closed=self._closed)
        pin = self._pin = self._chip.take(self._io, self._wire)
        inverted = self._wire.active is Active.LOW
        pin.heard = lambda high: heard(high != inverted, time.monotonic_ns())
        self._chip.register(self)
        return pin.pull != inverted


class _FakeEdgeLine(_FakeInputLine):
    def __init__(self, chip: FakeChip, io: Io, wire: InputLine) -> None:
        self._edges = FakeEdgeInput()
        super().__init__(chip, io, wire, self._edges)

    def start(self, listener: EdgeListener) -> None:
        self._take(lambda active, at: self._edges.edge(at) if active else None)
        self._edges.start(listener)


class _FakeLevelLine(_FakeInputLine):
    def __init__(self, chip: FakeChip, io: Io, wire: InputLine) -> None:
        super().__init__(chip, io, wire, FakeLevelInput())

    def start(self, listener: Callable[[bool, int], None]) -> bool:
        return self._take(listener)


class _FakeEncoderLine(_FakeInputLine):
    def __init__(self, chip: FakeChip, io: Io, wire: EncoderLine) -> None:
        self._encoder = FakeEncoder()
        super().__init__(chip, io, wire, self._encoder)

    def start(self, listener: Callable[[int, int], None]) -> None:
        def heard(active: bool, at_mono_ns: int) -> None:
            if active:
                self._encoder.move_to(self._encoder.count + 1, at_mono_ns)

        self._take(heard)
        self._encoder.start(listener)


class _FakeDrivenLine:
    """One output on the chip, at its safe level from the start."""

    def __init__(self, chip: FakeChip, io: Io, wire: OutputLine) -> None:
        self._chip = chip
        self._name = f"{wire.line} of {chip.label}"
        self._inverted = wire.active is Active.LOW
        self._pin = chip.take(io, wire)
        self._closed = False
        chip.drive(self._pin, self._inverted, self._name)

    def drive(self, active: bool) -> None:
        if self._closed:
            raise UsageError("A closed output was driven.")
        self._chip.drive(self._pin, active != self._inverted, self._name)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            self._chip.drive(self._pin, self._inverted, self._name)
        finally:
            self._pin.driven, self._pin.holder = None, ""


def _number(name: str) -> int:
    digits = name.removeprefix("GPIO")
    return int(digits) if digits.isdigit() else -1
