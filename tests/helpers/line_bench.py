"""A bench for the core: feeds events at given times and carries the schedule along."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgeinspect.line import messages as m
from edgeinspect.line.config import (
    ClassThresholds,
    ConfirmConfig,
    GateConfig,
    GateKind,
    LineConfig,
    TrackConfig,
    TriggerConfig,
)
from edgeinspect.line.core import LineCore
from edgeinspect.line.reject import PulseSchedule
from edgeinspect.part import Frame, FrameMeta, FrameQuality, Inspection, PartRecord

MS = 1_000_000
RESTART_NS = 200 * MS
GOOD_QUALITY = FrameQuality(mean=120.0, clipped_low=0.0, clipped_high=0.0, focus=90.0)


def line_config(kind: GateKind = GateKind.NORMALLY_PASSING, **changes: Any) -> LineConfig:
    """Five parts a second; lens at 60 ms, gate at 900 ms, window of 80 ms."""
    config = LineConfig(
        trigger=TriggerConfig(debounce_ns=5 * MS, min_pitch=150 * MS),
        track=TrackConfig(
            to_lens=60 * MS,
            exposure_window=30 * MS,
            to_gate=900 * MS,
            window_before=40 * MS,
            window_after=40 * MS,
            restart_ns=RESTART_NS,
        ),
        gate=GateConfig(kind=kind, min_off_ns=10 * MS, lease_ns=200 * MS),
        thresholds=(ClassThresholds(name="scratch", review=0.5, reject=0.7),),
        recipe_digest="r1",
    )
    return replace(config, **changes)


def with_confirm(config: LineConfig) -> LineConfig:
    return replace(config, confirm=ConfirmConfig(earliest_ns=20 * MS, latest_ns=120 * MS))


def with_guard(config: LineConfig) -> LineConfig:
    track = replace(config.track, to_guard=750 * MS, guard_tolerance=40 * MS)
    return replace(config, track=track)


def seen(score: float, *, quality: FrameQuality = GOOD_QUALITY) -> Inspection:
    return Inspection((score,), "scratch", score, quality)


class Bench:
    """Runs core and schedule together on virtual time, sending every due Tick."""

    def __init__(self, config: LineConfig, *, next_part_id: int = 1) -> None:
        self.now = 0
        self.opens_to_pass = config.gate.kind is GateKind.NORMALLY_REJECTING
        self.core = LineCore(config, next_part_id=next_part_id, now_mono_ns=0)
        self.schedule = PulseSchedule(config.gate)
        self.actions: list[m.Action] = []
        self.records: list[PartRecord] = []
        self.spans: list[tuple[int, int]] = []
        self.sequence = 0
        self._carry_out(self.core.start(0))

    def until(self, mono_ns: int) -> None:
        """Let time pass, doing everything that falls due on the way."""
        while True:
            wake = self.core.next_wake_mono_ns
            change = self.schedule.next_change_mono_ns()
            due = min(wake, change if change is not None else wake)
            if due > mono_ns:
                break
            self.now = max(self.now, due)
            self._advance()
            if wake <= self.now:
                self._carry_out(self.core.handle(m.Tick(), self.now))
        self.now = max(self.now, mono_ns)
        self._advance()

    def give(self, event: m.Event, at: int | None = None) -> list[m.Action]:
        if at is not None:
            self.until(at)
        actions = self._carry_out(self.core.handle(event, self.now))
        self._advance()
        return actions

    def trigger(self, at: int) -> list[m.Action]:
        return self.give(m.TriggerEdge(at), at)

    def frame(
        self, exposed: int, at: int, *, content: int | None = None, error_ns: int = 0
    ) -> list[m.Action]:
        self.sequence += 1
        frame = self.make_frame(exposed, at, content=content, error_ns=error_ns)
        return self.give(m.FrameArrived(frame), at)

    def make_frame(
        self, exposed: int, at: int, *, content: int | None = None, error_ns: int = 0
    ) -> Frame:
        """The pixels are a number's bytes, so pictures of other content are other pictures."""
        value = self.sequence if content is None else content
        pixels = np.frombuffer(value.to_bytes(8, "little"), np.uint8).reshape(2, 4)
        return Frame(FrameMeta(self.sequence, exposed, at, exposure_error_ns=error_ns), pixels)

    def good_part(self, at: int, part_id: int, score: float = 0.1) -> None:
        """Trigger, frame and scores of one part, all in time."""
        self.trigger(at)
        self.frame(at + 65 * MS, at + 70 * MS)
        self.give(m.Inspected(part_id, seen(score)), at + 90 * MS)

    def of(self, kind: type[Any]) -> list[Any]:
        return [action for action in self.actions if isinstance(action, kind)]

    def gate_was_active(self, start: int, end: int) -> bool:
        """Whether one activation covered the whole span."""
        spans = list(self.spans)
        if self.schedule.active:
            spans.append((self._on_since, self.now))
        return any(on <= start and end <= off for on, off in spans)

    def _advance(self) -> None:
        for span in self.schedule.advance(self.now):
            if span.end_mono_ns is None:
                self._on_since = span.start_mono_ns
            else:
                self.spans.append((span.start_mono_ns, span.end_mono_ns))
            self._carry_out(self.core.handle(span, self.now))

    def _carry_out(self, actions: list[m.Action]) -> list[m.Action]:
        self.actions += actions
        for action in actions:
            match action:
                case m.Record():
                    self.records.append(action.record)
                case m.Release() if not self.schedule.carry_out(action, self.now):
                    late = m.ReleaseTooLate(action.part_id)
                    self._carry_out(self.core.handle(late, self.now))
                case m.Arm() | m.RejectEverything() | m.EndRejectEverything() | m.RenewLease():
                    self.schedule.carry_out(action, self.now)
                case _:
                    pass
        return actions
