"""What a station took from which card or stick, and which keys were revoked by it.

Whatever was taken once is never taken again by itself, from whatever card or stick it comes: the
newest deliberate act counts, and a card that nobody touched since is not one. Kept in
``imported.json``, in a folder where only root writes.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeinspect.files.atomic_file import replace_file

HISTORY_FILE = "imported.json"
FORMAT = 2
LONGEST = 4000
"""The numbers of file sets and of revoked keys that are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One imported set of files: ``station.conf`` and the files that it names.

    Attributes:
        digest: digest of all of them.
        source: where they came from: ``card`` or ``stick``.
        time: UTC by the station's own clock, for people.
        whole: False if a file next to ``station.conf`` was bad, or the power failed.
    """

    digest: str
    source: str
    time: str
    whole: bool


@dataclass(slots=True)
class History:
    """All imports of this station.

    Attributes:
        taken: oldest first; the last one is in force.
        revoked: keys that a later set of files left out, and when.
    """

    taken: list[Taken] = field(default_factory=list)
    revoked: dict[str, str] = field(default_factory=dict)

    @property
    def newest(self) -> Taken | None:
        """The last imported set; None if there is none."""
        return self.taken[-1] if self.taken else None

    def find(self, digest: str) -> Taken | None:
        """The last time that exactly these files were taken."""
        return next((entry for entry in reversed(self.taken) if entry.digest == digest), None)

    def add(self, entry: Taken) -> None:
        """Put it last; an unfinished entry of the same files is replaced."""
        if self.taken and self.taken[-1].digest == entry.digest:
            self.taken.pop()
        self.taken = [*self.taken, entry][-LONGEST:]

    def finish(self) -> None:
        """Note that everything of the last entry is in place."""
        self.taken[-1] = dataclasses.replace(self.taken[-1], whole=True)

    def revoke(self, keys: Iterable[str], time: str) -> None:
        """Note that these keys were left out at this time."""
        for key in keys:
            self.revoked.setdefault(key, time)
        self.revoked = dict(list(self.revoked.items())[-LONGEST:])

    def restore(self, keys: Iterable[str]) -> None:
        """Take keys that somebody wants back on purpose off the list."""
        for key in keys:
            self.revoked.pop(key, None)

    def without_revoked(self, keys: Sequence[str]) -> list[str]:
        """Return the keys that were not revoked."""
        return [key for key in keys if key not in self.revoked]

    def write(self, folder: Path) -> None:
        """Raises StorageFault."""
        values = {
            "format": FORMAT,
            "taken": [dataclasses.asdict(entry) for entry in self.taken],
            "revoked": self.revoked,
        }
        replace_file(folder / HISTORY_FILE, json.dumps(values, indent=1).encode() + b"\n")


def read_history(folder: Path) -> History:
    """Read the history in this folder; it is empty if there is no readable file."""
    try:
        values = json.loads((folder / HISTORY_FILE).read_bytes())
        if values.get("format") == 1:  # before 2026-11-28: the digest alone
            return History(
                [Taken(digest=str(values["digest"]), source="card", time="", whole=True)]
            )
        return History([_taken(entry) for entry in values["taken"]], dict(values["revoked"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return History()


def _taken(values: dict[str, Any]) -> Taken:
    return Taken(
        digest=str(values["digest"]),
        source=str(values["source"]),
        time=str(values["time"]),
        whole=values["whole"] is True,
    )


def ssh_key_id(line: str) -> str:
    """Identify an SSH key, without its comment."""
    return _id("ssh", " ".join(line.split()[:2]))


def bundle_key_id(content: bytes) -> str:
    """Identify a minisign key by its base64 line, without its comment and file name."""
    lines = content.decode(errors="replace").split("\n")
    return _id("bundle", lines[1].strip() if len(lines) > 1 else "")


def _id(kind: str, text: str) -> str:
    return f"{kind}:{hashlib.sha256(text.encode()).hexdigest()}"


def utc_text(now: datetime.datetime) -> str:
    """Return the time as text, e.g. "2026-11-28 10:30 UTC"."""
    return f"{now:%Y-%m-%d %H:%M} UTC"
