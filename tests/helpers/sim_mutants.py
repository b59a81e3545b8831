"""A core that is wrong on purpose."""

from __future__ import annotations

from edgeinspect.line import messages as m
from edgeinspect.line.core import LineCore


class _Releases(LineCore):
    """A core that releases parts on its own account, and believes itself."""

    def release(self, part_id: int) -> m.Release:
        part = self._ledger.get(part_id)
        assert part is not None
        part.released = True
        return m.Release(part_id)


class DisarmsEarly(_Releases):
    """Lets a part pass as soon as its frame is there, before anybody has looked at it."""

    def handle(self, event: m.Event, now_mono_ns: int) -> list[m.Action]:
        actions = super().handle(event, now_mono_ns)
        early = [self.release(a.part_id) for a in actions if isinstance(a, m.Inspect)]
        return [*actions, *early]
