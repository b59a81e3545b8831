"""The core as the line thread drives it; a test can give the thread another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from edgeinspect.line import messages as m
from edgeinspect.line.parts_lock import LockState


class Core(Protocol):
    """What the shell uses of ``edgeinspect.line.core.LineCore``."""

    def start(self, now_mono_ns: int) -> list[m.Action]:
        """See ``LineCore.start``."""

    def handle(self, event: m.Event, now_mono_ns: int) -> list[m.Action]:
        """See ``LineCore.handle``."""

    @property
    def next_wake_mono_ns(self) -> int:
        """See ``LineCore.next_wake_mono_ns``."""

    @property
    def drained(self) -> bool:
        """See ``LineCore.drained``."""

    @property
    def parts_in_flight(self) -> int:
        """See ``LineCore.parts_in_flight``."""

    @property
    def belt_is_steady(self) -> bool:
        """See ``LineCore.belt_is_steady``."""

    @property
    def status(self) -> Mapping[str, int]:
        """See ``LineCore.status``."""

    @property
    def holds(self) -> tuple[str, ...]:
        """See ``LineCore.holds``."""

    @property
    def open_alarms(self) -> tuple[m.AlarmName, ...]:
        """See ``LineCore.open_alarms``."""

    @property
    def lock_state(self) -> LockState:
        """See ``LineCore.lock_state``."""
