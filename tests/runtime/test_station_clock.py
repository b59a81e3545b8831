"""The clock that the tests of a station run on."""

from __future__ import annotations

import queue
import threading
from functools import partial

import pytest

from edgeinspect.runtime.queues import BoundedQueue
from tests.helpers.station_clock import LOOK_NS, Condition, SimpleQueue, StationClock

SECOND = 1_000_000_000


def test_nothing_happens_until_the_test_waits(clock: StationClock) -> None:
    happened: list[str] = []
    thread = clock.thread(lambda: happened.append("it ran"))
    before_ns = clock.now_mono_ns()
    thread.start()
    assert not happened and thread.is_alive()
    assert clock.now_mono_ns() == before_ns + LOOK_NS
    thread.join()
    assert happened and not thread.is_alive()


def test_threads_go_on_in_the_order_of_what_they_wait_for(clock: StationClock) -> None:
    order: list[tuple[str, int]] = []
    start_ns = clock.now_mono_ns()

    def sleep(name: str, seconds: int) -> None:
        clock.sleep_until(start_ns + seconds * SECOND)
        order.append((name, (clock.now_mono_ns() - start_ns) // SECOND))

    threads = [clock.thread(partial(sleep, f"{s} s", s)) for s in (7200, 30, 60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == [("30 s", 30), ("60 s", 60), ("7200 s", 7200)]


def test_a_timeout_ends_every_kind_of_wait(clock: StationClock) -> None:
    start_ns = clock.now_mono_ns()
    assert not clock.event().wait(1.0)
    with (condition := Condition(clock)):
        assert not condition.wait(1.0)
    with pytest.raises(queue.Empty):
        SimpleQueue[int](clock).get(timeout=1.0)
    thread = clock.thread(clock.event().wait)
    thread.start()
    thread.join(1.0)
    assert thread.is_alive()
    assert (clock.now_mono_ns() - start_ns) // SECOND == 4


def test_what_another_thread_does_ends_every_kind_of_wait(clock: StationClock) -> None:
    event, condition, items = clock.event(), Condition(clock), SimpleQueue[int](clock)

    def answer() -> None:
        event.set()
        with condition:
            condition.notify_all()
        items.put(7)

    start_ns = clock.now_mono_ns()
    clock.thread(answer).start()
    with condition:
        assert condition.wait(1.0)
    assert event.wait(1.0)
    assert items.get(timeout=1.0) == 7
    assert clock.now_mono_ns() - start_ns < SECOND


def test_the_stations_own_queues_wait_on_it(clock: StationClock) -> None:
    start_ns = clock.now_mono_ns()
    empty: BoundedQueue[int] = BoundedQueue("empty", 1)
    assert empty.take(3600.0) is None
    assert (clock.now_mono_ns() - start_ns) // SECOND == 3600


def test_time_passes_while_the_test_waits_for_something_outside(clock: StationClock) -> None:
    outside = threading.Event()
    start_ns = clock.now_mono_ns()

    def work() -> None:
        clock.sleep_until(start_ns + SECOND // 50)
        outside.set()

    clock.thread(work).start()
    with clock.passing():
        assert outside.wait(60.0)
    assert clock.now_mono_ns() - start_ns >= SECOND // 50
