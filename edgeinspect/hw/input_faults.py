"""How a failing input reports to the station; simulated inputs never fail."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from edgeinspect.errors import LineFault


class InputFaults(Protocol):
    """Receives faults in the driver's thread; returns at once and does not raise."""

    def edges_lost(self, count: int) -> None:
        """The kernel saw this many edges that were not reported; the input continues to work."""

    def failed(self, error: LineFault) -> None:
        """Nothing more will come from this input."""


@runtime_checkable
class ReportsFaults(Protocol):
    """An input whose driver can detect that it misses edges."""

    def report_faults_to(self, listener: InputFaults) -> None:
        """Set the listener; call it before ``start``."""
