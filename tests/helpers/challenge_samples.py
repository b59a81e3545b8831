"""A challenge service around a station that obeys at once, on a clock that tests move."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeinspect.challenge.challenge_service import ChallengeService, MasterFeeder
from edgeinspect.control.feed import EventFeed
from edgeinspect.line.parts_lock import LockState, PartsLock
from edgeinspect.part import (
    Doubt,
    FrameQuality,
    GateOutcome,
    Inspection,
    PartRecord,
    Region,
    Verdict,
    VerdictKind,
)
from edgeinspect.runtime.fault_board import FaultBoard
from edgeinspect.runtime.plan import StationPlan, plan_station
from edgeinspect.runtime.station_status import StationState
from edgeinspect.settings.challenge import Challenge
from edgeinspect.settings.station_file import example_station

SECOND = 1_000_000_000
WALL = datetime.datetime(2026, 3, 2, 7, 0, tzinfo=datetime.UTC)
MASTERS = """format: 1
product: sim-surface
masters:
- {id: 1, expect: PASS, description: good plate}
- {id: 2, expect: REJECT, defect_class: scratch, place: {x: 100, y: 80, width: 40, height: 20}}
"""


class HandClock:
    """Moves when a test says so; wall and monotonic clock apart if it wants."""

    def __init__(self) -> None:
        self.mono_ns = 50_000 * SECOND
        self.wall = WALL
        self.synchronized = True

    def now_mono_ns(self) -> int:
        return self.mono_ns

    def now_wall(self) -> datetime.datetime:
        return self.wall

    def is_synchronized(self) -> bool:
        return self.synchronized

    def move(self, seconds: float) -> None:
        self.mono_ns += int(seconds * SECOND)
        self.wall += datetime.timedelta(seconds=seconds)


class ObedientStation:
    """Locks, unlocks and admits like the core, without a line."""

    def __init__(self, clock: HandClock) -> None:
        self.parts_lock = PartsLock()
        self.challenge_status: Mapping[str, object] = {}
        self.faults = FaultBoard(clock.now_mono_ns)
        self.feed = EventFeed()
        self.parts_in_flight = 0
        self.belt_is_steady = True
        self.refuses = False
        self.unlocked = 0
        self.demanded: list[str] = []
        self.forced_state: StationState | None = None

    @property
    def state(self) -> StationState:
        if self.forced_state is not None:
            return self.forced_state
        is_open = self.lock_state is LockState.OPEN
        return StationState.INSPECTING if is_open else StationState.LOCKED

    @property
    def lock_state(self) -> LockState:
        return self.parts_lock.state

    def lock(self) -> None:
        self.parts_lock.lock()

    def unlock(self) -> None:
        self.unlocked += 1
        self.parts_lock.unlock()

    def announce_master(self) -> None:
        if not self.refuses:
            self.parts_lock.announce()

    def demand_challenge(self, detail: str) -> None:
        self.demanded.append(detail)


class ChallengeBench:
    """One start of a station; another bench on the same folder is the next start."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: HandClock | None = None,
        policy: Challenge | None = None,
        feeder: MasterFeeder | None = None,
        digest: str = "",
        boot_id: str = "boot-1",
    ) -> None:
        self.folder = folder
        self.clock = clock or HandClock()
        plan = sample_plan(folder)
        self.plan = dataclasses.replace(plan, digest=digest or plan.digest)
        self.service = ChallengeService(
            data_dir=folder / "data",
            policy=policy,
            plan=lambda: self.plan,
            clock=self.clock,
            read_picture=lambda path: np.zeros((2, 2), np.uint8),
            feeder=feeder,
            boot_id=boot_id,
        )
        self.station = ObedientStation(self.clock)
        if self.service.locks_now:
            self.station.lock()
        self.service.attach(self.station)
        self.service.tick()
        self.token = ""
        self._next_part_id = 1

    def call(self, action: str, **arguments: object) -> dict[str, Any]:
        state = dict(self.service.command({"action": action, "token": self.token, **arguments}))
        self.token = str(state.pop("token", self.token))
        return state

    def begin(self) -> dict[str, Any]:
        return self.call("begin", author="technician", reason="shift")

    def master_comes(self, *, good: bool = True) -> dict[str, Any]:
        """The announced master goes its way and is recorded; ``good``: as it must."""
        state = self.call("next")
        assert state["phase"] == "awaiting"
        passes = state["next"]["expected"] == "PASS"
        part_id, self._next_part_id = self._next_part_id, self._next_part_id + 1
        self.clock.move(1)
        assert self.station.parts_lock.admits(part_id)
        record = self.record(part_id, passes=passes == good)
        self.clock.move(1)
        assert self.station.parts_lock.end_of(part_id)
        self.service.recorded([record])
        self.service.tick()
        return self.call("state")

    def pass_all(self) -> dict[str, Any]:
        self.begin()
        self.master_comes()
        return self.master_comes()

    def record(self, part_id: int, *, passes: bool, locked: bool = False) -> PartRecord:
        verdict = Verdict(VerdictKind.PASS, score=0.1)
        outcome = GateOutcome.PASSED
        if not passes:
            verdict = Verdict(VerdictKind.REJECT, "scratch", 0.9)
            outcome = GateOutcome.REJECT_CONFIRMED
        if locked:
            verdict = Verdict(VerdictKind.CANNOT_INSPECT, doubt=Doubt.LOCKED)
        return PartRecord(
            part_id=part_id,
            trigger_mono_ns=self.clock.mono_ns,
            verdict=verdict,
            gate_outcome=outcome,
            recipe_digest=self.plan.digest,
            inspection=Inspection(
                (0.9,),
                "scratch",
                0.9,
                FrameQuality(100.0, 0.0, 0.0, 50.0),
                worst_region=Region(110, 85, 8, 8),
            ),
        )


def sample_plan(folder: Path) -> StationPlan:
    """The simulated line's plan; masters lie beside its data directory."""
    folder.mkdir(parents=True, exist_ok=True)
    masters = folder / "masters.yaml"
    if not masters.exists():
        masters.write_text(MASTERS)
    station = example_station("normally-rejecting", data_dir=folder / "data")
    return plan_station(station, store_first=False)
