"""Exposures matched to requests: by when they began, each buffer given back exactly once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.errors import CameraFault, CameraLost
from edgeinspect.hw.camera_drops import FrameOrder
from edgeinspect.hw.camera_ring import Exposure, ExposureBegin, ExposureRing, middle

MS = 1_000_000
NOW = 10_000 * MS


class Rig:
    """A ring on a clock that moves only when told."""

    def __init__(self, *, waits_for_trigger: bool = False) -> None:
        self.now = NOW
        self.returned: list[int] = []
        self.ring: ExposureRing[int] = ExposureRing(
            give_back=self.returned.append,
            waits_for_trigger=waits_for_trigger,
            now_mono_ns=lambda: self.now,
        )
        self.count = 0

    def expose(self, begin_mono_ns: int, *, error_ns: int = 0) -> None:
        self.ring.offer(Exposure(self.count, begin_mono_ns, self.count, error_ns))
        self.count += 1

    def take(self, not_before: int, deadline: int | None = None) -> int:
        taken = self.ring.take(
            not_before_mono_ns=not_before,
            deadline_mono_ns=self.now if deadline is None else deadline,
        )
        return taken.payload


def test_the_first_exposure_that_began_late_enough_is_taken_and_the_next_kept() -> None:
    rig = Rig()
    for begin in (NOW, NOW + 10):
        rig.expose(begin)
    assert rig.take(NOW) == 0
    rig.expose(NOW + 20)
    assert rig.take(NOW + 10) == 1
    assert rig.returned == []
    assert rig.take(NOW + 11) == 2


def test_an_older_exposure_is_never_taken() -> None:
    rig = Rig()
    rig.expose(NOW - 1)
    with pytest.raises(CameraFault, match="runs, but no frame was exposed in time"):
        rig.take(NOW)
    assert rig.returned == [0]


def test_an_exposure_that_may_have_begun_too_early_is_never_taken() -> None:
    rig = Rig()
    rig.expose(NOW + 9, error_ns=10)
    rig.expose(NOW + 20, error_ns=20)
    assert rig.take(NOW) == 1
    assert rig.returned == [0]


def test_a_camera_that_has_stopped_is_distinguished_from_one_that_is_too_slow() -> None:
    rig = Rig()
    rig.expose(NOW)
    rig.now += 1000 * MS
    rig.ring.check()
    rig.now += 1
    for ask in (rig.ring.check, lambda: rig.take(NOW + 1, rig.now + 60_000 * MS)):
        with pytest.raises(CameraLost, match=r"has stopped: no frame for 1\.0 s"):
            ask()


def test_slow_cameras_may_be_silent_for_longer() -> None:
    rig = Rig()
    for _ in range(2):
        rig.now += 900 * MS
        rig.expose(rig.now)
    rig.now += 4400 * MS
    rig.ring.check()
    rig.now += 200 * MS
    with pytest.raises(CameraLost):
        rig.ring.check()


def test_silence_is_no_fault_of_a_camera_with_its_own_trigger() -> None:
    rig = Rig(waits_for_trigger=True)
    rig.now += 3_600_000 * MS
    rig.ring.check()
    with pytest.raises(CameraFault, match="was not triggered for this part") as caught:
        rig.take(rig.now)
    assert not isinstance(caught.value, CameraLost)


def test_the_error_that_ended_the_camera_is_reported() -> None:
    rig = Rig()
    rig.ring.fail(OSError("cable"))
    with pytest.raises(CameraLost, match="has failed: cable"):
        rig.take(NOW, NOW + 60_000 * MS)


@given(
    begins=st.lists(st.integers(0, 100), max_size=30),
    asked=st.lists(st.integers(0, 100), max_size=10),
)
def test_every_buffer_is_owned_once_and_none_is_older_than_asked(
    begins: list[int], asked: list[int]
) -> None:
    rig = Rig()
    taken = []
    for begin, not_before in zip(sorted(begins), [*asked, *[101] * 30], strict=False):
        rig.expose(NOW + begin)
        try:
            number = rig.take(NOW + not_before)
        except CameraFault:
            continue
        assert sorted(begins)[number] >= not_before
        taken.append(number)
    rig.ring.close()
    rig.expose(NOW + 1000)  # a frame that was on its way while the ring was closed
    assert sorted(taken + rig.returned) == list(range(rig.count))


def test_when_an_exposure_began() -> None:
    begin = ExposureBegin()
    assert begin.of(1_000_000, exposure_us=None) is None
    assert begin.of(2_000_000, exposure_us=None) == (1_000_000, 2_000_000)
    assert begin.of(3_000_000, exposure_us=250.0) == (2_750_000, 2_750_000)
    assert begin.of(4_000_000, exposure_us=0) == (3_000_000, 4_000_000)


@given(earliest=st.integers(-1000, 1000), length=st.integers(0, 1000))
def test_the_middle_of_a_span_and_its_error_cover_the_span(earliest: int, length: int) -> None:
    centre, error = middle(earliest, earliest + length)
    assert centre - error <= earliest and earliest + length <= centre + error
    assert error <= (length + 1) // 2


def test_frames_are_numbered_on_and_gaps_of_the_driver_are_kept() -> None:
    order = FrameOrder()
    assert [order.number(10 * n, n) for n in (5, 6, 8)] == [0, 1, 3]
    order.reopened()
    assert order.number(100, 0) == 4
    assert order.number(110, 2) == 6


@pytest.mark.parametrize(
    ("stamp", "counter"), [(100, 8), (99, 8), (101, 7), (101, 6), (100, 7), (50, 2)]
)
def test_a_frame_whose_stamp_or_counter_does_not_rise_came_before(stamp: int, counter: int) -> None:
    order = FrameOrder()
    assert order.number(100, 7) == 0
    assert order.number(stamp, counter) is None
    assert order.number(101, 8) == 1


def test_a_stamp_has_to_rise_even_across_a_reopening_and_without_a_counter() -> None:
    order = FrameOrder()
    assert order.number(100) == 0
    order.reopened()
    assert order.number(100) is None
    assert order.number(101) == 1


def test_a_counter_of_32_bits_may_wrap() -> None:
    order = FrameOrder()
    assert [order.number(1, 2**32 - 1), order.number(2, 0), order.number(3, 1)] == [0, 1, 2]
