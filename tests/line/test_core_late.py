"""LATE says what was late, and by how much."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeinspect.line import messages as m
from edgeinspect.line.config import GateKind, LineConfig
from edgeinspect.part import Doubt
from tests.helpers.line_bench import MS, Bench, line_config, seen

T = 2_000 * MS
DEADLINE = T + 855 * MS
"""The window at the gate begins at 860 ms, the decision margin is 5 ms."""


def patient(kind: GateKind = GateKind.NORMALLY_PASSING) -> LineConfig:
    """Waits for a frame until the deadline."""
    config = line_config(kind)
    return replace(config, track=replace(config.track, frame_timeout_ns=5_000 * MS))


def detail(bench: Bench) -> str:
    bench.until(T + 2_000 * MS)
    (record,) = bench.records
    assert record.verdict.doubt is Doubt.LATE
    return record.verdict.detail


@pytest.mark.parametrize("kind", list(GateKind))
def test_an_answer_that_comes_late_says_by_how_much(kind: GateKind) -> None:
    bench = Bench(line_config(kind))
    bench.trigger(T)
    bench.frame(T + 65 * MS, T + 70 * MS)
    bench.give(m.Inspected(1, seen(0.1)), DEADLINE + 12 * MS + 340_000)
    assert detail(bench) == (
        "inference: came 12.3 ms after the deadline, 797.3 ms after its frame arrived"
    )


def test_a_failure_that_comes_late_is_a_late_answer_too() -> None:
    bench = Bench(line_config())
    bench.trigger(T)
    bench.frame(T + 65 * MS, T + 70 * MS)
    why = "its deadline passed while it waited in the queue"
    bench.give(m.InspectionFailed(1, why), DEADLINE + 3 * MS)
    assert detail(bench).startswith("inference: came 3.0 ms after the deadline")


def test_an_answer_that_has_not_come_when_the_part_is_recorded() -> None:
    bench = Bench(line_config())
    bench.trigger(T)
    bench.frame(T + 65 * MS, T + 70 * MS)
    assert detail(bench) == (
        "inference: was still missing 105.0 ms after the deadline, 890.0 ms after its frame arrived"
    )


def test_a_second_answer_changes_nothing() -> None:
    bench = Bench(line_config())
    bench.trigger(T)
    bench.frame(T + 65 * MS, T + 70 * MS)
    bench.give(m.Inspected(1, seen(0.1)), DEADLINE + 2 * MS)
    bench.give(m.Inspected(1, seen(0.1)), DEADLINE + 9 * MS)
    assert detail(bench).startswith("inference: came 2.0 ms after the deadline")


def test_a_frame_that_comes_late_says_by_how_much() -> None:
    bench = Bench(patient())
    bench.trigger(T)
    bench.frame(T + 65 * MS, DEADLINE + 20 * MS)
    assert detail(bench) == "frame: came 20.0 ms after the deadline, 875.0 ms after the trigger"
    assert bench.records[0].frame is None


def test_a_frame_of_another_part_is_not_the_late_one() -> None:
    bench = Bench(patient())
    bench.trigger(T)
    bench.frame(T - 500 * MS, DEADLINE + 20 * MS)
    assert detail(bench) == (
        "frame: was still missing 105.0 ms after the deadline, 960.0 ms after the trigger"
    )


def test_a_release_that_the_gate_could_not_honour_says_by_how_much() -> None:
    bench = Bench(line_config())
    bench.good_part(T, 1)
    bench.give(m.ReleaseTooLate(1), T + 862 * MS)
    assert detail(bench) == "release: 2.0 ms after the part's window at the gate had started"


def test_a_part_that_something_else_overrules_is_not_called_late() -> None:
    bench = Bench(line_config())
    bench.trigger(T)
    bench.frame(T + 65 * MS, T + 70 * MS)
    bench.until(DEADLINE + MS)
    bench.give(m.LineStopped(True, DEADLINE + 2 * MS), DEADLINE + 2 * MS)
    bench.give(m.Inspected(1, seen(0.1)), DEADLINE + 3 * MS)
    bench.until(T + 2_000 * MS)
    (record,) = bench.records
    assert (record.verdict.doubt, record.verdict.detail) == (Doubt.LINE_STOPPED, "")
