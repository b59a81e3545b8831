"""The other end of the wires: a chip of the kernel's gpio-sim, and the kernel's own account of it.

See Documentation/admin-guide/gpio/gpio-sim.rst of the kernel. Runs in the virtual machine only.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CONFIG = Path("/sys/kernel/config/gpio-sim")
TRACING = Path("/sys/kernel/tracing")
LABEL = "pinctrl-bcm2711"
LINES = 54
_numbers = itertools.count()


class SimChip:
    """One live simulated chip; lines are named GPIO0, GPIO1, … as on a Raspberry Pi."""

    def __init__(self, label: str = LABEL, *, lines: int = LINES) -> None:
        self._config = CONFIG / f"test{next(_numbers)}"
        bank = self._config / "bank0"
        bank.mkdir(parents=True)
        (bank / "num_lines").write_text(str(lines))
        (bank / "label").write_text(label)
        for number in range(lines):
            line = bank / f"line{number}"
            line.mkdir()
            (line / "name").write_text(f"GPIO{number}")
        self._live = self._config / "live"
        self._live.write_text("1")
        device = (self._config / "dev_name").read_text().strip()
        self.name = (bank / "chip_name").read_text().strip()
        self.device = Path("/dev") / self.name
        self._sysfs = Path("/sys/devices/platform") / device / self.name
        _wait_for(self.device.exists)

    @property
    def number(self) -> int:
        return int(self.name.removeprefix("gpiochip"))

    def pull(self, offset: int, high: bool) -> None:
        """Give an input this electrical level."""
        (self._line(offset) / "pull").write_text("pull-up" if high else "pull-down")

    def level(self, offset: int) -> bool:
        """The electrical level of a line, driven or pulled."""
        return (self._line(offset) / "value").read_text().strip() == "1"

    def unplug(self) -> None:
        self._live.write_text("0")

    def remove(self) -> None:
        _remove(self._config)

    def _line(self, offset: int) -> Path:
        return self._sysfs / f"sim_gpio{offset}"


@dataclass(frozen=True, slots=True)
class Set:
    """The kernel set an output. ``mono_ns``: CLOCK_MONOTONIC, to a microsecond."""

    mono_ns: int
    gpio: int
    level: bool


class KernelTrace:
    """What the kernel's own tracepoint ``gpio_value`` saw while the block ran.

    It sees every level that any process gives any output, so no glitch escapes it as it would
    escape who looks at the level now and then.
    """

    def __init__(self) -> None:
        self._base: int | None = None

    def __enter__(self) -> KernelTrace:
        (TRACING / "tracing_on").write_text("0")
        (TRACING / "trace").write_text("")
        (TRACING / "buffer_size_kb").write_text("8192")
        (TRACING / "trace_clock").write_text("mono")
        (TRACING / "events/gpio/gpio_value/enable").write_text("1")
        (TRACING / "tracing_on").write_text("1")
        return self

    def __exit__(self, *error: object) -> None:
        (TRACING / "tracing_on").write_text("0")
        (TRACING / "events/gpio/gpio_value/enable").write_text("0")

    def sets(self, offset: int, chip: SimChip) -> list[Set]:
        """Every level that the line was given, in order."""
        base = gpio_base(chip)
        found = []
        for line in (TRACING / "trace").read_text().splitlines():
            event = re.search(r"\s(\d+)\.(\d{6}): gpio_value: (\d+) set ([01])", line)
            if event is not None and int(event[3]) == base + offset:
                mono_ns = int(event[1]) * 1_000_000_000 + int(event[2]) * 1000
                found.append(Set(mono_ns, offset, event[4] == "1"))
        return found


def gpio_base(chip: SimChip) -> int:
    """The kernel's global number of the chip's first line, as tracepoints print it."""
    for folder in Path("/sys/class/gpio").glob("gpiochip*"):
        if (folder / "label").read_text().strip() == _label_of(chip):
            return int((folder / "base").read_text())
    raise AssertionError(f"the kernel knows no base of {chip.name}")


def _label_of(chip: SimChip) -> str:
    import gpiod

    with gpiod.Chip(str(chip.device)) as opened:
        return str(opened.get_info().label)


@contextlib.contextmanager
def sim_chip(label: str = LABEL, *, lines: int = LINES) -> Iterator[SimChip]:
    for leftover in CONFIG.iterdir():  # of a run that was killed
        _remove(leftover)
    chip = SimChip(label, lines=lines)
    try:
        yield chip
    finally:
        chip.remove()


def _remove(chip: Path) -> None:
    with contextlib.suppress(OSError):
        (chip / "live").write_text("0")
    for folder in sorted(chip.rglob("*"), key=lambda path: -len(path.parts)):
        if folder.is_dir():
            folder.rmdir()
    chip.rmdir()


def _wait_for(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, "the device did not appear"
        time.sleep(0.05)
