"""What the station does when an input's driver says that it no longer hears everything."""

from __future__ import annotations

import dataclasses

import pytest

from edgeinspect.errors import LineFault
from edgeinspect.hw.fake_io import FakeEdgeInput, FakeLevelInput
from edgeinspect.line.config import GateKind
from edgeinspect.part import VerdictKind
from edgeinspect.runtime.station import Station
from edgeinspect.runtime.station_status import StationState
from tests.helpers.runtime_rig import Rig, line_config, prepared
from tests.helpers.station_clock import StationClock


@pytest.mark.parametrize("kind", list(GateKind))
def test_a_dead_trigger_line_lets_nothing_pass_any_more(
    clock: StationClock, kind: GateKind
) -> None:
    rig = Rig(clock, config=line_config(kind=kind))
    with rig:
        rig.wait_until(lambda: rig.station.state is StationState.INSPECTING)
        rig.trigger.fail(LineFault("The GPIO chip of the line GPIO17 was removed or has failed."))
        assert rig.station.state is StationState.FAULTED
        assert rig.line_stop.active
        rig.wait_until(lambda: rig.gate.active is (kind is GateKind.NORMALLY_PASSING))
        rig.part()
        rig.wait_for_records(1)
        beats = len(rig.heartbeat.levels)
        fault = rig.station.faults.snapshot()["input_failed_trigger"]
        rig.station.stop()
    assert rig.sink.written[0].record.gate_outcome.value != "passed"
    assert len(rig.heartbeat.levels) <= beats + 1
    assert fault.active and "GPIO17" in fault.detail
    assert rig.station.exit_code == 4


def test_every_wired_input_is_watched(clock: StationClock) -> None:
    rig = Rig(clock)
    stopped = FakeLevelInput()
    drivers = dataclasses.replace(rig.drivers, line_stopped=stopped, trigger=FakeEdgeInput())
    station = Station(
        recipe=prepared(rig.config, rig.inspector),
        drivers=drivers,
        sink=rig.sink,
        clock=clock,
        next_part_id=1,
        ask_for_punctuality=False,
    )
    station.start()
    stopped.fail(LineFault("gone"))
    station.stop()
    assert "input_failed_line_stopped" in station.faults.snapshot()


def test_lost_trigger_edges_reject_what_is_on_the_belt_and_then_it_goes_on(
    clock: StationClock,
) -> None:
    rig = Rig(clock)
    with rig:
        rig.wait_until(lambda: rig.station.state is StationState.INSPECTING)
        rig.trigger.lose_edges(3)
        rig.wait_until(lambda: "overflow_trigger_edges" in rig.counts())
        rig.wait_until(lambda: "clearing" not in str(rig.station.status()["rejecting_everything"]))
        rig.part()
        rig.wait_for_records(1)
        rig.station.stop()
    assert rig.station.faults.snapshot()["edges_lost_trigger"].count == 3
    assert rig.sink.written[-1].record.verdict.kind is VerdictKind.PASS
    assert rig.station.exit_code == 0
