"""The challenge machine alone: actions in their order, and what a failed action leaves behind."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

import pytest

from edgeinspect.challenge import challenge_messages as c
from edgeinspect.challenge.challenge_machine import ChallengeMachine
from edgeinspect.challenge.masters_file import load_masters
from edgeinspect.challenge.policy import NOTHING_DUE, Moment, Reason
from edgeinspect.errors import BeltNotReady, EdgeInspectError, StorageFault
from edgeinspect.line.parts_lock import LockState
from edgeinspect.part import GateOutcome, PartRecord, Verdict, VerdictKind
from edgeinspect.runtime.station_status import StationState
from edgeinspect.settings.challenge import Challenge, Occasion
from tests.helpers.challenge_samples import SECOND, WALL, sample_plan

MASTERS = """format: 1
product: sim-surface
masters: [{id: 1, expect: PASS}, {id: 2, expect: REJECT}]
"""
PASSED = (Verdict(VerdictKind.PASS, score=0.1), GateOutcome.PASSED)
REJECTED = (Verdict(VerdictKind.REJECT, "scratch", 0.9), GateOutcome.REJECT_CONFIRMED)


class Bench:
    """A machine and the station that its actions change."""

    def __init__(self, folder: Path) -> None:
        policy = Challenge(masters=folder / "masters.yaml", when=(Occasion.RECIPE,))
        self.machine = ChallengeMachine(policy)
        self.actions: list[c.Action] = []
        self.fails: dict[object, EdgeInspectError] = {}
        moment = Moment(boot_id="boot", mono_ns=SECOND, wall=WALL, synchronized=True)
        self.now = c.StationNow(
            moment=moment,
            plan=sample_plan(folder),
            state=StationState.LOCKED,
            lock=LockState.LOCKED,
            parts_in_flight=0,
            belt_is_clear=True,
            belt_is_steady=True,
        )
        (folder / "masters.yaml").write_text(MASTERS)
        self.masters = load_masters(folder / "masters.yaml")
        start = self.machine.start(NOTHING_DUE, doubt="", moment=moment, plan=self.now.plan)
        self.do(start)

    def do(self, steps: c.Steps[c.Result]) -> list[str]:
        """Answer every action, the failing ones with their error; returns the actions' names."""
        before = len(self.actions)
        try:
            action = next(steps)
            while True:
                self.actions.append(action)
                error = self.fails.get(action if isinstance(action, c.Do) else type(action))
                is_record = isinstance(action, c.KeepRecord)
                action = steps.throw(error) if error else steps.send(1 if is_record else 0)
        except StopIteration:
            return [
                action.name if isinstance(action, c.Do) else type(action).__name__
                for action in self.actions[before:]
            ]

    def begin(self) -> list[str]:
        begin = self.machine.begin(
            self.now, token="t", author="technician", reason="shift", masters=self.masters
        )
        return self.do(begin)

    def master(self, verdict: Verdict, outcome: GateOutcome) -> list[str]:
        """Announce the next master and hand in its record."""
        self.do(self.machine.announce_next(self.now, "t"))
        moment = self.now.moment
        later = dataclasses.replace(
            moment,
            mono_ns=moment.mono_ns + SECOND,
            wall=moment.wall + datetime.timedelta(seconds=1),
        )
        self.now = dataclasses.replace(self.now, moment=later)
        record = PartRecord(
            part_id=1,
            trigger_mono_ns=later.mono_ns,
            verdict=verdict,
            gate_outcome=outcome,
            recipe_digest=self.now.plan.digest,
            inspection=None,
        )
        return self.do(self.machine.record(self.now, record))

    @property
    def due(self) -> set[str]:
        due = self.machine.status(self.now.moment)["due"]
        assert isinstance(due, dict)
        return set(due)


def test_nothing_is_unlocked_before_record_and_state_are_kept(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.begin() == ["SaveDue", "LOCK", "HOLD_BACK_PARTS", "PublishEvent"]
    assert bench.master(*PASSED) == []
    ended = ["KeepRecord", "SaveDue", "FEED_PARTS", "UNLOCK", "ShowDue", "PublishEvent"]
    assert bench.master(*REJECTED) == ended
    assert not bench.due


def test_a_beginning_that_cannot_be_saved_is_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.fails = {c.SaveDue: StorageFault("full")}
    with pytest.raises(StorageFault):
        bench.begin()
    assert not bench.machine.is_running and bench.due == {Reason.NEVER_PASSED}


@pytest.mark.parametrize("failing", [c.KeepRecord, c.SaveDue])
def test_a_pass_that_cannot_be_kept_leaves_the_station_locked(
    tmp_path: Path, failing: type
) -> None:
    bench = Bench(tmp_path)
    bench.begin()
    bench.master(*PASSED)
    bench.fails = {failing: StorageFault("full")}
    names = bench.master(*REJECTED)
    assert "UNLOCK" not in names and "CountNotKept" in names
    assert bench.machine.due_locks(bench.now.moment.mono_ns)


def test_an_announcement_that_is_not_accepted_is_withdrawn(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.begin()
    bench.fails = {c.Do.ANNOUNCE_MASTER: BeltNotReady("A part has just arrived.")}
    with pytest.raises(BeltNotReady):
        bench.do(bench.machine.announce_next(bench.now, "t"))
    assert bench.actions[-1] is c.Do.LOCK
    assert not bench.machine.awaits_master
