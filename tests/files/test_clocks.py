"""Two clocks read as one moment, whatever interrupts the reading."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.clocks import SPAN_GOOD_ENOUGH_NS, TRIES, read_beside_mono
from edgeinspect.errors import CameraFault
from edgeinspect.hw.clock import LARGEST_ERROR_NS, BootToMono, MonoStamp, boot_to_mono_ns

MS = 1_000_000
SUSPENDED_NS = 5_000 * MS


class Machine:
    """Both clocks of a machine whose thread loses the processor for so long between two reads."""

    def __init__(self, gaps_ns: Iterable[int] = (), *, otherwise_ns: int = 200) -> None:
        self.now_ns = 1_000 * MS
        self.boot_ahead_ns = SUSPENDED_NS
        self.reads = 0
        self._gaps = iter(gaps_ns)
        self._otherwise_ns = otherwise_ns

    def mono_ns(self) -> int:
        self.reads += 1
        self.now_ns += next(self._gaps, self._otherwise_ns)
        return self.now_ns

    def boot_ns(self) -> int:
        self.now_ns += next(self._gaps, self._otherwise_ns)
        return self.now_ns + self.boot_ahead_ns

    def converter(self) -> BootToMono:
        return BootToMono(now_mono_ns=self.mono_ns, now_boot_ns=self.boot_ns)


def true_mono_ns(machine: Machine, boot_ns: int) -> int:
    return boot_ns - machine.boot_ahead_ns


def test_an_undisturbed_pair_is_read_once() -> None:
    machine = Machine()
    pair = read_beside_mono(machine.boot_ns, machine.mono_ns)
    assert machine.reads == 2
    assert pair.error_ns == 200


def test_a_disturbed_pair_is_read_again_and_the_best_is_kept() -> None:
    worse, better = 29 * MS, SPAN_GOOD_ENOUGH_NS
    machine = Machine([0, worse, 0, 0, better, 200], otherwise_ns=worse)
    pair = read_beside_mono(machine.boot_ns, machine.mono_ns)
    assert machine.reads == 2 * TRIES
    assert pair.error_ns == (better + 200) // 2
    assert abs(pair.other - SUSPENDED_NS - pair.mono_ns) <= pair.error_ns


@given(gaps_us=st.lists(st.integers(0, 60_000), max_size=40))
def test_a_conversion_is_never_further_off_than_it_says(gaps_us: list[int]) -> None:
    machine = Machine([gap * 1000 for gap in gaps_us], otherwise_ns=500)
    converter = machine.converter()
    for _ in range(6):
        boot_ns = machine.now_ns + SUSPENDED_NS - 7 * MS
        stamp = converter.convert(boot_ns)
        if stamp is not None:
            assert stamp.error_ns <= LARGEST_ERROR_NS
            assert abs(stamp.mono_ns - true_mono_ns(machine, boot_ns)) <= stamp.error_ns


def test_a_conversion_that_cannot_be_bounded_is_refused() -> None:
    machine = Machine(otherwise_ns=LARGEST_ERROR_NS + 1)
    assert machine.converter().convert(SUSPENDED_NS) is None


def test_a_conversion_at_the_largest_error_counts_and_says_so() -> None:
    machine = Machine(otherwise_ns=LARGEST_ERROR_NS)
    assert machine.converter().convert(SUSPENDED_NS) == MonoStamp(0, LARGEST_ERROR_NS)


def test_stamps_from_before_a_suspension_are_refused_and_later_ones_follow_the_new_difference() -> (
    None
):
    machine = Machine()
    converter = machine.converter()
    before_ns = machine.now_ns + machine.boot_ahead_ns
    assert converter.convert(before_ns) is not None
    machine.boot_ahead_ns += 300 * MS
    assert converter.convert(before_ns + 1) is None
    assert converter.convert(before_ns + 2) is None
    later_ns = machine.now_ns + machine.boot_ahead_ns
    stamp = converter.convert(later_ns)
    assert stamp is not None
    assert abs(stamp.mono_ns - machine.now_ns) <= 2_000


def test_one_stamp_of_this_machine_converts_to_its_own_clock() -> None:
    before = time.monotonic_ns()
    boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    after = time.monotonic_ns()
    assert before - LARGEST_ERROR_NS <= boot_to_mono_ns(boot) <= after + LARGEST_ERROR_NS


def test_a_stamp_whose_error_has_no_bound_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BootToMono, "convert", lambda self, boot_ns: None)
    with pytest.raises(CameraFault, match="too busy to determine the time of an exposure"):
        boot_to_mono_ns(0)
