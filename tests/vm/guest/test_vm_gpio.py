"""The gpiod driver on the kernel's gpio-sim: the contract, and what only a kernel shows."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeinspect.hw import gpiod as gpiod_driver
from edgeinspect.settings.wiring import Active
from tests.helpers.gpio_contract import LINE, GpioContract, Heard, HeardFaults, Rig
from tests.vm.guest.gpio_benches import PI_4B_REVISION, GpiodBench
from tests.vm.guest.gpio_sim import LABEL, KernelTrace, SimChip, sim_chip

REPEATED_KILLS = 5


def burst(rig: Rig, count: int) -> None:
    """Edges with time between them for the kernel's thread to number each."""
    for _ in range(count):
        rig.pulse()
        time.sleep(0.001)


class TestGpiod(GpioContract):
    @pytest.fixture
    def bench(self) -> Iterator[GpiodBench]:
        with sim_chip() as chip:
            yield GpiodBench(chip)

    def test_edges_that_were_lost_are_counted_exactly(self, rig: Rig) -> None:
        edges, faults, go_on = Heard(), HeardFaults(), threading.Event()
        line = rig.make("edge")
        line.report_faults_to(faults)

        def hear_late(edge_mono_ns: int) -> None:
            go_on.wait(600)
            edges(edge_mono_ns)

        line.start(hear_late)
        rig.pulse()
        burst(rig, 3 * gpiod_driver.EVENT_BUFFER)
        go_on.set()
        faults.lost.wait(1)
        # The kernel takes edges that come at once for one and numbers what is left.
        edges.until(
            lambda reported: len(reported) + sum(faults.lost.items) == line._events._last_number
        )
        assert sum(faults.lost.items) > 0
        assert len(edges.items) <= 2 * gpiod_driver.EVENT_BUFFER

    def test_an_encoder_that_was_not_heard_in_time_has_counted_all_the_same(self, rig: Rig) -> None:
        counts, go_on = Heard(), threading.Event()
        line = rig.make("encoder")
        faults = HeardFaults()
        line.report_faults_to(faults)

        def hear_late(count: int, edge_mono_ns: int) -> None:
            go_on.wait(600)
            counts(count, edge_mono_ns)

        line.start(hear_late)
        burst(rig, 2 * gpiod_driver.EVENT_BUFFER + 7)
        go_on.set()
        counted = [count for count, _ in counts.until(lambda reported: reported[-1:] > [(1024, 0)])]
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


HOLD_ACTIVE = """
import os, sys
from edgeinspect.runtime.opened_wires import resolve_driver, IO_DRIVERS
from edgeinspect.settings.wiring import Active, Io, OutputLine
driver, chip, active = sys.argv[1:4]
module = resolve_driver(driver, IO_DRIVERS, kind="io")
io, wire = Io(driver=driver, chip=chip or None), OutputLine(line=17, active=Active(active))
while os.read(0, 1):
    if child := os.fork():
        os.waitpid(child, 0)
        print("dead", flush=True)
        continue
    line = module.output(io, wire)
    print(os.getpid(), flush=True)
    os.read(0, 1)
    line.drive(True)
    print("active", flush=True)
    os.read(0, 1)
"""


class Holders:
    """Processes that hold the line, one after the other, as children of one that has imported."""

    def __init__(self, driver: str, chip: SimChip, active: Active) -> None:
        environment = {
            **os.environ,
            "RPI_LGPIO_REVISION": PI_4B_REVISION,
            "RPI_LGPIO_CHIP": str(chip.number),
        }
        label = LABEL if driver == "gpiod" else ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD_ACTIVE, driver, label, active.value],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd="/tmp",
        )

    def told_to_go_on(self) -> str:
        """What it answers."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().decode().strip()

    def killed(self, holder: int) -> str:
        assert self.process.stdout is not None
        os.kill(holder, signal.SIGKILL)
        return self.process.stdout.readline().decode().strip()


@pytest.mark.parametrize("active", list(Active))
@pytest.mark.parametrize("driver", ["gpiod", "rpi-gpio"])
def test_a_killed_process_leaves_the_line_to_its_pull_and_restarts_without_a_glitch(
    driver: str, active: Active
) -> None:
    idle = active is Active.LOW
    with sim_chip() as chip:
        chip.pull(LINE, idle)  # the hardware's pull, towards the safe level
        holders = Holders(driver, chip, active)
        with holders.process:
            for _ in range(REPEATED_KILLS):
                with KernelTrace() as trace:
                    holder = int(holders.told_to_go_on())
                    assert [entry.level for entry in trace.sets(LINE, chip)] == [idle]
                    assert holders.told_to_go_on() == "active"
                    assert chip.level(LINE) is not idle
                    assert holders.killed(holder) == "dead"
                    assert chip.level(LINE) is idle
                    assert [entry.level for entry in trace.sets(LINE, chip)] == [idle, not idle]


def test_chips_are_listed_with_their_holders() -> None:
    from edgeinspect.hw.gpio_chips import list_chips

    with sim_chip(lines=4) as chip, contextlib.ExitStack() as closing:
        Rig(GpiodBench(chip), closing).opened("output", 2)
        (facts,) = [facts for facts in list_chips() if facts.device == Path(chip.device)]
        assert [line.name for line in facts.lines] == ["GPIO0", "GPIO1", "GPIO2", "GPIO3"]
        assert [line.used for line in facts.lines] == [False, False, True, False]
        assert facts.lines[2].consumer == f"edgeinspect-{os.getpid()}"
        assert facts.lines[2].direction == "output"
