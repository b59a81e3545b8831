"""The rpi-gpio driver through the real rpi-lgpio, on a chip of the kernel's gpio-sim."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest

from tests.helpers.gpio_contract import LINE, GpioContract, Heard, Rig
from tests.vm.guest.gpio_benches import GpiodBench, RpiBench, forget_chip
from tests.vm.guest.gpio_sim import sim_chip


class TestRpiLgpio(GpioContract):
    @pytest.fixture
    def bench(self) -> Iterator[RpiBench]:
        with sim_chip() as chip:
            yield RpiBench(chip)
            forget_chip()


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
