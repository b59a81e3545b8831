"""The io drivers' contract, kept by the fake chip; ``make test-vm`` runs it on real devices."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from edgeinspect.hw import rpi_gpio
from edgeinspect.hw.fake_chip import FakeChip
from edgeinspect.settings.wiring import Io
from tests.helpers.gpio_contract import GpioContract

LABEL = "pinctrl-bcm2711"


class FakeBench:
    numbers_edges = False
    knows_names = True

    def __init__(self) -> None:
        self.module = FakeChip(LABEL)
        self.io = Io(driver="gpiod", chip=LABEL)
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
        yield Io(driver="gpiod", chip="pinctrl-rp1")

    @contextlib.contextmanager
    def watched(self, offset: int) -> Iterator[Callable[[], list[bool]]]:
        yield lambda: self.module.history(offset)


class TestFakeChip(GpioContract):
    @pytest.fixture
    def bench(self) -> FakeBench:
        return FakeBench()


def test_closed_lines_are_given_back_together_once_none_is_held() -> None:
    """rpi-lgpio ends every other line's edges when one is cleaned up."""
    given_back: list[int] = []
    library = SimpleNamespace(cleanup=given_back.append)
    for number in (4, 5, 6):
        rpi_gpio.note_held(number, f"GPIO{number}")
    rpi_gpio.give_back(library, 5)
    rpi_gpio.give_back(library, 6)
    assert given_back == []
    rpi_gpio.note_held(6, "GPIO6")
    rpi_gpio.give_back(library, 4)
    assert given_back == []
    rpi_gpio.give_back(library, 6)
    assert given_back == [4, 5, 6]
