"""What a card, a stick and an old copy of either may change, and which keys stay revoked."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest

from edgeinspect.bundle.signature import load_trusted_keys
from edgeinspect.setup import importing
from edgeinspect.setup.found import Places
from edgeinspect.setup.import_history import LONGEST, History, Taken, read_history
from edgeinspect.setup.importing import Outcome, State, import_setup
from tests.helpers.setup_card import CONF, NOON, WIFI, log, whole_card


def ssh_key(number: int) -> str:
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes([number]) * 32
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} key-{number}"


def conf(hostname: str, *keys: int, more: str = "") -> str:
    lines = "".join(f"  - {ssh_key(number)}\n" for number in keys)
    return f"format: 1\nhostname: {hostname}\nssh_keys:\n{lines}{more}"


class Desk:
    """A station's data partition, and the cards and sticks that come to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "data").mkdir()

    def places(self, source: str) -> Places:
        boot = self._folder / source
        boot.mkdir(exist_ok=True)
        return Places(boot=boot, data=self._folder / "data")

    def take(self, source: str, text: str | None = None, *, allow_older: bool = False) -> Outcome:
        places = self.places(source)
        if text is not None:
            places.conf.write_text(text)
        kind = "card" if source == "card" else "stick"
        return import_setup(
            places, source=kind, allow_older=allow_older, now_wall=lambda: NOON, owner_of=no_owner
        )

    def etc(self, name: str) -> str:
        return (self._folder / "data/system/etc" / name).read_text()

    @property
    def hostname(self) -> str:
        return self.etc("hostname").strip()

    @property
    def keys(self) -> list[str]:
        return [
            line.split()[-1] for line in self.etc("ssh/authorized_keys.d/technician").splitlines()
        ]


def no_owner() -> None:
    return None


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_the_card_does_not_undo_what_a_stick_set(desk: Desk) -> None:
    desk.take("card", conf("from-card", 1))
    assert desk.take("stick", conf("from-stick", 2)).state is State.IMPORTED
    for _ in range(3):  # take-stick runs the card's set-up at once, and every start does
        outcome = desk.take("card")
        assert outcome.state is State.SUPERSEDED
        assert (desk.hostname, desk.keys) == ("from-stick", ["key-2"])
    assert "NOT IMPORTED AGAIN" in log(desk.places("card"))
    assert "a newer import was made from a stick" in log(desk.places("card"))
    assert desk.take("stick").state is State.UNCHANGED


def test_the_newest_deliberate_act_wins_whatever_it_comes_from(desk: Desk) -> None:
    desk.take("card", conf("one", 1))
    desk.take("stick", conf("two", 1))
    desk.take("card", conf("three", 1))
    assert desk.hostname == "three"
    assert desk.take("stick").state is State.SUPERSEDED
    desk.take("other-stick", conf("four", 1))
    assert (desk.take("card").state, desk.hostname) == (State.SUPERSEDED, "four")


def test_an_old_copy_is_not_taken_from_any_stick_but_on_purpose(desk: Desk) -> None:
    desk.take("card", conf("old", 1))
    desk.take("card", conf("new", 1))
    replayed = desk.take("stick", conf("old", 1))
    assert (replayed.state, desk.hostname) == (State.SUPERSEDED, "new")
    assert "adding a comment with today's date" in log(desk.places("stick"))
    assert desk.take("stick", conf("old", 1), allow_older=True).state is State.IMPORTED
    assert desk.hostname == "old"
    assert desk.take("card").state is State.SUPERSEDED
    desk.take("card", conf("new", 1, more="# again, 1 May\n"))
    assert desk.hostname == "new"


def test_a_file_that_asks_for_older_things_is_not_taken_twice_either(desk: Desk) -> None:
    desk.take("card", conf("card", 1, more="allow_older: true\n"))
    desk.take("stick", conf("stick", 2))
    assert desk.take("card").state is State.SUPERSEDED
    assert (desk.hostname, desk.keys) == ("stick", ["key-2"])


def test_a_revoked_key_stays_revoked_when_the_card_is_edited(desk: Desk) -> None:
    desk.take("card", conf("card", 1, 3))
    desk.take("stick", conf("stick", 2, 3))
    outcome = desk.take("card", conf("edited", 1, 3))
    assert outcome.state is State.IMPORTED
    assert (desk.hostname, desk.keys) == ("edited", ["key-3"])
    assert "ssh_keys[0] (key-1): a newer station.conf removed this key" in outcome.left_out[0]
    assert "SET UP. Some files were left out on purpose" in log(desk.places("card"))
    # under another comment it is the same key
    renamed = conf("renamed", 1, 3).replace("key-1", "somebody else")
    desk.take("card", renamed)
    assert desk.keys == ["key-3"]


def test_where_every_listed_key_is_revoked_those_in_force_stay(desk: Desk) -> None:
    desk.take("card", conf("card", 1))
    desk.take("stick", conf("stick", 2))
    outcome = desk.take("card", conf("edited", 1))
    assert (desk.hostname, desk.keys) == ("edited", ["key-2"])
    assert "the keys in force are kept" in outcome.left_out[1]


def test_a_revoked_key_comes_back_on_purpose_only(desk: Desk) -> None:
    desk.take("card", conf("card", 1))
    desk.take("stick", conf("stick", 2))
    desk.take("card", conf("card", 1, 2, more="allow_older: true\n"))
    assert desk.keys == ["key-1", "key-2"]
    desk.take("card", conf("card-again", 1, 2))
    assert desk.keys == ["key-1", "key-2"]


def test_a_half_good_card_is_not_tried_again_over_a_stick(desk: Desk) -> None:
    bad = conf("card", 1, more="bundle: not-there\n")
    assert desk.take("card", bad).state is State.PARTLY
    assert desk.take("card").state is State.PARTLY  # tried again at every start
    desk.take("stick", conf("stick", 2))
    assert desk.take("card").state is State.SUPERSEDED
    assert (desk.hostname, desk.keys) == ("stick", ["key-2"])


def test_the_passphrase_put_back_does_not_make_an_old_file_new(desk: Desk) -> None:
    first = conf("old", 1, more=WIFI)
    desk.take("card", first)
    desk.take("card", conf("new", 1))
    assert desk.take("stick", first).state is State.SUPERSEDED
    assert desk.hostname == "new"


def test_a_power_cut_after_the_revocation_loses_nothing_of_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.take("card", conf("card", 1))

    class PowerCut(BaseException):
        pass

    def cut(*_: object) -> None:
        raise PowerCut

    with monkeypatch.context() as patched:
        patched.setattr(importing, "_take_station", cut)
        with pytest.raises(PowerCut):
            desk.take("stick", conf("stick", 2))
    # the stick is pulled out, and the card is all that there is
    assert desk.take("card").state is State.SUPERSEDED
    desk.take("card", conf("edited", 1))
    assert desk.keys == ["key-2"]


def test_a_trusted_key_that_is_left_out_is_gone_and_stays_so(desk: Desk, tmp_path: Path) -> None:
    from edgeinspect.cli.application import run_command_line
    from edgeinspect_tools.cli import application as tools

    places = desk.places("card")
    text = whole_card(places, tmp_path)
    assert (
        run_command_line(
            tools, program="t", arguments=("key", str(tmp_path / "new"), "--no-password")
        )
        == 0
    )
    desk.take("card")
    assert load_trusted_keys(places.keys_dir).names() == "shop"
    stick = desk.places("stick")
    shutil.copy(tmp_path / "new.pub", stick.boot)
    desk.take("stick", CONF + "trusted_keys: [new.pub]\n")
    assert load_trusted_keys(places.keys_dir).names() == "new"
    outcome = desk.take("card", text + "# edited\n")
    assert outcome.state is State.PARTLY  # its bundle is signed with the revoked key
    assert "not made with a trusted key (new)" in str(outcome.problems[0])
    assert load_trusted_keys(places.keys_dir).names() == "new"
    # under another name it is the same key
    shutil.copy(tmp_path / "shop.pub", places.boot / "other.pub")
    outcome = desk.take("card", CONF + "trusted_keys: [other.pub, shop.pub]\n")
    assert outcome.state is State.IMPORTED
    assert "None of its trusted keys is allowed" in outcome.left_out[-1]
    assert load_trusted_keys(places.keys_dir).names() == "new"
    desk.take("card", text + "allow_older: true\n")
    assert load_trusted_keys(places.keys_dir).names() == "shop"


def test_the_mark_of_an_older_version_is_understood(desk: Desk) -> None:
    desk.take("card", conf("card", 1))
    folder = desk.places("card").system_dir
    digest = read_history(folder).taken[0].digest
    (folder / "imported.json").write_text(json.dumps({"format": 1, "digest": digest}))
    assert desk.take("card").state is State.UNCHANGED


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 2, "taken": [1], "revoked": {}}'])
def test_a_damaged_history_is_an_empty_one(desk: Desk, content: str) -> None:
    desk.take("card", conf("card", 1))
    (desk.places("card").system_dir / "imported.json").write_text(content)
    assert desk.take("card").state is State.IMPORTED


def test_the_history_is_bounded() -> None:
    history = History()
    for number in range(LONGEST + 5):
        history.add(Taken(digest=str(number), source="card", time="", whole=True))
    assert len(history.taken) == LONGEST
    assert history.find("4") is None
    history.revoke((f"ssh:{number}" for number in range(LONGEST + 5)), "now")
    assert len(history.revoked) == LONGEST


def test_a_log_that_somebody_made_huge_is_not_read_whole(desk: Desk) -> None:
    places = desk.places("card")
    with (places.boot / "station.log").open("wb") as file:
        file.truncate(3 << 30)
    assert desk.take("card", conf("card", 1)).state is State.IMPORTED
    assert len(log(places)) < 1000


def test_a_file_longer_than_any_that_a_station_takes_is_refused(desk: Desk) -> None:
    places = desk.places("card")
    with (places.boot / "station.yaml").open("wb") as file:
        file.truncate(3 << 30)
    outcome = desk.take("card", conf("card", 1, more="station_file: station.yaml\n"))
    assert outcome.state is State.REFUSED
    assert "longer than 256 MiB" in str(outcome.problems[0])
