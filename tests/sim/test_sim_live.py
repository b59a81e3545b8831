"""The live simulated line, with a real station wired to it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edgeinspect.errors import CameraFault, LineFault
from edgeinspect.part import CameraControls, Frame, Inspection, PartRecord, VerdictKind
from edgeinspect.runtime.finished_part import FinishedPart
from edgeinspect.runtime.inspection import InspectorSet
from edgeinspect.runtime.recipe_swap import PreparedRecipe
from edgeinspect.runtime.station import Station
from edgeinspect.sim.devices import CodedJudge
from edgeinspect.sim.live_line import LiveLine
from edgeinspect.sim.presets import EXPOSURE_US, GAIN, MS, LineGeometry, line_config
from tests.helpers.station_clock import StationClock

DEADLINE_S = 60.0
SHORT_OUTFEED = LineGeometry(to_end_ns=1_500 * MS, pitch_mean_ns=170 * MS)


class Inspector:
    def inspect(self, frame: Frame, *, want_map: bool = False) -> Inspection:
        del want_map
        return CodedJudge().inspect(frame)


class Sink:
    def __init__(self) -> None:
        self.records: list[PartRecord] = []

    def write(self, batch: Sequence[FinishedPart], /) -> None:
        self.records += [finished.record for finished in batch]


@pytest.mark.parametrize("gate", ["normally-rejecting", "normally-passing-guarded"])
def test_a_real_station_keeps_its_promises_on_the_live_line(clock: StationClock, gate: str) -> None:
    config = line_config(gate=gate)
    line = LiveLine(parts=20, seed=11, gate=gate, geometry=SHORT_OUTFEED)
    sink = Sink()
    recipe = PreparedRecipe(
        config=config,
        inspectors=InspectorSet(recipe_digest=config.recipe_digest, inspectors=[Inspector()]),
        controls=CameraControls(exposure_us=EXPOSURE_US, gain=GAIN),
    )
    station = Station(
        recipe=recipe,
        drivers=line.drivers,
        sink=sink,
        clock=clock,
        next_part_id=1,
        ask_for_punctuality=False,
    )
    station.start()
    line.start()
    try:
        assert line.finished.wait(DEADLINE_S)
    finally:
        station.stop()
        line.stop()
    account = line.account(sink.records, configs=[config])
    assert account.parts == 20
    assert account.good, account.findings
    assert account.left + account.rejected + account.recalled == 20
    judged = {record.verdict.kind for record in sink.records}
    assert len(sink.records) >= 20
    assert VerdictKind.PASS in judged


def test_a_snapshot_shows_where_the_parts_are(clock: StationClock) -> None:
    line = LiveLine(parts=3, seed=1)
    seen = clock.event()
    assert line.snapshot().parts == ()
    line.trigger.start(lambda edge_ns: seen.set())
    line.start(first_part_ns=MS)
    assert seen.wait(DEADLINE_S)
    snapshot = line.snapshot()
    line.stop()
    first = snapshot.parts[0]
    assert snapshot.parts_placed >= 1
    assert first.number == 0
    assert first.sensor_mono_ns is not None
    assert first.at_ns >= 0
    assert snapshot.events[0][1:] == ("sensor", 0)


def test_without_a_station_the_line_control_stops_the_belt(clock: StationClock) -> None:
    line = LiveLine(parts=1, seed=1)
    stopped = clock.event()
    assert line.line_stopped.start(lambda active, edge_ns: stopped.set()) is False
    line.start()
    assert stopped.wait(DEADLINE_S)
    line.stop()
    account = line.account([], configs=[])
    assert account.line_stops == {"heartbeat lost": 1}


def test_stop_takes_off_what_is_still_on_the_line(clock: StationClock) -> None:
    line = LiveLine(parts=100, seed=1)
    on_belt = clock.event()
    line.trigger.start(lambda edge_ns: on_belt.set())
    line.start(first_part_ns=MS)
    assert on_belt.wait(DEADLINE_S)
    line.stop()
    account = line.account([], configs=[line_config(gate="normally-rejecting")])
    assert account.recalled == account.parts
    assert account.lost >= 1, "the trigger was taken by a listener that kept no record"


def test_drivers_refuse_misuse(clock: StationClock) -> None:
    line = LiveLine(parts=1, seed=1)
    line.gate.drive(True)
    line.gate.close()
    line.gate.close()
    with pytest.raises(LineFault, match="closed"):
        line.gate.drive(True)
    line.trigger.start(lambda edge_ns: None)
    with pytest.raises(LineFault, match="already open"):
        line.trigger.start(lambda edge_ns: None)
    now = clock.now_mono_ns()
    with pytest.raises(CameraFault, match="not open"):
        line.camera.capture(not_before_mono_ns=now, deadline_mono_ns=now)
    line.camera.open(CameraControls())
    with pytest.raises(CameraFault, match="too late"):
        line.camera.capture(not_before_mono_ns=now, deadline_mono_ns=now - 1)
