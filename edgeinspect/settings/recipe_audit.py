"""Compares the recipes with the audit trail: each must agree with the other.

Every revision file must be announced with its digest, the active pointer must be the last one that
was announced, and every revision that was once active or built upon must still exist.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edgeinspect.errors import ConfigError, NotGood
from edgeinspect.settings.audit import Anchor, AuditEntry, AuditReport
from edgeinspect.settings.recipe_store import ACTIVE_FILE, JOB_FILE, RecipeStore

APPLIED = ("recipe.apply", "recipe.rollback")
CONFIRMED = "recipe.applied"
"""Written once an application has taken effect; ``details.entry`` names its announcement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipesReport:
    """The trail's own report and what the recipes add to it.

    Attributes:
        notes: announcements without effect: the command was interrupted.
    """

    trail: AuditReport
    findings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether the check found nothing wrong."""
        return not self.findings

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        printed = self.trail.as_dict()
        return {
            **printed,
            "ok": self.is_good,
            "findings": list(self.findings),
            "notes": list(self.notes),
        }


def verify_recipes(store: RecipeStore, anchors: Iterable[Anchor] = ()) -> RecipesReport:
    """Verify the trail, with what the store and ``anchors`` keep of it. Writes nothing.

    Raises:
        StorageFault: a file cannot be read.
    """
    own, findings = _store_anchors(store)
    trail = store.audit.verify([*own, *anchors])
    findings = [*trail.findings, *findings]
    notes: list[str] = []
    try:
        entries = store.audit.entries()
    except NotGood:  # a finding already; nothing can be set against such a trail
        return RecipesReport(trail=trail, findings=tuple(findings), notes=())
    for finding, is_note in _compare(store, entries):
        (notes if is_note else findings).append(finding)
    return RecipesReport(trail=trail, findings=tuple(findings), notes=tuple(notes))


def _store_anchors(store: RecipeStore) -> tuple[list[Anchor], list[str]]:
    anchors, findings = [], []
    for product in store.products():
        for revision in store.revisions(product):
            place = f"{product}/{revision:06d}.yaml"
            try:
                digest = store.load(product, revision).audit
            except ConfigError as error:
                findings.append(error.message)
                continue
            if digest is not None:
                anchors.append(Anchor(digest, place))
        try:
            pointer = store.active_pointer(product)
        except ConfigError as error:
            findings.append(error.message)
            continue
        if pointer is not None and pointer.audit is not None:
            anchors.append(Anchor(pointer.audit, f"{product}/{ACTIVE_FILE}"))
    try:
        job = store.job_pointer()
    except ConfigError as error:
        findings.append(error.message)
    else:
        if job is not None and job.audit is not None:
            anchors.append(Anchor(job.audit, JOB_FILE))
    return anchors, findings


def _compare(store: RecipeStore, entries: list[AuditEntry]) -> Iterator[tuple[str, bool]]:
    """Findings, and whether each is a note only."""
    for product in sorted({*store.products(), *_products(entries)}):
        announced = _announced(entries, product)
        files = set(store.revisions(product))
        for revision in sorted(files):
            content = store.path(product, revision).read_bytes()
            if hashlib.sha256(content).hexdigest() not in announced.get(revision, ()):
                known = (
                    "different from the announced one"
                    if revision in announced
                    else ("not announced")
                )
                yield f"Revision {revision} of {product} is {known} in the audit trail.", False
        newest = max(files, default=0)
        used = {entry.details.get("revision") for entry in _applied(entries, product)}
        for revision in sorted(set(announced) - files):
            lost = revision < newest or revision in used
            how = "is missing" if lost else "was announced but not stored"
            yield f"Revision {revision} of {product} {how}.", not lost
        yield from _compare_active(store, entries, product)


def _compare_active(
    store: RecipeStore, entries: list[AuditEntry], product: str
) -> Iterator[tuple[str, bool]]:
    try:
        pointer = store.active_pointer(product)
    except ConfigError:
        return  # a finding already
    applied = _applied(entries, product)
    if pointer is None:
        confirmed = _confirmed(entries) & {entry.digest for entry in applied}
        if confirmed:
            yield f"The pointer to the active revision of {product} is missing.", False
        return
    by_digest = {entry.digest: entry for entry in applied}
    announced = by_digest.get(pointer.audit or "")
    if announced is None or announced.details.get("sha256") != pointer.sha256:
        yield (
            (
                f"The activation of revision {pointer.revision} of {product} is not in the audit "
                "trail."
            ),
            False,
        )
        return
    later = [entry for entry in applied if entry.sequence > announced.sequence]
    for entry in later:
        revision = entry.details.get("revision")
        if entry.digest in _confirmed(entries):
            yield (
                f"Revision {revision} of {product} was active after revision {pointer.revision}, "
                "but the pointer was set back.",
                False,
            )
        else:
            yield (
                (f"Applying revision {revision} of {product} was announced but not carried out."),
                True,
            )


def _products(entries: list[AuditEntry]) -> set[str]:
    named = (e.details.get("product") for e in entries if e.action.startswith("recipe."))
    return {product for product in named if isinstance(product, str)}


def _announced(entries: list[AuditEntry], product: str) -> dict[int, set[str]]:
    """Digests announced for each revision; a number is used again after an interruption."""
    found: dict[int, set[str]] = {}
    for entry in entries:
        details = entry.details
        if entry.action == "recipe.create" and details.get("product") == product:
            found.setdefault(int(details["revision"]), set()).add(str(details["sha256"]))
    return found


def _applied(entries: list[AuditEntry], product: str) -> list[AuditEntry]:
    return [e for e in entries if e.action in APPLIED and e.details.get("product") == product]


def _confirmed(entries: list[AuditEntry]) -> set[str]:
    return {str(e.details.get("entry")) for e in entries if e.action == CONFIRMED}
