"""Decides which of two bundles of the same name is older.

The version on the card decides. Two builds of one version are ordered by the time of their
signature (``trusted comment: timestamp:…``, as minisign and ``edgeinspect-tools sign`` write it).
Bundles of different names are different models, and neither is older.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PARTS = re.compile(r"[0-9]+|[A-Za-z]+")
_WORD, _END, _NUMBER = range(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What orders bundles of one name.

    Attributes:
        signed_s: seconds since 1970; 0 if it is not signed by a trusted key, or not dated.
    """

    name: str
    version: str
    digest: str
    signed_s: int = 0

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.digest[:12]})"


def is_older(one: Build, other: Build) -> bool:
    """Whether ``one`` is an older build than ``other``; False for different names."""
    if one.name != other.name or one.digest == other.digest:
        return False
    order = compare_versions(one.version, other.version)
    return order < 0 or (order == 0 and one.signed_s < other.signed_s)


def compare_versions(one: str, other: str) -> int:
    """Compare two versions: negative if ``one`` is older, 0 if equal, positive if newer.

    Numbers compare as numbers and words as text, from left to right, whatever separates them: 1.9 <
    1.10, 2026-11-28 < 2026-12-01. A word marks an unfinished version: 1.0-rc1 < 1.0 < 1.0.1.
    Anything after a + is ignored.
    """
    a, b = _key(one), _key(other)
    return (a > b) - (a < b)


def _key(version: str) -> tuple[tuple[int, int, str], ...]:
    parts = _PARTS.findall(version.partition("+")[0])
    key: list[tuple[int, int, str]] = []
    for part in parts:
        if part.isdecimal():
            key.append((_NUMBER, int(part), ""))
        else:
            _without_last_zeros(key)
            key.append((_WORD, 0, part.lower()))
    _without_last_zeros(key)
    return (*key, (_END, 0, ""))


def _without_last_zeros(key: list[tuple[int, int, str]]) -> None:
    """1.0 and 1 are the same version, and 1.0-rc1 and 1-rc1."""
    while key and key[-1] == (_NUMBER, 0, ""):
        key.pop()
