"""Recipe revisions on disk: immutable files and one pointer to the active revision.

    recipes/<product>/000001.yaml   a revision; read-only, never written again
    recipes/<product>/active.yaml   which revision is active, and which were before

Everything is validated before it is written. Each write is a temporary file that is made durable
and then put in place at once, so that after a crash the old state or the new one is there.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from pydantic import AwareDatetime, Field

from edgeinspect.atomic_file import create_file, make_folder, replace_file
from edgeinspect.errors import ConfigError, UsageError
from edgeinspect.settings.base import FormatOne, Label, Section, Sha256
from edgeinspect.settings.recipe import Recipe, recipe_yaml
from edgeinspect.yaml_file import dump_yaml, load_model, parse_yaml, read_yaml, validate

ACTIVE_FILE = "active.yaml"
LONGEST_HISTORY = 100
_REVISION_FILE = re.compile(r"[0-9]{6}\.yaml")
_PRODUCT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


class ActivePointer(Section):
    """Content of ``active.yaml``.

    Attributes:
        revision: the active one.
        sha256: of its file, so that an edited revision is noticed.
        history: revisions that were active before, oldest first; a rollback takes the last.
        author, reason, activated: who activated it, why, and when (UTC, for people).
    """

    format: FormatOne = 1
    revision: int = Field(ge=1, le=999_999)
    sha256: Sha256
    history: tuple[int, ...] = Field(default=(), max_length=LONGEST_HISTORY)
    author: Label
    reason: Label
    activated: AwareDatetime


class RecipeStore:
    """The recipes of one station.

    Args:
        root: the ``recipes`` folder; created by the first ``create``.
        now_wall: UTC now, for the dates that people read.
    """

    def __init__(
        self,
        root: Path,
        *,
        now_wall: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        self._root = root
        self._now_wall = now_wall

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
        """Where the revision's file is, or would be."""
        return self._folder(product) / f"{revision:06d}.yaml"

    def load(self, product: str, revision: int) -> Recipe:
        """Read one revision. Raises ConfigError, also if the file is not what its name says."""
        return self._load(product, revision)[0]

    def create(self, draft: Recipe) -> Recipe:
        """Store the draft as the product's next revision and return it as stored.

        The revision number and the date are set here; the draft's parent must exist. The new
        revision is not active. Raises UsageError, ConfigError or StorageFault; nothing is
        stored then.
        """
        product = draft.product
        existing = self.revisions(product)
        if draft.parent is not None and draft.parent not in existing:
            raise UsageError(f"{product} has no revision {draft.parent} to be the parent.")
        make_folder(self._folder(product))
        number = max(existing, default=0) + 1
        while True:
            if number > 999_999:
                raise UsageError(f"{product} has used all of its 999999 revision numbers.")
            recipe = self._stamped(draft, number)
            content = _checked_content(recipe, self.path(product, number))
            if create_file(self.path(product, number), content):
                return recipe
            number += 1

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
                expected=f"a revision of {product} to be active",
                next_action="Store a recipe revision for this product and activate it.",
            )
        recipe, digest = self._load(product, pointer.revision)
        if digest != pointer.sha256:
            raise ConfigError(
                file=self.path(product, pointer.revision),
                key="the file's SHA-256",
                value=digest,
                expected=f"{pointer.sha256}, as when it was activated; a revision never changes",
                next_action="Store the change as a new revision, or activate this one again.",
            )
        return recipe

    def activate(self, product: str, revision: int, *, author: str, reason: str) -> Recipe:
        """Make a revision the active one.

        Raises ConfigError or StorageFault; the one that was active then stays so.
        """
        recipe, digest = self._load(product, revision)
        before = self.active_pointer(product)
        history = () if before is None else (*before.history, before.revision)
        self._point(
            product=product,
            revision=revision,
            sha256=digest,
            history=history,
            author=author,
            reason=reason,
        )
        return recipe

    def rollback(self, product: str, *, author: str, reason: str) -> Recipe:
        """Make the revision active that was so before the active one; can be repeated.

        Raises:
            UsageError: none was active before.
            ConfigError: that revision's file is missing or wrong; the active one stays.
            StorageFault: the pointer could not be written; the active one stays.
        """
        pointer = self.active_pointer(product)
        if pointer is None or not pointer.history:
            raise UsageError(f"{product} has no earlier active revision to go back to.")
        *history, revision = pointer.history
        recipe, digest = self._load(product, revision)
        self._point(
            product=product,
            revision=revision,
            sha256=digest,
            history=tuple(history),
            author=author,
            reason=reason,
        )
        return recipe

    def _point(
        self,
        *,
        product: str,
        revision: int,
        sha256: str,
        history: tuple[int, ...],
        author: str,
        reason: str,
    ) -> None:
        pointer = ActivePointer(
            revision=revision,
            sha256=sha256,
            history=history[-LONGEST_HISTORY:],
            author=author,
            reason=reason,
            activated=self._now_wall(),
        )
        text = dump_yaml(pointer.model_dump(mode="json"))
        replace_file(self._folder(product) / ACTIVE_FILE, text.encode())

    def _stamped(self, draft: Recipe, number: int) -> Recipe:
        fields = {key: getattr(draft, key) for key in Recipe.model_fields}
        return Recipe(**{**fields, "revision": number, "created": self._now_wall()})

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
            file=path, key="the file", value=recipe, expected="to read back as it was written"
        )
    return content
