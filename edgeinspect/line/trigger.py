"""Turns sensor edges into parts: ignores bounce and distrusts parts that are too close."""

from __future__ import annotations

from edgeinspect.line.config import TriggerConfig
from edgeinspect.line.track import Place


class Debouncer:
    """Judges each edge against the last one that was not bounce."""

    def __init__(self) -> None:
        self._last_mono_ns: int | None = None

    def is_bounce(self, edge_mono_ns: int, config: TriggerConfig) -> bool:
        """Return whether the edge, by the kernel's stamp, is contact bounce of the last one."""
        last_mono_ns = self._last_mono_ns
        if last_mono_ns is not None and abs(edge_mono_ns - last_mono_ns) < config.debounce_ns:
            return True
        self._last_mono_ns = edge_mono_ns
        return False


class PitchCheck:
    """Checks that parts keep at least ``TriggerConfig.min_pitch`` apart."""

    def __init__(self) -> None:
        self._last_position: int | None = None

    def is_too_close(self, place: Place, config: TriggerConfig) -> bool:
        """Return whether the part triggered here may be too close to the one judged last.

        Args:
            place: the belt's settled position at the edge; one behind the last part is too close.
            config: the limits in force.
        """
        last, self._last_position = self._last_position, place.position
        return last is not None and place.position - place.slack - last < config.min_pitch
