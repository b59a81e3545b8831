"""Storing and applying recipe revisions: the one way that commands and screens use.

A running station is asked over its control socket and does everything itself: it checks the
model, makes the revision active, takes it between two parts and answers with the recipe digest.
So a command that is killed half way, or a connection that breaks, never leaves a partial change.
Without a station the pointer to the active revision is set, for the next start.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgeinspect import errors
from edgeinspect.assembly.recipe_change import confirm_applied
from edgeinspect.control.client import ControlClient
from edgeinspect.errors import (
    CommandRefused,
    ConfigError,
    ModelRefused,
    OlderBundle,
    RecipeConflict,
    RecipeNotTaken,
    StationBusy,
    StationUnreachable,
    StorageFault,
    UsageError,
)
from edgeinspect.records.records_lock import is_held
from edgeinspect.runtime.bundle_age import audit_note, newer_in_force, refuse_older
from edgeinspect.runtime.frame_fit import check_fits, expected_frame, recorded_frame
from edgeinspect.runtime.plan import StationPlan, find_bundle, make_plan, plan_station, with_job
from edgeinspect.settings.recipe import Recipe
from edgeinspect.settings.recipe_store import RecipeStore
from edgeinspect.settings.station_file import StationFile

_TIMEOUT_S = 15.0
_REFUSALS = {
    kind.__name__: kind
    for kind in (
        RecipeConflict,
        RecipeNotTaken,
        ModelRefused,
        OlderBundle,
        UsageError,
        StorageFault,
    )
}
"""A running station's refusals, as they would have been raised here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The revision that is in force now.

    Attributes:
        product, revision: which revision.
        recipe_digest: digest of the station file, recipe and bundle.
        live: a running station has confirmed it; otherwise it takes effect at the next start.
        seconds: from the request to the confirmation.
    """

    product: str
    revision: int
    recipe_digest: str
    live: bool
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def changed_recipe(base: Recipe, *, author: str, reason: str, **changes: Any) -> Recipe:
    """A draft on top of a stored revision; ``changes`` are fields of ``Recipe``.

    Raises:
        pydantic.ValidationError: a changed field breaks a rule.
    """
    fields = {key: getattr(base, key) for key in Recipe.model_fields}
    stamps = {"revision": base.revision + 1, "parent": base.revision}
    return Recipe(**{**fields, **changes, **stamps, "author": author, "reason": reason})


def store_revision(
    station: StationFile, draft: Recipe, *, expected_latest: int | None = None
) -> Recipe:
    """Check a draft against the station file and its bundle, then store it; not yet active.

    Raises:
        ConfigError: it does not fit the station or the bundle.
        ModelRefused: its bundle is not installed, or its model does not pass here.
        RecipeConflict: somebody stored a revision since ``expected_latest``.
        StorageFault: it could not be written.
    """
    _check_new_model(check_draft(station, draft))
    store = RecipeStore(station.recipes_dir)
    return store.create(draft, expected_latest=expected_latest)


def check_draft(station: StationFile, draft: Recipe) -> StationPlan:
    """The plan that the draft would make. Raises ConfigError, ModelRefused."""
    from edgeinspect.bundle.pipeline import Pipeline

    product = draft.product
    plan = make_plan(
        station.model_copy(update={"product": product}), draft, find_bundle(station, draft.bundle)
    )
    if plan.roi is not None:
        Pipeline(plan.bundle.card, width=plan.roi.width, height=plan.roi.height)
    if expected_frame(station.camera) is None:
        recorded = recorded_frame(station.data_dir)
        if recorded is not None:
            check_fits(plan.recipe, plan.bundle, recorded)
    return plan


def _check_new_model(plan: StationPlan) -> None:
    """Open a model that is not in force yet, and check its golden pictures.

    With an accelerator that a running station holds, that station does it when it is asked to
    apply the revision.

    Raises:
        ModelRefused: it kills or hangs its trial, or strays from its golden pictures.
        HardwareError, DriverMissing: the engine of the station file is not there.
    """
    from edgeinspect.runtime.models import open_inspectors

    station = plan.station
    if _is_in_force(plan) or (station.engine.delegate != "none" and is_held(station.data_dir)):
        return
    opened = open_inspectors(
        plan.bundle, engine=station.engine, roi=plan.roi, reducer=plan.recipe.reducer
    )
    opened.close()


def _is_in_force(plan: StationPlan) -> bool:
    """Whether the active revision of this product has this bundle already."""
    store = RecipeStore(plan.station.recipes_dir)
    try:
        if store.active_pointer(plan.recipe.product) is None:
            return False
        return store.active(plan.recipe.product).bundle.digest == plan.bundle.digest
    except ConfigError:  # an unreadable recipe is probably being repaired right now
        return False


def apply_revision(
    station: StationFile,
    revision: int | None = None,
    *,
    author: str,
    reason: str,
    product: str | None = None,
    expected_active: int | None = None,
    older: bool = False,
) -> Applied:
    """Make a stored revision the active one, on the running station at once.

    Args:
        station: the station file.
        revision: None takes the product's active one, for a change of product.
        author: who applies it.
        reason: why it is applied.
        product: None keeps the product that runs.
        expected_active: the active revision when this was decided; None: whatever it is.
        older: its bundle may be older than the one in force.

    Raises:
        OlderBundle: it is, and ``older`` is False.
        RecipeConflict: somebody activated another revision since.
        CommandRefused, StationTimeout: the running station keeps the old one.
        StationBusy: a station runs and cannot be reached.
        ConfigError, ModelRefused, StorageFault: nothing was changed.
    """
    return _change(
        station,
        product,
        {
            "revision": revision,
            "product": product,
            "expected_active": expected_active,
            "older": older or None,
        },
        author=author,
        reason=reason,
    )


def roll_back(
    station: StationFile,
    *,
    author: str,
    reason: str,
    product: str | None = None,
    expected_active: int | None = None,
) -> Applied:
    """Go back to the revision that was active before; raises as ``apply_revision`` does."""
    return _change(
        station,
        product,
        {"rollback": True, "product": product, "expected_active": expected_active},
        author=author,
        reason=reason,
    )


def _change(
    station: StationFile,
    product: str | None,
    request: Mapping[str, Any],
    *,
    author: str,
    reason: str,
) -> Applied:
    if not author.strip() or not reason.strip():
        raise UsageError("A change of the recipe needs an author and a reason.")
    if isinstance(station.recipe, int):
        raise ConfigError(
            file=f"station {station.id}",
            key="recipe",
            value=station.recipe,
            expected="active; with a pinned revision the next start would not use the new one",
        )
    began = time.monotonic()
    asked = {key: value for key, value in request.items() if value is not None}
    try:
        client = ControlClient(station.socket_path, timeout_s=_TIMEOUT_S)
    except StationUnreachable as error:
        if is_held(station.data_dir):
            raise StationBusy(
                f"A station is running on {station.data_dir} but does not answer: {error.message}",
                next_action="Check the permissions of its control socket, or stop the station "
                "first.",
            ) from error
        plan = _set_for_next_start(station, product, asked, author=author, reason=reason)
        return _applied(plan.recipe, plan.digest, live=False, began=began)
    with client:
        try:
            answer = client.call("apply_recipe", **asked, author=author, reason=reason)
        except CommandRefused as error:
            kind = _REFUSALS.get(error.code)
            if kind is None:
                error.exit_code = getattr(getattr(errors, error.code, None), "exit_code", 1)
                raise
            raise kind(error.message, next_action=error.next_action) from error
    return Applied(
        product=str(answer["product"]),
        revision=int(answer["revision"]),
        recipe_digest=str(answer["recipe_digest"]),
        live=True,
        seconds=time.monotonic() - began,
    )


def _applied(recipe: Recipe, digest: str, *, live: bool, began: float) -> Applied:
    return Applied(
        product=recipe.product,
        revision=recipe.revision,
        recipe_digest=digest,
        live=live,
        seconds=time.monotonic() - began,
    )


def _set_for_next_start(
    station: StationFile,
    product: str | None,
    asked: Mapping[str, Any],
    *,
    author: str,
    reason: str,
) -> StationPlan:
    store = RecipeStore(station.recipes_dir)
    job = with_job(station).product
    chosen = product or job
    expected = asked.get("expected_active")
    revision = store.previous(chosen) if asked.get("rollback") else asked.get("revision")
    wanted: int | str = "active" if revision is None else revision
    changed = station.model_copy(update={"product": chosen, "recipe": wanted})
    found = plan_station(changed, follow_job=False)
    newer = newer_in_force(station, found.bundle, [chosen])
    if not (asked.get("rollback") or asked.get("older")):
        refuse_older(newer, found.bundle)
    _check_new_model(found)
    who = {"author": author, "reason": reason}
    note = audit_note(newer)
    if asked.get("rollback"):
        store.rollback(chosen, **who, expected_active=expected, note=note)
    elif revision is not None:
        store.activate(chosen, revision, **who, expected_active=expected, note=note)
    if chosen != job:
        store.change_job(chosen, instead_of=station.product, **who)
    plan = make_plan(
        station.model_copy(update={"product": chosen}),
        found.recipe,
        found.bundle,
        file_product=station.product,
    )
    confirm_applied(store, plan, live=False, **who)
    return plan
