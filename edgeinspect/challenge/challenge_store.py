"""Challenges on disk: one record each, and the due reasons.

    challenges/000012.json   one challenge; read-only, never written again
    challenges/due.json      why a challenge is due, and the last one that was passed

If ``due.json`` cannot be read a challenge is due, because its state is unknown.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from edgeinspect.challenge.policy import NOTHING_DUE, DueState, Reason
from edgeinspect.errors import EdgeInspectError, NotGood, StorageFault
from edgeinspect.files.atomic_file import create_file, make_folder, replace_file
from edgeinspect.files.json_text import finite, parse_json
from edgeinspect.settings.audit import AuditTrail

CHALLENGES_FOLDER = "challenges"
DUE_FILE = "due.json"
_ENDED = frozenset({"challenge.passed", "challenge.failed", "challenge.aborted"})
_RECORD_FILE = re.compile(r"[0-9]{6}\.json")
_DUE_STATE = TypeAdapter(DueState)


class ChallengeStore:
    """The challenges of one data directory. Only the running station writes."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / CHALLENGES_FOLDER

    @property
    def folder(self) -> Path:
        """The folder of all challenges."""
        return self._folder

    def load(self) -> DueState:
        """Return the due reasons; never raises, because an unreadable file makes one due."""
        path = self._folder / DUE_FILE
        try:
            if not path.exists() and not self.numbers():
                return NOTHING_DUE
            content = parse_json(path.read_bytes())
            if content["format"] != 1:
                raise ValueError("not format 1")
            return _DUE_STATE.validate_python(content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            lost = f"{path} cannot be read ({type(error).__name__})"
            return DueState(due={Reason.STATE_LOST: lost}, last_pass=None)

    def save(self, state: DueState) -> None:
        """Write the due reasons; they are durable when this returns.

        Raises:
            StorageFault: The old state stays.
        """
        last = state.last_pass
        content = {
            "format": 1,
            "due": state.due,
            "last_pass": None if last is None else asdict(last) | {"began": last.began.as_dict()},
        }
        make_folder(self._folder)
        replace_file(self._folder / DUE_FILE, json.dumps(content).encode() + b"\n")

    def doubt(self, state: DueState, trail: AuditTrail) -> str:
        """Return why the audit trail contradicts the due reasons, or "".

        ``due.json`` can be edited; the trail cannot without being found out. So its last pass must
        be the trail's newest, its record must have the digest in the trail, and a challenge that
        was not passed since must still be due.
        """
        last = state.last_pass
        if last is None:
            return ""  # never passed: due anyway
        try:
            ended = [entry for entry in trail.entries() if entry.action in _ENDED]
            passed = [entry for entry in ended if entry.action == "challenge.passed"]
            data = self.path(last.number).read_bytes()
            record = parse_json(data)
            is_same = (
                passed[-1].details["number"] == last.number
                and passed[-1].details["sha256"] == hashlib.sha256(data).hexdigest()
                and record["began"] == last.began.as_dict()
                and record["product"] == last.product
                and record["recipe_digest"] == last.recipe_digest
            )
        except (EdgeInspectError, OSError, ValueError, KeyError, TypeError, IndexError) as error:
            return (
                "the last passed challenge cannot be read from the audit trail "
                f"({type(error).__name__})"
            )
        if not is_same:
            return (
                f"the audit trail and {self._folder / DUE_FILE} disagree about the last passed "
                "challenge"
            )
        if ended[-1] is not passed[-1] and not {Reason.FAILED, Reason.UNFINISHED} & set(state.due):
            return "according to the audit trail, a later challenge was not passed"
        return ""

    def numbers(self) -> list[int]:
        """Return the numbers of all records, ascending."""
        if not self._folder.is_dir():
            return []
        names = (entry.name for entry in self._folder.iterdir())
        return sorted(int(name[:6]) for name in names if _RECORD_FILE.fullmatch(name))

    def path(self, number: int) -> Path:
        """Return the file of a record."""
        return self._folder / f"{number:06d}.json"

    def prepare(self, content: Mapping[str, object]) -> tuple[int, bytes]:
        """Return the next record's number and file content; writes nothing."""
        number = max(self.numbers(), default=0) + 1
        record = finite({"number": number, **content})
        return number, json.dumps(record, indent=1, allow_nan=False).encode() + b"\n"

    def put(self, number: int, data: bytes) -> None:
        """Store a prepared record. Raises StorageFault, also if the number is taken."""
        make_folder(self._folder)
        if not create_file(self.path(number), data):
            raise StorageFault(f"{self.path(number)} already exists.")

    def read(self, number: int) -> dict[str, Any]:
        """Read one record. Raises NotGood, StorageFault."""
        path = self.path(number)
        try:
            content = parse_json(path.read_bytes())
        except FileNotFoundError:
            raise NotGood(f"Challenge {number} was not found in {self._folder}.") from None
        except OSError as error:
            raise StorageFault(f"{path} cannot be read ({error.strerror}).") from error
        except ValueError as error:
            raise StorageFault(f"{path} is damaged.") from error
        if not isinstance(content, dict):
            raise StorageFault(f"{path} is damaged.")
        return content
