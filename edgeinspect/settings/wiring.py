"""The wires between the station and the line: which pin, which level is active, which pull."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from edgeinspect.files.yaml_expected import Rule
from edgeinspect.settings.base import Label, Milliseconds, Section
from edgeinspect.settings.driver_tables import IO_DRIVERS, SIM, IoDriverName, LineNames


class Active(StrEnum):
    """The electrical level that means "on"."""

    HIGH = "high"
    LOW = "low"


class Bias(StrEnum):
    """The pull resistor inside the chip."""

    PULL_UP = "pull-up"
    PULL_DOWN = "pull-down"
    DISABLED = "disabled"
    AS_IS = "as-is"


LineNumber = Annotated[int, Field(ge=0, le=1023)]
LineName = Annotated[
    str, StringConstraints(pattern=r"^[!-~]{1,63}$"), Field(description="the name of a line")
]


class Io(Section):
    """The GPIO driver and its default chip.

    Attributes:
        driver: serves every line below; never replaced by another one silently.
        chip: label of the GPIO chip, e.g. ``pinctrl-rp1``; a line may name another.
    """

    driver: IoDriverName
    chip: Label | None = None


class OutputLine(Section):
    """An output and its electrical level.

    Attributes:
        line: the kernel's line name, or the offset on the chip (the BCM number for rpi-gpio).
        chip: label of the chip if it is not ``io.chip``.
        active: the electrical level that means "on". "Off" is the safe level of every output.
    """

    line: LineNumber | LineName
    chip: Label | None = None
    active: Active = Active.HIGH


class InputLine(OutputLine):
    """An input, its pull resistor and its debounce time.

    Attributes:
        bias: the pull resistor inside the chip.
        debounce_us: the kernel ignores level changes shorter than this.
    """

    bias: Bias = Bias.AS_IS
    debounce_us: int = Field(default=0, ge=0, le=1_000_000)


class EncoderLine(InputLine):
    """The input of the belt's encoder.

    Attributes:
        counts_per_mm: counts per mm of belt travel, for people; the track is given in counts.
        timeout_ms: no count for this long means that the belt is stopped.
        max_counts_per_s: the belt's highest speed; faster counts are a fault. None: no limit.
    """

    counts_per_mm: float | None = Field(default=None, gt=0, le=1e6)
    timeout_ms: Milliseconds = 200.0
    max_counts_per_s: int | None = Field(default=None, ge=1, le=10_000_000)

    @model_validator(mode="after")
    def _check_timeout(self) -> Self:
        if self.timeout_ms <= 0:
            raise Rule("timeout_ms", value=self.timeout_ms, expected="a number above 0")
        return self


class Lines(Section):
    """All lines of the station; None means not wired.

    Inputs: ``trigger`` (part present), ``confirm`` (part in the reject chute), ``guard`` (part
    before the gate), ``line_stopped``. Outputs: all others.
    """

    trigger: InputLine
    confirm: InputLine | None = None
    guard: InputLine | None = None
    line_stopped: InputLine | None = None
    reject: OutputLine
    heartbeat: OutputLine | None = None
    line_stop: OutputLine | None = None
    stack_light_red: OutputLine | None = None
    stack_light_yellow: OutputLine | None = None
    stack_light_green: OutputLine | None = None
    beacon: OutputLine | None = None
    strobe: OutputLine | None = None

    def wired(self) -> Iterator[tuple[str, OutputLine]]:
        """Every wired line with its key, inputs first."""
        for key in Lines.model_fields:
            wire = getattr(self, key)
            if wire is not None:
                yield key, wire


def check_wires(io: Io, lines: Lines, encoder: EncoderLine | None) -> None:
    """Each wire can exist with this driver, and no two use the same pin. Raises Rule."""
    used: dict[tuple[str | None, int | str], str] = {}
    wires = [(("lines", key), wire) for key, wire in lines.wired()]
    if encoder is not None:
        wires.append((("encoder",), encoder))  # type: ignore[arg-type]
    names = LineNames.ANY if io.driver == SIM else IO_DRIVERS[io.driver].names
    for key_path, wire in wires:
        if names is LineNames.BCM_NUMBER:
            _check_bcm(key_path, wire, io.driver)
        elif names is LineNames.CHIP_AND_LINE and io.chip is None and wire.chip is None:
            expected = "the chip's label (here, or io.chip for all lines)"
            raise Rule(*key_path, "chip", value=None, expected=expected)
        pin = (wire.chip or io.chip, wire.line)
        if pin in used:
            expected = f"a different line, because {used[pin]} uses this one"
            raise Rule(*key_path, "line", value=wire.line, expected=expected)
        used[pin] = ".".join(key_path)


def _check_bcm(key_path: tuple[str, ...], wire: OutputLine, driver: str) -> None:
    number = wire.line
    if isinstance(number, str):
        named = re.fullmatch(r"GPIO([0-9]{1,2})", number)
        number = int(named[1]) if named else -1
    if not 0 <= number <= 27:
        expected = f"a BCM number from 0 to 27, or GPIO0 to GPIO27, for the driver {driver}"
        raise Rule(*key_path, "line", value=wire.line, expected=expected)
    if wire.chip is not None:
        expected = f"no chip, because the driver {driver} supports only one"
        raise Rule(*key_path, "chip", value=wire.chip, expected=expected)
