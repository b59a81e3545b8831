"""``station.conf``: checked first, taken whole or not at all, and a log that says why."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import pytest

from edgeinspect.cli.application import run_command_line
from edgeinspect.cli.main import application
from edgeinspect.errors import REPEAT, StorageFault
from edgeinspect.files.atomic_file import fsync_folder
from edgeinspect.settings.recipe import load_recipe, recipe_yaml
from edgeinspect.settings.recipe_store import RecipeStore
from edgeinspect.settings.station_file import load_station
from edgeinspect.setup.found import Places
from edgeinspect.setup.importing import State, check_setup, import_setup
from edgeinspect.setup.system_files import wifi_psk
from tests.helpers.bundle_samples import spot_bundle
from tests.helpers.setup_card import (
    CONF,
    KEY,
    NOON,
    STATION,
    WIFI,
    give,
    log,
    take,
    whole_card,
)


def etc(places: Places, name: str) -> str:
    return (places.system_dir / "etc" / name).read_text()


def test_the_least_that_a_station_needs(places: Places) -> None:
    give(places)
    assert take(places).state is State.IMPORTED
    assert etc(places, "hostname") == "press-7\n"
    assert etc(places, "ssh/authorized_keys.d/technician") == f"{KEY}\n"
    assert "DHCP=yes" in etc(places, "systemd/network/20-ethernet.network")
    assert "127.0.1.1 press-7" in etc(places, "hosts")
    assert not (places.system_dir / "etc/systemd/timesyncd.conf.d").exists()
    assert "SET UP. Everything was imported." in log(places)
    assert "2026-05-01 12:00 UTC" in log(places)


def test_a_fixed_address_and_a_time_server(places: Places) -> None:
    more = "network: {ethernet: {address: 10.0.0.7/24, gateway: 10.0.0.1, dns: [10.0.0.2]}}\n"
    give(places, CONF + more + "time_zone: Europe/Berlin\ntime_servers: [10.0.0.3]\n")
    assert take(places).state is State.IMPORTED
    network = etc(places, "systemd/network/20-ethernet.network")
    assert network.endswith("[Network]\nAddress=10.0.0.7/24\nGateway=10.0.0.1\nDNS=10.0.0.2\n")
    assert "NTP=10.0.0.3\n" in etc(places, "systemd/timesyncd.conf.d/station.conf")
    assert etc(places, "timezone") == "Europe/Berlin\n"


def test_the_reject_line_is_held_until_there_is_a_station_file(places: Places) -> None:
    give(places, CONF + "reject_until_set_up: {chip: pinctrl-rp1, line: 17, rejects_at: low}\n")
    assert take(places).state is State.IMPORTED
    assert etc(places, "edgeinspect/hold-reject") == "pinctrl-rp1\n17\nlow\n"


def test_the_wifi_key_is_the_standards() -> None:
    # IEEE 802.11i-2004, annex H.4.3, test case 1
    expected = "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"
    assert wifi_psk("IEEE", "password") == expected
    assert wifi_psk("IEEE", expected.upper()) == expected


def test_the_passphrase_leaves_the_card_and_nothing_else_changes(places: Places) -> None:
    give(places, CONF + WIFI)
    assert take(places).state is State.IMPORTED
    supplicant = places.system_dir / "etc/wpa_supplicant/wpa_supplicant-wlan0.conf"
    assert supplicant.stat().st_mode & 0o777 == 0o600
    assert wifi_psk("hall 2", "correct horse: battery") in supplicant.read_text()
    assert f"ssid={b'hall 2'.hex()}\n" in supplicant.read_text()
    kept = (CONF + WIFI).replace('"correct horse: battery"', "imported")
    assert places.conf.read_text() == kept
    for path in places.boot.rglob("*"):
        assert b"battery" not in path.read_bytes()


def test_the_passphrase_stays_in_force_when_something_else_is_edited(places: Places) -> None:
    give(places, CONF + WIFI)
    take(places)
    psk = etc(places, "wpa_supplicant/wpa_supplicant-wlan0.conf")
    places.conf.write_text(places.conf.read_text().replace("press-7", "press-8"))
    assert take(places).state is State.IMPORTED
    assert etc(places, "hostname") == "press-8\n"
    assert etc(places, "wpa_supplicant/wpa_supplicant-wlan0.conf") == psk
    places.conf.write_text(places.conf.read_text().replace("hall 2", "hall 3", 2))
    outcome = take(places)
    assert outcome.state is State.REFUSED
    assert "none was imported before for 'hall 3'" in str(outcome.problems[0])


def test_a_second_start_changes_nothing(places: Places) -> None:
    give(places, CONF + WIFI)
    take(places)
    before = {path: path.stat().st_mtime_ns for path in places.boot.rglob("*")}
    assert take(places).state is State.UNCHANGED
    assert {path: path.stat().st_mtime_ns for path in places.boot.rglob("*")} == before


def test_no_file_is_one_problem(places: Places) -> None:
    assert take(places).state is State.NO_FILE
    assert "copy station.conf.example to station.conf" in log(places)
    written = (places.boot / "station.log").stat().st_mtime_ns
    later = NOON + datetime.timedelta(days=1)
    import_setup(places, now_wall=lambda: later)
    assert (places.boot / "station.log").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CONF.replace("press-7", "Press 7"), "station.conf:3: hostname is 'Press 7'"),
        (CONF.replace(KEY, "ssh-ed25519 AAAA"), "station.conf:5: ssh_keys[0] is"),
        (CONF.replace(KEY, KEY[:50]), "its middle part is truncated or changed"),
        (CONF.replace(f"  - {KEY}", "  []"), "ssh_keys is []; expected a list"),
        (CONF + "networks: {}\n", "did you mean network?"),
        (CONF + "time_zone: Berlin\n", "station.conf:6: time_zone is 'Berlin'"),
        (CONF + "time_servers: [a b]\n", "an IP address or a host name"),
        (CONF + "network: {ethernet: {address: 10.0.0.7}}\n", "with its prefix length"),
        (CONF + "network: {ethernet: {gateway: 10.0.0.1}}\n", "without an address"),
        (CONF + "station_file: ../../etc/shadow\n", "without a path"),
        (CONF + "recipe: r.yaml\n", "without the station_file that uses it"),
        (CONF + "hostname: twice\n", "given twice, first in line 3"),
        (CONF + "network: {wifi: {ssid: a, passphrase: short, country: DE}}\n", "not shown here"),
        (CONF + "network: {wifi: {ssid: a, passphrase: 12345678, country: DE}}\n", "in quotes"),
        (CONF + 'network: {wifi: {ssid: a, passphrase: "12345678", country: de}}\n', "'de'"),
        ("hostname: [\n", "station.conf:"),
        ("", "the file is empty"),
        ("\x00\x01", "station.conf"),
    ],
)
def test_each_mistake_is_reported_with_its_line_and_changes_nothing(
    places: Places, text: str, said: str
) -> None:
    give(places, text)
    outcome = take(places)
    assert outcome.state is State.REFUSED
    assert said in log(places)
    assert "NOTHING CHANGED" in log(places)
    assert "give it to the station again" in log(places)
    assert REPEAT not in log(places)
    assert str(places.boot) not in log(places)
    assert "12345678" not in log(places)
    assert "short'" not in log(places)
    assert list(places.data.iterdir()) == []
    assert places.conf.read_text() == text


def test_a_mistake_keeps_what_was_imported_before(places: Places) -> None:
    give(places)
    take(places)
    give(places, CONF.replace("press-7", "Press 7"))
    assert take(places).state is State.REFUSED
    assert etc(places, "hostname") == "press-7\n"


def test_a_whole_station_comes_from_the_card(places: Places, tmp_path: Path) -> None:
    whole_card(places, tmp_path)
    assert check_setup(places).problems == ()
    assert list(places.data.iterdir()) == []
    outcome = take(places)
    assert outcome.problems == ()
    assert len(outcome.done) == 5
    station = load_station(places.station_file)
    assert station.data_dir == places.station_dir / "data"
    from edgeinspect.runtime.plan import plan_station

    plan = plan_station(station, store_first=False)
    assert (plan.recipe.product, plan.recipe.revision) == ("cover", 1)
    assert plan.bundle.card.name == "spots"


def test_machines_can_share_one_station_file(places: Places) -> None:
    shared = STATION.replace("id: press-7", "id: from-hostname  # press-1 to press-9")
    give(places, CONF + "station_file: station.yaml\n", station_yaml=shared)
    assert take(places).state is State.IMPORTED
    assert load_station(places.station_file).id == "press-7"
    assert places.station_file.read_text() == shared.replace("from-hostname", "press-7")
    assert (places.boot / "station.yaml").read_text() == shared


def test_an_edited_recipe_on_the_card_becomes_a_revision_and_the_same_one_does_not(
    places: Places, tmp_path: Path
) -> None:
    conf = whole_card(places, tmp_path)
    take(places)
    store = RecipeStore(load_station(places.station_file).recipes_dir)
    give(places, conf + "# a remark\n")
    assert take(places).state is State.IMPORTED
    assert store.revisions("cover") == [1]
    recipe = load_recipe(places.boot / "cover.yaml")
    higher = recipe.thresholds[0].model_copy(update={"reject": 0.97})
    edited = recipe.model_copy(update={"thresholds": (higher,)})
    (places.boot / "cover.yaml").write_text(recipe_yaml(edited))
    assert take(places).state is State.IMPORTED
    assert store.revisions("cover") == [1, 2]
    assert store.active("cover").thresholds == (higher,)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (("station.yaml", "min_pitch_ms: 150", "min_pitch_ms: -1"), "station.yaml:13: track.min"),
        (("station.yaml", "data_dir: data", "data_dir: /srv"), "data_dir is '/srv'"),
        (
            ("station.yaml", "data_dir: data", "data_dir: data/../../x"),
            "a path with .. can leave it",
        ),
        (("station.yaml", "data_dir: data", "data_dir: ."), "data_dir is"),
        (
            ("station.yaml", "data_dir: data", "data_dir: keys/x"),
            "keys is not a folder for the station's data",
        ),
        (
            ("station.yaml", "product: cover", "bundles_dir: /etc/x\nproduct: cover"),
            "bundles_dir is",
        ),
        (("station.yaml", "trusted_keys: keys", "trusted_keys: mine"), "trusted_keys is '"),
        (("station.yaml", "io: {driver: sim}", "io: {driver: gpiod, chip: x}"), "io.driver"),
        (("cover.yaml", "product: cover", "product: lid"), "product is 'lid'"),
        (("cover.yaml", "name: spot\n", "name: dent\n"), "thresholds"),
        (("spots/card.yaml", "Apache-2.0", "Apache-2.1"), "not made with a trusted key"),
        (("shop.pub", "untrusted comment", "comment"), "shop.pub"),
    ],
)
def test_a_bad_file_beside_it_leaves_the_login_and_takes_nothing_else(
    places: Places, tmp_path: Path, spoil: tuple[str, str, str], said: str
) -> None:
    whole_card(places, tmp_path)
    path = places.boot / spoil[0]
    assert spoil[1] in path.read_text()
    path.write_text(path.read_text().replace(spoil[1], spoil[2], 1))
    outcome = take(places)
    assert outcome.state is State.PARTLY
    assert said in log(places)
    assert etc(places, "ssh/authorized_keys.d/technician") == f"{KEY}\n"
    assert not places.station_dir.exists()


def test_a_file_that_is_not_there_is_named_with_its_line(places: Places) -> None:
    give(places, CONF + "bundle: dots\n")
    assert take(places).state is State.PARTLY
    assert "station.conf:6: bundle is 'dots'" in log(places)
    assert "Copy dots to the same partition" in log(places)
    spot = spot_bundle(places.data.parent, name="dots").directory
    shutil.copytree(spot, places.boot / "dots")
    assert take(places).state is State.IMPORTED


def test_a_power_cut_at_any_write_is_mended_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Places(boot=tmp_path / "card", data=tmp_path / "nothing")
    card.boot.mkdir()
    conf = whole_card(card, tmp_path)
    give(card, conf + WIFI)
    cuts = 0
    while _cut_at(cuts + 1, card, tmp_path / str(cuts), monkeypatch):
        cuts += 1
    assert cuts > 25


class PowerCut(BaseException):
    pass


def _cut_at(step: int, card: Places, folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Import with the power gone at the given write, start again; False if it came to no cut."""
    places = Places(boot=folder / "boot", data=folder / "data")
    shutil.copytree(card.boot, places.boot)
    calls = 0
    real = fsync_folder

    def cut(path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == step:
            raise PowerCut
        real(path)

    with monkeypatch.context() as patched:
        for module in ("files.atomic_file", "setup.importing", "bundle.model_store"):
            patched.setattr(f"edgeinspect.{module}.fsync_folder", cut)
        try:
            take(places)
        except PowerCut:
            pass
        else:
            return False
    assert take(places).state in (State.IMPORTED, State.UNCHANGED)
    assert etc(places, "hostname") == "press-7\n"
    psk = wifi_psk("hall 2", "correct horse: battery")
    assert psk in etc(places, "wpa_supplicant/wpa_supplicant-wlan0.conf")
    assert "battery" not in places.conf.read_text()
    station = load_station(places.station_file)
    assert RecipeStore(station.recipes_dir).revisions("cover") == [1]
    assert take(places).state is State.UNCHANGED
    return True


def test_a_data_partition_that_cannot_be_written_is_a_storage_fault(places: Places) -> None:
    give(places)
    blocked = Places(boot=places.boot, data=places.conf)
    with pytest.raises(StorageFault):
        take(blocked)


def test_the_commands_say_the_same(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> int:
        return run_command_line(application, program="edgeinspect", arguments=arguments)

    give(places, CONF + "time_zone: Berlin\n")
    assert run("setup", "check", str(places.boot), "--data", str(places.data)) == 3
    assert "time_zone is 'Berlin'" in capsys.readouterr().out
    assert not (places.boot / "station.log").exists()
    give(places)
    options = ("--boot", str(places.boot), "--data", str(places.data), "--json")
    assert run("setup", "import", *options) == 0
    assert '"state": "imported"' in capsys.readouterr().out
    assert run("setup", "import", *options) == 0
    assert '"state": "nothing new"' in capsys.readouterr().out
