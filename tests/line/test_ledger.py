"""Whose confirm edge it is, and whether the gate covered a part's window."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeinspect.line import messages as m
from edgeinspect.line.config import GateKind, LineConfig
from edgeinspect.line.ledger import InFlight, Ledger
from edgeinspect.part import GateOutcome
from tests.helpers.line_bench import MS, Bench, line_config, with_confirm

START, END = 1_000 * MS, 1_080 * MS
SLACK = 5 * MS
PASSING, REJECTING = GateKind.NORMALLY_PASSING, GateKind.NORMALLY_REJECTING


def part(
    part_id: int = 1,
    *,
    config: LineConfig,
    released: bool = False,
    start: int = START,
    end: int = END,
) -> InFlight:
    found = InFlight(part_id, 0, 0, config, released=released)
    found.window_start_mono_ns, found.window_end_mono_ns = start, end
    return found


def outcome(kind: GateKind, on: int, off: int | None, *, released: bool = False) -> GateOutcome:
    """Of a part whose gate was active from ``on`` to ``off``; None: it still is."""
    ledger = Ledger()
    one = part(config=line_config(kind), released=released)
    ledger.add(one)
    ledger.note_gate(m.GateActivated(on, None))
    if off is not None:
        ledger.note_gate(m.GateActivated(on, off))
    return ledger.outcome(one, END + 20 * MS)


@pytest.mark.parametrize(
    ("on", "off", "covered"),
    [
        (START, END, True),
        (START + SLACK, END - SLACK, True),
        (START + SLACK + 1, END, False),
        (START, END - SLACK - 1, False),
        (START, None, True),
        (START + SLACK + 1, None, False),
    ],
)
def test_the_edges_of_covered(on: int, off: int | None, covered: bool) -> None:
    rejected = GateOutcome.REJECTED if covered else GateOutcome.GATE_LIMITED
    passed = GateOutcome.PASSED if covered else GateOutcome.GATE_LIMITED
    assert outcome(PASSING, on, off) is rejected
    assert outcome(REJECTING, on, off, released=True) is passed


@pytest.mark.parametrize(
    ("on", "off", "touched"),
    [
        (START - 50 * MS, START + SLACK, False),
        (START - 50 * MS, START + SLACK + 1, True),
        (END - SLACK, END + 50 * MS, False),
        (END - SLACK - 1, END + 50 * MS, True),
        (END - SLACK, None, False),
        (END - SLACK - 1, None, True),
        (START + 30 * MS, START + 31 * MS, True),
    ],
)
def test_the_edges_of_touched(on: int, off: int | None, touched: bool) -> None:
    passed = GateOutcome.GATE_LIMITED if touched else GateOutcome.PASSED
    rejected = GateOutcome.GATE_LIMITED if touched else GateOutcome.REJECTED
    assert outcome(PASSING, on, off, released=True) is passed
    assert outcome(REJECTING, on, off) is rejected


def test_two_activations_do_not_cover_a_window_together() -> None:
    ledger = Ledger()
    one = part(config=line_config(PASSING))
    ledger.add(one)
    middle = (START + END) // 2
    for on, off in ((START - MS, middle), (middle + 1, END + MS)):
        ledger.note_gate(m.GateActivated(on, None))
        ledger.note_gate(m.GateActivated(on, off))
    assert ledger.outcome(one, END + 20 * MS) is GateOutcome.GATE_LIMITED


def confirming(kind: GateKind = PASSING) -> LineConfig:
    """A confirm edge belongs to a part from 20 ms after its window's start to 120 ms after its end.

    So the edges of two neighbours can be each other's.
    """
    return with_confirm(line_config(kind))


@pytest.mark.parametrize("rejected_first", [True, False])
def test_what_fell_is_the_rejected_one_of_two_that_could_have(rejected_first: bool) -> None:
    ledger = Ledger()
    later = START + 100 * MS
    first = part(1, config=confirming(), released=not rejected_first)
    second = part(2, config=confirming(), released=rejected_first, start=later, end=later + 80 * MS)
    for each in (first, second):
        ledger.add(each)
    found = ledger.note_confirm(END + 60 * MS)
    assert found is (first if rejected_first else second)
    assert (first.confirmed, second.confirmed) == (rejected_first, not rejected_first)


def test_of_two_rejected_ones_the_older_fell_first_and_each_once() -> None:
    ledger = Ledger()
    later = START + 100 * MS
    older = part(7, config=confirming())
    younger = part(8, config=confirming(), start=later, end=later + 80 * MS)
    for each in (older, younger):
        ledger.add(each)
    edges = [END + 60 * MS + nth for nth in range(3)]
    assert [ledger.note_confirm(edge) for edge in edges] == [older, younger, None]


@pytest.mark.parametrize(
    ("edge", "could"),
    [
        (START + 20 * MS - 1, False),
        (START + 20 * MS, True),
        (END + 120 * MS, True),
        (END + 120 * MS + 1, False),
    ],
)
def test_when_a_confirm_edge_can_be_a_parts(edge: int, could: bool) -> None:
    ledger = Ledger()
    one = part(config=confirming())
    ledger.add(one)
    assert (ledger.note_confirm(edge) is one) is could


def test_a_part_is_confirmed_once_and_a_second_edge_is_another_matter() -> None:
    trigger = 2_000 * MS
    bench = Bench(confirming(REJECTING))
    bench.good_part(trigger, 1, score=0.9)
    for after_ms in (960, 990):
        bench.give(m.ConfirmEdge(trigger + after_ms * MS), trigger + after_ms * MS)
    bench.until(trigger + 2_000 * MS)
    assert bench.records[0].gate_outcome is GateOutcome.REJECT_CONFIRMED
    assert bench.core.status["unexpected_confirm"] == 1
    assert [a.name for a in bench.of(m.RaiseAlarm)] == [m.AlarmName.UNEXPECTED_CONFIRM]


def test_neighbours_that_both_fall_are_both_confirmed() -> None:
    trigger = 2_000 * MS
    config = confirming(REJECTING)
    bench = Bench(replace(config, trigger=replace(config.trigger, min_pitch=100 * MS)))
    bench.good_part(trigger, 1, score=0.9)
    bench.good_part(trigger + 100 * MS, 2, score=0.9)
    for after_ms in (1_000, 1_050):
        bench.give(m.ConfirmEdge(trigger + after_ms * MS), trigger + after_ms * MS)
    bench.until(trigger + 2_000 * MS)
    assert [(r.part_id, r.gate_outcome) for r in bench.records] == [
        (1, GateOutcome.REJECT_CONFIRMED),
        (2, GateOutcome.REJECT_CONFIRMED),
    ]
    assert bench.of(m.RaiseAlarm) == []
