"""Challenges on disk: one record each, and what is due.

    challenges/000012.json   one challenge; read-only, never written again
    challenges/due.json      why a challenge is due, and the last one that was passed

What is due is durable before anything relies on it. A file that cannot be read means that nobody
knows what is due, so a challenge is.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeinspect.challenge.policy import Due, LastPass, Moment, Reason
from edgeinspect.errors import EdgeInspectError, NotGood, StorageFault
from edgeinspect.files.atomic_file import create_file, make_folder, replace_file
from edgeinspect.files.json_text import parse_json
from edgeinspect.settings.audit import AuditTrail

CHALLENGES_FOLDER = "challenges"
DUE_FILE = "due.json"
_ENDED = frozenset({"challenge.passed", "challenge.failed", "challenge.aborted"})
_RECORD_FILE = re.compile(r"[0-9]{6}\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """Attributes:
    last: the last challenge that was passed, None if none was.
    due: why one is due.
    """

    last: LastPass | None = None
    due: Due = field(default_factory=dict)


class ChallengeStore:
    """The challenges of one data directory. Only the running station writes."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / CHALLENGES_FOLDER

    @property
    def folder(self) -> Path:
        return self._folder

    def owed(self) -> Owed:
        """What is known to be due; never raises, for what cannot be read is due."""
        path = self._folder / DUE_FILE
        try:
            if not path.exists() and not self.numbers():
                return Owed()
            return _owed_from(parse_json(path.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            lost = f"{path} cannot be read ({type(error).__name__})"
            return Owed(due={Reason.STATE_LOST: lost})

    def save(self, owed: Owed) -> None:
        """Durable when it returns. Raises StorageFault; the old state then stays."""
        make_folder(self._folder)
        replace_file(self._folder / DUE_FILE, json.dumps(_owed_to(owed)).encode() + b"\n")

    def doubt(self, owed: Owed, trail: AuditTrail) -> str:
        """Why the audit trail does not bear out what is owed, or "".

        ``due.json`` can be edited; the trail cannot without being found out. So the pass that it
        names must be the trail's newest, with the record that the trail has the digest of, and a
        challenge that has not been passed since must still be due.
        """
        if owed.last is None:
            return ""  # never passed: due anyway
        try:
            ended = [entry for entry in trail.entries() if entry.action in _ENDED]
            passed = [entry for entry in ended if entry.action == "challenge.passed"]
            data = self.path(owed.last.number).read_bytes()
            record = parse_json(data)
            is_same = (
                passed[-1].details["number"] == owed.last.number
                and passed[-1].details["sha256"] == hashlib.sha256(data).hexdigest()
                and record["began"] == moment_as_json(owed.last.began)
                and record["product"] == owed.last.product
                and record["recipe_digest"] == owed.last.recipe_digest
            )
        except (EdgeInspectError, OSError, ValueError, KeyError, TypeError, IndexError) as error:
            return f"the audit trail does not show the last pass ({type(error).__name__})"
        if not is_same:
            return f"the audit trail shows another last pass than {self._folder / DUE_FILE}"
        if ended[-1] is not passed[-1] and not {Reason.FAILED, Reason.UNFINISHED} & set(owed.due):
            return "the audit trail shows a challenge that was not passed since"
        return ""

    def numbers(self) -> list[int]:
        """The numbers of all records, ascending."""
        if not self._folder.is_dir():
            return []
        names = (entry.name for entry in self._folder.iterdir())
        return sorted(int(name[:6]) for name in names if _RECORD_FILE.fullmatch(name))

    def path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.json"

    def prepare(self, content: Mapping[str, object]) -> tuple[int, bytes]:
        """The next record's number and file content; nothing is written."""
        number = max(self.numbers(), default=0) + 1
        finite = _finite({"number": number, **content})
        return number, json.dumps(finite, indent=1, allow_nan=False).encode() + b"\n"

    def put(self, number: int, data: bytes) -> None:
        """Store what ``prepare`` gave. Raises StorageFault, also if the number is taken."""
        make_folder(self._folder)
        if not create_file(self.path(number), data):
            raise StorageFault(f"{self.path(number)} exists already.")

    def read(self, number: int) -> dict[str, Any]:
        """One record. Raises NotGood, StorageFault."""
        path = self.path(number)
        try:
            content = parse_json(path.read_bytes())
        except FileNotFoundError:
            raise NotGood(f"There is no challenge {number} in {self._folder}.") from None
        except OSError as error:
            raise StorageFault(f"{path} cannot be read ({error.strerror}).") from error
        except ValueError as error:
            raise StorageFault(f"{path} is damaged.") from error
        if not isinstance(content, dict):
            raise StorageFault(f"{path} is damaged.")
        return content


def moment_as_json(moment: Moment) -> dict[str, object]:
    return {
        "boot_id": moment.boot_id,
        "mono_ns": moment.mono_ns,
        "wall": moment.wall.isoformat(),
        "synchronized": moment.synchronized,
    }


def _finite(value: object) -> object:
    """NaN and infinities are not JSON: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _owed_to(owed: Owed) -> dict[str, object]:
    last = owed.last
    return {
        "format": 1,
        "due": {reason.value: detail for reason, detail in owed.due.items()},
        "last_pass": None
        if last is None
        else {
            "number": last.number,
            "began": moment_as_json(last.began),
            "product": last.product,
            "recipe_digest": last.recipe_digest,
        },
    }


def _owed_from(content: dict[str, Any]) -> Owed:
    """Raises ValueError, KeyError or TypeError where it is not as it was written."""
    if content["format"] != 1:
        raise ValueError("another format")
    due = {Reason(name): str(detail) for name, detail in content["due"].items()}
    last = content["last_pass"]
    if last is None:
        return Owed(due=due)
    began = last["began"]
    wall = datetime.datetime.fromisoformat(began["wall"])
    if wall.tzinfo is None:
        raise ValueError("a time without its offset")
    moment = Moment(
        boot_id=str(began["boot_id"]),
        mono_ns=int(began["mono_ns"]),
        wall=wall,
        synchronized=bool(began["synchronized"]),
    )
    return Owed(
        due=due,
        last=LastPass(
            number=int(last["number"]),
            began=moment,
            product=str(last["product"]),
            recipe_digest=str(last["recipe_digest"]),
        ),
    )
