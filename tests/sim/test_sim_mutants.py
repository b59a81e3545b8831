"""The simulation must catch a core that is broken on purpose, each in its own way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest

from edgeinspect.line import messages as m
from edgeinspect.line.config import LineConfig
from edgeinspect.line.core import LineCore
from edgeinspect.line.frame import FrameMatcher, Match
from edgeinspect.line.ledger import InFlight
from edgeinspect.line.seen_pictures import PictureMemory
from edgeinspect.line.track import EncoderTrack, Place, Track
from edgeinspect.part import Doubt, Frame, PartRecord
from edgeinspect.sim.injected_faults import fault_rates
from edgeinspect.sim.presets import STOP_SIGNAL_DELAY_NS, is_guarded, line_config
from edgeinspect.sim.shards import run_simulation
from edgeinspect.sim.truth import Account
from edgeinspect.sim.virtual import CoreFactory, Store, VirtualLine
from tests.helpers.sim_mutants import DisarmsEarly, _Releases

PARTS = 1500
REJECTING, PASSING = "normally-rejecting", "normally-passing"
GUARDED = "normally-passing-guarded"


def harsh(gate: str) -> Mapping[str, float]:
    """Every fault eight times as often as in reality, so that a short run meets them all."""
    rates = fault_rates("all", guarded=is_guarded(gate), encoder=False)
    return {name: 8 * rate for name, rate in rates.items()}


def simulate(core: CoreFactory, gate: str, *, parts: int = PARTS) -> Account:
    return run_simulation(parts=parts, seed=20, faults=harsh(gate), gate=gate, core_factory=core)


class TakesAnyFrame(FrameMatcher):
    """The oldest part that waits gets whatever frame comes."""

    def match(
        self, frame: Frame, waiting: Iterable[InFlight], track: Track, now_mono_ns: int
    ) -> Match:
        part = next(iter(waiting), None)
        return Match(part, None if part is not None else Doubt.STALE)


class SkipsFreshness(LineCore):
    def __init__(self, config: LineConfig, *, next_part_id: int, now_mono_ns: int) -> None:
        super().__init__(config, next_part_id=next_part_id, now_mono_ns=now_mono_ns)
        self._matcher = TakesAnyFrame()


class BelievesFrozenPictures(FrameMatcher):
    def match(
        self, frame: Frame, waiting: Iterable[InFlight], track: Track, now_mono_ns: int
    ) -> Match:
        found = super().match(frame, waiting, track, now_mono_ns)
        return Match(found.part, None) if found.doubt is Doubt.FROZEN else found


class SkipsFrozenCheck(LineCore):
    def __init__(self, config: LineConfig, *, next_part_id: int, now_mono_ns: int) -> None:
        super().__init__(config, next_part_id=next_part_id, now_mono_ns=now_mono_ns)
        self._matcher = BelievesFrozenPictures()


class ForgetsOldPictures(LineCore):
    """Knows a picture again among the last sixteen only."""

    def __init__(self, config: LineConfig, *, next_part_id: int, now_mono_ns: int) -> None:
        super().__init__(config, next_part_id=next_part_id, now_mono_ns=now_mono_ns)
        self._matcher = FrameMatcher(PictureMemory(kept=16))


class TakesStampsForExact(FrameMatcher):
    def match(
        self, frame: Frame, waiting: Iterable[InFlight], track: Track, now_mono_ns: int
    ) -> Match:
        exact = Frame(replace(frame.meta, exposure_error_ns=0), frame.pixels)
        return super().match(exact, waiting, track, now_mono_ns)


class IgnoresStampErrors(LineCore):
    def __init__(self, config: LineConfig, *, next_part_id: int, now_mono_ns: int) -> None:
        super().__init__(config, next_part_id=next_part_id, now_mono_ns=now_mono_ns)
        self._matcher = TakesStampsForExact()


class _DropsSome(LineCore):
    dropped: type[m.Event]
    every = 40

    def __init__(self, config: LineConfig, *, next_part_id: int, now_mono_ns: int) -> None:
        super().__init__(config, next_part_id=next_part_id, now_mono_ns=now_mono_ns)
        self._seen = 0

    def handle(self, event: m.Event, now_mono_ns: int) -> list[m.Action]:
        if isinstance(event, self.dropped):
            self._seen += 1
            if self._seen % self.every == 0:
                return []
        return super().handle(event, now_mono_ns)


class DropsTriggers(_DropsSome):
    dropped = m.TriggerEdge


class DropsLineStops(_DropsSome):
    dropped = m.LineStopped
    every = 1


class DropsGuardEdges(_DropsSome):
    dropped = m.GuardEdge
    every = 1


class DropsConfirmDoubts(LineCore):
    """Never asks for a line stop, so a stuck gate lets its parts leave."""

    def handle(self, event: m.Event, now_mono_ns: int) -> list[m.Action]:
        actions = super().handle(event, now_mono_ns)
        return [action for action in actions if not isinstance(action, m.RequestLineStop)]


class ForgetsWhatIsOnTheBelt(LineCore):
    """Trusts an unknown belt after a restart or a stop."""

    def handle(self, event: m.Event, now_mono_ns: int) -> list[m.Action]:
        actions = super().handle(event, now_mono_ns)
        return [action for action in actions if not isinstance(action, m.RejectEverything)]

    def start(self, now_mono_ns: int) -> list[m.Action]:
        actions = super().start(now_mono_ns)
        return [action for action in actions if not isinstance(action, m.RejectEverything)]


class BelievesWhatHasArrived(EncoderTrack):
    """Takes the last count that has arrived for the belt's place, and for settled."""

    def place_at(self, mono_ns: int) -> Place:
        place = super().place_at(mono_ns)
        return place if place.settled else Place(self.last_count)


class IgnoresProvisionalPlaces(LineCore):
    def __init__(self, config: LineConfig, *, next_part_id: int, now_mono_ns: int) -> None:
        super().__init__(config, next_part_id=next_part_id, now_mono_ns=now_mono_ns)
        self._track = BelievesWhatHasArrived(config.track)


class _MisjudgesTheBelt(LineCore):
    """Told something else of the belt than what is true."""

    def __init__(self, config: LineConfig, *, next_part_id: int, now_mono_ns: int) -> None:
        lie = self.lie(config)
        super().__init__(lie, next_part_id=next_part_id, now_mono_ns=now_mono_ns)

    def handle(self, event: m.Event, now_mono_ns: int) -> list[m.Action]:
        if isinstance(event, m.ApplyConfig):
            event = m.ApplyConfig(self.lie(event.config))
        return super().handle(event, now_mono_ns)

    @staticmethod
    def lie(config: LineConfig) -> LineConfig:
        raise NotImplementedError


class TakesTheBeltForFast(_MisjudgesTheBelt):
    """Full speed at once after a stop."""

    @staticmethod
    def lie(config: LineConfig) -> LineConfig:
        return replace(config, track=replace(config.track, restart_ns=0))


class TakesTheStopSignalForPrompt(_MisjudgesTheBelt):
    """No part is late at the gate before the stop is known."""

    @staticmethod
    def lie(config: LineConfig) -> LineConfig:
        prompt = config.track.window_after - STOP_SIGNAL_DELAY_NS
        return replace(config, track=replace(config.track, window_after=prompt))


class ReusesPartIds(LineCore):
    def __init__(self, config: LineConfig, *, next_part_id: int, now_mono_ns: int) -> None:
        super().__init__(config, next_part_id=1, now_mono_ns=now_mono_ns)
        assert next_part_id >= 1


class RecordsTwice(LineCore):
    def handle(self, event: m.Event, now_mono_ns: int) -> list[m.Action]:
        actions = super().handle(event, now_mono_ns)
        records = [a for a in actions if isinstance(a, m.Record)]
        return [*actions, *(a for a in records if a.record.part_id % 100 == 0)]


class IgnoresThresholds(_Releases):
    """Lets one rejected part in seven pass."""

    def handle(self, event: m.Event, now_mono_ns: int) -> list[m.Action]:
        actions = super().handle(event, now_mono_ns)
        if isinstance(event, m.Inspected) and event.part_id % 7 == 0:
            part = self._ledger.get(event.part_id)
            if part is not None and not part.released:
                actions.append(self.release(event.part_id))
        return actions


@pytest.mark.parametrize("gate", [REJECTING, PASSING, GUARDED])
def test_the_core_itself_survives_what_catches_the_mutants(gate: str) -> None:
    account = simulate(LineCore, gate)
    assert account.good, account.findings
    assert account.lost == account.ledger_lost
    assert account.parts == PARTS
    assert account.left + account.rejected + account.recalled == PARTS


@pytest.mark.parametrize(
    ("mutant", "gate", "caught"),
    [
        (SkipsFreshness, REJECTING, ("swapped", "wrongly_passed")),
        (SkipsFreshness, PASSING, ("swapped", "wrongly_passed")),
        (SkipsFrozenCheck, REJECTING, ("swapped", "wrongly_passed")),
        (DisarmsEarly, REJECTING, ("wrongly_passed", "escapes")),
        (DisarmsEarly, PASSING, ("wrongly_passed", "escapes")),
        (DropsTriggers, REJECTING, ("unaccounted", "lost")),
        (DropsTriggers, PASSING, ("unaccounted", "wrongly_passed")),
        (DropsLineStops, PASSING, ("wrongly_passed",)),
        (DropsGuardEdges, GUARDED, ("wrongly_passed", "untriggered_passed")),
        (ForgetsWhatIsOnTheBelt, PASSING, ("wrongly_passed",)),
        (RecordsTwice, REJECTING, ("duplicated",)),
        (IgnoresThresholds, REJECTING, ("wrongly_passed", "escapes")),
    ],
)
def test_a_broken_core_is_caught(mutant: CoreFactory, gate: str, caught: tuple[str, ...]) -> None:
    account = simulate(mutant, gate)
    assert not account.good
    assert account.findings
    assert account.failing_shards == ((20, PARTS),)
    for name in caught:
        assert getattr(account, name) > 0, name


@pytest.mark.parametrize("gate", [REJECTING, PASSING])
@pytest.mark.parametrize(
    ("mutant", "fault", "caught"),
    [
        (ForgetsOldPictures, "reshown_frame", "swapped"),
        (IgnoresStampErrors, "off_stamp", "out_of_view"),
    ],
)
def test_a_core_that_believes_the_camera_is_caught(
    mutant: CoreFactory, fault: str, caught: str, gate: str
) -> None:
    faults = {fault: 0.1}
    account = run_simulation(parts=500, seed=3, faults=faults, gate=gate, core_factory=mutant)
    assert getattr(account, caught) > 0
    assert not account.good
    sound = run_simulation(parts=500, seed=3, faults=faults, gate=gate)
    assert sound.good, sound.findings
    assert sound.faults[fault] > 20


def test_a_core_that_never_stops_the_line_is_caught() -> None:
    account = run_simulation(
        parts=600,
        seed=3,
        faults={"stuck_gate_passing": 0.005},
        gate=REJECTING,
        core_factory=DropsConfirmDoubts,
    )
    assert account.wrongly_passed > 0
    assert account.escapes > 0


@pytest.mark.parametrize("gate", [REJECTING, PASSING])
def test_a_core_that_ignores_provisional_places_is_caught(gate: str) -> None:
    account = run_simulation(
        parts=400,
        seed=21,
        faults={"late_input": 0.3},
        gate=gate,
        tracking="encoder",
        core_factory=IgnoresProvisionalPlaces,
    )
    assert not account.good
    assert account.mislocated > 0


BELT_FAULTS = {"belt_stop": 6e-3, "belt_stutter": 6e-3, "stop_bounce": 6e-3}


@pytest.mark.parametrize(
    ("mutant", "gate", "faults", "caught"),
    [
        (TakesTheBeltForFast, REJECTING, BELT_FAULTS, "judged_unsteady"),
        (TakesTheBeltForFast, PASSING, BELT_FAULTS, "judged_unsteady"),
        (TakesTheBeltForFast, PASSING, BELT_FAULTS, "wrongly_passed"),
        (TakesTheBeltForFast, GUARDED, BELT_FAULTS, "judged_unsteady"),
    ],
)
def test_a_core_that_gets_false_reports_of_the_belt_is_caught(
    mutant: CoreFactory, gate: str, faults: Mapping[str, float], caught: str
) -> None:
    def run(core: CoreFactory) -> Account:
        return run_simulation(parts=2000, seed=5, faults=faults, gate=gate, core_factory=core)

    lying = run(mutant)
    assert getattr(lying, caught) > 0
    assert not lying.good
    honest = run(LineCore)
    assert honest.good, honest.findings
    assert all(honest.faults[name] for name in faults)


def test_a_core_that_takes_a_late_stop_signal_for_prompt_is_caught() -> None:
    """Without the confirm sensor, for what that finds missing is recalled before it leaves."""
    config = replace(line_config(gate=PASSING), confirm=None)

    def run(core: CoreFactory) -> Account:
        rates = {"late_stop_signal": 3e-2, "dropped_frame": 1.0}
        line = VirtualLine(
            parts=1000, seed=5, gate=PASSING, rates=rates, core_factory=core, config=config
        )
        return line.run()

    assert run(TakesTheStopSignalForPrompt).wrongly_passed > 0
    assert run(LineCore).good


def test_a_core_that_reuses_part_ids_after_a_crash_is_caught() -> None:
    account = run_simulation(
        parts=400,
        seed=3,
        faults={"crash_restart": 0.01},
        gate=REJECTING,
        core_factory=ReusesPartIds,
    )
    assert account.faults["crash_restart"] > 0
    assert account.duplicated > 0


class AcknowledgesIntoNothing(Store):
    """Goes on writing a database that was deleted, as a program does that has it open."""

    def write(self, records: list[PartRecord], now_ns: int) -> bool:
        if self.nameless is None:
            return super().write(records, now_ns)
        self.nameless.extend(records)
        self._truth.acknowledged.extend(record.part_id for record in records)
        return True


class BeginsAnew(Store):
    """Notices, and opens a new database without what the old one had."""

    def write(self, records: list[PartRecord], now_ns: int) -> bool:
        self.nameless = None
        return super().write(records, now_ns)


@pytest.mark.parametrize("store", [Store, AcknowledgesIntoNothing, BeginsAnew])
def test_records_lost_with_their_database_are_found(store: type[Store]) -> None:
    rates = {"records_deleted": 0.02, "crash_restart": 0.002, "disk_full": 0.002}
    line = VirtualLine(parts=400, seed=5, gate=REJECTING, rates=rates, store_factory=store)
    account = line.run()
    assert account.faults["records_deleted"] > 3
    assert (account.acknowledged_lost == 0, account.good) == (store is Store,) * 2


def test_what_is_deleted_just_before_a_crash_is_counted_apart() -> None:
    rates = {"records_deleted": 0.3, "crash_restart": 0.1}
    account = VirtualLine(parts=200, seed=6, gate=REJECTING, rates=rates).run()
    assert account.deleted_with_station > 0
    assert account.acknowledged_lost == 0
    assert account.good, account.findings
