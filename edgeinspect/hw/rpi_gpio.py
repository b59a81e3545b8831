"""Lines through RPi.GPIO's API: the driver ``rpi-gpio``.

RPi.GPIO itself serves the Pi 1 to 4; ``rpi-lgpio`` offers the same API on every Pi, including the
Pi 5. Compared with the driver ``gpiod`` this API has limits that the station cannot remove:

* it has no kernel timestamps: an edge is stamped when its callback runs, which is later than the
  edge by the time of a thread switch (measured in docs/reference/hardware.md);
* it does not number edges, so lost ones are not noticed;
* a bias of ``as-is`` means no pull, because the API has no such setting;
* RPi.GPIO itself, unlike rpi-lgpio, does not notice that another program uses a line.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from typing_extensions import override

from edgeinspect.errors import DriverMissing, LineFault, UsageError
from edgeinspect.hw.driven_output import DrivenOutput
from edgeinspect.hw.gpio_faults import busy, chip_devices, gone, line_fault, no_permission
from edgeinspect.hw.input_faults import InputFaults, ReportsFaults
from edgeinspect.ports import EdgeInput, EdgeListener, EncoderInput, LevelInput
from edgeinspect.settings.wiring import Active, Bias, EncoderLine, InputLine, Io, OutputLine
from edgeinspect.undo import undo_on_error

_WATCH_PERIOD_S = 0.25
_JOIN_S = 2.0
_held: set[int] = set()
_closed: set[int] = set()
_holding = threading.Lock()


def edge_input(io: Io, wire: InputLine) -> EdgePin:
    """Make an edge input; ``start`` opens the pin."""
    del io
    return EdgePin(wire)


def level_input(io: Io, wire: InputLine) -> LevelPin:
    """Make a level input; ``start`` opens the pin."""
    del io
    return LevelPin(wire)


def encoder_input(io: Io, wire: EncoderLine) -> EncoderPin:
    """Make an encoder input; ``start`` opens the pin."""
    del io
    return EncoderPin(wire)


def output(io: Io, wire: OutputLine) -> DrivenOutput:
    """Open an output at its safe level. Raises LineFault."""
    del io
    number, name = pin_number(wire), pin_name(wire)
    idle = int(wire.active is Active.LOW)
    gpio = vendor()
    note_held(number, name)
    with _released_on_error(number), _translated(name, "opened"):
        gpio.setup(number, gpio.OUT, initial=idle)

    def drive(active: bool) -> None:
        with _translated(name, "driven"):
            gpio.output(number, int(active) ^ idle)

    return DrivenOutput(name, drive=drive, release=lambda: give_back(gpio, number))


class _Pin(ReportsFaults):
    """A set-up input with its callback, and a thread that detects when the chip is removed."""

    def __init__(self, wire: InputLine) -> None:
        self._wire = wire
        self._number, self._name = pin_number(wire), pin_name(wire)
        self._inverted = wire.active is Active.LOW
        self._gpio: Any = None
        self._closed = False
        self._ended = threading.Event()
        self._watcher: threading.Thread | None = None
        self._faults: InputFaults | None = None

    @override
    def report_faults_to(self, listener: InputFaults) -> None:
        self._faults = listener

    def _start(self, report: Callable[[], None], *, both_edges: bool) -> bool:
        """Set the line up and call ``report`` at every edge; returns the level now."""
        if self._gpio is not None:
            raise UsageError(f"The line {self._name} was started twice.")
        if self._closed:
            raise UsageError(f"The line {self._name} was started after it was closed.")
        debounce = _bounce_time(self._wire, self._name)
        gpio = vendor()
        note_held(self._number, self._name)
        with _released_on_error(self._number), _translated(self._name, "opened"):
            gpio.setup(self._number, gpio.IN, pull_up_down=_pull(gpio, self._wire.bias))
            self._gpio = gpio
            level = self._read()
            edge = gpio.BOTH if both_edges else gpio.FALLING if self._inverted else gpio.RISING
            gpio.add_event_detect(self._number, edge, callback=lambda pin: report(), **debounce)
        self._watcher = threading.Thread(
            target=self._watch, name=f"gpio-{self._wire.line}", daemon=True
        )
        self._watcher.start()
        return level

    def _read(self) -> bool:
        return bool(self._gpio.input(self._number)) != self._inverted

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._watcher is None:
            return
        self._ended.set()
        self._watcher.join(_JOIN_S)
        with contextlib.suppress(Exception):
            self._gpio.remove_event_detect(self._number)
        give_back(self._gpio, self._number)

    def _watch(self) -> None:
        """Callbacks that will never come again look like a quiet line: read it now and then."""
        while not self._ended.wait(_WATCH_PERIOD_S):
            try:
                with _translated(self._name, "read"):
                    self._read()
            except LineFault as error:
                if self._faults is not None:
                    self._faults.failed(error)
                return


class EdgePin(_Pin, EdgeInput):
    """An input whose active edges are reported; see ``edgeinspect.ports.EdgeInput``."""

    @override
    def start(self, listener: EdgeListener) -> None:
        self._start(lambda: listener(time.monotonic_ns()), both_edges=False)


class LevelPin(_Pin, LevelInput):
    """An input whose level is reported; see ``edgeinspect.ports.LevelInput``."""

    @override
    def start(self, listener: Callable[[bool, int], None]) -> bool:
        def report() -> None:
            edge_mono_ns = time.monotonic_ns()
            listener(self._read(), edge_mono_ns)

        return self._start(report, both_edges=True)


class EncoderPin(_Pin, EncoderInput):
    """A counter of active edges; see ``edgeinspect.ports.EncoderInput``.

    It counts callbacks: what the library lost is not counted. Take the driver ``gpiod`` for an
    encoder that is fast for this machine.
    """

    _count = 0

    @override
    def start(self, listener: Callable[[int, int], None]) -> None:
        def report() -> None:
            self._count += 1
            listener(self._count, time.monotonic_ns())

        self._start(report, both_edges=False)


def vendor() -> Any:
    """Return ``RPi.GPIO``, set to BCM numbers.

    Raises:
        DriverMissing: neither RPi.GPIO nor rpi-lgpio is installed, or this is not a Raspberry Pi.
        LineFault: the chip cannot be opened.
    """
    # lgpio makes a pipe in its working directory, by default wherever the station was started.
    os.environ.setdefault("LG_WD", tempfile.gettempdir())
    try:
        from RPi import GPIO
    except ImportError as error:
        raise DriverMissing(
            "The io driver rpi-gpio needs RPi.GPIO, which is not installed.",
            next_action="Run: pip install rpi-lgpio",
        ) from error
    except (RuntimeError, NotImplementedError) as error:
        raise DriverMissing(
            f"RPi.GPIO does not work on this machine: {error}",
            next_action="On a Pi 5 remove RPi.GPIO and run: pip install rpi-lgpio. On other boards "
            "set io.driver to gpiod.",
        ) from error
    with _translated("the GPIO chip", "opened"):
        if GPIO.getmode() is None:
            GPIO.setwarnings(False)
            GPIO.setmode(GPIO.BCM)
    return GPIO


def pin_number(wire: OutputLine) -> int:
    """The BCM number; the station file's rules let nothing else through."""
    return wire.line if isinstance(wire.line, int) else int(wire.line.removeprefix("GPIO"))


def pin_name(wire: OutputLine) -> str:
    """Return the pin's name for people, e.g. "GPIO17"."""
    return f"GPIO{pin_number(wire)}"


def _pull(gpio: Any, bias: Bias) -> object:
    return {Bias.PULL_UP: gpio.PUD_UP, Bias.PULL_DOWN: gpio.PUD_DOWN}.get(bias, gpio.PUD_OFF)


def _bounce_time(wire: InputLine, name: str) -> dict[str, int]:
    if wire.debounce_us % 1000:
        raise LineFault(
            f"The line {name} cannot have debounce_us: {wire.debounce_us}, because RPi.GPIO "
            "supports "
            "whole milliseconds only.",
            next_action="Set debounce_us to a multiple of 1000, or use the driver gpiod.",
        )
    return {"bouncetime": wire.debounce_us // 1000} if wire.debounce_us else {}


def note_held(number: int, name: str) -> None:
    """The library lets one process set a line up twice; the second would take the first over."""
    with _holding:
        if number in _held:
            raise busy(name, f"edgeinspect-{os.getpid()}")
        _held.add(number)
        _closed.discard(number)


def give_back(gpio: Any, number: int) -> None:
    """Give the line back, with the others that were closed, once no line is held any more.

    With rpi-lgpio 0.6, cleaning up one line ends the edges of every other one (seen on the
    kernel's gpio-sim). Until then a closed output stays at its safe level.
    """
    with _holding:
        _held.discard(number)
        _closed.add(number)
        if _held:
            return
        for line in sorted(_closed):
            with contextlib.suppress(Exception):
                gpio.cleanup(line)
        _closed.clear()


@contextlib.contextmanager
def _released_on_error(number: int) -> Iterator[None]:
    def forget() -> None:
        with _holding:
            _held.discard(number)

    with undo_on_error(forget):
        yield


@contextlib.contextmanager
def _translated(name: str, doing: str) -> Iterator[None]:
    """Translate the library's RuntimeError, ValueError or lgpio error by its wording."""
    try:
        yield
    except LineFault:
        raise
    except Exception as error:
        raise _line_fault(error, name, doing) from error


def _line_fault(error: Exception, name: str, doing: str) -> LineFault:
    said = str(error).strip("'\"").lower()
    if "busy" in said or "already in use" in said:
        return busy(name)
    if "open gpiochip" in said:
        return _no_chip()
    if doing != "opened":
        return gone(name)
    if "permission" in said or "no access" in said:
        return no_permission(name)
    return line_fault(error, line=name, doing=doing)


def _no_chip() -> LineFault:
    denied = [
        str(path)
        for path in chip_devices()
        if not os.access(path, os.R_OK | os.W_OK, effective_ids=True)
    ]
    if denied:
        return no_permission(", ".join(denied))
    return LineFault(
        "The GPIO chip of the Raspberry Pi cannot be opened.",
        next_action="Check that /dev/gpiochip0 exists, and that RPI_LGPIO_CHIP is right if it is "
        "set.",
    )
