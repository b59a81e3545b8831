"""From sensor edges to parts: bounce is ignored, an impossible neighbour is not trusted."""

from __future__ import annotations

from enum import Enum, auto

from edgeinspect.line.config import TriggerConfig


class EdgeKind(Enum):
    PART = auto()
    BOUNCE = auto()
    TOO_CLOSE = auto()


class Debouncer:
    """Judges each edge against the last one that was not bounce."""

    def __init__(self) -> None:
        self._last_mono_ns: int | None = None
        self._last_position = 0

    def judge(self, edge_mono_ns: int, position: int, config: TriggerConfig) -> EdgeKind:
        """Say what the edge is.

        Args:
            edge_mono_ns: the kernel's stamp; an edge older than the last one is too close.
            position: of the belt at the edge, in track units.
            config: limits in force.
        """
        last_mono_ns = self._last_mono_ns
        if last_mono_ns is not None and abs(edge_mono_ns - last_mono_ns) < config.debounce_ns:
            return EdgeKind.BOUNCE
        first = last_mono_ns is None
        near = not first and position - self._last_position < config.min_pitch
        self._last_mono_ns, self._last_position = edge_mono_ns, position
        return EdgeKind.TOO_CLOSE if near else EdgeKind.PART
