"""The io drivers on a chip of the kernel's gpio-sim: the contract, and what only a kernel shows."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gpio_sim import KernelTrace, SimChip, sim_chip

from edgeinspect.hw import gpiod as gpiod_driver
from edgeinspect.hw import rpi_gpio as rpi_driver
from edgeinspect.settings.wiring import Active, Io, IoDriver
from tests.gpio_contract import LINE, GpioContract, Heard, HeardFaults, Rig

PI_4B_REVISION = "c03111"
REPEATED_KILLS = 5


class SimBench:
    """What both real drivers share."""

    numbers_edges = False
    knows_names = False
    label = "pinctrl-bcm2711"

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
        self.io = Io(driver=IoDriver.GPIOD, chip=self.label)

    @contextlib.contextmanager
    def without_chip(self) -> Iterator[Io]:
        yield Io(driver=IoDriver.GPIOD, chip="pinctrl-rp1")


class RpiBench(SimBench):
    """The library knows its chip from the environment, and keeps it open until it is told."""

    module = rpi_driver
    holder = "another program"

    def __init__(self, chip: SimChip) -> None:
        super().__init__(chip)
        self.io = Io(driver=IoDriver.RPI_GPIO)
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


def burst(rig: Rig, count: int) -> None:
    """Edges with time between them for the kernel's thread to number each."""
    for _ in range(count):
        rig.pulse()
        time.sleep(0.001)


def forget_chip() -> None:
    from RPi import GPIO

    GPIO.setwarnings(False)
    with contextlib.suppress(Exception):  # a chip that was unplugged cannot be closed
        GPIO.cleanup()
    GPIO._chip, GPIO._mode = None, GPIO.UNKNOWN
    GPIO._alerts.clear()


class TestGpiod(GpioContract):
    @pytest.fixture
    def bench(self) -> Iterator[GpiodBench]:
        with sim_chip() as chip:
            yield GpiodBench(chip)

    def test_edges_that_were_lost_are_counted_exactly(self, rig: Rig) -> None:
        edges, faults, go_on = Heard(), HeardFaults(), threading.Event()
        line = rig.make("edge")
        line.tell_faults(faults)
        line.start(lambda edge: (go_on.wait(600), edges(edge)))
        rig.pulse()
        burst(rig, 3 * gpiod_driver.EVENT_BUFFER)
        go_on.set()
        faults.lost.wait(1)
        # The kernel takes edges that come at once for one and numbers what is left.
        edges.until(lambda told: len(told) + sum(faults.lost.items) == line._events._last_number)
        assert sum(faults.lost.items) > 0
        assert len(edges.items) <= 2 * gpiod_driver.EVENT_BUFFER

    def test_an_encoder_that_was_not_heard_in_time_has_counted_all_the_same(self, rig: Rig) -> None:
        counts, go_on = Heard(), threading.Event()
        line = rig.make("encoder")
        faults = HeardFaults()
        line.tell_faults(faults)
        line.start(lambda count, at: (go_on.wait(600), counts(count, at)))
        burst(rig, 2 * gpiod_driver.EVENT_BUFFER + 7)
        go_on.set()
        counted = [count for count, _ in counts.until(lambda told: told[-1:] > [(1024, 0)])]
        assert counted[-1] > gpiod_driver.EVENT_BUFFER
        assert len(counted) < counted[-1]
        assert not faults.lost.items

    def test_contact_bounce_shorter_than_the_debounce_is_not_heard(self, rig: Rig) -> None:
        edges = Heard()
        rig.make("edge", debounce_us=200_000).start(edges)
        for _ in range(10):
            rig.pulse()
        rig.bench.pull(LINE, True)
        assert len(edges.wait(1)) == 1

    def test_the_holder_is_named_with_its_process(self, rig: Rig) -> None:
        rig.opened("output")
        with pytest.raises(OSError, match=f"process {os.getpid()} of edgeinspect"):
            rig.opened("output")


class TestRpiLgpio(GpioContract):
    @pytest.fixture
    def bench(self) -> Iterator[RpiBench]:
        with sim_chip() as chip:
            yield RpiBench(chip)
            forget_chip()


HOLD_ACTIVE = """
import sys, time
from edgeinspect.runtime.wiring import resolve_driver, IO_DRIVERS
from edgeinspect.settings.wiring import Io, OutputLine, Active
driver, chip, active = sys.argv[1:4]
io = Io(driver=driver, chip=chip or None)
line = resolve_driver(driver, IO_DRIVERS, kind="io").output(
    io, OutputLine(line=17, active=Active(active))
)
print("safe", flush=True)
sys.stdin.readline()
line.drive(True)
print("active", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("active", list(Active))
@pytest.mark.parametrize("driver", ["gpiod", "rpi-gpio"])
def test_a_killed_process_leaves_the_line_to_its_pull_and_restarts_without_a_glitch(
    driver: str, active: Active
) -> None:
    idle = active is Active.LOW
    with sim_chip() as chip:
        chip.pull(LINE, idle)  # the hardware's pull, towards the safe level
        environment = {
            **os.environ,
            "RPI_LGPIO_REVISION": PI_4B_REVISION,
            "RPI_LGPIO_CHIP": str(chip.number),
        }
        label = "pinctrl-bcm2711" if driver == "gpiod" else ""
        for _ in range(REPEATED_KILLS):
            with (
                KernelTrace() as trace,
                subprocess.Popen(
                    [sys.executable, "-c", HOLD_ACTIVE, driver, label, active.value],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=environment,
                    cwd="/tmp",
                ) as held,
            ):
                assert held.stdin is not None and held.stdout is not None
                assert held.stdout.readline() == b"safe\n"
                assert [entry.level for entry in trace.sets(LINE, chip)] == [idle]
                held.stdin.write(b"\n")
                held.stdin.flush()
                assert held.stdout.readline() == b"active\n"
                assert chip.level(LINE) is not idle
                held.send_signal(signal.SIGKILL)
                held.wait(60)
                assert chip.level(LINE) is idle
            assert [entry.level for entry in trace.sets(LINE, chip)] == [idle, not idle]


def test_where_the_edges_stamp_comes_from_is_measured(report: Callable[[str], None]) -> None:
    """The kernel's stamp against the callback's: how much later RPi.GPIO's API says it."""
    delays: dict[str, list[int]] = {}
    for bench_class in (GpiodBench, RpiBench):
        with sim_chip() as chip, contextlib.ExitStack() as closing:
            bench = bench_class(chip)
            line, edges = Rig(bench, closing).make("edge"), Heard()
            line.start(edges)
            made = []
            for number in range(200):
                made.append(time.monotonic_ns())
                chip.pull(LINE, True)
                edges.wait(number + 1)
                chip.pull(LINE, False)
            pairs = zip(made, edges.items, strict=True)
            delays[bench_class.__name__] = sorted(stamp - at for at, stamp in pairs)
        if bench_class is RpiBench:
            forget_chip()
    for name, values in delays.items():
        p50, p99 = values[len(values) // 2] / 1000, values[-2] / 1000
        report(f"{name} stamps an edge {p50:.0f} us after it was made (median), p99 {p99:.0f} us")
    assert delays["GpiodBench"][100] < delays["RpiBench"][100]


def test_chips_are_listed_with_their_holders() -> None:
    from edgeinspect.hw.gpio_chips import list_chips

    with sim_chip(lines=4) as chip, contextlib.ExitStack() as closing:
        Rig(GpiodBench(chip), closing).opened("output", 2)
        (facts,) = [facts for facts in list_chips() if facts.device == Path(chip.device)]
        assert [line.name for line in facts.lines] == ["GPIO0", "GPIO1", "GPIO2", "GPIO3"]
        assert [line.used for line in facts.lines] == [False, False, True, False]
        assert facts.lines[2].consumer == f"edgeinspect-{os.getpid()}"
        assert facts.lines[2].direction == "output"
