"""What the pulse thread does when it runs late, and how it waits; see also test_runtime_pulse."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from edgeinspect.faults import FaultName
from edgeinspect.line.config import GateConfig
from edgeinspect.line.reject import PulseSchedule
from edgeinspect.runtime import pulse_thread
from edgeinspect.runtime.pulse_thread import AWAKE_BEFORE_NS
from edgeinspect.runtime.station import SWITCH_INTERVAL_S
from tests.helpers.pulse_bench import MS, PASSING, REJECTING, Bench, ManualClock


def slept_until(bench: Bench, ms: int) -> None:
    bench.clock.now = bench.start + ms * MS
    bench.pulse.step()


def test_a_thread_that_is_late_rejects_for_the_rest_of_the_window() -> None:
    bench = Bench(PASSING)
    bench.window(1, 50, 90)
    slept_until(bench, 70)
    assert bench.output.active
    bench.at(90)
    assert bench.output.levels == [True, False]
    assert FaultName.GATE_TOO_LATE not in bench.faults.snapshot()


def test_a_thread_that_slept_through_a_window_rejects_what_still_can_be() -> None:
    bench = Bench(PASSING)
    bench.window(1, 50, 90)
    slept_until(bench, 120)
    assert bench.output.active
    assert bench.faults.snapshot()[FaultName.GATE_TOO_LATE].count == 1
    bench.at(159)
    assert bench.output.active
    bench.at(160)
    assert not bench.output.active
    assert bench.faults.snapshot()[FaultName.GATE_TOO_LATE].count == 1


def test_a_missed_window_does_not_cut_a_hold_short() -> None:
    bench = Bench(PASSING)
    bench.window(1, 50, 90)
    bench.pulse.reject_everything(bench.start + 40 * MS)
    slept_until(bench, 45)
    slept_until(bench, 120)
    bench.pulse.reject_everything(bench.start + 300 * MS)
    bench.at(299)
    assert bench.output.active
    bench.at(300)
    assert not bench.output.active


@pytest.mark.parametrize("kind", [PASSING, REJECTING])
def test_only_a_part_that_was_to_be_rejected_can_be_missed(kind: object) -> None:
    bench = Bench(kind)  # type: ignore[arg-type]
    bench.window(1, 50, 90)
    if kind is PASSING:
        bench.pulse.release(1)
    slept_until(bench, 120)
    assert not bench.output.active
    assert FaultName.GATE_TOO_LATE not in bench.faults.snapshot()


def test_a_schedule_knows_which_windows_it_never_saw() -> None:
    schedule = PulseSchedule(GateConfig(kind=PASSING, lease_ns=100 * MS))
    schedule.renew_lease(10_000 * MS)
    schedule.advance(0)
    schedule.arm(1, 10 * MS, 30 * MS)
    schedule.arm(2, 40 * MS, 50 * MS)
    assert schedule.missed(29 * MS) == 0
    assert schedule.missed(30 * MS) == 20 * MS
    schedule.advance(35 * MS)
    assert schedule.missed(45 * MS) == 0
    assert schedule.missed(50 * MS) == 10 * MS
    schedule.advance(45 * MS)
    assert schedule.missed(50 * MS) == 0


class CountingClock(ManualClock):
    """Every look at it costs a microsecond."""

    looks = 0

    def now_mono_ns(self) -> int:
        self.looks += 1
        self.now += 1000
        return self.now


class InterruptingClock(ManualClock):
    """Whoever looks at it is interrupted by another thread."""

    interrupt: Callable[[], None] = staticmethod(lambda: None)

    def now_mono_ns(self) -> int:
        self.interrupt()
        return self.now


def test_the_last_moment_before_a_change_is_waited_awake() -> None:
    clock = CountingClock()
    bench = Bench(PASSING, clock=clock)
    bench.window(1, 50, 90)
    clock.now = bench.start + 50 * MS - AWAKE_BEFORE_NS // 2
    assert bench.pulse.rest(bench.pulse.step())
    due = bench.start + 50 * MS
    assert due <= clock.now <= due + 2000
    clock.now = bench.start + 10 * MS
    looks = clock.looks
    assert bench.pulse.rest(0)
    assert clock.looks == looks + 1


def test_what_is_planned_meanwhile_ends_the_wait() -> None:
    clock = InterruptingClock()
    bench = Bench(PASSING, clock=clock)
    bench.window(1, 50, 90)
    clock.now = bench.start + 50 * MS - AWAKE_BEFORE_NS // 2
    wait_ns = bench.pulse.step()
    clock.interrupt = lambda: bench.window(2, 60, 90)
    assert bench.pulse.rest(wait_ns)  # the clock stands still: otherwise it would never return
    assert clock.now < bench.start + 50 * MS


def test_a_thread_that_is_to_stop_does_not_rest() -> None:
    bench = Bench(PASSING)
    bench.pulse.stop()
    assert not bench.pulse.rest(bench.pulse.step())


def test_the_awake_wait_is_shorter_than_the_interpreters_switch_interval() -> None:
    assert AWAKE_BEFORE_NS < SWITCH_INTERVAL_S * 1e9


def run_python(program: str) -> None:
    """In a process of its own, for scheduling that pytest must not keep."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_core_that_does_not_exist_is_refused_in_a_sentence() -> None:
    run_python("""
import os
from edgeinspect.runtime.realtime import make_this_thread_punctual
before = os.sched_getaffinity(0)
refused = make_this_thread_punctual(core=1023)
assert any("no core of its own: core 1023 cannot be used" in why for why in refused), refused
assert os.sched_getaffinity(0) == before
""")


def test_a_core_is_kept_free_for_the_threads_that_follow() -> None:
    run_python("""
import os, threading
from edgeinspect.runtime.realtime import keep_core_free
cores = sorted(os.sched_getaffinity(0))
why_not = keep_core_free(cores[0])
seen = []
thread = threading.Thread(target=lambda: seen.append(sorted(os.sched_getaffinity(0))))
thread.start(); thread.join()
assert seen == [cores[1:]] if len(cores) > 1 else "only one" in why_not, (seen, why_not)
os.sched_setaffinity(0, {cores[-1]})
assert "is the only one" in keep_core_free(cores[-1])
assert os.sched_getaffinity(0) == {cores[-1]}
""")


def test_the_thread_asks_for_its_core_and_tells_what_was_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def refuse(*, core: int | None) -> list[str]:
        asked.append(core)
        return ["no core"]

    monkeypatch.setattr(pulse_thread, "make_this_thread_punctual", refuse)
    bench = Bench(PASSING)
    pulse = pulse_thread.PulseThread(
        config=GateConfig(kind=PASSING, lease_ns=100 * MS),
        output=bench.output,
        clock=bench.clock,
        faults=bench.faults,
        report=bench.spans.append,
        core=3,
    )
    pulse.stop()
    pulse.run()
    assert asked == [3]
    assert bench.faults.snapshot()[FaultName.PULSE_THREAD_DEGRADED].detail == "no core"


def test_what_exists_before_the_start_is_no_more_looked_at_by_the_collector() -> None:
    run_python("""
import gc
from edgeinspect.assembly import assemble
from edgeinspect.runtime.realtime import keep_the_collector_short
before = len(gc.get_objects())
keep_the_collector_short()
assert gc.get_freeze_count() > 0.9 * before
assert len(gc.get_objects()) < 0.01 * before
""")
