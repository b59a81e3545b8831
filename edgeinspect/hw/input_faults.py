"""How a failing input reports to the station; simulated inputs never fail."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from edgeinspect.errors import LineFault


class InputFaults(Protocol):
    """Receives faults in the driver's thread; returns at once and does not raise."""

    def edges_lost(self, count: int) -> None:
        """So many edges were seen by the kernel and never reported; the input goes on."""

    def failed(self, error: LineFault) -> None:
        """Nothing more will come from this input."""


@runtime_checkable
class TellsFaults(Protocol):
    """An input whose driver can notice that it no longer hears everything."""

    def tell_faults(self, listener: InputFaults) -> None:
        """Whom to tell; to be called before ``start``."""
