"""``edgeinspect recipe`` end to end, without a running station."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeinspect.bundle.directory import bundle_digest, load_bundle
from edgeinspect.bundle.shipped import SIM_BUNDLE, shipped_bundle
from edgeinspect.cli.application import run_command_line
from edgeinspect.cli.main import application
from edgeinspect.errors import ConfigError, UsageError
from edgeinspect.runtime.plan import bundle_recipe, plan_station
from edgeinspect.settings.author import login_name
from edgeinspect.settings.recipe import Recipe
from edgeinspect.settings.recipe_edit import (
    differences,
    draft_of,
    editable,
    editable_text,
    with_file,
    with_settings,
)
from edgeinspect.settings.recipe_store import RecipeStore
from edgeinspect.settings.station_file import load_station
from tests.helpers.absurd_models import ABSURD, edited
from tests.helpers.bundle_samples import bundle_with_model
from tests.helpers.json_command import json_of


@pytest.fixture
def station(tmp_path: Path) -> Path:
    file = tmp_path / "station.yaml"
    file.write_text(example_text("normally-rejecting"))
    return file


def example_text(name: str) -> str:
    import importlib.resources

    folder = importlib.resources.files("edgeinspect.settings") / "examples"
    return (folder / f"{name}.yaml").read_text()


@pytest.fixture
def recipe(station: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs ``edgeinspect recipe …`` on the station and gives its JSON object."""

    def run(*words: object, expect: int = 0) -> dict[str, Any]:
        return json_of(capfd, "recipe", *words, "--config", station, expect=expect)

    return run


def because(reason: str) -> tuple[str, str]:
    return "--reason", reason


def test_from_the_first_revision_to_the_rollback(recipe: Any, station: Path) -> None:
    made = recipe("new", SIM_BUNDLE, "--bundle", SIM_BUNDLE, *because("first"))
    assert made == {"product": SIM_BUNDLE, "revision": 1, "parent": None, "applied": False}
    first = recipe("apply", *because("start"), "--author", "operator")
    assert (first["revision"], first["live"]) == (1, False)
    edited = recipe("edit", "--set", "thresholds.*.reject=0.95", *because("fewer"))
    assert (edited["revision"], edited["parent"]) == (2, 1)
    changes = recipe("diff", 1, 2)["changes"]
    assert {change["key"] for change in changes} == {
        f"thresholds.{name}.reject"
        for name in load_bundle(shipped_bundle(SIM_BUNDLE)).card.defect_classes
    }
    second = recipe("apply", *because("go on"))
    assert second["recipe_digest"] == plan_station(load_station(station)).digest
    assert second["recipe_digest"] != first["recipe_digest"]
    assert recipe("rollback", *because("worse"))["recipe_digest"] == first["recipe_digest"]
    (product,) = recipe("list")["products"]
    assert (product["active"], product["latest"], product["runs"]) == (1, 2, True)
    assert [entry["active"] for entry in product["revisions"]] == [True, False]
    printed = recipe("history")
    steps = [(entry["action"], entry["author"]) for entry in printed["history"]]
    assert ("recipe.apply", "operator") in steps
    assert steps[0] == ("recipe.create", login_name())
    assert printed["active"] == 1
    assert recipe("show", 2)["thresholds"][0]["reject"] == 0.95
    audited = recipe("audit", "--verify")
    assert audited["ok"] is True
    assert audited["entries"] == len(printed["history"])


def test_a_changed_trail_ends_with_one(recipe: Any, station: Path) -> None:
    recipe("new", SIM_BUNDLE, "--bundle", SIM_BUNDLE, *because("first"))
    recipe("apply", *because("start"))
    trail = station.parent / "data" / "audit.jsonl"
    trail.write_bytes(trail.read_bytes().replace(b"start", b"stark"))
    printed = recipe("audit", "--verify", expect=1)
    assert printed["ok"] is False
    assert "was changed" in printed["findings"][0]


def test_the_parts_database_anchors_the_trail(recipe: Any, station: Path) -> None:
    """Cutting everything since the last start is found even without the recipes' own digests."""
    recipe("new", SIM_BUNDLE, "--bundle", SIM_BUNDLE, *because("first"))
    recipe("apply", *because("start"))
    from edgeinspect.records import RecordWriter
    from tests.helpers.records_samples import StepClock

    plan = plan_station(load_station(station))
    with RecordWriter(plan.station.data_dir, clock=StepClock(), reserve_bytes=0) as writer:
        writer.register_recipe(plan.digest, classes=["a"], document=plan.document)
    good = recipe("audit", "--verify")
    assert (good["ok"], good["anchors"]) == (True, 2)
    store = plan.station.recipes_dir
    (store / SIM_BUNDLE / "active.yaml").unlink()
    data = plan.station.data_dir
    lines = (data / "audit.jsonl").read_bytes().splitlines(keepends=True)
    (data / "audit.jsonl").write_bytes(lines[0])
    (data / "audit-head.json").write_text(
        json.dumps({"sequence": 1, "digest": json.loads(lines[0])["digest"]})
    )
    printed = recipe("audit", "--verify", expect=1)
    assert "the records of recipe" in printed["findings"][0]


def test_wrong_changes_store_nothing(recipe: Any, station: Path) -> None:
    recipe("new", SIM_BUNDLE, "--bundle", SIM_BUNDLE, *because("first"))
    trail = station.parent / "data" / "audit.jsonl"
    before = trail.read_bytes()
    for setting, code, words in (
        ("thresholds.scratch.review=0.99", 3, "at most reject"),
        ("thresholds.scratch.reject=1.5", 3, "from 0 to 1"),
        ("thresholds.nothing.reject=0.5", 2, "the classes are: scratch"),
        ("bundle.digest=" + "5a" * 32, 5, "is not installed"),
        ("timing.window_before_counts=5", 3, "delay"),
        ("revision=7", 2, "set automatically"),
        ("checks.focus=4", 3, "checks.focus"),
        ("no equals", 2, "not KEY=VALUE"),
    ):
        printed = recipe("edit", "--set", setting, *because("x"), expect=code)
        assert words in f"{printed['error']['message']} {printed['error']}", setting
    assert recipe("edit", "--set", "checks.focus_min=null", *because("x"), expect=2)
    for reason in ("", " ", "a\nb", "x" * 201):
        printed = recipe("edit", "--set", "checks.focus_min=4", *because(reason), expect=2)
        assert "is not a valid reason" in printed["error"]["message"]
    assert trail.read_bytes() == before
    assert len(recipe("list")["products"][0]["revisions"]) == 1


def test_a_bundle_that_is_gone_keeps_the_old_revision_active(recipe: Any, station: Path) -> None:
    recipe("new", SIM_BUNDLE, "--bundle", SIM_BUNDLE, *because("first"))
    recipe("apply", *because("start"))
    config = load_station(station)
    from edgeinspect.settings.recipe_store import RecipeStore

    store = RecipeStore(config.recipes_dir)
    active = store.active(SIM_BUNDLE)
    gone = active.bundle.model_copy(update={"digest": "5a" * 32})
    store.create(active.model_copy(update={"bundle": gone, "parent": 1}))
    printed = recipe("apply", 2, *because("newer"), expect=5)
    assert "5a5a5a5a5a5a" in printed["error"]["message"]
    assert store.active(SIM_BUNDLE) == active
    assert recipe("audit", "--verify")["ok"]


def test_two_technicians_at_once(
    recipe: Any, station: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one has the editor open the other stores a revision; nothing typed is lost."""
    recipe("new", SIM_BUNDLE, "--bundle", SIM_BUNDLE, *because("first"))
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import pathlib, subprocess, sys\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "path.write_text(path.read_text().replace('reject_frozen: true', 'reject_frozen: false'))\n"
        "subprocess.run([sys.executable, '-m', 'edgeinspect', 'recipe', 'edit', '--config',"
        f" {str(station)!r}, '--set', 'checks.focus_min=4',"
        " '--reason', 'brighter light', '--author', 'operator'], check=True)\n"
    )
    monkeypatch.setenv("VISUAL", f"{sys.executable} {editor}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    printed = recipe("edit", "--author", "technician", *because("mine"), expect=1)
    assert printed["error"]["type"] == "RecipeConflict"
    assert "Revision 2" in printed["error"]["message"]
    assert "operator (brighter light)" in printed["error"]["message"]
    kept = printed["error"]["next_action"].split("What you typed is in ")[1].split(";")[0]
    assert "reject_frozen: false" in Path(kept).read_text()
    stored = recipe("edit", 2, "--file", kept, "--author", "technician", *because("mine"))
    assert (stored["revision"], stored["parent"]) == (3, 2)


def test_no_revision_takes_a_model_that_kills_its_trial(
    station: Path, recipe: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe("new", SIM_BUNDLE, "--bundle", SIM_BUNDLE, *because("first"))
    recipe("apply", *because("start"))
    bundles = load_station(station).bundles_path
    bundles.mkdir(parents=True)
    crashing = edited(ABSURD["a loop whose body is the graph itself"])
    digest = bundle_digest(bundle_with_model(bundles, shipped_bundle(SIM_BUNDLE), crashing))
    words = ["recipe", "edit", "--config", str(station), "--set", f"bundle.digest={digest}"]
    arguments = [*words, "--reason", "new model"]
    assert run_command_line(application, program="edgeinspect", arguments=arguments) == 5
    assert "is damaged: it crashes the interpreter (SIG" in capfd.readouterr().err

    # A revision that came by another way is not made active either.
    store = RecipeStore(load_station(station).recipes_dir)
    active = store.active(SIM_BUNDLE)
    reference = active.bundle.model_copy(update={"digest": digest})
    store.create(active.model_copy(update={"bundle": reference, "revision": 2, "parent": 1}))
    arguments = ["recipe", "apply", "2", "--config", str(station), "--reason", "new model"]
    assert run_command_line(application, program="edgeinspect", arguments=arguments) == 5
    assert store.active(SIM_BUNDLE).revision == 1


def test_an_editor_that_changes_nothing(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe("new", SIM_BUNDLE, "--bundle", SIM_BUNDLE, *because("first"))
    monkeypatch.setenv("VISUAL", "true")
    printed = recipe("edit", *because("x"), expect=2)
    assert "Nothing was changed" in printed["error"]["message"]


def test_expected_revisions(recipe: Any) -> None:
    recipe("new", SIM_BUNDLE, "--bundle", SIM_BUNDLE, *because("first"))
    recipe("apply", *because("start"))
    one = recipe(
        "edit", "--set", "checks.focus_min=1", "--apply", *because("a"), "--author", "operator"
    )
    assert (one["revision"], one["applied"]) == (2, True)
    words = ("--set", "checks.focus_min=2", "--expect-latest", 1, *because("b"))
    printed = recipe("edit", 1, *words, expect=1)
    assert "Revision 2 of sim-surface was stored by operator (a)" in printed["error"]["message"]
    printed = recipe("apply", 1, "--expect-active", 1, *because("b"), expect=1)
    assert "was activated by operator" in printed["error"]["message"]


def test_the_job_changes_by_product_name(recipe: Any, station: Path) -> None:
    recipe("new", SIM_BUNDLE, "--bundle", SIM_BUNDLE, *because("first"))
    recipe("apply", *because("start"))
    assert recipe("apply", "--product", "nut", *because("x"), expect=2)
    recipe("new", "nut", "--bundle", SIM_BUNDLE, *because("new part"))
    changed = recipe("apply", "--product", "nut", *because("order 4711"))
    assert changed["product"] == "nut"
    assert plan_station(load_station(station)).recipe.product == "nut"
    assert plan_station(load_station(station)).digest == changed["recipe_digest"]
    runs = {entry["product"]: entry["runs"] for entry in recipe("list")["products"]}
    assert runs == {"nut": True, SIM_BUNDLE: False}
    back = recipe("apply", "--product", SIM_BUNDLE, *because("done"))
    assert back["product"] == plan_station(load_station(station)).recipe.product == SIM_BUNDLE
    assert recipe("audit", "--verify")["ok"]


def test_a_pinned_revision_is_not_applied_over(recipe: Any, station: Path) -> None:
    recipe("new", SIM_BUNDLE, "--bundle", SIM_BUNDLE, *because("first"))
    station.write_text(station.read_text() + "recipe: 1\n")
    printed = recipe("apply", *because("x"), expect=3)
    assert "pinned" in printed["error"]["message"]


def test_nothing_stored_yet(recipe: Any) -> None:
    assert recipe("list") == {"products": []}
    assert "Create one with" in recipe("apply", *because("x"), expect=2)["error"]["next_action"]
    assert recipe("show", expect=3)["error"]["type"] == "ConfigError"


# --- editing as pure functions ----------------------------------------------------------------


@pytest.fixture(scope="module")
def base() -> Recipe:
    return bundle_recipe(load_bundle(shipped_bundle(SIM_BUNDLE)), product="bolt")


def test_what_an_editor_shows_reads_back_as_the_same(base: Recipe) -> None:
    values = with_file({}, editable_text(base).encode(), path="x")
    draft = draft_of(values, base, author="a", reason="b")
    assert editable(draft) == editable(base)
    assert differences(base, draft) == []
    assert (draft.parent, draft.author, draft.reason) == (1, "a", "b")


def test_a_stored_revision_file_can_be_given_back(base: Recipe) -> None:
    from edgeinspect.settings.recipe import recipe_yaml

    values = with_file({}, recipe_yaml(base).encode(), path="x")
    assert editable(draft_of(values, base, author="a", reason="b")) == editable(base)


def test_settings_reach_sections_that_were_empty(base: Recipe) -> None:
    keys = ("roi.x=1", "roi.y=2", "roi.width=30", "roi.height=40", "reducer.kind=kth_largest",
            "reducer.k=4", "camera.gain=1.5", "thresholds.pit.review=0.25")  # fmt: skip
    values = with_settings(editable(base), keys)
    draft = draft_of(values, base, author="a", reason="b")
    changed = {key: now for key, _, now in differences(base, draft)}
    assert changed["roi.width"] == 30
    assert changed["reducer.k"] == 4
    assert changed["thresholds.pit.review"] == 0.25
    assert changed["camera.gain"] == 1.5
    assert editable(base)["roi"] is None


def test_wrong_keys(base: Recipe) -> None:
    for setting in ("=1", "roi", ".x=1", "thresholds=1", "thresholds.pit=1", "thresholds.pit.x=1"):
        with pytest.raises(UsageError):
            with_settings(editable(base), [setting])
    with pytest.raises(ConfigError, match=r"checks\.focus_mim"):
        draft_of(
            with_settings(editable(base), ["checks.focus_mim=3"]), base, author="a", reason="b"
        )
    with pytest.raises(UsageError, match="does not contain keys"):
        with_file({}, b"[1, 2]", path="x")
