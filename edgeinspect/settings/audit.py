"""The audit trail: who changed what on this station, when and why.

The trail can only be appended to, and its entries are chained by digest:

    audit.jsonl        one JSON object a line; each holds the digest of the one before
    audit-head.json    number and digest of the last entry, so that a shortened trail is noticed

An entry is durable before ``append`` returns, and the announced change happens after that, so no
change happens without an entry. If the trail is removed or replaced, the next entry continues from
``audit-head.json``, so that the gap stays visible. Revisions, the pointer to the active one and the
parts database also keep digests of entries (*anchors*); ``verify`` looks for each of them.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeinspect.clocks import utc_now
from edgeinspect.errors import NotGood, StorageFault, UsageError
from edgeinspect.files import one_line
from edgeinspect.files.atomic_file import (
    fsync_folder,
    make_folder,
    open_regular,
    replace_file,
    share_with_group,
    storage_faults,
)
from edgeinspect.files.file_lock import exclusive, is_at
from edgeinspect.files.json_text import parse_json
from edgeinspect.files.set_aside import set_aside

AUDIT_FILE = "audit.jsonl"
FIRST_PREVIOUS = "0" * 64
"""``previous`` of the first entry."""

_ACTION = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_TEXT = re.compile(one_line.STORED)
_KINDS: dict[str, type] = {
    "sequence": int,
    "time": str,
    "action": str,
    "author": str,
    "reason": str,
    "details": dict,
    "previous": str,
    "digest": str,
}
MAX_FINDINGS = 20
"""``verify`` stops after this many findings, because one early change can break every later line.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One line of the trail.

    Attributes:
        sequence: counts from 1 without gaps.
        time: UTC by the station's wall clock, for people; it may have been wrong.
        action: the kind of change, e.g. "recipe.apply".
        author, reason: who made the change and why.
        details: JSON values, depending on the action.
        previous: digest of the entry before, ``FIRST_PREVIOUS`` for the first.
        digest: SHA-256 of everything above as canonical JSON, 64 hexadecimal digits.
    """

    sequence: int
    time: datetime.datetime
    action: str
    author: str
    reason: str
    details: Mapping[str, Any]
    previous: str
    digest: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON, as it stands in the trail."""
        values = {key: getattr(self, key) for key in _KINDS}
        return {**values, "time": self.time.isoformat(), "details": dict(self.details)}


@dataclass(frozen=True, slots=True)
class Anchor:
    """A digest of an entry that was kept somewhere else; ``place`` says where, for people."""

    digest: str
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What ``verify`` found.

    Attributes:
        entries: lines that were read.
        head: digest of the last one, ``FIRST_PREVIOUS`` if there is none.
        anchors: digests kept elsewhere that were looked for.
        findings: one sentence for each thing that is wrong, at most ``MAX_FINDINGS``.
        unfinished: bytes of a line that was never acknowledged, left by a power cut; harmless.
    """

    entries: int
    head: str
    anchors: int
    findings: tuple[str, ...]
    unfinished: int = 0

    @property
    def is_good(self) -> bool:
        """Whether the check found nothing wrong."""
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "ok": self.is_good,
            "entries": self.entries,
            "head": self.head,
            "anchors": self.anchors,
            "findings": list(self.findings),
            "unfinished_bytes": self.unfinished,
        }


class AuditTrail:
    """The trail in one file; any number of processes may append and read at the same time.

    Args:
        path: the trail, usually ``data_dir / AUDIT_FILE``; made by the first ``append``.
        now_wall: UTC now, for the time of the entries.
    """

    def __init__(self, path: Path, *, now_wall: Callable[[], datetime.datetime] = utc_now) -> None:
        self._path = path
        self._head_path = path.with_name(f"{path.stem}-head.json")
        self._now_wall = now_wall

    @property
    def path(self) -> Path:
        """The trail's file."""
        return self._path

    def append(
        self,
        action: str,
        *,
        author: str,
        reason: str,
        details: Mapping[str, object] | None = None,
    ) -> AuditEntry:
        """Add an entry; returns once it is durable.

        Args:
            action: lower-case words joined by dots, e.g. "output.manual".
            author: 1 to 200 characters on one line.
            reason: 1 to 200 characters on one line.
            details: what JSON can hold, finite numbers only.

        Raises:
            UsageError: author, reason or details are missing or cannot be kept.
            NotGood: the trail's last line is damaged; nothing is added to it.
            StorageFault, DiskFull: it could not be written.
        """
        kept = _checked(action, author, reason, details or {})
        make_folder(self._path.parent)
        with exclusive(self._path.with_name(f".{self._path.name}.lock")):
            if not _is_file(self._path):
                with storage_faults(self._path):
                    set_aside(self._path)
            last, whole_bytes = self._last_entry()
            sequence, previous = self._end_of_chain(last)
            entry = _entry(
                sequence=sequence + 1,
                time=self._now_wall().astimezone(datetime.UTC),
                action=action,
                author=author,
                reason=reason,
                details=kept,
                previous=previous,
            )
            self._write(entry, whole_bytes)
        return entry

    def entries(self) -> list[AuditEntry]:
        """Every entry, oldest first. Raises NotGood for a line that is none, StorageFault."""
        return [self._parsed(line, number) for number, line in enumerate(self._lines()[0], 1)]

    def head(self) -> AuditEntry | None:
        """The last entry, None if there is none. Raises NotGood, StorageFault."""
        return self._last_entry()[0]

    def verify(self, anchors: Iterable[Anchor] = ()) -> AuditReport:
        """Look for lines that were changed, removed, reordered or cut off. Writes nothing.

        Args:
            anchors: digests that other places kept; each must be the digest of an entry.

        Raises:
            StorageFault: the trail cannot be read.
        """
        found = _Findings()
        wanted = list(anchors)
        head = self._stored_head(found)  # before the trail, which may still grow
        lines, unfinished = self._lines()
        digests = _check_chain(lines, found)
        if head is not None:
            _check_head(head, digests, found)
        known = {digest for _, digest in digests}
        for anchor in wanted:
            if anchor.digest not in known:
                found.add(
                    f"{anchor.place} refers to entry {anchor.digest[:12]}…, which is missing."
                )
        if digests and head is None:
            found.add(
                f"{self._head_path.name}, which contains the last entry's digest, is missing."
            )
        return AuditReport(
            entries=len(lines),
            head=digests[-1][1] if digests else FIRST_PREVIOUS,
            anchors=len(wanted),
            findings=tuple(found.sentences),
            unfinished=unfinished,
        )

    def _lines(self) -> tuple[list[bytes], int]:
        """The finished lines, and the length of an unfinished one after them."""
        with storage_faults(self._path):
            try:
                with os.fdopen(open_regular(self._path), "rb") as file:
                    content = file.read()
            except FileNotFoundError:
                return [], 0
        *lines, rest = content.split(b"\n")
        return lines, len(rest)

    def _last_entry(self) -> tuple[AuditEntry | None, int]:
        """The last finished entry, and how many bytes the finished lines take."""
        lines, unfinished = self._lines()
        whole_bytes = sum(len(line) + 1 for line in lines)
        del unfinished
        return (self._parsed(lines[-1], len(lines)) if lines else None), whole_bytes

    def _end_of_chain(self, last: AuditEntry | None) -> tuple[int, str]:
        """Return the number and digest of the last acknowledged entry, even if it is missing."""
        here = (0, FIRST_PREVIOUS) if last is None else (last.sequence, last.digest)
        head = self._stored_head(_Findings()) or (0, FIRST_PREVIOUS)
        return here if here[0] > head[0] else head

    def _parsed(self, line: bytes, number: int) -> AuditEntry:
        try:
            return _parse(line)
        except ValueError as error:
            raise NotGood(
                f"{self._path}:{number}: {error}.",
                next_action="Copy the data directory and find out who changed the file.",
            ) from error

    def _write(self, entry: AuditEntry, whole_bytes: int) -> None:
        line = _canonical(entry.as_dict()) + b"\n"
        with storage_faults(self._path):
            is_new = not self._path.exists()
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._path, flags, 0o664)
            try:
                # This removes only what a crash left of an unacknowledged line, never an entry.
                if os.fstat(descriptor).st_size > whole_bytes:
                    os.ftruncate(descriptor, whole_bytes)
                _write_all(descriptor, line, whole_bytes)
                os.fsync(descriptor)
                is_here = is_at(descriptor, self._path)
            finally:
                os.close(descriptor)
            if is_new:
                share_with_group(self._path)
                fsync_folder(self._path.parent)
        if not is_here:
            raise StorageFault(
                f"{self._path} was moved while an entry was being written.",
                next_action="Do not move files of the data directory, and try again.",
            )
        head = {"sequence": entry.sequence, "digest": entry.digest}
        replace_file(self._head_path, json.dumps(head).encode() + b"\n", mode=0o664)

    def _stored_head(self, found: _Findings) -> tuple[int, str] | None:
        with storage_faults(self._head_path):
            try:
                with os.fdopen(open_regular(self._head_path), "rb") as file:
                    content = file.read()
            except FileNotFoundError:
                return None
        try:
            head = parse_json(content)
            return int(head["sequence"]), str(head["digest"])
        except (ValueError, KeyError, TypeError):
            found.add(f"{self._head_path.name} is damaged.")
            return (0, FIRST_PREVIOUS)


@dataclass(slots=True)
class _Findings:
    sentences: list[str] = field(default_factory=list)

    def add(self, sentence: str) -> None:
        if len(self.sentences) < MAX_FINDINGS:
            self.sentences.append(sentence)


def _check_chain(lines: list[bytes], found: _Findings) -> list[tuple[int, str]]:
    """Check numbers and digests in order; an invalid line counts as the digest ""."""
    digests: list[tuple[int, str]] = []
    previous = FIRST_PREVIOUS
    expected = 1
    for number, line in enumerate(lines, 1):
        try:
            entry = _parse(line)
        except ValueError as error:
            found.add(f"Line {number}: {error}.")
            digests.append((expected, ""))
            previous = ""
            expected += 1
            continue
        if entry.sequence != expected:
            found.add(
                f"Line {number} holds entry {entry.sequence}: entries are missing or reordered."
            )
        if previous and entry.previous != previous:
            found.add(f"Line {number} does not follow the line before it.")
        digests.append((entry.sequence, entry.digest))
        previous = entry.digest
        expected = entry.sequence + 1
    return digests


def _check_head(head: tuple[int, str], digests: list[tuple[int, str]], found: _Findings) -> None:
    sequence, digest = head
    last = digests[-1][0] if digests else 0
    if sequence > last:
        found.add(
            f"The trail was truncated: the last {sequence - last} of {sequence} entries are "
            "missing."
        )
    elif sequence and (sequence, digest) not in digests:
        found.add(f"Entry {sequence} is not the original last entry.")


def _checked(
    action: str, author: str, reason: str, details: Mapping[str, object]
) -> dict[str, Any]:
    """The details as they will be read back. Raises UsageError."""
    if not _ACTION.fullmatch(action):
        raise UsageError(f"{action!r} is not an action of the audit trail.")
    for name, text in (("author", author), ("reason", reason)):
        if not _TEXT.fullmatch(text) or not text.strip():
            raise UsageError(
                f"The {name} {text[:40]!r} cannot be kept.",
                next_action=f"Give a {name} of {one_line.EXPECTED}.",
            )
    try:
        kept: dict[str, Any] = json.loads(json.dumps(dict(details), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(f"The details of {action} cannot be stored: {error}.") from error
    return kept


def last_digest(content: bytes) -> str:
    """Digest of the last finished entry of a trail, as it stands there; "" without one."""
    lines = content.split(b"\n")[:-1]
    try:
        return _parse(lines[-1]).digest if lines else ""
    except ValueError:
        return ""


def starts_after(content: bytes, digest: str) -> bool:
    """Whether the first entry follows the one with that digest."""
    first, end, _ = content.partition(b"\n")
    try:
        return bool(end) and bool(digest) and _parse(first).previous == digest
    except ValueError:
        return False


def _entry(**fields: Any) -> AuditEntry:
    entry = AuditEntry(**fields, digest="")
    unsigned = {key: value for key, value in entry.as_dict().items() if key != "digest"}
    return AuditEntry(**fields, digest=hashlib.sha256(_canonical(unsigned)).hexdigest())


def _parse(line: bytes) -> AuditEntry:
    """Raises ValueError with half a sentence."""
    try:
        values = parse_json(line)
    except ValueError:
        raise ValueError("not valid JSON") from None
    if not isinstance(values, dict) or sorted(values) != sorted(_KINDS):
        raise ValueError("not an audit entry")
    if not all(isinstance(values[key], kind) for key, kind in _KINDS.items()):
        raise ValueError("not an audit entry")
    stated = values.pop("digest")
    if _canonical({**values, "digest": stated}) != line:
        raise ValueError("the line was changed")
    if hashlib.sha256(_canonical(values)).hexdigest() != stated:
        raise ValueError(f"entry {values['sequence']!r} was changed: its digest does not match")
    values["time"] = datetime.datetime.fromisoformat(values["time"])
    return AuditEntry(**values, digest=stated)


def _canonical(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _is_file(path: Path) -> bool:
    """Whether there is a file, and not a link to one: links lead out of the data directory."""
    return path.is_file() and not path.is_symlink()


def _write_all(descriptor: int, line: bytes, whole_bytes: int) -> None:
    """One line or, on a full disk, none."""
    written = 0
    try:
        while written < len(line):
            written += os.write(descriptor, line[written:])
    except OSError:
        os.ftruncate(descriptor, whole_bytes)
        raise
