"""The challenge in the station: asked, judged, kept, and the lock that depends on it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeinspect.challenge import challenge_store
from edgeinspect.challenge.challenge_machine import SILENCE_NS
from edgeinspect.challenge.challenge_store import ChallengeStore
from edgeinspect.challenge.policy import Reason
from edgeinspect.errors import BeltNotReady, ConfigError, NotGood, StorageFault, UsageError
from edgeinspect.faults import FaultName
from edgeinspect.line.parts_lock import LockState
from edgeinspect.runtime.station_status import StationState
from edgeinspect.settings import audit
from edgeinspect.settings.audit import AUDIT_FILE, AuditTrail
from edgeinspect.settings.challenge import Challenge, Occasion, Without
from tests.helpers.challenge_samples import MASTERS, SECOND, ChallengeBench

HOUR_S = 3600.0


def rules(folder: Path, **changes: Any) -> Challenge:
    values: dict[str, Any] = {
        "masters": folder / "masters.yaml",
        "when": (Occasion.SHIFT, Occasion.RECIPE),
        "shift_starts": ("06:00", "14:00", "22:00"),
    }
    return Challenge(**(values | changes))


def locked(bench: ChallengeBench) -> bool:
    return bench.station.lock_state is not LockState.OPEN


def due(bench: ChallengeBench) -> set[str]:
    return set(bench.call("state")["due"])


# --- a challenge ----------------------------------------------------------------------------


def test_passing_proves_unlocks_and_is_recorded(tmp_path: Path) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    assert locked(bench) and due(bench) == {Reason.NEVER_PASSED}
    assert bench.station.demanded == ["no challenge has been passed yet"]
    state = bench.begin()
    assert (state["phase"], state["next"]["id"], state["masters"]) == ("ask", "1", 2)
    assert locked(bench)
    state = bench.master_comes()
    assert (state["phase"], state["next"]["id"], locked(bench)) == ("ask", "2", True)
    state = bench.master_comes()
    assert (state["phase"], state["outcome"], state["number"]) == ("done", "passed", 1)
    assert not locked(bench) and due(bench) == set()
    assert not bench.station.faults.is_active(FaultName.CHALLENGE_DUE)
    kept = ChallengeStore(tmp_path / "data").read(1)
    assert (kept["outcome"], kept["author"], kept["reason"]) == ("passed", "technician", "shift")
    assert [result["good"] for result in kept["results"]] == [True, True]
    assert kept["demanded_by"].keys() == {"never_passed", "unfinished"}
    published = [entry.fields["outcome"] for entry in bench.station.feed.read(0, 10)[1]]
    assert published == ["began", "passed"]
    trail = AuditTrail(tmp_path / "data" / AUDIT_FILE)
    (entry,) = trail.entries()
    assert (entry.action, entry.author) == ("challenge.passed", "technician")
    assert entry.details["number"] == 1
    assert trail.verify().is_good


def test_one_wrong_master_fails_and_the_station_stays_locked(tmp_path: Path) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    assert bench.pass_all()["outcome"] == "passed"
    bench.begin()
    bench.master_comes(good=False)
    state = bench.master_comes()
    assert (state["outcome"], state["detail"]) == ("failed", "not as expected: 1")
    assert "PASS expected" in state["results"][0]["findings"][0]
    assert locked(bench) and due(bench) == {Reason.FAILED}
    again = ChallengeBench(tmp_path, policy=rules(tmp_path), clock=bench.clock)
    assert locked(again)  # nor does a restart help
    assert again.pass_all()["outcome"] == "passed" and not locked(again)


@pytest.mark.parametrize("how", ["abort", "idle", "stop", "stranger", "kill"])
def test_a_challenge_that_does_not_end_proves_nothing(tmp_path: Path, how: str) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    bench.pass_all()
    bench.begin()
    bench.call("next")
    if how == "abort":
        bench.call("abort")
    elif how == "idle":
        bench.clock.mono_ns += SILENCE_NS + 1
        bench.service.tick()
    elif how == "stop":
        bench.service.stop()
    elif how == "stranger":
        bench.clock.move(1)
        bench.service.recorded([bench.record(9, passes=True, locked=True)])
        bench.service.tick()
    if how != "kill":
        state = bench.call("state")
        assert (state["outcome"], state["phase"], locked(bench)) == ("aborted", "done", True)
        assert due(bench) == {Reason.UNFINISHED}
        actions = [e.action for e in AuditTrail(tmp_path / "data" / AUDIT_FILE).entries()]
        assert actions == ["challenge.passed", "challenge.aborted"]
    again = ChallengeBench(tmp_path, policy=rules(tmp_path), clock=bench.clock)
    assert locked(again) and due(again) == {Reason.UNFINISHED}


def test_no_master_is_announced_while_the_belt_stands_or_gathers_speed(tmp_path: Path) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    bench.begin()
    bench.station.belt_is_steady = False
    with pytest.raises(BeltNotReady, match="full speed"):
        bench.call("next")
    bench.station.belt_is_steady = True
    assert bench.call("next")["phase"] == "awaiting"


def test_a_second_part_beside_the_master_makes_it_doubtful(tmp_path: Path) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    bench.begin()
    bench.call("next")
    bench.clock.move(1)
    bench.station.parts_lock.admits(1)
    record = bench.record(1, passes=True)
    bench.station.parts_in_flight = 1
    bench.station.parts_lock.end_of(1)
    bench.service.recorded([record])
    bench.service.tick()
    state = bench.call("state")
    assert state["outcome"] == "aborted" and "not a master arrived" in state["detail"]


def test_records_wait_for_the_stations_view_and_older_ones_do_not_count(tmp_path: Path) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    bench.begin()
    older = bench.record(1, passes=True)
    bench.clock.move(1)
    bench.call("next")
    bench.service.recorded([older])
    bench.service.tick()
    assert bench.call("state")["results"] == []
    bench.clock.move(1)
    bench.station.parts_lock.admits(2)
    bench.service.recorded([bench.record(2, passes=True)])
    bench.service.tick()
    assert bench.call("state")["phase"] == "awaiting"  # still in flight as the view has it
    bench.station.parts_lock.end_of(2)
    bench.service.tick()
    assert [result["part_id"] for result in bench.call("state")["results"]] == [2]


def test_masters_are_asked_for_on_an_empty_belt_only(tmp_path: Path) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    bench.begin()
    bench.station.parts_in_flight = 2
    with pytest.raises(BeltNotReady):
        bench.call("next")
    bench.station.parts_in_flight = 0
    bench.call("next")
    with pytest.raises(UsageError, match="not left the gate"):
        bench.call("next")


def test_an_announcement_that_the_core_refuses_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeinspect.challenge.challenge_service._ANNOUNCE_S", 0.0)
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    bench.begin()
    bench.station.refuses = True
    with pytest.raises(BeltNotReady, match="just arrived"):
        bench.call("next")
    bench.station.refuses = False
    assert bench.call("next")["phase"] == "awaiting"


def test_two_clients_and_wrong_calls(tmp_path: Path) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    with pytest.raises(UsageError, match="No such challenge is running"):
        bench.call("next")
    bench.begin()
    with pytest.raises(UsageError, match="technician is already running a challenge"):
        bench.call("begin", author="operator", token="")
    with pytest.raises(UsageError, match="No such challenge"):
        bench.call("abort", token="guessed")
    with pytest.raises(UsageError, match="Unknown action 'dance'"):
        bench.call("dance")
    bench.call("abort")
    with pytest.raises(UsageError, match="is finished: aborted"):
        bench.call("next")
    for author in (None, "", " ", "a\nb", "x" * 201, 5):
        with pytest.raises(UsageError, match="author"):
            bench.call("begin", author=author)
    bench.station.forced_state = StationState.PAUSED
    with pytest.raises(NotGood, match="paused"):
        bench.begin()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("product: sim-surface", "product: other", r"masters.yaml:2: product is 'other'"),
        ("defect_class: scratch", "defect_class: dent", r":5: masters\[1\].defect_class is 'dent'"),
        ("x: 100", "x: 9000", r":5: masters\[1\].place is .*inside the recipe's ROI"),
    ],
)
def test_masters_that_do_not_fit_the_station(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    (tmp_path / "masters.yaml").write_text(MASTERS.replace(old, new))
    before = due(bench)
    with pytest.raises(ConfigError, match=message):
        bench.begin()
    assert due(bench) == before and bench.call("state")["phase"] == "none"


def test_without_a_policy_it_is_run_on_request_and_locks_nothing(tmp_path: Path) -> None:
    bench = ChallengeBench(tmp_path)
    assert not locked(bench) and due(bench) == set()
    with pytest.raises(UsageError, match="has no masters"):
        bench.begin()
    bench.call("begin", author="technician", masters=str(tmp_path / "masters.yaml"))
    assert locked(bench)  # while it runs
    bench.master_comes(good=False)
    assert bench.master_comes()["outcome"] == "failed"
    assert not locked(bench) and due(bench) == set()
    with pytest.raises(UsageError, match="station file already sets the masters"):
        ChallengeBench(tmp_path, policy=rules(tmp_path)).call(
            "begin", author="a", masters="elsewhere.yaml"
        )


class Feeder:
    """A line that feeds itself."""

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.is_clear = False

    def hold_back(self) -> None:
        self.calls.append("hold back")

    def put_on(self, picture: NDArray[np.uint8], *, defective: bool) -> None:
        self.calls.append((picture.shape, defective))

    def go_on(self) -> None:
        self.calls.append("go on")


def test_a_simulated_line_feeds_the_masters(tmp_path: Path) -> None:
    feeder = Feeder()
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path), feeder=feeder)
    with pytest.raises(ConfigError, match=r"masters\[0\].picture is None"):
        bench.begin()
    (tmp_path / "m.png").touch()
    with_pictures = MASTERS.replace("expect:", "picture: m.png, expect:")
    (tmp_path / "masters.yaml").write_text(with_pictures)
    bench.begin()
    with pytest.raises(BeltNotReady):
        bench.call("next")
    feeder.is_clear = True
    bench.master_comes()
    bench.master_comes()
    assert feeder.calls == ["hold back", ((2, 2), False), ((2, 2), True), "go on"]
    assert ChallengeStore(tmp_path / "data").read(1)["simulated"] is True


# --- when it is due ---------------------------------------------------------------------------


def test_a_shift_locks_the_running_station_until_it_is_proven(tmp_path: Path) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    bench.pass_all()
    bench.clock.move(6.9 * HOUR_S)
    bench.service.tick()
    assert not locked(bench)
    bench.clock.move(0.2 * HOUR_S)
    bench.service.tick()
    assert locked(bench) and due(bench) == {Reason.SHIFT}
    bench.clock.move(8 * HOUR_S)
    bench.service.tick()
    assert bench.call("state")["due"] == {"shift": "a shift began at 14:00 (UTC)"}  # the first
    bench.clock.wall = bench.clock.wall.replace(year=2001)  # the clock jumps back
    bench.service.tick()
    assert locked(bench)
    again = ChallengeBench(tmp_path, policy=rules(tmp_path), clock=bench.clock, boot_id="boot-2")
    assert locked(again) and Reason.SHIFT in due(again)


def test_a_shift_that_begins_during_a_challenge_is_still_due_after_it(tmp_path: Path) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    bench.clock.move(7 * HOUR_S - 2)
    assert bench.pass_all()["outcome"] == "passed"
    assert locked(bench) and due(bench) == {Reason.SHIFT}
    assert bench.station.unlocked == 0  # not even for a moment


def test_grace_is_for_shifts_that_begin_while_it_runs(tmp_path: Path) -> None:
    policy = rules(tmp_path, shift_grace_s=600.0)
    bench = ChallengeBench(tmp_path, policy=policy)
    bench.pass_all()
    bench.clock.move(7 * HOUR_S + 1)
    bench.service.tick()
    assert not locked(bench) and due(bench) == {Reason.SHIFT}
    assert bench.station.faults.is_active(FaultName.CHALLENGE_DUE)
    restarted = ChallengeBench(tmp_path, policy=policy, clock=bench.clock)
    assert locked(restarted)
    bench.clock.wall = bench.clock.wall.replace(year=2001)
    bench.clock.mono_ns += 600 * SECOND
    bench.service.tick()
    assert locked(bench)


def test_alarm_alone_lets_the_station_go_on(tmp_path: Path) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path, without=Without.ALARM))
    assert not locked(bench) and due(bench) == {Reason.NEVER_PASSED}
    assert (
        bench.station.faults.is_active(FaultName.CHALLENGE_DUE) and len(bench.station.demanded) == 1
    )
    bench.service.tick()
    assert len(bench.station.demanded) == 1
    bench.begin()
    bench.call("abort")
    assert not locked(bench) and len(bench.station.demanded) == 2


def test_every_start_where_the_policy_says_so(tmp_path: Path) -> None:
    policy = rules(tmp_path, when=(Occasion.START,), shift_starts=())
    bench = ChallengeBench(tmp_path, policy=policy)
    bench.pass_all()
    assert not locked(bench)
    assert due(ChallengeBench(tmp_path, policy=policy, clock=bench.clock)) == {Reason.START}


def test_a_new_recipe_locks_before_it_is_in_force_and_going_back_does_not_help(
    tmp_path: Path,
) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    bench.pass_all()
    old, new = bench.plan, dataclasses.replace(bench.plan, digest="e" * 64)
    with bench.service.changing_to(new):
        assert locked(bench)
        bench.plan = new
    assert due(bench) == {Reason.RECIPE}
    with bench.service.changing_to(old):
        bench.plan = old
    bench.service.tick()
    assert locked(bench) and due(bench) == {Reason.RECIPE}
    bench.pass_all()
    assert not locked(bench)


def test_a_recipe_that_is_refused_demands_nothing(tmp_path: Path) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    bench.pass_all()
    new = dataclasses.replace(bench.plan, digest="e" * 64)
    with pytest.raises(UsageError), bench.service.changing_to(new):
        raise UsageError("the recipe does not fit")
    assert not locked(bench) and due(bench) == set()
    assert ChallengeStore(tmp_path / "data").load().due == {}


def test_a_recipe_changed_during_the_challenge_fails_it(tmp_path: Path) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    bench.begin()
    bench.master_comes()
    new = dataclasses.replace(bench.plan, digest="e" * 64)
    with bench.service.changing_to(new):
        bench.plan = new
    state = bench.master_comes()
    assert state["outcome"] == "failed"
    assert state["results"][1]["findings"] == ["the recipe was changed during the challenge"]


# --- a disk that refuses ------------------------------------------------------------------------


def refuse(*arguments: object, **options: object) -> None:
    raise StorageFault("the disk refuses")


def test_a_pass_that_cannot_be_kept_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, name in ((audit.AuditTrail, "append"), (challenge_store, "create_file")):
        bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
        bench.begin()
        bench.master_comes()
        with monkeypatch.context() as patched:
            patched.setattr(place, name, refuse)
            state = bench.master_comes()
        assert state["outcome"] == "aborted" and "could not be recorded" in state["detail"]
        assert locked(bench)
        assert bench.station.faults.snapshot()["challenge_not_kept"].count == 1


def test_what_is_due_holds_and_is_saved_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    bench.pass_all()
    with monkeypatch.context() as patched:
        patched.setattr(challenge_store, "replace_file", refuse)
        bench.clock.move(8 * HOUR_S)
        bench.service.tick()
        assert locked(bench)
        with pytest.raises(StorageFault):
            bench.begin()
        assert bench.call("state")["phase"] == "done"  # of the challenge before
    assert ChallengeStore(tmp_path / "data").load().due == {}
    bench.service.tick()
    assert set(ChallengeStore(tmp_path / "data").load().due) == {Reason.SHIFT}


def test_status_is_json_safe(tmp_path: Path) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    bench.begin()
    state = bench.master_comes()
    assert json.loads(json.dumps(state)) == state
    shown = dict(bench.station.challenge_status)
    assert json.loads(json.dumps(shown)) == shown
    assert shown["running"] is True and shown["shift_clock_trusted"] is True


# --- what is due is believed only as far as the audit trail bears it out --------------------------


def edited(folder: Path, change: Any) -> None:
    path = folder / "data" / "challenges" / "due.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("number", 2),
        ("product", "another"),
        ("recipe_digest", "e" * 64),
        ("began", {"wall": "2099-01-01T00:00:00+00:00", "mono_ns": 10**18}),
    ],
)
def test_a_last_pass_that_was_edited_locks(tmp_path: Path, what: str, value: object) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    bench.pass_all()

    def change(content: dict[str, Any]) -> None:
        last = content["last_pass"]
        last[what] = last[what] | value if isinstance(value, dict) else value

    untouched = ChallengeBench(tmp_path, policy=rules(tmp_path), clock=bench.clock)
    assert not locked(untouched)
    edited(tmp_path, change)
    again = ChallengeBench(tmp_path, policy=rules(tmp_path), clock=bench.clock)
    assert locked(again) and Reason.STATE_LOST in due(again)
    assert again.pass_all()["outcome"] == "passed" and not locked(again)


def test_a_failed_challenge_cannot_be_edited_away(tmp_path: Path) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    bench.pass_all()
    bench.begin()
    bench.master_comes()
    assert bench.master_comes(good=False)["outcome"] == "failed"
    again = ChallengeBench(tmp_path, policy=rules(tmp_path), clock=bench.clock)
    assert due(again) == {Reason.FAILED}, "as it is, the trail bears it out"
    edited(tmp_path, lambda content: content["due"].clear())
    again = ChallengeBench(tmp_path, policy=rules(tmp_path), clock=bench.clock)
    assert locked(again) and due(again) == {Reason.STATE_LOST}


@pytest.mark.parametrize("gone", ["audit.jsonl", "challenges/000001.json"])
def test_a_pass_without_its_record_or_its_entry_is_none(tmp_path: Path, gone: str) -> None:
    bench = ChallengeBench(tmp_path, policy=rules(tmp_path))
    bench.pass_all()
    (tmp_path / "data" / gone).unlink()
    again = ChallengeBench(tmp_path, policy=rules(tmp_path), clock=bench.clock)
    assert locked(again) and Reason.STATE_LOST in due(again)
