"""A recipe change asked for over the control socket: planned, kept active, put back if refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgeinspect.bundle.order import Build
from edgeinspect.errors import EdgeInspectError, StorageFault, UsageError
from edgeinspect.files.one_line import to_one_line
from edgeinspect.runtime.bundle_age import audit_note, newer_in_force, refuse_older
from edgeinspect.runtime.plan import StationPlan, make_plan, plan_station
from edgeinspect.settings.recipe_audit import CONFIRMED
from edgeinspect.settings.recipe_store import ActivePointer, RecipeStore


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeChange:
    """A request to apply a recipe.

    Attributes:
        revision: None takes the active one.
        product: None keeps the running product.
        rollback: take the previously active revision instead.
        author, reason: if given, the change is also kept for the next start, and audited; without
            them it holds until the station ends.
        expected_active: the active revision when the person decided; None: whatever it is.
        older: the bundle may be older than the one in force. A rollback does not need this.
    """

    revision: int | None = None
    product: str | None = None
    rollback: bool = False
    author: str = ""
    reason: str = ""
    expected_active: int | None = None
    older: bool = False

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> RecipeChange:
        """Read a request's arguments. Raises UsageError."""
        for key in ("revision", "expected_active"):
            value = arguments.get(key)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
                raise UsageError(f"{key} must be the number of a stored revision.")
        for key in ("product", "author", "reason"):
            if not isinstance(arguments.get(key, ""), str | None):
                raise UsageError(f"{key} must be text.")
        for key in ("rollback", "older"):
            if not isinstance(arguments.get(key, False), bool):
                raise UsageError(f"{key} must be true or false.")
        known = ("revision", "product", "rollback", "author", "reason", "expected_active", "older")
        given = {key: arguments[key] for key in known if arguments.get(key) is not None}
        change = cls(**given)
        to_be_kept = change.rollback or change.older
        if bool(change.author) != bool(change.reason) or (to_be_kept and not change.author):
            raise UsageError("A permanent change needs an author and a reason.")
        if change.rollback and change.revision is not None:
            raise UsageError("A rollback has no revision: it returns to the previous one.")
        return change

    def plan(self, running: StationPlan) -> StationPlan:
        """The plan of a station that runs ``running``. Raises ConfigError, ModelRefused.

        Raises:
            OlderBundle: its bundle is older than the one in force, and nobody said so.
        """
        product = self.product or running.station.product
        station = running.station.model_copy(update={"product": product})
        revision = self.revision
        if self.rollback:
            revision = RecipeStore(station.recipes_dir).previous(product)
        wanted: int | str = "active" if revision is None else revision
        plan = plan_station(station.model_copy(update={"recipe": wanted}), follow_job=False)
        if not (self.rollback or self.older):
            refuse_older(self._newer(plan, running), plan.bundle)
        # The active revision is not part of the wiring, so the digest must not depend on how
        # it was requested.
        return make_plan(station, plan.recipe, plan.bundle, file_product=running.file_product)

    def _newer(self, plan: StationPlan, running: StationPlan) -> Build | None:
        """Return the build in force if it is newer than the plan's bundle, else None."""
        product = plan.recipe.product
        same_job = product == running.recipe.product
        return newer_in_force(
            plan.station, plan.bundle, [product], running=running.bundle if same_job else None
        )

    @contextlib.contextmanager
    def kept(self, plan: StationPlan, *, instead_of: StationPlan) -> Iterator[None]:
        """The plan is what the next start takes, unless the block fails.

        Raises:
            RecipeConflict: somebody activated another revision since.
            StorageFault, ConfigError: it cannot be kept; nothing is changed.
        """
        if not self.author:
            yield
            return
        store = RecipeStore(plan.station.recipes_dir)
        product, revision = plan.recipe.product, plan.recipe.revision
        before = store.active_pointer(product)
        who = {"author": self.author, "reason": self.reason}
        note = audit_note(self._newer(plan, instead_of))
        expected = self.expected_active
        if self.rollback:
            store.rollback(product, **who, expected_active=expected, note=note)
        elif self.revision is not None:
            store.activate(product, revision, **who, expected_active=expected, note=note)
        changes_job = product != instead_of.recipe.product
        if changes_job:
            store.change_job(product, instead_of=plan.file_product, **who)
        try:
            yield
        except BaseException as error:
            try:
                _put_back(store, product, before, why=f"revision {revision} was refused: {error}")
                if changes_job:
                    old = instead_of.recipe.product
                    store.change_job(old, instead_of=plan.file_product, **_refused(error))
            except EdgeInspectError as second:
                raise StorageFault(
                    f"Revision {revision} of {product} was refused ({to_one_line(str(error))}), "
                    "and is still marked for the next start, because "
                    f"{to_one_line(second.message)}",
                    next_action="Free disk space, then apply the revision that you want.",
                ) from error
            raise
        confirm_applied(store, plan, live=True, **who)


def confirm_applied(
    store: RecipeStore, plan: StationPlan, *, live: bool, author: str, reason: str
) -> None:
    """Note in the audit trail that a revision is active and, if ``live``, in force.

    A trail that cannot be written now does not undo it: it was announced before it was done.
    """
    with contextlib.suppress(EdgeInspectError, OSError):
        pointer = store.active_pointer(plan.recipe.product)
        details = {
            "entry": "" if pointer is None else pointer.audit,
            "product": plan.recipe.product,
            "revision": plan.recipe.revision,
            "recipe_digest": plan.digest,
            "live": live,
        }
        store.audit.append(CONFIRMED, author=author, reason=reason, details=details)


def _put_back(store: RecipeStore, product: str, before: ActivePointer | None, *, why: str) -> None:
    if before is not None and store.active_pointer(product) != before:
        store.activate(product, before.revision, author="edgeinspect", reason=to_one_line(why))


def _refused(error: BaseException) -> dict[str, str]:
    return {"author": "edgeinspect", "reason": to_one_line(f"the change was refused: {error}")}
