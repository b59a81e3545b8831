"""The thresholds that a technician is trying, and their file: it outlives a dropped connection."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from edgeinspect.errors import StorageFault
from edgeinspect.files.atomic_file import make_folder, replace_file
from edgeinspect.files.json_text import parse_json
from edgeinspect.line.config import ClassThresholds

FINE_STEP, COARSE_STEP = 0.001, 0.02
_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Thresholds on their way, and those in force.

    Attributes:
        in_force, drafted: of each class, in the order of the scores.
        chosen: index of the class that keys move.
        moves_reject: keys move its reject threshold, else its review threshold.
    """

    in_force: tuple[ClassThresholds, ...]
    drafted: tuple[ClassThresholds, ...]
    chosen: int = 0
    moves_reject: bool = True

    @property
    def is_changed(self) -> bool:
        """Whether a threshold differs from the one in force."""
        return self.drafted != self.in_force

    @property
    def limit(self) -> ClassThresholds:
        """The thresholds of the chosen class."""
        return self.drafted[self.chosen]

    @property
    def moved(self) -> float:
        """The value that keys move."""
        return self.limit.reject if self.moves_reject else self.limit.review

    def step(self, change: float) -> Draft:
        """Move the chosen threshold; it stays in [0, 1] and takes the other along if they meet."""
        value = round(min(1.0, max(0.0, self.moved + change)), _DIGITS)
        old = self.limit
        if self.moves_reject:
            limit = replace(old, reject=value, review=min(old.review, value))
        else:
            limit = replace(old, review=value, reject=max(old.reject, value))
        return self._with_limit(limit)

    def other_threshold(self) -> Draft:
        """Switch between the review and the reject threshold."""
        return replace(self, moves_reject=not self.moves_reject)

    def next_class(self, by: int) -> Draft:
        """Choose another class, ``by`` classes further."""
        return replace(self, chosen=(self.chosen + by) % len(self.drafted))

    def reset(self) -> Draft:
        """Go back to the thresholds in force."""
        return replace(self, drafted=self.in_force)

    def with_in_force(self, in_force: Sequence[ClassThresholds]) -> Draft:
        """Take a new revision into account; a changed draft stays."""
        drafted = self.drafted if self.is_changed else tuple(in_force)
        return replace(self, in_force=tuple(in_force), drafted=drafted)

    def _with_limit(self, limit: ClassThresholds) -> Draft:
        changed = list(self.drafted)
        changed[self.chosen] = limit
        return replace(self, drafted=tuple(changed))


def draft_path(data_dir: Path, product: str) -> Path:
    """Where this user's draft for this station and product is kept; never in the data directory."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    name = sha256(f"{data_dir.absolute()}\0{product}".encode()).hexdigest()[:16]
    return Path(home) / "edgeinspect" / f"tune-{name}.json"


def save_draft(path: Path, draft: Draft) -> None:
    """Store the draft; an unchanged draft removes the file. Raises StorageFault."""
    if not draft.is_changed:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return
    values = {limit.name: [limit.review, limit.reject] for limit in draft.drafted}
    make_folder(path.parent)
    replace_file(path, json.dumps(values).encode())


def restore_draft(path: Path, draft: Draft) -> Draft:
    """Return the draft with the stored thresholds; classes that no longer exist are ignored."""
    try:
        kept = parse_json(path.read_bytes())
        drafted = []
        for limit in draft.drafted:
            review, reject = map(float, kept.get(limit.name, (limit.review, limit.reject)))
            fits = 0 <= review <= reject <= 1
            drafted.append(replace(limit, review=review, reject=reject) if fits else limit)
    except (OSError, ValueError, TypeError, AttributeError):
        return draft
    return replace(draft, drafted=tuple(drafted))


def keep_quietly(path: Path, draft: Draft) -> bool:
    """Like ``save_draft``, but return whether it worked instead of raising."""
    try:
        save_draft(path, draft)
    except (StorageFault, OSError):
        return False
    return True
