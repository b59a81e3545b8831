"""An older bundle needs a word, wherever it comes from, and the audit trail says so."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeinspect.assembly.recipe_change import RecipeChange
from edgeinspect.bundle.directory import load_bundle
from edgeinspect.bundle.signature import build_of, load_trusted_keys
from edgeinspect.cli.application import run_command_line
from edgeinspect.cli.main import application
from edgeinspect.errors import OlderBundle, UsageError
from edgeinspect.runtime.bundle_age import note_older_start
from edgeinspect.runtime.plan import bundle_recipe, plan_station
from edgeinspect.settings.audit import AuditEntry
from edgeinspect.settings.recipe import recipe_yaml
from edgeinspect.settings.recipe_audit import verify_recipes
from edgeinspect.settings.recipe_store import RecipeStore
from edgeinspect.settings.station_file import load_station
from edgeinspect.setup.found import Places
from edgeinspect.setup.importing import State
from edgeinspect_tools.cli import application as tools_application
from tests.helpers.bundle_samples import spot_bundle
from tests.helpers.cli_station import Station
from tests.helpers.setup_card import CONF, STATION, give, log, take


@pytest.fixture
def station(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Station:
    """Bundle 2 is in force, 1 was before it, and 1.9 has never been here."""
    made = Station(tmp_path, capsys)
    for version in ("1", "2"):
        made.model("install", str(made.bundle(version)))
        made.model("activate", f"spots-{version}", "--reason", version)
    assert made.in_force() == ("2", 2)
    return made


def store_of(station: Station) -> RecipeStore:
    return RecipeStore(load_station(station.file).recipes_dir)


def last(station: Station) -> AuditEntry:
    """The last entry that is more than a confirmation."""
    entries = store_of(station).audit.entries()
    return [entry for entry in entries if entry.action != "recipe.applied"][-1]


def recipe(station: Station, *arguments: str, expect: int = 0) -> int:
    command = ("recipe", *arguments, "--config", str(station.file))
    code = run_command_line(application, program="edgeinspect", arguments=command)
    assert code == expect
    return code


def test_installing_an_older_one_needs_the_word(station: Station) -> None:
    older = str(station.bundle("1.9"))
    refused = station.model("install", older, expect=5)
    assert refused["error"]["type"] == "OlderBundle"
    assert "spots 1.9 " in refused["error"]["message"]
    assert "is older than the bundle in force: spots 2 " in refused["error"]["message"]
    assert "--older" in refused["error"]["next_action"]
    station.model("install", older, "--older")
    entry = last(station)
    assert (entry.action, entry.details["bundle"]["version"]) == ("model.install", "1.9")
    assert entry.details["older_than"]["version"] == "2"
    station.model("install", str(station.bundle("2.1")))
    station.model("install", str(station.folder / "v2" / "spots"))  # the one in force


def test_activating_an_older_one_needs_the_word_and_stores_nothing_without(
    station: Station,
) -> None:
    refused = station.model("activate", "spots-1", "--reason", "x", expect=5)
    assert refused["error"]["type"] == "OlderBundle"
    assert store_of(station).revisions("cover") == [1, 2]
    station.model("activate", "spots-1", "--reason", "on purpose", "--older")
    assert station.in_force() == ("1", 3)
    entry = last(station)
    assert (entry.action, entry.reason) == ("recipe.apply", "on purpose")
    assert entry.details["older_than"]["version"] == "2"
    # now it is the one in force: what goes on with it is no step back
    recipe(station, "edit", "--set", "thresholds.spot.reject=0.9", "--apply", "--reason", "x")
    assert "older_than" not in last(station).details
    assert verify_recipes(store_of(station)).is_good


def test_applying_a_revision_with_an_older_one_needs_the_word(
    station: Station, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe(station, "apply", "1", "--reason", "x", expect=5)
    assert "is older than the bundle in force" in capsys.readouterr().err
    assert station.in_force() == ("2", 2)
    recipe(station, "apply", "1", "--reason", "on purpose", "--older")
    assert station.in_force() == ("1", 1)
    assert last(station).details["older_than"]["version"] == "2"


def test_an_edited_recipe_with_an_older_one_needs_the_word_to_be_applied(station: Station) -> None:
    digest = store_of(station).load("cover", 1).bundle.digest
    change = ("edit", "--set", f"bundle.digest={digest}", "--reason", "x")
    recipe(station, *change, "--apply", expect=5)
    assert station.in_force() == ("2", 2)
    recipe(station, "apply", "--reason", "x", expect=5)
    recipe(station, "apply", "--reason", "x", "--older")
    assert station.in_force()[0] == "1"


def test_a_rollback_is_its_own_word_and_the_trail_says_what_it_went_back_from(
    station: Station,
) -> None:
    station.model("rollback", "--reason", "finds too much")
    assert station.in_force() == ("1", 1)
    entry = last(station)
    assert (entry.action, entry.details["older_than"]["version"]) == ("recipe.rollback", "2")


def test_another_model_in_between_is_no_way_around(station: Station) -> None:
    (station.folder / "other").mkdir()
    other = spot_bundle(station.folder / "other", name="dots").directory
    station.model("install", str(other))
    station.model("activate", "dots", "--reason", "another model")
    refused = station.model("activate", "spots-1", "--reason", "x", expect=5)
    assert "in force: spots 2 " in refused["error"]["message"]


def test_a_bundle_in_force_that_was_removed_may_have_been_newer(station: Station) -> None:
    reference = store_of(station).active("cover").bundle
    for folder in load_station(station.file).bundles_path.glob("spots-2-*"):
        shutil.rmtree(folder)
    refused = station.model("activate", "spots-1", "--reason", "x", expect=5)
    assert f"an unknown version ({reference.digest[:12]})" in refused["error"]["message"]
    station.model("install", str(station.folder / "v2" / "spots"))
    assert station.in_force() == ("2", 2)


def test_a_running_station_asks_for_the_word_too(station: Station) -> None:
    running = plan_station(load_station(station.file))
    asked: dict[str, Any] = {"revision": 1, "author": "mia", "reason": "x"}
    with pytest.raises(OlderBundle, match="is older than the bundle in force"):
        RecipeChange.of(asked).plan(running)
    with pytest.raises(OlderBundle):  # nor for a change that is not to be kept
        RecipeChange.of({"revision": 1}).plan(running)
    with pytest.raises(UsageError, match="needs an author and a reason"):
        RecipeChange.of({"revision": 1, "older": True})
    with pytest.raises(UsageError, match="older must be true or false"):
        RecipeChange.of({**asked, "older": "yes"})
    change = RecipeChange.of({**asked, "older": True})
    plan = change.plan(running)
    with change.kept(plan, instead_of=running):
        pass
    assert last(station).details["older_than"]["version"] == "2"
    back = RecipeChange.of({"rollback": True, "author": "mia", "reason": "x"})
    assert back.plan(plan).bundle.card.version == "2"


def test_a_pinned_older_revision_is_noted_once(station: Station) -> None:
    assert note_older_start(plan_station(load_station(station.file))) == ""
    station.file.write_text(STATION + "recipe: 1\n")
    plan = plan_station(load_station(station.file))
    before = len(store_of(station).audit.entries())
    for _ in range(3):
        assert "a bundle older than the active one, spots 2 (" in note_older_start(plan)
    entries = store_of(station).audit.entries()
    assert len(entries) == before + 1
    assert entries[-1].action == "station.older_bundle"
    assert entries[-1].details["older_than"]["version"] == "2"
    (store_of(station).audit.path).write_text("damaged\n")
    assert note_older_start(plan)  # the line goes on


def test_the_date_of_the_signature_orders_builds_of_one_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tools(*arguments: str) -> None:
        assert run_command_line(tools_application, program="t", arguments=arguments) == 0

    bundle = spot_bundle(tmp_path)
    tools("key", str(tmp_path / "shop"), "--no-password")
    tools("key", str(tmp_path / "stranger"), "--no-password")
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.9)
    tools("sign", str(bundle.directory), "--key", str(tmp_path / "shop.key"))
    (tmp_path / "keys").mkdir()
    shutil.copy(tmp_path / "shop.pub", tmp_path / "keys")
    keys = load_trusted_keys(tmp_path / "keys")
    assert build_of(bundle, keys).signed_s == 1_700_000_000
    assert build_of(bundle, None).signed_s == 0
    tools("sign", str(bundle.directory), "--key", str(tmp_path / "stranger.key"))
    assert build_of(bundle, keys).signed_s == 0


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A set-up station with bundle 2 in force, its card, and bundle 1 on it beside."""
    for name in ("boot", "data", "1", "2"):
        (tmp_path / name).mkdir()
    made = Places(boot=tmp_path / "boot", data=tmp_path / "data")
    conf = CONF + "station_file: station.yaml\nrecipe: cover.yaml\nbundle: v2\n"
    for version in ("1", "2"):
        directory = spot_bundle(tmp_path / version, version=version).directory
        shutil.copytree(directory, made.boot / f"v{version}")
    recipes = {
        f"cover{version}_yaml": recipe_yaml(
            bundle_recipe(load_bundle(made.boot / f"v{version}"), product="cover")
        )
        for version in ("1", "2")
    }
    give(made, conf.replace("cover.yaml", "cover2.yaml"), station_yaml=STATION, **recipes)
    assert take(made).problems == ()
    return made


def imported_audit(places: Places) -> AuditEntry:
    return RecipeStore(load_station(places.station_file).recipes_dir).audit.entries()[-1]


def test_a_card_or_stick_brings_an_older_one_only_on_purpose(places: Places) -> None:
    older = places.conf.read_text().replace("cover2", "cover1").replace("v2", "v1")
    give(places, older)
    assert take(places).state is State.PARTLY
    assert "is older than the bundle in force: spots 2 " in log(places)
    assert "allow_older: true" in log(places)
    assert plan_station(load_station(places.station_file)).bundle.card.version == "2"
    assert len(list(load_station(places.station_file).bundles_path.iterdir())) == 1
    give(places, older + "allow_older: true\n")
    assert take(places).state is State.IMPORTED
    assert plan_station(load_station(places.station_file)).bundle.card.version == "1"
    entry = imported_audit(places)
    assert (entry.action, entry.details["older_than"]["version"]) == ("recipe.apply", "2")
    assert (entry.author, entry.reason) == ("station.conf", "imported from the card")


def test_so_does_a_bundle_without_a_recipe(places: Places) -> None:
    give(places, CONF + "bundle: v1\n")
    assert take(places).state is State.PARTLY
    assert "is older than the bundle in force" in log(places)
    give(places, CONF + "bundle: v1\nallow_older: true\n")
    assert take(places).state is State.IMPORTED
    assert imported_audit(places).action == "model.install"
    assert imported_audit(places).details["older_than"]["version"] == "2"
