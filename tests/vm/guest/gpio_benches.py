"""The contract's benches: what both real drivers meet on a chip of the kernel's gpio-sim."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator

from edgeinspect.hw import gpiod as gpiod_driver
from edgeinspect.hw import rpi_gpio as rpi_driver
from edgeinspect.settings.wiring import Io
from tests.vm.guest.gpio_sim import LABEL, KernelTrace, SimChip

PI_4B_REVISION = "c03111"


class SimBench:
    """What both real drivers share."""

    numbers_edges = False
    knows_names = False
    label = LABEL

    def __init__(self, chip: SimChip) -> None:
        self.chip = chip
        self.pull, self.level = chip.pull, chip.level

    def unplug(self) -> None:
        self.chip.unplug()

    @contextlib.contextmanager
    def held_by_another(self, offset: int) -> Iterator[str]:
        program = f"""
import gpiod, sys
line = gpiod.LineSettings(direction=gpiod.line.Direction.INPUT)
held = gpiod.request_lines("{self.chip.device}", {{{offset}: line}}, consumer="blinker")
print("held", flush=True)
sys.stdin.read()
"""
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None and other.stdin is not None
            assert other.stdout.readline() == b"held\n"
            yield self.holder
            other.stdin.close()
            other.wait(60)

    holder = "blinker"

    @contextlib.contextmanager
    def without_rights(self) -> Iterator[None]:
        self.chip.device.chmod(0o600)
        os.seteuid(pwd.getpwnam("station").pw_uid)
        try:
            yield
        finally:
            os.seteuid(0)

    @contextlib.contextmanager
    def watched(self, offset: int) -> Iterator[Callable[[], list[bool]]]:
        with KernelTrace() as trace:
            yield lambda: [entry.level for entry in trace.sets(offset, self.chip)]


class GpiodBench(SimBench):
    module = gpiod_driver
    numbers_edges = True
    knows_names = True

    def __init__(self, chip: SimChip) -> None:
        super().__init__(chip)
        self.io = Io(driver="gpiod", chip=self.label)

    @contextlib.contextmanager
    def without_chip(self) -> Iterator[Io]:
        yield Io(driver="gpiod", chip="pinctrl-rp1")


class RpiBench(SimBench):
    """The library knows its chip from the environment, and keeps it open until it is told."""

    module = rpi_driver
    holder = "another program"

    def __init__(self, chip: SimChip) -> None:
        super().__init__(chip)
        self.io = Io(driver="rpi-gpio")
        os.environ["RPI_LGPIO_REVISION"] = PI_4B_REVISION
        os.environ["RPI_LGPIO_CHIP"] = str(chip.number)

    @contextlib.contextmanager
    def without_rights(self) -> Iterator[None]:
        forget_chip()
        with super().without_rights():
            yield

    @contextlib.contextmanager
    def without_chip(self) -> Iterator[Io]:
        forget_chip()
        os.environ["RPI_LGPIO_CHIP"] = "999"
        yield self.io
        os.environ["RPI_LGPIO_CHIP"] = str(self.chip.number)


def forget_chip() -> None:
    """Free the library's lines; its chip stays open.

    lgpio 0.2.2.0 gives the thread that reads its alerts 100 ms to leave the chip's memory and then
    frees it. On an emulated machine that is too short, and the process crashes later.
    """
    from RPi import GPIO

    for number in list(GPIO._alerts):  # noqa: SLF001  the library's
        with contextlib.suppress(Exception):  # the chip may have been unplugged
            GPIO.cleanup(number)
    GPIO._alerts.clear()  # noqa: SLF001  the library's
    GPIO._chip, GPIO._mode = None, GPIO.UNKNOWN  # noqa: SLF001  the library's
