"""Recipe revisions on disk: immutable files and one pointer to the active revision.

    recipes/<product>/000001.yaml   a revision; read-only, never written again
    recipes/<product>/active.yaml   which revision is active, and which were before
    recipes/job.yaml                which product runs instead of the station file's

Everything is validated before it is written. Each write is a temporary file that is made durable
and then put in place at once, so that after a crash the old state or the new one is there. Every
change is announced in the audit trail before it is made, and one process changes at a time.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import AwareDatetime, Field

from edgeinspect.clocks import utc_now
from edgeinspect.errors import ConfigError, RecipeConflict, UsageError
from edgeinspect.files.atomic_file import create_file, make_folder, replace_file
from edgeinspect.files.file_lock import exclusive
from edgeinspect.files.yaml_file import dump_yaml, load_model, parse_yaml, read_yaml, validate
from edgeinspect.settings.audit import AUDIT_FILE, AuditTrail
from edgeinspect.settings.base import FormatOne, Label, Name, Section, Sha256
from edgeinspect.settings.recipe import Recipe, recipe_yaml

ACTIVE_FILE = "active.yaml"
JOB_FILE = "job.yaml"
LONGEST_HISTORY = 100
_REVISION_FILE = re.compile(r"[0-9]{6}\.yaml")
MAX_REVISION = 999_999
_PRODUCT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


class ActivePointer(Section):
    """Content of ``active.yaml``.

    Attributes:
        revision: the active one.
        sha256: of its file, so that an edited revision is noticed.
        history: revisions that were active before, oldest first; a rollback takes the last.
        author, reason, activated: who activated it, why, and when (UTC, for people).
        audit: digest of the audit trail's entry that announced the activation.
    """

    format: FormatOne = 1
    revision: int = Field(ge=1, le=999_999)
    sha256: Sha256
    history: tuple[int, ...] = Field(default=(), max_length=LONGEST_HISTORY)
    author: Label
    reason: Label
    activated: AwareDatetime
    audit: Sha256 | None = None


class JobPointer(Section):
    """Content of ``job.yaml``: the station runs another product than its file says.

    Attributes:
        instead_of: what the station file said then. A file that says something else was edited
            since, and counts.
        audit: digest of the audit trail's entry that announced the change.
    """

    format: FormatOne = 1
    product: Name
    instead_of: Name
    author: Label
    reason: Label
    since: AwareDatetime
    audit: Sha256 | None = None


@dataclass(frozen=True, slots=True)
class _Change:
    """Who makes which revision the active one, and why; ``note`` is more for the audit trail."""

    action: str
    author: str
    reason: str
    note: Mapping[str, object]


class RecipeStore:
    """The recipes of one station.

    Args:
        root: the ``recipes`` folder; created by the first ``create``. The audit trail is
            ``audit.jsonl`` beside it.
        now_wall: UTC now, for the dates that people read.
    """

    def __init__(self, root: Path, *, now_wall: Callable[[], datetime.datetime] = utc_now) -> None:
        self._root = root
        self._now_wall = now_wall
        self._audit = AuditTrail(root.parent / AUDIT_FILE, now_wall=now_wall)

    @property
    def root(self) -> Path:
        """The folder of all recipes."""
        return self._root

    @property
    def audit(self) -> AuditTrail:
        """The trail in which every change is announced."""
        return self._audit

    def products(self) -> list[str]:
        """Products that have a revision."""
        if not self._root.is_dir():
            return []
        names = sorted(entry.name for entry in self._root.iterdir() if entry.is_dir())
        return [name for name in names if _PRODUCT.fullmatch(name) and self.revisions(name)]

    def revisions(self, product: str) -> list[int]:
        """The product's revision numbers, ascending."""
        folder = self._folder(product)
        if not folder.is_dir():
            return []
        names = (entry.name for entry in folder.iterdir())
        return sorted(int(name[:6]) for name in names if _REVISION_FILE.fullmatch(name))

    def path(self, product: str, revision: int) -> Path:
        """Where the revision's file is, or would be. Raises UsageError: no such number can be."""
        if not 1 <= revision <= MAX_REVISION:
            raise UsageError(f"{revision} is not a revision number; expected 1 to {MAX_REVISION}.")
        return self._folder(product) / f"{revision:06d}.yaml"

    def load(self, product: str, revision: int) -> Recipe:
        """Read one revision. Raises ConfigError, also if the file is not what its name says."""
        return self._load(product, revision)[0]

    def create(self, draft: Recipe, *, expected_latest: int | None = None) -> Recipe:
        """Store the draft as the product's next revision and return it as stored.

        The revision number and the date are set here; the draft's parent must exist. The new
        revision is not active.

        Args:
            draft: the content of the new revision.
            expected_latest: the highest revision when the draft was begun, 0 for none; None
                stores it whatever others have stored since.

        Raises:
            RecipeConflict: somebody stored a revision since.
            UsageError, ConfigError, StorageFault: nothing is stored.
        """
        product = draft.product
        make_folder(self._folder(product))
        with self._changing():
            existing = self.revisions(product)
            if draft.parent is not None and draft.parent not in existing:
                raise UsageError(
                    f"{product} has no revision {draft.parent}, which the new revision is based on."
                )
            latest = max(existing, default=0)
            if expected_latest is not None and latest != expected_latest:
                raise self._newer(product, latest)
            return self._store(draft, latest + 1)

    def active_pointer(self, product: str) -> ActivePointer | None:
        """What ``active.yaml`` says; None before the first activation. Raises ConfigError."""
        path = self._folder(product) / ACTIVE_FILE
        if not path.exists() and not path.is_symlink():
            return None
        return load_model(path, ActivePointer)

    def active(self, product: str) -> Recipe:
        """The active revision.

        Raises:
            ConfigError: no revision is active, or its file is missing, wrong or was edited.
        """
        pointer = self.active_pointer(product)
        if pointer is None:
            raise ConfigError(
                file=self._folder(product) / ACTIVE_FILE,
                key="the active revision",
                value=None,
                expected=f"an active revision of {product}",
                next_action="Store a recipe revision for this product and activate it.",
            )
        recipe, digest = self._load(product, pointer.revision)
        if digest != pointer.sha256:
            raise ConfigError(
                file=self.path(product, pointer.revision),
                key="the file's SHA-256",
                value=digest,
                expected=f"{pointer.sha256}, as at its activation, because revisions must not "
                "change",
                next_action="Store the change as a new revision, or activate this one again.",
            )
        return recipe

    def activate(
        self,
        product: str,
        revision: int,
        *,
        author: str,
        reason: str,
        expected_active: int | None = None,
        note: Mapping[str, object] | None = None,
    ) -> Recipe:
        """Make a revision the active one.

        Args:
            product: the product.
            revision: the revision to activate.
            author: who activates it.
            reason: why it is activated.
            expected_active: the active revision when this was decided; None: whatever it is.
            note: more for the audit trail to say of it.

        Raises:
            RecipeConflict: somebody activated another one since.
            ConfigError, StorageFault: the one that was active stays so.
        """
        self._load(product, revision)
        with self._changing():
            before = self._expected(product, expected_active)
            history: tuple[int, ...] = () if before is None else before.history
            if before is not None and before.revision != revision:
                history = (*history, before.revision)
            change = _Change("recipe.apply", author, reason, note or {})
            return self._point(change, product, revision, history=history)

    def rollback(
        self,
        product: str,
        *,
        author: str,
        reason: str,
        expected_active: int | None = None,
        note: Mapping[str, object] | None = None,
    ) -> Recipe:
        """Make the revision active that was so before the active one; can be repeated.

        Raises:
            UsageError: none was active before.
            RecipeConflict: see ``activate``.
            ConfigError: that revision's file is missing or wrong; the active one stays.
            StorageFault: the pointer could not be written; the active one stays.
        """
        self.previous(product)
        with self._changing():
            self._expected(product, expected_active)
            pointer = self._with_previous(product)
            change = _Change("recipe.rollback", author, reason, note or {})
            *history, revision = pointer.history
            return self._point(change, product, revision, history=tuple(history))

    def previous(self, product: str) -> int:
        """The revision that a rollback takes. Raises UsageError if there is none."""
        return self._with_previous(product).history[-1]

    def _with_previous(self, product: str) -> ActivePointer:
        pointer = self.active_pointer(product)
        if pointer is None or not pointer.history:
            raise UsageError(f"{product} has no earlier active revision to go back to.")
        return pointer

    def job(self, station_product: str) -> str:
        """The product that runs: the last changeover's, else the station file's."""
        path = self._root / JOB_FILE
        if not path.exists():
            return station_product
        job = load_model(path, JobPointer)
        return job.product if job.instead_of == station_product else station_product

    def job_pointer(self) -> JobPointer | None:
        """What ``job.yaml`` says; None before the first changeover. Raises ConfigError."""
        path = self._root / JOB_FILE
        return load_model(path, JobPointer) if path.exists() else None

    def change_job(self, product: str, *, instead_of: str, author: str, reason: str) -> None:
        """Run this product from now on, whichever product the station file names.

        Args:
            product: the product to run.
            instead_of: the station file's product.
            author: who makes the change.
            reason: why.

        Raises:
            ConfigError: the product has no active revision.
            StorageFault: the job could not be stored and stays unchanged.
        """
        self.active(product)
        with self._changing():
            details = {"product": product, "instead_of": instead_of}
            entry = self._audit.append("recipe.job", author=author, reason=reason, details=details)
            job = JobPointer(
                product=product,
                instead_of=instead_of,
                author=author,
                reason=reason,
                since=self._now_wall(),
                audit=entry.digest,
            )
            replace_file(self._root / JOB_FILE, dump_yaml(job.model_dump(mode="json")).encode())

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """One process changes the recipes at a time."""
        with exclusive(self._root / ".lock"):
            yield

    def _expected(self, product: str, expected_active: int | None) -> ActivePointer | None:
        pointer = self.active_pointer(product)
        if pointer is None or expected_active in (None, pointer.revision):
            return pointer
        raise RecipeConflict(
            f"Revision {pointer.revision} of {product} was activated by {pointer.author} "
            f"({pointer.reason}) after you had decided on revision {expected_active}.",
            next_action=f"Compare them with: edgeinspect recipe diff {expected_active} "
            f"{pointer.revision}; then decide again.",
        )

    def _newer(self, product: str, latest: int) -> RecipeConflict:
        theirs = self.load(product, latest)
        return RecipeConflict(
            f"Revision {latest} of {product} was stored by {theirs.author} ({theirs.reason}) "
            "after you had started this change.",
            next_action=f"See: edgeinspect recipe show {latest}. Then change that revision.",
        )

    def _store(self, draft: Recipe, number: int) -> Recipe:
        """Announce and write the first free revision from ``number`` on."""
        product = draft.product
        while True:
            path = self.path(product, number)
            if number > 999_999:
                raise UsageError(f"{product} has used all of its 999999 revision numbers.")
            if not path.exists():
                recipe = self._stamped(draft, number)
                content = _checked_content(recipe, path)
                details = {
                    "product": product,
                    "revision": number,
                    "parent": recipe.parent,
                    "sha256": hashlib.sha256(content).hexdigest(),
                }
                self._audit.append(
                    "recipe.create", author=recipe.author, reason=recipe.reason, details=details
                )
                if create_file(path, content):
                    return recipe
            number += 1

    def _point(
        self, change: _Change, product: str, revision: int, *, history: tuple[int, ...]
    ) -> Recipe:
        """Announce that the revision is the active one, and make it so."""
        recipe, sha256 = self._load(product, revision)
        details = {**change.note, "product": product, "revision": revision, "sha256": sha256}
        entry = self._audit.append(
            change.action, author=change.author, reason=change.reason, details=details
        )
        pointer = ActivePointer(
            revision=revision,
            sha256=sha256,
            history=history[-LONGEST_HISTORY:],
            author=change.author,
            reason=change.reason,
            activated=self._now_wall(),
            audit=entry.digest,
        )
        text = dump_yaml(pointer.model_dump(mode="json"))
        replace_file(self._folder(product) / ACTIVE_FILE, text.encode())
        return recipe

    def _stamped(self, draft: Recipe, number: int) -> Recipe:
        fields = {key: getattr(draft, key) for key in Recipe.model_fields}
        head = self._audit.head()
        stamps = {"revision": number, "created": self._now_wall()}
        return Recipe(**{**fields, **stamps, "audit": None if head is None else head.digest})

    def _load(self, product: str, revision: int) -> tuple[Recipe, str]:
        path = self.path(product, revision)
        yaml_file = read_yaml(path)
        recipe = validate(yaml_file, Recipe)
        for key, expected in (("product", product), ("revision", revision)):
            if (value := getattr(recipe, key)) != expected:
                raise ConfigError(
                    file=path,
                    line=yaml_file.line_of((key,)),
                    key=key,
                    value=value,
                    expected=f"{expected}, as the file's path says",
                )
        return recipe, hashlib.sha256(yaml_file.content).hexdigest()

    def _folder(self, product: str) -> Path:
        if not _PRODUCT.fullmatch(product):
            raise UsageError(f"{product!r} is not a product name.")
        return self._root / product


def _checked_content(recipe: Recipe, path: Path) -> bytes:
    """The bytes to store, after they were read back as the same revision."""
    content = recipe_yaml(recipe).encode()
    if validate(parse_yaml(content, path=path), Recipe) != recipe:
        raise ConfigError(
            file=path, key="the file", value=recipe, expected="the same content when read back"
        )
    return content
