"""The station's faults by name: how often, since when, and whether they last."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgeinspect.errors import error_words
from edgeinspect.faults import FaultName
from edgeinspect.ports import Output

_MAX_DETAIL_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Fault:
    """How often a fault happened since the station started, and whether it lasts.

    Attributes:
        count: how often it happened.
        active: whether it lasts now.
        detail: of the last time.
        last_mono_ns: of the last time.
    """

    name: FaultName
    count: int
    active: bool
    detail: str
    last_mono_ns: int


class FaultBoard:
    """Where every thread reports faults; any thread may read them.

    A fault that can concern several threads or inputs is kept for each ``subject``, under
    ``name_subject``.
    """

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

    def count(
        self, name: FaultName, detail: str = "", *, subject: str = "", times: int = 1
    ) -> None:
        """Report something that went wrong and is over, such as a lost record."""
        self._report(name, subject, detail, times=times, active=False)

    def begin(self, name: FaultName, detail: str = "", *, subject: str = "") -> None:
        """Report something that is wrong until ``end``; it is counted once until then."""
        before = self._faults.get(_key(name, subject))
        again = before is not None and before.active
        if again and before is not None and before.detail == detail[:_MAX_DETAIL_CHARACTERS]:
            return
        self._report(name, subject, detail, times=0 if again else 1, active=True)

    def end(self, name: FaultName, *, subject: str = "") -> None:
        """Report that a fault is over; nothing happens if it was not active."""
        fault = self._faults.get(_key(name, subject))
        if fault is not None and fault.active:
            self._report(name, subject, fault.detail, times=0, active=False)

    def is_active(self, name: FaultName, *, subject: str = "") -> bool:
        """Whether a fault lasts now."""
        fault = self._faults.get(_key(name, subject))
        return fault is not None and fault.active

    def snapshot(self) -> Mapping[str, Fault]:
        """Every fault since the start, by ``name`` or ``name_subject``."""
        with self._lock:
            return dict(self._faults)

    def _report(
        self, name: FaultName, subject: str, detail: str, *, times: int, active: bool
    ) -> None:
        key = _key(name, subject)
        with self._lock:
            before = self._faults.get(key)
            fault = Fault(
                name=name,
                count=(before.count if before else 0) + times,
                active=active,
                detail=detail[:_MAX_DETAIL_CHARACTERS],
                last_mono_ns=self._now_mono_ns(),
            )
            self._faults[key] = fault
        if self._on_change is not None:
            with contextlib.suppress(Exception):  # it is counted; a listener must not end a thread
                self._on_change(key, fault)


def drive_output(output: Output, active: bool, faults: FaultBoard, fault: FaultName) -> bool:
    """Drive an output; whatever its driver raises is reported as ``fault``, until it works."""
    try:
        output.drive(active)
    except Exception as error:  # noqa: BLE001  whatever a driver raises, the line goes on
        faults.begin(fault, error_words(error))
        return False
    faults.end(fault)
    return True


def _key(name: FaultName, subject: str) -> str:
    return f"{name}_{subject}" if subject else str(name)
