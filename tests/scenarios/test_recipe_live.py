"""A recipe applied to a running station: at once, acknowledged, kept, no trigger lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeinspect.assembly.assemble import AssembledStation
from edgeinspect.control.client import ControlClient
from edgeinspect.errors import CommandRefused, ModelRefused, RecipeConflict, StationBusy, UsageError
from edgeinspect.hw import clock as hw_clock
from edgeinspect.line.verdict import judge_scores
from edgeinspect.part import VerdictKind
from edgeinspect.records import RecordReader
from edgeinspect.records.writer import RecordWriter
from edgeinspect.runtime.plan import plan_station
from edgeinspect.settings.recipe import RoiBox, Thresholds
from edgeinspect.settings.recipe_audit import verify_recipes
from edgeinspect.settings.recipe_store import RecipeStore
from edgeinspect.settings.station_file import StationFile, example_station
from edgeinspect.tune.apply import (
    Applied,
    apply_revision,
    changed_recipe,
    roll_back,
    store_revision,
)
from tests.helpers.records_samples import StepClock
from tests.helpers.runtime_rig import DEADLINE_S, wait_until
from tests.helpers.station_clock import StationClock

WHO: dict[str, Any] = {"author": "technician", "reason": "for the test"}


@pytest.fixture
def running(clock: StationClock, tmp_path: Path) -> Iterator[tuple[StationFile, AssembledStation]]:
    """A station on the simulated line, with its socket."""
    file = example_station("normally-rejecting", data_dir=tmp_path)
    with (
        clock.in_charge(hw_clock.__name__),
        AssembledStation(plan_station(file)) as assembled,
        clock.passing(),
    ):
        wait_until(lambda: assembled.station.status()["records_acknowledged"] > 0)  # type: ignore[operator]
        yield file, assembled


def inspected_under(file: StationFile, recipe_digest: str) -> int:
    """Recorded parts that were judged by their scores under this recipe."""
    with RecordReader(file.data_dir) as reader:
        parts = [part.record for part in reader.parts()]
    return sum(p.recipe_digest == recipe_digest and p.verdict.doubt is None for p in parts)


def with_thresholds(file: StationFile, review: float, reject: float) -> int:
    """Store a revision with these thresholds for every class; its number."""
    base = RecipeStore(file.recipes_dir).active(file.product)
    limits = tuple(
        Thresholds(name=entry.name, review=review, reject=reject) for entry in base.thresholds
    )
    return store_revision(file, changed_recipe(base, thresholds=limits, **WHO)).revision


def test_the_next_parts_are_judged_as_predicted(
    running: tuple[StationFile, AssembledStation],
) -> None:
    file, assembled = running
    first = assembled.plan
    revision = with_thresholds(file, 0.0, 0.0)  # whatever it shows, a part is rejected
    applied = apply_revision(file, revision, expected_active=1, **WHO)
    assert (applied.live, applied.revision) == (True, revision)
    station = assembled.station
    status = station.status()
    assert status["recipe_digest"] == applied.recipe_digest
    assert assembled.plan.digest == applied.recipe_digest
    plans = {plan.digest: plan.config.thresholds for plan in (first, assembled.plan)}
    wait_until(lambda: inspected_under(file, applied.recipe_digest) > 8)
    back = roll_back(file, expected_active=revision, **WHO)
    assert (back.live, back.revision) == (True, 1)
    done = int(station.status()["records_acknowledged"])  # type: ignore[call-overload]
    wait_until(lambda: int(station.status()["records_acknowledged"]) > done + 8)  # type: ignore[call-overload]
    assembled.stop()
    counts = assembled.station.status()["counts"]
    with RecordReader(file.data_dir) as reader:
        parts = [part.record for part in reader.parts()]
        documents = reader.query("SELECT digest, document FROM recipes", {})
    seen = [part for part in parts if part.verdict.doubt is None and part.inspection]
    for part in seen:
        assert part.inspection is not None
        predicted = judge_scores(part.inspection.scores, plans[part.recipe_digest])
        assert part.verdict.kind is predicted.kind
    under_new = [part for part in seen if part.recipe_digest == applied.recipe_digest]
    assert len(under_new) > 8
    assert {part.verdict.kind for part in under_new} == {VerdictKind.REJECT}
    begin = parts[0].part_id
    assert [part.part_id for part in parts] == list(range(begin, begin + len(parts)))
    assert counts["triggers"] == len(parts)  # type: ignore[index]
    heads = {row["digest"]: json.loads(row["document"])["audit_head"] for row in documents}
    entries = {entry.digest: entry for entry in RecipeStore(file.recipes_dir).audit.entries()}
    assert heads[applied.recipe_digest] in entries
    store = RecipeStore(file.recipes_dir)
    assert verify_recipes(store).is_good
    live = [entry.details["live"] for entry in entries.values() if entry.action == "recipe.applied"]
    assert live == [True, True]
    assert plan_station(file).digest == back.recipe_digest  # and so for the next start


def test_what_the_station_refuses_changes_nothing(
    running: tuple[StationFile, AssembledStation],
) -> None:
    file, assembled = running
    store = RecipeStore(file.recipes_dir)
    revision = with_thresholds(file, 0.5, 0.6)
    digest = assembled.plan.digest
    pointer = store.active_pointer(file.product)
    active = store.active(file.product)
    gone = active.bundle.model_copy(update={"digest": "5a" * 32})
    store.create(changed_recipe(active, bundle=gone, **WHO))

    def refused(kind: type[Exception], change: Callable[[], Applied]) -> None:
        with pytest.raises(kind):
            change()
        assert store.active_pointer(file.product) == pointer
        assert assembled.station.status()["recipe_digest"] == digest

    refused(RecipeConflict, lambda: apply_revision(file, revision, expected_active=7, **WHO))
    refused(ModelRefused, lambda: apply_revision(file, revision + 1, **WHO))
    outside = RoiBox(x=400, y=0, width=100, height=100)
    made = store.create(changed_recipe(active, roi=outside, **WHO))  # past `recipe edit`
    refused(CommandRefused, lambda: apply_revision(file, made.revision, **WHO))
    refused(UsageError, lambda: roll_back(file, **WHO))
    refused(UsageError, lambda: apply_revision(file, revision, author="a", reason=" "))
    assert verify_recipes(store).is_good
    with ControlClient(file.socket_path, timeout_s=DEADLINE_S) as client:
        held = client.call("apply_recipe", revision=revision)  # without an author: not kept
    assert held["previous_revision"] == 1
    assert store.active_pointer(file.product) == pointer


def test_a_change_of_product_while_it_runs(
    running: tuple[StationFile, AssembledStation],
) -> None:
    file, assembled = running
    store = RecipeStore(file.recipes_dir)
    store.create(store.active(file.product).model_copy(update={"product": "nut", "parent": None}))
    changed = apply_revision(file, 1, product="nut", **WHO)
    assert (changed.product, changed.live) == ("nut", True)
    assert assembled.plan.recipe.product == "nut"
    assert plan_station(file).digest == changed.recipe_digest
    back = apply_revision(file, product=file.product, **WHO)
    assert back.product == file.product == plan_station(file).recipe.product
    assert verify_recipes(store).is_good


def test_a_station_that_cannot_be_asked_is_not_passed_over(tmp_path: Path) -> None:
    file = example_station("normally-rejecting", data_dir=tmp_path)
    plan_station(file)
    revision = with_thresholds(file, 0.5, 0.6)
    with (
        RecordWriter(tmp_path, clock=StepClock(), reserve_bytes=0),
        pytest.raises(StationBusy, match="does not answer"),
    ):
        apply_revision(file, revision, **WHO)
    assert apply_revision(file, revision, **WHO).live is False
