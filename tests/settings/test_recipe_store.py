"""Changing recipes: audited, one at a time, and whole after a kill at any write."""

from __future__ import annotations

import datetime
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeinspect.errors import ConfigError, RecipeConflict, UsageError
from edgeinspect.settings.recipe import Recipe, Thresholds, default_recipe
from edgeinspect.settings.recipe_audit import verify_recipes
from edgeinspect.settings.recipe_store import RecipeStore
from tests.helpers.syscall_tracing import Durable, can_trace, run_traced

NOON = datetime.datetime(2026, 3, 14, 12, tzinfo=datetime.UTC)


def draft(product: str = "bolt", **changes: Any) -> Recipe:
    base = default_recipe(
        product=product,
        bundle_name="sim-surface",
        bundle_digest="ab" * 32,
        thresholds={"scratch": (0.4, 0.6)},
    )
    fields = {key: getattr(base, key) for key in Recipe.model_fields}
    return Recipe(**{**fields, "revision": 99, **changes})


def store_in(folder: Path) -> RecipeStore:
    return RecipeStore(folder / "recipes", now_wall=lambda: NOON)


def with_active(folder: Path, *active: int, revisions: int = 2) -> RecipeStore:
    store = store_in(folder)
    for number in range(revisions):
        store.create(draft(author=f"author-{number + 1}", reason=f"reason {number + 1}"))
    for revision in active:
        store.activate("bolt", revision, author="technician", reason="works better")
    return store


def test_every_change_is_in_the_audit_trail(tmp_path: Path) -> None:
    store = with_active(tmp_path, 1, 2)
    store.rollback("bolt", author="operator", reason="worse after all")
    entries = store.audit.entries()
    assert [(entry.action, entry.details["revision"], entry.author) for entry in entries] == [
        ("recipe.create", 1, "author-1"),
        ("recipe.create", 2, "author-2"),
        ("recipe.apply", 1, "technician"),
        ("recipe.apply", 2, "technician"),
        ("recipe.rollback", 1, "operator"),
    ]
    assert store.load("bolt", 1).audit is None
    assert store.load("bolt", 2).audit == entries[0].digest
    pointer = store.active_pointer("bolt")
    assert pointer is not None
    assert pointer.audit == entries[-1].digest
    report = verify_recipes(store)
    assert report.is_good
    assert report.trail.anchors == 2
    assert report.notes == ()


def test_activating_the_active_one_again_keeps_the_way_back(tmp_path: Path) -> None:
    store = with_active(tmp_path, 1, 2, 2)
    assert store.rollback("bolt", author="a", reason="b").revision == 1


# --- two technicians --------------------------------------------------------------------------


def test_the_second_of_two_editors_sees_the_firsts_revision(tmp_path: Path) -> None:
    store = with_active(tmp_path, 1)
    theirs = draft(parent=1, author="operator", reason="brighter light")
    store.create(theirs, expected_latest=2)
    before = store.audit.entries()
    with pytest.raises(
        RecipeConflict, match=r"Revision 3 .* by operator \(brighter light\)"
    ) as caught:
        store.create(draft(parent=1, author="technician"), expected_latest=2)
    assert "recipe show 3" in caught.value.next_action
    assert store.revisions("bolt") == [1, 2, 3]
    assert store.audit.entries() == before
    assert store.create(draft(parent=3), expected_latest=3).revision == 4


def test_the_second_of_two_appliers_gets_an_error_too(tmp_path: Path) -> None:
    store = with_active(tmp_path, 1, revisions=3)
    store.activate("bolt", 2, author="operator", reason="c", expected_active=1)
    changes: tuple[Callable[[], object], ...] = (
        lambda: store.activate("bolt", 3, author="a", reason="b", expected_active=1),
        lambda: store.rollback("bolt", author="a", reason="b", expected_active=1),
    )
    for change in changes:
        with pytest.raises(RecipeConflict, match=r"Revision 2 of bolt was activated by operator"):
            change()
    assert store.active("bolt").revision == 2


def _create_many(folder: Path, author: str) -> None:
    store = RecipeStore(folder / "recipes")
    for number in range(5):
        created = store.create(draft(author=author, reason=str(number)))
        store.activate("bolt", created.revision, author=author, reason="mine")


def test_two_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    people = [context.Process(target=_create_many, args=(tmp_path, name)) for name in "ab"]
    for person in people:
        person.start()
    for person in people:
        person.join(120)
    store = store_in(tmp_path)
    assert [person.exitcode for person in people] == [0, 0]
    assert store.revisions("bolt") == list(range(1, 11))
    authors = [store.load("bolt", number).author for number in range(1, 11)]
    assert sorted(authors) == ["a"] * 5 + ["b"] * 5
    assert verify_recipes(store).is_good


# --- change of product ------------------------------------------------------------------------


def test_changing_the_job(tmp_path: Path) -> None:
    store = with_active(tmp_path, 1)
    store.create(draft("nut"))
    assert store.job("bolt") == "bolt"
    with pytest.raises(ConfigError, match="an active revision of nut"):
        store.change_job("nut", instead_of="bolt", author="a", reason="b")
    store.activate("nut", 1, author="a", reason="b")
    store.change_job("nut", instead_of="bolt", author="a", reason="order 4711")
    assert store.job("bolt") == "nut"
    assert store.job("washer") == "washer"  # the station file was edited since
    assert verify_recipes(store).is_good
    store.change_job("bolt", instead_of="bolt", author="a", reason="done")
    assert store.job("bolt") == "bolt"


# --- tampering --------------------------------------------------------------------------------


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.unlink()
    path.write_text(text.replace(old, new))


def _edit_a_revision(store: RecipeStore) -> None:
    rewrite(store.path("bolt", 2), "reject: 0.6", "reject: 0.9")


def _slip_in_a_revision(store: RecipeStore) -> None:
    shutil.copy(store.path("bolt", 2), store.path("bolt", 4))
    rewrite(store.path("bolt", 4), "revision: 2", "revision: 4")


def _remove_a_revision(store: RecipeStore) -> None:
    store.path("bolt", 2).unlink()


def _point_elsewhere(store: RecipeStore) -> None:
    rewrite(store.path("bolt", 1).with_name("active.yaml"), "revision: 2", "revision: 1")
    rewrite(store.path("bolt", 1).with_name("active.yaml"), "sha256: ", "sha256: 0")


def _remove_the_trail(store: RecipeStore) -> None:
    store.audit.path.unlink()
    store.audit.path.with_name("audit-head.json").unlink()


def _forget_the_last_entries(store: RecipeStore) -> None:
    """With the head file made to fit, so that only what others keep can tell."""
    lines = store.audit.path.read_bytes().splitlines(keepends=True)[:3]
    store.audit.path.write_bytes(b"".join(lines))
    entry = store.audit.entries()[-1]
    head = f'{{"sequence": 3, "digest": "{entry.digest}"}}'
    store.audit.path.with_name("audit-head.json").write_text(head)
    assert store.audit.verify().is_good


@pytest.mark.parametrize(
    "tamper, finding",
    [
        (_edit_a_revision, "Revision 2 of bolt is different from the announced one"),
        (_slip_in_a_revision, "Revision 4 of bolt is not announced"),
        (_remove_a_revision, "Revision 2 of bolt is missing"),
        (_point_elsewhere, "active"),
        (_remove_the_trail, "refers to entry"),
        (_forget_the_last_entries, "active.yaml refers to entry"),
    ],
)
def test_tampering_with_recipes_or_trail_is_found(
    tmp_path: Path, tamper: Callable[[RecipeStore], None], finding: str
) -> None:
    store = with_active(tmp_path, 1, 2)
    tamper(store)
    report = verify_recipes(store)
    assert not report.is_good
    assert finding in " ".join(report.findings)
    assert report.as_dict()["ok"] is False


def test_an_older_pointer_put_back_is_found_once_the_newer_one_was_confirmed(
    tmp_path: Path,
) -> None:
    store = with_active(tmp_path, 1)
    path = store.path("bolt", 1).with_name("active.yaml")
    old = path.read_bytes()
    store.activate("bolt", 2, author="a", reason="b")
    pointer = store.active_pointer("bolt")
    assert pointer is not None
    after = path.read_bytes()
    path.write_bytes(old)
    report = verify_recipes(store)
    assert report.is_good  # as if the command had been interrupted
    assert report.notes == ("Applying revision 2 of bolt was announced but not carried out.",)
    path.write_bytes(after)
    store.audit.append("recipe.applied", author="a", reason="b", details={"entry": pointer.audit})
    assert verify_recipes(store).is_good
    path.write_bytes(old)
    assert "the pointer was set back" in " ".join(verify_recipes(store).findings)


def test_a_damaged_trail_is_a_finding_and_no_crash(tmp_path: Path) -> None:
    store = with_active(tmp_path, 1)
    store.audit.path.write_bytes(b"rubbish\n")
    assert not verify_recipes(store).is_good


# --- a kill at every write --------------------------------------------------------------------


def _edit(store: RecipeStore) -> None:
    store.create(draft(parent=2, thresholds=(Thresholds(name="scratch", review=0.1, reject=0.2),)))


def _apply(store: RecipeStore) -> None:
    store.activate("bolt", 2, author="a", reason="b", expected_active=1)


def _roll_back(store: RecipeStore) -> None:
    store.rollback("bolt", author="a", reason="b")


def _change_job(store: RecipeStore) -> None:
    store.change_job("nut", instead_of="bolt", author="a", reason="b")


def state(store: RecipeStore) -> tuple[object, ...]:
    """Everything that a station would take from the store; raises where it is a mixture."""
    revisions = store.revisions("bolt")
    loaded = [store.load("bolt", number).thresholds for number in revisions]
    return revisions, loaded, store.active("bolt").revision, store.job("bolt")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(bool(can_trace()), reason=can_trace() or "tracing works")
@pytest.mark.parametrize("change", [_edit, _apply, _roll_back, _change_job])
def test_killed_at_every_write(tmp_path: Path, change: Callable[[RecipeStore], None]) -> None:
    """The old state or the new one, never a mixture; and the change can be repeated."""
    template = tmp_path / "template"
    store = with_active(template, 2, 1)
    store.create(draft("nut"))
    store.activate("nut", 1, author="a", reason="b")
    old = state(store)

    def prepared(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(template, folder)
        return folder

    whole = prepared("whole")
    calls = run_traced(lambda: change(store_in(whole)), kill_before=None)
    new = state(store_in(whole))
    assert new != old
    assert len(calls) > 8
    for number in range(len(calls)):
        folder = prepared(f"at-{number}")
        durable = Durable(folder)
        durable.assume_present()
        run_traced(
            lambda folder=folder: change(store_in(folder)),  # type: ignore[misc]
            kill_before=number,
            durable=durable,
        )
        after_power_cut = tmp_path / f"after-{number}"
        durable.restore(after_power_cut)
        for left in (folder, after_power_cut):
            after = store_in(left)
            assert state(after) in (old, new)
            assert verify_recipes(after).findings == (), number
            if state(after) == old:
                change(after)
            assert state(after) == new
            assert verify_recipes(after).is_good
            shutil.rmtree(left)


def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    store = with_active(tmp_path)
    with pytest.raises(UsageError, match="no earlier active revision"):
        store.rollback("bolt", author="a", reason="b")
    with pytest.raises(UsageError, match="author"):
        store.activate("bolt", 1, author=" ", reason="b")
    with pytest.raises(UsageError, match="reason"):
        store.activate("bolt", 1, author="a", reason="")
    assert store.active_pointer("bolt") is None
