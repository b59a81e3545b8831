"""Whole simulated runs: no fault, each fault, all faults; repeatable to the last count."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from edgeinspect.errors import UsageError
from edgeinspect.sim import shards
from edgeinspect.sim.injected_faults import FAULTS, fault_rates
from edgeinspect.sim.presets import GATES
from edgeinspect.sim.shards import run_simulation
from edgeinspect.sim.truth import Account

REJECTING = "normally-rejecting"
ENCODER_FAULTS = [name for name, fault in FAULTS.items() if fault.needs_encoder]


@pytest.mark.parametrize("gate", GATES)
def test_without_faults_every_part_gets_what_it_deserves(gate: str) -> None:
    account = run_simulation(parts=400, seed=1, gate=gate)
    assert account.good
    assert account.parts == account.triggered == account.left + account.rejected == 400
    assert account.escapes == account.cannot_inspect == account.lost == account.late == 0
    assert account.rejected == account.defective + account.false_rejects
    assert account.outcomes == {"passed": account.left, "reject_confirmed": account.rejected}
    assert not account.alarms
    assert not account.faults


def test_an_encoder_tracks_every_part() -> None:
    account = run_simulation(parts=120, seed=1, tracking="encoder")
    assert account.good
    assert account.left + account.rejected == account.parts == 120
    assert account.escapes == account.cannot_inspect == account.lost == 0
    assert account.rejected == account.defective + account.false_rejects


# What an account must show besides being good, when this fault is frequent.
SHOWS: Mapping[str, str] = {
    "missed_trigger": "missed_trigger",
    "slow_inference": "late",
    "lost_inference": "late",
    "late_frame": "cannot_inspect",
    "dropped_frame": "cannot_inspect",
    "frozen_frame": "cannot_inspect",
    "camera_fault": "cannot_inspect",
    "off_exposure": "cannot_inspect",
    "failed_inference": "cannot_inspect",
    "queue_overflow": "cannot_inspect",
    "pause_resume": "cannot_inspect",
    "belt_stop": "cannot_inspect",
    "crash_restart": "died_with_station",
    "core_hang": "recalled",
    "stuck_gate_passing": "recalled",
    "confirm_missed": "recalled",
    "guard_missed": "ledger_lost",
    "double_trigger": "cannot_inspect",
}


@pytest.mark.parametrize("name", [n for n in FAULTS if n not in ENCODER_FAULTS])
def test_each_fault_alone_passes_nothing_wrongly(name: str) -> None:
    gate = "normally-passing-guarded" if FAULTS[name].needs_guard else REJECTING
    rate = 0.4 if name == "confirm_missed" else 0.04
    account = run_simulation(parts=250, seed=2, faults={name: rate}, gate=gate)
    assert account.faults[name] > 0
    assert account.good, account.findings
    assert account.left > 0
    if name in SHOWS:
        assert getattr(account, SHOWS[name]) > 0, SHOWS[name]
    harmless = ("clock_step", "bounce", "disk_full", "records_deleted", "engine_duplicate")
    if name in (*harmless, "recipe_change"):
        assert account.cannot_inspect == account.recalled == account.lost == 0


@pytest.mark.parametrize("gate", [REJECTING, "normally-passing"])
@pytest.mark.parametrize(
    "name", [*ENCODER_FAULTS, "late_input", "crash_restart", "core_hang", "belt_stop"]
)
def test_with_an_encoder_each_fault_passes_nothing_wrongly(name: str, gate: str) -> None:
    account = run_simulation(parts=120, seed=2, faults={name: 0.03}, gate=gate, tracking="encoder")
    assert account.faults[name] > 0
    assert account.good, account.findings
    assert account.left > 0


@pytest.mark.parametrize("tracking", ["delay", "encoder"])
@pytest.mark.parametrize("gate", GATES)
def test_inputs_that_are_often_late_pass_nothing_wrongly(gate: str, tracking: str) -> None:
    account = run_simulation(
        parts=250, seed=3, faults={"late_input": 0.4}, gate=gate, tracking=tracking
    )
    assert account.faults["late_input"] > 60
    assert account.good, account.findings
    assert account.lost == account.ledger_lost
    assert account.left > 100


@pytest.mark.slow
@pytest.mark.parametrize("gate", GATES)
def test_with_an_encoder_all_faults_pass_nothing_wrongly(gate: str) -> None:
    usual = fault_rates("all", guarded="guarded" in gate, encoder=True)
    often = {name: 10 * rate for name, rate in usual.items()}
    account = run_simulation(parts=1500, seed=41, faults=often, gate=gate, tracking="encoder")
    assert account.good, account.findings


def test_untriggered_parts_of_a_blind_gate_are_counted_by_name() -> None:
    faults = {"missed_trigger": 0.05}
    blind = run_simulation(parts=300, seed=4, faults=faults, gate="normally-passing")
    assert blind.untriggered_passed == blind.missed_trigger > 0
    assert blind.good
    guarded = run_simulation(parts=300, seed=4, faults=faults, gate="normally-passing-guarded")
    assert guarded.missed_trigger > 0
    assert guarded.untriggered_passed == 0
    assert guarded.good
    rejecting = run_simulation(parts=300, seed=4, faults=faults)
    assert rejecting.untriggered_passed == 0


def test_a_seed_repeats_a_run_exactly_and_another_does_not() -> None:
    def run(seed: int) -> Account:
        return run_simulation(parts=300, seed=seed, faults="all")

    assert run(5) == run(5)
    assert run(5).as_dict() != run(6).as_dict()


def test_shards_do_not_depend_on_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_PARTS", 100)
    seen: list[int] = []
    alone = run_simulation(parts=250, seed=7, faults="all", progress=seen.append)
    assert alone.parts == seen[-1] == 250
    assert seen == sorted(seen)
    together = run_simulation(parts=250, seed=7, faults="all", jobs=2)
    assert together == alone


def test_a_failing_shard_repeats_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.helpers.sim_mutants import DisarmsEarly

    monkeypatch.setattr(shards, "SHARD_PARTS", 100)
    account = run_simulation(parts=250, seed=7, core_factory=DisarmsEarly)
    assert len(account.failing_shards) >= 2
    seed, parts = account.failing_shards[0]
    again = run_simulation(parts=parts, seed=seed, core_factory=DisarmsEarly)
    assert again.wrongly_passed > 0
    assert again.failing_shards == ((seed, parts),)
    assert set(again.findings) <= set(account.findings)


def test_all_faults_leaves_out_what_is_not_wired() -> None:
    plain = fault_rates("all", guarded=False, encoder=False)
    assert set(FAULTS) - set(plain) == {"guard_missed", "encoder_glitch", "encoder_stall"}
    assert set(fault_rates("all", guarded=True, encoder=True)) == set(FAULTS)
    assert fault_rates("none", guarded=True, encoder=True) == {}


def test_faults_by_name_keep_their_rates_and_one_order() -> None:
    rates = fault_rates("stale_frame, bounce", guarded=False, encoder=False)
    assert list(rates.items()) == [
        ("bounce", FAULTS["bounce"].rate),
        ("stale_frame", FAULTS["stale_frame"].rate),
    ]
    assert fault_rates({"bounce": 0.5}, guarded=False, encoder=False) == {"bounce": 0.5}


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ("nonsense", "Unknown fault 'nonsense'"),
        ({"bounce": 1.5}, "expected 0 to 1 per part"),
        ({"bounce": float("nan")}, "expected 0 to 1 per part"),
        ("guard_missed", "needs a line with a guard sensor"),
        ("encoder_stall", "needs a line with an encoder"),
    ],
)
def test_wrong_faults_are_refused(faults: str | Mapping[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        run_simulation(parts=1, seed=1, faults=faults)


@pytest.mark.parametrize(
    "options",
    [
        {"parts": 0},
        {"jobs": 0},
        {"gate": "open"},
        {"tracking": "guess"},
    ],
)
def test_wrong_options_are_refused(options: dict[str, object]) -> None:
    arguments: dict[str, object] = {"parts": 1, "seed": 1} | options
    with pytest.raises(UsageError):
        run_simulation(**arguments)  # type: ignore[arg-type]


def test_every_fault_explains_itself() -> None:
    for name, fault in FAULTS.items():
        assert fault.name == name
        assert 0 < fault.rate < 0.1
        assert 20 < len(fault.about) < 100
