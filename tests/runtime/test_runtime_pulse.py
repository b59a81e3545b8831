"""The pulse thread's step, on a clock of its own."""

from __future__ import annotations

import pytest

from edgeinspect.errors import LineFault
from edgeinspect.faults import FaultName
from edgeinspect.hw.fake_io import FakeOutput
from edgeinspect.line.config import GateKind
from edgeinspect.line.messages import GateActivated
from tests.helpers.pulse_bench import MS, PASSING, REJECTING, Bench


def test_an_unreleased_part_is_rejected_exactly_in_its_window() -> None:
    bench = Bench(PASSING)
    bench.window(1, 50, 90)
    bench.at(200)
    assert bench.output.levels == [True, False]
    start, end = bench.start + 50 * MS, bench.start + 90 * MS
    assert bench.spans == [GateActivated(start, None), GateActivated(start, end)]


def test_a_released_part_passes_a_normally_passing_gate() -> None:
    bench = Bench(PASSING)
    bench.window(1, 50, 90)
    assert bench.pulse.release(1)
    bench.at(200)
    assert bench.output.levels == []


def test_a_normally_rejecting_gate_opens_for_released_parts_only() -> None:
    bench = Bench(REJECTING)
    bench.window(1, 50, 90)
    bench.window(2, 150, 190)
    assert bench.pulse.release(2)
    bench.at(140)
    assert bench.output.levels == []
    bench.at(300)
    assert bench.output.levels == [True, False]


def test_a_release_in_the_window_is_refused() -> None:
    bench = Bench(PASSING)
    bench.window(1, 50, 90)
    bench.at(60)
    assert not bench.pulse.release(1)
    assert not bench.pulse.release(99)


@pytest.mark.parametrize("kind", [PASSING, REJECTING])
def test_a_silent_core_rejects_everything(kind: GateKind) -> None:
    bench = Bench(kind, lease_ms=100)
    bench.window(1, 120, 160)
    assert bench.pulse.release(1)
    bench.at(130)
    assert bench.output.active is (kind is PASSING)


def test_the_stations_hold_outlives_the_cores_end() -> None:
    bench = Bench(PASSING)
    bench.pulse.hold("records")
    bench.pulse.reject_everything(None)
    bench.pulse.end_reject_everything()
    bench.at(10)
    assert bench.output.active
    bench.pulse.unhold("records")
    bench.at(20)
    assert not bench.output.active


def test_the_cores_hold_outlives_the_stations() -> None:
    bench = Bench(PASSING)
    bench.pulse.hold("records")
    bench.pulse.reject_everything(bench.start + 500 * MS)
    bench.pulse.unhold("records")
    bench.at(499)
    assert bench.output.active
    bench.at(501)
    assert not bench.output.active


def test_a_latch_cannot_be_undone() -> None:
    bench = Bench(REJECTING)
    bench.window(1, 50, 90)
    bench.pulse.latch_reject()
    assert not bench.pulse.release(1)
    bench.pulse.end_reject_everything()
    bench.at(200)
    assert bench.output.levels == []


def test_a_failing_output_is_named_retried_and_reported_as_it_was() -> None:
    output = FakeOutput(errors=[LineFault("no such chip")] * 3)
    bench = Bench(PASSING, output)
    bench.window(1, 50, 190)
    bench.at(60)
    assert bench.faults.is_active(FaultName.GATE_OUTPUT_FAILED)
    assert bench.spans == []
    bench.at(250)
    assert not bench.faults.is_active(FaultName.GATE_OUTPUT_FAILED)
    assert bench.faults.snapshot()[FaultName.GATE_OUTPUT_FAILED].count == 1
    began, ended = bench.spans
    # Three attempts failed, 10 ms apart: the span starts when the line really moved.
    assert began.start_mono_ns == bench.start + 80 * MS
    assert ended == GateActivated(began.start_mono_ns, bench.start + 190 * MS)


def test_a_gate_that_will_not_close_stays_reported_as_open() -> None:
    output = FakeOutput(errors=[None] + [LineFault("stuck")] * 2)
    bench = Bench(REJECTING, output)
    bench.window(1, 50, 90)
    assert bench.pulse.release(1)
    bench.at(95)
    assert bench.spans == [GateActivated(bench.start + 50 * MS, None)]
    bench.at(200)
    assert bench.spans[-1] == GateActivated(bench.start + 50 * MS, bench.start + 110 * MS)


def test_the_wait_ends_at_the_next_change() -> None:
    bench = Bench(PASSING)
    bench.window(1, 30, 60)
    assert bench.at(5) == 25 * MS
    assert bench.at(30) == 30 * MS


@pytest.mark.parametrize("kind", [PASSING, REJECTING])
def test_emergency_drives_the_rejecting_level(kind: GateKind) -> None:
    bench = Bench(kind)
    bench.pulse.reject_now()
    assert bench.output.active is (kind is PASSING)
