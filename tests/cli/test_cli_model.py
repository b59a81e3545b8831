"""``edgeinspect model``: what is installed, what inspects, and back again."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeinspect.runtime.plan import bundle_recipe
from edgeinspect.settings.recipe_store import RecipeStore
from edgeinspect.settings.station_file import load_station
from tests.helpers.cli_station import Station


@pytest.fixture
def station(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Station:
    return Station(tmp_path, capsys)


def test_install_activate_and_roll_back(station: Station) -> None:
    for version in ("1", "2"):
        answer = station.model("install", str(station.bundle(version)))
        assert answer["version"] == version
    first = station.model("activate", "spots-1", "--reason", "first")
    assert (first["revision"], first["live"]) == (1, False)
    assert station.in_force() == ("1", 1)
    station.model("activate", "spots-2", "--reason", "finds more")
    assert station.in_force() == ("2", 2)
    back = station.model("rollback", "--reason", "finds too much")
    assert back["bundle"]["version"] == "1"
    assert station.in_force() == ("1", 1)
    listed = {row["version"]: row["used_by"] for row in station.model("list")["bundles"]}
    assert listed == {"1": ["cover"], "2": []}
    trail = RecipeStore(load_station(station.file).recipes_dir).audit.entries()
    reasons = {entry.reason for entry in trail}
    assert {"first", "finds more", "finds too much"} <= reasons


def test_a_new_model_brings_its_own_thresholds_unless_stated_otherwise(station: Station) -> None:
    one = station.bundle("1")
    station.model("install", str(one))
    station.model("install", str(station.bundle("2")))
    station.model("activate", "spots-1", "--reason", "first")
    loaded = load_station(station.file)
    store = RecipeStore(loaded.recipes_dir)
    base = store.active("cover")
    own = base.thresholds
    moved = (own[0].model_copy(update={"review": 0.11, "reject": 0.22}),)
    draft = base.model_copy(update={"thresholds": moved, "parent": 1, "revision": 2})
    store.activate("cover", store.create(draft).revision, author="x", reason="moved")
    station.model("activate", "spots-2", "--reason", "keep them", "--keep-thresholds")
    assert store.active("cover").thresholds == moved
    station.model("activate", "spots-2", "--reason", "its own")
    assert store.active("cover").thresholds == own


def test_a_tampered_model_is_reported_and_never_activated(station: Station) -> None:
    answer = station.model("install", str(station.bundle("1")))
    assert station.model("verify")["good"] is True
    model = Path(answer["directory"]) / "model.tflite"
    model.chmod(0o644)
    model.write_bytes(model.read_bytes() + b"\0")
    verified = station.model("verify", expect=5)
    assert verified["good"] is False
    assert "not the file that the card was written for" in verified["bundles"][0]["refused"]
    folder = Path(answer["directory"]).name
    refused = station.model("activate", folder, "--reason", "x", expect=5)
    assert refused["error"]["type"] == "ModelRefused"
    assert RecipeStore(load_station(station.file).recipes_dir).products() == []


def test_what_is_not_installed_cannot_be_activated(station: Station) -> None:
    refused = station.model("activate", "dots", "--reason", "x", expect=2)
    assert "The bundle 'dots' is not installed" in refused["error"]["message"]
    assert station.model("verify")["bundles"] == []
    assert station.model("list")["bundles"] == []


def test_a_rollback_without_a_past_is_refused(station: Station) -> None:
    station.model("install", str(station.bundle("1")))
    station.model("activate", "spots-1", "--reason", "first")
    refused = station.model("rollback", "--reason", "x", expect=2)
    assert refused["error"]["type"] == "UsageError"
    assert station.in_force() == ("1", 1)


def test_thresholds_of_other_classes_cannot_be_kept(station: Station, tmp_path: Path) -> None:
    from edgeinspect.bundle.card import ClassCard, Role

    station.model("install", str(station.bundle("1")))
    dent = [ClassCard(name="dent", role=Role.DEFECT)]
    station.model("install", str(station.bundle("2", classes=dent)))
    station.model("activate", "spots-1", "--reason", "first")
    options = ("spots-2", "--reason", "x", "--keep-thresholds")
    refused = station.model("activate", *options, expect=2)
    assert "the recipe's classes are spot, but the bundle's are dent" in refused["error"]["message"]
    station.model("activate", "spots-2", "--reason", "its own")
    assert station.in_force() == ("2", 2)


def test_the_first_recipe_is_the_bundles(station: Station) -> None:
    directory = station.bundle("1")
    station.model("install", str(directory))
    station.model("activate", "spots", "--reason", "first", "--author", "technician")
    from edgeinspect.bundle.directory import load_bundle

    active = RecipeStore(load_station(station.file).recipes_dir).active("cover")
    assert active.thresholds == bundle_recipe(load_bundle(directory), product="cover").thresholds
    assert (active.author, active.reason) == ("technician", "first")
