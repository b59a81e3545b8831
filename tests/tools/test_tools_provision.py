"""Many cards from one list: the same files, one station.conf each, all good or none written."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeinspect.cli.application import run_command_line
from edgeinspect.errors import ConfigError, NotGood, UsageError
from edgeinspect.runtime.plan import bundle_recipe
from edgeinspect.settings.recipe import recipe_yaml
from edgeinspect.setup.found import Places
from edgeinspect.setup.importing import State, import_setup
from edgeinspect_tools.cli import application
from edgeinspect_tools.provision import provision
from tests.helpers.bundle_samples import spot_bundle
from tests.helpers.setup_card import KEY, STATION

CSV = """\
hostname,ssh_keys,address,gateway,dns,station_file,recipe,bundle
press-1,office.pub,10.0.0.1/24,10.0.0.254,10.0.0.254 10.0.0.253,station.yaml,cover.yaml,spots
press-2,office.pub,,,,station.yaml,cover.yaml,spots
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with everything that the lists name."""
    bundle = spot_bundle(tmp_path, name="spots")
    (tmp_path / "office.pub").write_text(f"{KEY}\n")
    (tmp_path / "station.yaml").write_text(STATION.replace("id: press-7", "id: from-hostname"))
    (tmp_path / "cover.yaml").write_text(recipe_yaml(bundle_recipe(bundle, product="cover")))
    return tmp_path


def test_cards_differ_by_one_file_and_stations_take_them(shop: Path) -> None:
    (shop / "presses.csv").write_text(CSV)
    cards = provision(shop / "presses.csv", shop / "cards")
    assert [card.name for card in cards] == ["press-1", "press-2"]
    files = [
        {path.relative_to(card): path.read_bytes() for path in card.rglob("*.*") if path.is_file()}
        for card in cards
    ]
    assert files[0].keys() == files[1].keys()
    assert [str(name) for name in files[0] if files[0][name] != files[1][name]] == ["station.conf"]
    for card in cards:
        places = Places(boot=card, data=shop / f"data-{card.name}")
        assert import_setup(places).state is State.IMPORTED
    network = shop / "data-press-1/system/etc/systemd/network/20-ethernet.network"
    assert "Address=10.0.0.1/24" in network.read_text()
    assert network.read_text().count("DNS=") == 2


def test_a_yaml_list_has_defaults(shop: Path) -> None:
    text = f"""\
defaults:
  ssh_keys: [office.pub, "{KEY} again"]
  time_zone: Europe/Berlin
stations:
  - hostname: a
  - hostname: b
    time_zone: UTC
    network: {{wifi: {{ssid: hall, passphrase: "12345678", country: DE}}}}
"""
    (shop / "list.yaml").write_text(text)
    cards = provision(shop / "list.yaml", shop / "cards")
    texts = [(card / "station.conf").read_text() for card in cards]
    assert "time_zone: Europe/Berlin" in texts[0]
    assert "time_zone: UTC" in texts[1]
    assert texts[0].count("ssh-ed25519") == 2
    assert "12345678" in texts[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("press-2", "Press 2"), "hostname is 'Press 2'"),
        (("press-2", "press-1"), "each name once"),
        (("press-2", "../up"), "a host name"),
        (("10.0.0.1/24", "10.0.0.1"), "with its prefix length"),
        (("hostname,", "host,"), "columns among hostname"),
        ((",spots\npress-2", ",dots\npress-2"), "does not exist"),
        ((",spots\npress-2", "\npress-2"), "one for each column"),
        (("press-1,office.pub", "press-1,other.pub"), "other.pub cannot be read"),
        ((CSV[CSV.index("press-1") :], ""), "no station"),
    ],
)
def test_a_mistake_is_told_and_no_card_is_written(
    shop: Path, change: tuple[str, str], said: str
) -> None:
    assert change[0] in CSV
    (shop / "presses.csv").write_text(CSV.replace(*change, 1))
    with pytest.raises((ConfigError, NotGood, UsageError)) as refused:
        provision(shop / "presses.csv", shop / "cards")
    assert said in str(refused.value)
    assert not (shop / "cards").exists() or list((shop / "cards").iterdir()) == []


def test_a_card_in_the_way_is_replaced_only_when_asked(shop: Path) -> None:
    (shop / "presses.csv").write_text(CSV)
    provision(shop / "presses.csv", shop / "cards")
    with pytest.raises(UsageError, match="already exists"):
        provision(shop / "presses.csv", shop / "cards")
    command = ("provision", str(shop / "presses.csv"), "--out", str(shop / "cards"), "--replace")
    assert run_command_line(application, program="tools", arguments=command) == 0
