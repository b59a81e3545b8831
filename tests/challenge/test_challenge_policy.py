"""What is due, whatever the clocks do; masters and their judgement; what is kept on disk."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.challenge.challenge_store import DUE_FILE, ChallengeStore
from edgeinspect.challenge.judgement import UNCONFIRMED_REMARK, judge_master
from edgeinspect.challenge.masters_file import Master, load_masters
from edgeinspect.challenge.policy import (
    NOTHING_DUE,
    DueState,
    LastPass,
    Moment,
    Reason,
    due_at_start,
    due_now,
    latest_shift_start,
    locks,
)
from edgeinspect.errors import ConfigError, NotGood, StorageFault
from edgeinspect.files.atomic_file import make_folder
from edgeinspect.files.yaml_expected import Rule
from edgeinspect.line.config import ReviewAction
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
from edgeinspect.settings.challenge import Challenge, Occasion, Without
from edgeinspect.settings.station_file import load_station

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
WALL = datetime.datetime(2026, 3, 2, 7, 0, tzinfo=datetime.UTC)
SHIFTS = ("06:00", "14:00", "22:00")


def policy(**changes: Any) -> Challenge:
    values: dict[str, Any] = {
        "masters": Path("masters.yaml"),
        "when": (Occasion.SHIFT,),
        "shift_starts": SHIFTS,
    }
    return Challenge(**(values | changes))


def at(hours: float = 0.0, **changes: Any) -> Moment:
    """So many hours after 07:00, all clocks right."""
    moment = Moment(
        boot_id="boot",
        mono_ns=100 * HOUR + int(hours * HOUR),
        wall=WALL + datetime.timedelta(hours=hours),
        synchronized=True,
    )
    return replace(moment, **changes)


def passed(moment: Moment | None = None) -> LastPass:
    return LastPass(number=1, began=moment or at(), product="p", recipe_digest="d" * 64)


def start(rules: Challenge, last: LastPass | None, now: Moment, **changes: str) -> set[Reason]:
    names = {"product": "p", "digest": "d" * 64} | changes
    return set(due_at_start(rules, last, now, **names))


# --- shifts -------------------------------------------------------------------------------


def test_a_shift_demands_one_challenge() -> None:
    rules, last = policy(), passed()
    assert due_now(rules, last, at(6.9)) == {}
    assert due_now(rules, last, at(7.0)) == {Reason.SHIFT: "a shift began at 14:00 (UTC)"}
    assert due_now(rules, last, at(40)) != {}


def test_shifts_begin_in_their_own_time_zone() -> None:
    berlin = policy(time_zone="Europe/Berlin")
    before_summer_time = datetime.datetime(2026, 3, 28, 11, tzinfo=datetime.UTC)
    assert latest_shift_start(berlin, before_summer_time).hour == 5
    assert latest_shift_start(berlin, before_summer_time + datetime.timedelta(days=1)).hour == 4


@pytest.mark.parametrize("synchronized", [True, False])
@pytest.mark.parametrize("jump_h", [-1000.0, -8.0, 0.0])
def test_a_clock_set_back_hides_no_shift(jump_h: float, synchronized: bool) -> None:
    """Whatever the wall clock says now, eight monotonic hours hold the start of a shift."""
    wrong = at(8, wall=WALL + datetime.timedelta(hours=8 + jump_h), synchronized=synchronized)
    assert Reason.SHIFT in due_now(policy(), passed(), wrong)


def test_first_sight_of_a_time_server_is_no_shift() -> None:
    """After a boot without a battery clock: passed in 1970, the right time comes an hour later."""
    unset = datetime.datetime(1970, 1, 1, 0, 5, tzinfo=datetime.UTC)
    last = passed(at(0, wall=unset, synchronized=False))
    assert due_now(policy(), last, at(1)) == {}
    assert due_now(policy(), last, at(7)) != {}


def test_another_boot_is_believed_only_between_two_right_clocks() -> None:
    rules, last = policy(), passed()
    assert due_now(rules, last, at(1, boot_id="other", mono_ns=5)) == {}
    assert set(due_now(rules, last, at(7, boot_id="other", mono_ns=5))) == {Reason.SHIFT}
    unknown = set(due_now(rules, last, at(1, boot_id="other", synchronized=False)))
    assert unknown == {Reason.CLOCK_UNKNOWN}
    assert set(due_now(rules, last, at(-2, boot_id="other"))) == {Reason.CLOCK_UNKNOWN}
    untrusted = passed(at(synchronized=False))
    assert set(due_now(rules, untrusted, at(1, boot_id="other"))) == {Reason.CLOCK_UNKNOWN}
    nameless = passed(at(boot_id="", synchronized=False))
    assert set(due_now(rules, nameless, at(1, boot_id=""))) == {Reason.CLOCK_UNKNOWN}


@given(
    elapsed_h=st.floats(0, 100),
    wall_h=st.floats(-2000, 2000),
    then_synchronized=st.booleans(),
    now_synchronized=st.booleans(),
)
def test_a_day_of_monotonic_time_is_always_seen(
    elapsed_h: float, wall_h: float, then_synchronized: bool, now_synchronized: bool
) -> None:
    """However the wall clock jumps, no more than the longest shift passes without a challenge."""
    last = passed(at(0, synchronized=then_synchronized))
    now = at(
        elapsed_h,
        wall=WALL + datetime.timedelta(hours=wall_h),
        synchronized=now_synchronized,
    )
    if elapsed_h >= 8:
        assert due_now(policy(), last, now)


# --- other occasions ------------------------------------------------------------------------


def test_each_occasion_by_its_name() -> None:
    last = passed()
    only = {
        occasion: policy(when=(occasion,), shift_starts=SHIFTS if occasion == "shift" else ())
        for occasion in Occasion
    }
    assert start(only[Occasion.START], last, at(1)) == {Reason.START}
    assert start(only[Occasion.PRODUCT], last, at(1)) == set()
    assert start(only[Occasion.PRODUCT], last, at(1), product="q") == {Reason.PRODUCT}
    assert start(only[Occasion.RECIPE], last, at(99)) == set()
    assert start(only[Occasion.RECIPE], last, at(1), digest="e" * 64) == {Reason.RECIPE}
    assert start(only[Occasion.SHIFT], last, at(9)) == {Reason.SHIFT}
    for rules in only.values():
        assert Reason.NEVER_PASSED in start(rules, None, at())


def test_lock_alarm_and_grace() -> None:
    shift, other = {Reason.SHIFT: ""}, {Reason.RECIPE: ""}
    assert not locks(policy(), {}, shift_grace_over=True)
    assert locks(policy(), shift, shift_grace_over=True)
    assert not locks(policy(), shift, shift_grace_over=False)
    assert locks(policy(), shift | other, shift_grace_over=False)
    assert not locks(policy(without=Without.ALARM), shift | other, shift_grace_over=True)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"shift_starts": ()}, "shift_starts"),
        ({"when": (Occasion.START,)}, "shift_starts"),
        ({"when": (Occasion.SHIFT, Occasion.SHIFT)}, "when"),
        ({"shift_starts": ("06:00", "06:00")}, "shift_starts"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../etc/passwd"}, "time_zone"),
    ],
)
def test_policies_that_cannot_be(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError) as caught:
        policy(**changes)
    (problem,) = caught.value.errors()  # type: ignore[attr-defined]
    rule = problem["ctx"]["error"]
    assert isinstance(rule, Rule) and rule.key_path == (key,)


def test_policy_in_the_station_file(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "edgeinspect/settings/examples/normally-rejecting.yaml"
    file = tmp_path / "station.yaml"
    good = example.read_text() + (
        "challenge:\n  masters: masters/{product}.yaml\n  when: [shift, recipe]\n"
        '  shift_starts: ["06:00"]\n  without: alarm\n'
    )
    file.write_text(good)
    found = load_station(file).challenge
    assert found is not None and found.without is Without.ALARM
    assert found.masters_of("sim-surface") == tmp_path / "masters" / "sim-surface.yaml"
    file.write_text(good.replace('["06:00"]', '["6 am"]'))
    with pytest.raises(ConfigError, match=r"shift_starts\[0\] is '6 am'; expected a time of the"):
        load_station(file)


# --- masters --------------------------------------------------------------------------------

MASTERS = """
format: 1
product: sim-surface
masters:
- {id: 1, expect: PASS, description: good plate}
- id: B2
  expect: REJECT
  defect_class: scratch
  place: {x: 100, y: 80, width: 40, height: 20}
"""


def masters_file(tmp_path: Path, text: str = MASTERS) -> Path:
    path = tmp_path / "masters.yaml"
    path.write_text(text)
    return path


def test_masters_are_read(tmp_path: Path) -> None:
    loaded = load_masters(masters_file(tmp_path))
    good, bad = loaded.content.masters
    assert (good.label, bad.label) == ("1", "B2")
    assert bad.place is not None and bad.place.region == Region(100, 80, 40, 20)
    assert loaded.picture_of(good) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id: B2", "id: 1", r"masters.yaml:6: masters\[1\].id is 1; expected each id only once"),
        ("expect: REJECT", "expect: BAD", r":7: masters\[1\].expect is 'BAD'; expected one of"),
        ("expect: REJECT", "expect: PASS", r"defect_class is 'scratch'; expected nothing"),
        ("expect: PASS,", "expect: REVIEW,", r"masters is .* expected at least one good master"),
        ("x: 100", "x: -1", r":9: masters\[1\].place.x is -1"),
        ("id: B2", "id: ''", r":6: masters\[1\].id is ''"),
        ("description: good", "picture: none.png, description: good", r"picture is 'none.png'"),
        ("product: sim", "produkt: sim", r":3: produkt is 'sim-surface'; expected a known key"),
    ],
)
def test_wrong_masters_are_named_with_their_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in MASTERS
    with pytest.raises(ConfigError, match=message):
        load_masters(masters_file(tmp_path, MASTERS.replace(old, new)))


def test_a_set_without_a_bad_master_proves_nothing(tmp_path: Path) -> None:
    text = MASTERS.partition("- id: B2")[0] + "- {id: 2, expect: PASS}\n"
    with pytest.raises(ConfigError, match="at least one bad master"):
        load_masters(masters_file(tmp_path, text))


# --- judgement --------------------------------------------------------------------------------

BAD_MASTER = Master(
    id=2,
    expect=VerdictKind.REJECT,
    defect_class="scratch",
    place={"x": 10, "y": 10, "width": 20, "height": 20},  # type: ignore[arg-type]
)
GOOD_MASTER = Master(id=1, expect=VerdictKind.PASS)


NEAR = Region(25, 25, 8, 8)


def record(verdict: Verdict, outcome: GateOutcome, *, worst: Region | None = NEAR) -> PartRecord:
    inspection = Inspection((0.9,), "scratch", 0.9, FrameQuality(100, 0, 0, 50), worst_region=worst)
    return PartRecord(
        part_id=7,
        trigger_mono_ns=1,
        verdict=verdict,
        gate_outcome=outcome,
        recipe_digest="r1",
        inspection=inspection,
    )


REJECTED = Verdict(VerdictKind.REJECT, "scratch", 0.9)


def judged(master: Master, found: PartRecord, **changes: Any) -> tuple[str, ...]:
    options: dict[str, Any] = {
        "recipe_digest": "r1",
        "confirm_wired": True,
        "review_action": ReviewAction.REJECT,
    }
    return judge_master(master, found, **(options | changes)).findings


def test_masters_that_are_as_expected() -> None:
    confirmed = record(REJECTED, GateOutcome.REJECT_CONFIRMED)
    assert judged(BAD_MASTER, confirmed) == ()
    good = record(Verdict(VerdictKind.PASS, score=0.1), GateOutcome.PASSED, worst=None)
    assert judged(GOOD_MASTER, good) == ()


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (record(Verdict(VerdictKind.PASS), GateOutcome.REJECT_CONFIRMED), "the verdict"),
        (
            record(Verdict(VerdictKind.REVIEW, "scratch"), GateOutcome.REJECT_CONFIRMED),
            "the verdict",
        ),
        (
            record(
                Verdict(VerdictKind.CANNOT_INSPECT, doubt=Doubt.BLURRED),
                GateOutcome.REJECT_CONFIRMED,
            ),
            r"CANNOT_INSPECT (blurred)",
        ),
        (record(Verdict(VerdictKind.REJECT, "pit"), GateOutcome.REJECT_CONFIRMED), "the class"),
        (record(REJECTED, GateOutcome.REJECT_CONFIRMED, worst=None), "the position"),
        (
            record(REJECTED, GateOutcome.REJECT_CONFIRMED, worst=Region(30, 10, 5, 5)),
            "the position",
        ),
        (record(REJECTED, GateOutcome.REJECT_UNCONFIRMED), "the gate"),
        (record(REJECTED, GateOutcome.GATE_LIMITED), "the gate"),
        (record(REJECTED, GateOutcome.PASSED), "the gate"),
        (record(REJECTED, GateOutcome.REJECTED), "the gate"),
    ],
)
def test_each_thing_that_is_not_as_expected_is_one_finding(found: PartRecord, word: str) -> None:
    (finding,) = judged(BAD_MASTER, found)
    assert word in finding


def test_a_good_master_must_really_pass_the_gate() -> None:
    for outcome in set(GateOutcome) - {GateOutcome.PASSED}:
        (finding,) = judged(GOOD_MASTER, record(Verdict(VerdictKind.PASS), outcome))
        assert "passed expected" in finding


def test_without_a_confirm_sensor_it_says_so() -> None:
    found = record(REJECTED, GateOutcome.REJECTED)
    result = judge_master(
        BAD_MASTER,
        found,
        recipe_digest="r1",
        confirm_wired=False,
        review_action=ReviewAction.REJECT,
    )
    assert result.is_good and result.remarks == (UNCONFIRMED_REMARK,)


def test_review_masters_follow_the_review_action_and_recipes_must_not_change() -> None:
    review = Master(id=3, expect=VerdictKind.REVIEW)
    let_through = record(Verdict(VerdictKind.REVIEW, "scratch"), GateOutcome.PASSED)
    assert judged(review, let_through, review_action=ReviewAction.PASS) == ()
    assert judged(review, let_through) != ()
    (finding,) = judged(review, let_through, review_action=ReviewAction.PASS, recipe_digest="r2")
    assert "recipe was changed" in finding


boxes = st.builds(
    Region, st.integers(0, 9), st.integers(0, 9), st.integers(1, 5), st.integers(1, 5)
)


@given(boxes, boxes)
def test_overlap_agrees_with_counting_pixels(a: Region, b: Region) -> None:
    def pixels(box: Region) -> set[tuple[int, int]]:
        return {
            (x, y)
            for x in range(box.x, box.x + box.width)
            for y in range(box.y, box.y + box.height)
        }

    assert a.overlaps(b) == bool(pixels(a) & pixels(b))


# --- on disk ------------------------------------------------------------------------------------


def test_what_is_due_is_read_back(tmp_path: Path) -> None:
    store = ChallengeStore(tmp_path)
    assert store.load() == NOTHING_DUE
    for state in (
        DueState(last_pass=None, due={Reason.FAILED: "because"}),
        DueState(last_pass=passed(), due={}),
        DueState(
            last_pass=passed(at(synchronized=False)),
            due={Reason.SHIFT: "a", Reason.START: "b"},
        ),
    ):
        store.save(state)
        assert ChallengeStore(tmp_path).load() == state


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b'{"format": 2, "due": {}, "last_pass": null}',
        b'{"format": 1, "due": {"x": ""}, "last_pass": null}',
        b"\xff",
    ],
)
def test_a_state_that_cannot_be_read_is_a_challenge_that_is_due(
    tmp_path: Path, content: bytes
) -> None:
    store = ChallengeStore(tmp_path)
    make_folder(store.folder)
    (store.folder / DUE_FILE).write_bytes(content)
    assert set(store.load().due) == {Reason.STATE_LOST}


def test_a_state_that_is_gone_while_records_are_there_is_lost(tmp_path: Path) -> None:
    store = ChallengeStore(tmp_path)
    store.put(*store.prepare({"outcome": "passed"}))
    assert set(store.load().due) == {Reason.STATE_LOST}


def test_records_are_numbered_and_never_written_again(tmp_path: Path) -> None:
    store = ChallengeStore(tmp_path)
    for number in (1, 2):
        prepared = store.prepare({"outcome": "failed", "score": float("nan")})
        assert prepared[0] == number
        store.put(*prepared)
    assert store.numbers() == [1, 2]
    assert store.read(2) == {"number": 2, "outcome": "failed", "score": None}
    with pytest.raises(StorageFault, match="exists"):
        store.put(2, b"{}")
    with pytest.raises(NotGood, match="Challenge 3 was not found"):
        store.read(3)
    store.path(2).chmod(0o644)
    store.path(2).write_text("{")
    with pytest.raises(StorageFault, match="damaged"):
        store.read(2)
    assert json.loads(store.path(1).read_text())["number"] == 1
