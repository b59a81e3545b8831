"""The io drivers' contract, kept by the fake chip; ``make test-vm`` runs it on real devices."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from edgeinspect.hw.fake_chip import FakeChip
from edgeinspect.settings.wiring import Io, IoDriver
from tests.gpio_contract import GpioContract

LABEL = "pinctrl-bcm2711"


class FakeBench:
    numbers_edges = False
    knows_names = True

    def __init__(self) -> None:
        self.module = FakeChip(LABEL)
        self.io = Io(driver=IoDriver.GPIOD, chip=LABEL)
        self.pull, self.level = self.module.pull, self.module.level
        self.unplug = self.module.unplug

    @contextlib.contextmanager
    def held_by_another(self, offset: int) -> Iterator[str]:
        self.module.hold(offset, "blinker")
        yield "blinker"
        self.module.hold(offset, "")

    @contextlib.contextmanager
    def without_rights(self) -> Iterator[None]:
        self.module.denied = True
        yield
        self.module.denied = False

    @contextlib.contextmanager
    def without_chip(self) -> Iterator[Io]:
        yield Io(driver=IoDriver.GPIOD, chip="pinctrl-rp1")

    @contextlib.contextmanager
    def watched(self, offset: int) -> Iterator[Callable[[], list[bool]]]:
        yield lambda: self.module.history(offset)


class TestFakeChip(GpioContract):
    @pytest.fixture
    def bench(self) -> FakeBench:  # type: ignore[override]
        return FakeBench()
