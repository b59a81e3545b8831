"""A gate, a clock that is moved by hand, and the pulse thread between them."""

from __future__ import annotations

import datetime

from edgeinspect.hw.fake_io import FakeOutput
from edgeinspect.line.config import GateConfig, GateKind
from edgeinspect.line.messages import GateActivated
from edgeinspect.runtime.fault_board import FaultBoard
from edgeinspect.runtime.pulse_thread import PulseThread

MS = 1_000_000


PASSING, REJECTING = GateKind.NORMALLY_PASSING, GateKind.NORMALLY_REJECTING


class ManualClock:
    def __init__(self) -> None:
        self.now = 1_000 * MS

    def now_mono_ns(self) -> int:
        return self.now

    def now_wall(self) -> datetime.datetime:
        return datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

    def is_synchronized(self) -> bool:
        return False


class Bench:
    def __init__(
        self,
        kind: GateKind,
        output: FakeOutput | None = None,
        *,
        clock: ManualClock | None = None,
        lease_ms: int = 10_000,
    ) -> None:
        self.clock = clock or ManualClock()
        self.faults = FaultBoard(self.clock.now_mono_ns)
        self.output = output or FakeOutput()
        self.spans: list[GateActivated] = []
        self.pulse = PulseThread(
            config=GateConfig(kind=kind, lease_ns=100 * MS),
            output=self.output,
            clock=self.clock,
            faults=self.faults,
            report=self.spans.append,
            ask_for_punctuality=False,
        )
        self.start = self.clock.now
        self.pulse.renew_lease(self.start + lease_ms * MS)
        self.pulse.step()

    def at(self, ms: int) -> int:
        """Step at this time after the start, as the thread would; returns the planned wait."""
        while True:
            wait_ns = self.pulse.step()
            target = self.start + ms * MS
            if self.clock.now >= target:
                return wait_ns
            self.clock.now = min(target, self.clock.now + max(wait_ns, 1))

    def window(self, part_id: int, start_ms: int, end_ms: int) -> None:
        self.pulse.arm(part_id, self.start + start_ms * MS, self.start + end_ms * MS)
