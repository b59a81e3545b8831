"""Picking a few of many, the same ones each time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def evenly(values: Sequence[T], count: int) -> list[T]:
    """At most ``count`` of them, evenly from first to last: so over folders and time."""
    count = min(count, len(values))
    return [values[at * len(values) // count] for at in range(count)]
