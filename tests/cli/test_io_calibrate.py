"""The search for the gate, against gates whose place is known."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.errors import NotGood
from edgeinspect.runtime.gate_calibration import GateCalibration, GateSearch, Trial

FLAP, NOZZLE = "flap", "nozzle"


class Gate:
    """A part of ``part_ms`` stands before the gate ``travel_ms`` after its trigger."""

    def __init__(self, kind: str, *, travel_ms: float, part_ms: float, spread_ms: float = 0.0):
        self.kind, self.travel_ms, self.part_ms = kind, travel_ms, part_ms
        self._slips = itertools.cycle([0.0, spread_ms / 2, -spread_ms / 2])

    def trial(self, start_ms: float, pulse_ms: float) -> Trial:
        slip_ms = next(self._slips)
        first = self.travel_ms + slip_ms - self.part_ms / 2
        last, end_ms = first + self.part_ms, start_ms + pulse_ms
        covered = start_ms <= first and last <= end_ms
        touched = start_ms < last and first < end_ms
        caught = covered if self.kind == FLAP else touched
        fall_ms = self.travel_ms + slip_ms + 60.0
        return Trial(start_ms=start_ms, caught=caught, confirm_ms=fall_ms if caught else None)


def calibrated(
    gate: Gate, *, start_ms: float, pulse_ms: float, resolution_ms: float
) -> GateCalibration:
    calibration = GateCalibration(
        search=GateSearch(first_start_ms=start_ms, pulse_ms=pulse_ms, resolution_ms=resolution_ms),
        pulse_ms=pulse_ms,
        resolution_ms=resolution_ms,
        tolerance_ms=5.0,
    )
    while (wanted := calibration.search.next_start_ms) is not None:
        calibration.note(gate.trial(wanted, pulse_ms))
    return calibration


@given(
    kind=st.sampled_from([FLAP, NOZZLE]),
    travel_ms=st.floats(300, 2000),
    part_ms=st.floats(10, 60),
    off_by=st.floats(-0.8, 0.8),
    resolution_ms=st.floats(0.5, 5),
)
def test_the_travel_is_found_from_any_start_that_catches(
    kind: str, travel_ms: float, part_ms: float, off_by: float, resolution_ms: float
) -> None:
    pulse_ms = 100.0
    start_ms = travel_ms - pulse_ms / 2 + off_by * (pulse_ms - part_ms) / 2
    gate = Gate(kind, travel_ms=travel_ms, part_ms=part_ms)
    calibration = calibrated(
        gate, start_ms=start_ms, pulse_ms=pulse_ms, resolution_ms=resolution_ms
    )
    proposal = calibration.proposal()
    assert abs(proposal.travel_ms - travel_ms) <= resolution_ms / 2 + 1e-6
    assert proposal.window_before_ms >= part_ms / 2
    assert proposal.parts <= 3 + 2 * 10
    opens = proposal.travel_ms - proposal.window_before_ms
    closes = proposal.travel_ms + proposal.window_after_ms
    falls = travel_ms + 60.0
    assert opens + proposal.confirm_earliest_ms <= falls <= closes + proposal.confirm_latest_ms


def test_parts_that_slip_widen_the_window() -> None:
    windows = [
        calibrated(
            Gate(FLAP, travel_ms=500, part_ms=40, spread_ms=spread),
            start_ms=450,
            pulse_ms=100,
            resolution_ms=1,
        ).proposal()
        for spread in (0.0, 8.0)
    ]
    assert windows[0].spread_ms == pytest.approx(0.0)
    assert windows[1].spread_ms == pytest.approx(8.0)
    assert windows[1].window_before_ms >= windows[0].window_before_ms + 4.0
    assert abs(windows[1].travel_ms - 500) <= 8.0


def test_a_start_that_catches_nothing_is_no_start() -> None:
    gate = Gate(FLAP, travel_ms=500, part_ms=40)
    with pytest.raises(NotGood, match=r"began 100\.0 ms .* did not move") as error:
        calibrated(gate, start_ms=100, pulse_ms=100, resolution_ms=1)
    assert "--start-ms" in error.value.next_action


def test_a_gate_that_always_rejects_is_noticed() -> None:
    search = GateSearch(first_start_ms=450, pulse_ms=100, resolution_ms=1)
    search.note(True)
    with pytest.raises(NotGood, match="did not move because of the pulse"):
        search.note(True)


def test_a_confirm_sensor_that_never_answers_is_noticed() -> None:
    calibration = GateCalibration(
        search=GateSearch(first_start_ms=450, pulse_ms=100, resolution_ms=60),
        pulse_ms=100,
        resolution_ms=60,
        tolerance_ms=5,
    )
    for caught in (True, False, False, True, False, True, False, False):
        if (start := calibration.search.next_start_ms) is None:
            break
        calibration.note(Trial(start_ms=start, caught=caught, confirm_ms=None))
    with pytest.raises(NotGood, match="did not see any part"):
        calibration.proposal()
