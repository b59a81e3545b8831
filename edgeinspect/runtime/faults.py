"""The station's faults by name: how often, since when, and whether they last."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_MAX_DETAIL_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Fault:
    """Attributes:
    count: how often it happened since the station started.
    active: whether it lasts now.
    detail: of the last time.
    last_mono_ns: of the last time.
    """

    count: int
    active: bool
    detail: str
    last_mono_ns: int


class FaultBoard:
    """Where every thread reports faults; any thread may read them."""

    def __init__(
        self,
        now_mono_ns: Callable[[], int],
        *,
        on_change: Callable[[str, Fault], None] | None = None,
    ) -> None:
        self._now_mono_ns = now_mono_ns
        self._on_change = on_change
        self._lock = threading.Lock()
        self._faults: dict[str, Fault] = {}

    def count(self, name: str, detail: str = "", *, times: int = 1) -> None:
        """Something went wrong and is over, e.g. one lost record."""
        self._report(name, detail, times=times, active=False)

    def begin(self, name: str, detail: str = "") -> None:
        """Something is wrong until ``end``; counted once however often it is reported."""
        before = self._faults.get(name)
        again = before is not None and before.active
        if again and before is not None and before.detail == detail[:_MAX_DETAIL_CHARACTERS]:
            return
        self._report(name, detail, times=0 if again else 1, active=True)

    def end(self, name: str) -> None:
        fault = self._faults.get(name)
        if fault is not None and fault.active:
            self._report(name, fault.detail, times=0, active=False)

    def is_active(self, name: str) -> bool:
        fault = self._faults.get(name)
        return fault is not None and fault.active

    def snapshot(self) -> Mapping[str, Fault]:
        with self._lock:
            return dict(self._faults)

    def _report(self, name: str, detail: str, *, times: int, active: bool) -> None:
        with self._lock:
            before = self._faults.get(name)
            fault = Fault(
                count=(before.count if before else 0) + times,
                active=active,
                detail=detail[:_MAX_DETAIL_CHARACTERS],
                last_mono_ns=self._now_mono_ns(),
            )
            self._faults[name] = fault
        if self._on_change is not None:
            with contextlib.suppress(Exception):  # it is counted; who is told must not end it
                self._on_change(name, fault)
