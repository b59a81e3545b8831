"""The parts between trigger and gate, and what happened to each at the gate."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from edgeinspect.line.config import GateKind, LineConfig, Tracking
from edgeinspect.line.messages import GateActivated
from edgeinspect.line.track import Place, Track
from edgeinspect.part import (
    Doubt,
    Frame,
    GateOutcome,
    Inspection,
    PartRecord,
    Verdict,
    VerdictKind,
)

SPANS_KEPT = 256


class Stage(Enum):
    """How far a part's inspection has come."""

    AWAITING_FRAME = auto()
    INSPECTING = auto()
    JUDGED = auto()


class Late(StrEnum):
    """What had not arrived at the deadline, so that the part was given up."""

    FRAME = "frame"
    INFERENCE = "inference"


@dataclass(slots=True, eq=False)
class InFlight:
    """One part between trigger and gate.

    The ``_mono_ns`` attributes, except the edge, are predictions; an encoder keeps updating them.

    Attributes:
        position, slack, settled: the ``Place`` of the belt when the part was at the trigger sensor,
            in track units. Until it is settled it is an estimate, and nothing may rely on it.
        travelled: how far beyond the trigger sensor the part was at its edge.
        armed_mono_ns: the window given to the gate: the whole window if the part has to be
            rejected; if it may pass, only the time that certainly belongs to it.
        wants_frame: request a frame as soon as the belt moves.
        late: what the part was given up for and has not arrived yet.
        carried: the belt kept its speed, so the part falls into the chute at the expected time.
    """

    part_id: int
    edge_mono_ns: int
    position: int
    config: LineConfig
    slack: int = 0
    settled: bool = True
    travelled: int = 0
    wants_frame: bool = False
    stage: Stage = Stage.AWAITING_FRAME
    verdict: Verdict | None = None
    released: bool = False
    frame: Frame | None = None
    inspection: Inspection | None = None
    frame_mono_ns: int | None = None
    verdict_mono_ns: int | None = None
    frame_deadline_mono_ns: int = 0
    deadline_mono_ns: int = 0
    window_start_mono_ns: int = 0
    window_end_mono_ns: int = 0
    armed_mono_ns: tuple[int, int] = (0, 0)
    seen_by_guard: bool = False
    confirmed: bool = False
    captures_requested: int = 0
    frame_doubt: Doubt | None = None
    late: Late | None = None
    carried: bool = True

    @property
    def must_be_rejected(self) -> bool:
        """Whether the gate has to reject the part, because it was not released."""
        return not self.released

    @property
    def finished_mono_ns(self) -> int:
        """When nothing more can be learnt about the part."""
        confirm = self.config.confirm
        wait_ns = self.config.gate.settle_ns
        if confirm is not None:
            wait_ns = max(wait_ns, confirm.latest_ns)
        return self.window_end_mono_ns + wait_ns

    @property
    def due_mono_ns(self) -> int:
        """When the part needs the core's attention next if no event comes before."""
        if self.stage is Stage.AWAITING_FRAME:
            return self.frame_deadline_mono_ns
        if self.stage is Stage.INSPECTING:
            return self.deadline_mono_ns
        return self.finished_mono_ns

    def predict(self, belt: Track) -> None:
        """Predict the part's times from the present knowledge of the belt.

        While that is not exact, the window starts at the earliest and ends at the latest possible
        time.
        """
        track, gate = self.config.track, self.config.gate
        begins = self.position - self.slack + track.to_gate - track.window_before
        ends = self.position + track.to_gate + track.window_after
        self.window_start_mono_ns = belt.soonest(begins)
        self.window_end_mono_ns = belt.time_of(ends)
        self.armed_mono_ns = self.window_start_mono_ns, self.window_end_mono_ns
        if self.released:
            self.armed_mono_ns = belt.time_of(begins), belt.soonest(ends)
        self.deadline_mono_ns = self.window_start_mono_ns - gate.decision_margin_ns
        if self.stage is not Stage.AWAITING_FRAME:
            return
        view_ends = self.position - self.slack + track.to_lens + track.exposure_window
        in_view_until = belt.time_of(view_ends)
        frame_deadline = in_view_until + track.frame_timeout_ns
        self.frame_deadline_mono_ns = min(frame_deadline, self.deadline_mono_ns)

    def record(self, outcome: GateOutcome) -> PartRecord:
        """Return the part's final record."""
        assert self.verdict is not None
        track = self.config.track
        return PartRecord(
            part_id=self.part_id,
            trigger_mono_ns=self.edge_mono_ns,
            verdict=self.verdict,
            gate_outcome=outcome,
            recipe_digest=self.config.recipe_digest,
            frame=self.frame.meta if self.frame is not None else None,
            inspection=self.inspection,
            frame_mono_ns=self.frame_mono_ns,
            verdict_mono_ns=self.verdict_mono_ns,
            deadline_mono_ns=self.deadline_mono_ns,
            window_start_mono_ns=self.window_start_mono_ns,
            window_end_mono_ns=self.window_end_mono_ns,
            encoder_count=self.position if track.tracking is Tracking.ENCODER else None,
        )


class Ledger:
    """Every part that has been triggered and is not yet recorded, oldest first."""

    def __init__(self) -> None:
        self._parts: dict[int, InFlight] = {}
        self._spans: deque[tuple[int, int]] = deque(maxlen=SPANS_KEPT)
        self._active_since_mono_ns: int | None = None

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[InFlight]:
        return iter(list(self._parts.values()))

    def get(self, part_id: int) -> InFlight | None:
        """Return the part with this id, or None."""
        return self._parts.get(part_id)

    def add(self, part: InFlight) -> None:
        """Add a part that was just triggered."""
        self._parts[part.part_id] = part

    def remove(self, part: InFlight) -> None:
        """Remove a part whose record is complete."""
        del self._parts[part.part_id]

    def awaiting_frame(self) -> list[InFlight]:
        """Return the parts that wait for a frame, oldest first."""
        return [part for part in self._parts.values() if part.stage is Stage.AWAITING_FRAME]

    def missing_frames(self) -> list[InFlight]:
        """Return the parts that were given up because their frame was late."""
        return [part for part in self._parts.values() if part.late is Late.FRAME]

    def note_gate(self, event: GateActivated) -> None:
        """Store when the gate was really active."""
        if event.end_mono_ns is None:
            self._active_since_mono_ns = event.start_mono_ns
        else:
            self._active_since_mono_ns = None
            self._spans.append((event.start_mono_ns, event.end_mono_ns))

    def note_guard(self, place: Place) -> InFlight | None:
        """Return the part that is certainly expected at the guard sensor here, or None."""
        for part in self._parts.values():
            track = part.config.track
            if track.to_guard is None or part.seen_by_guard or not part.settled:
                continue
            late = place.position - part.position + part.slack - track.to_guard
            early = place.position - place.slack - part.position - track.to_guard
            if -track.guard_tolerance <= early and late <= track.guard_tolerance:
                part.seen_by_guard = True
                return part
        return None

    def note_confirm(self, edge_mono_ns: int) -> InFlight | None:
        """Return the part that fell into the reject chute now.

        Rejected parts come first, then the oldest.
        """
        candidates = [part for part in self._parts.values() if _could_confirm(part, edge_mono_ns)]
        # min keeps the first of equals, and the oldest comes first
        fallen = min(candidates, key=lambda part: part.released, default=None)
        if fallen is not None:
            fallen.confirmed = True
        return fallen

    def outcome(self, part: InFlight, now_mono_ns: int) -> GateOutcome:
        """Return what the gate did with the part, judged by when it was really active.

        A part that should have been rejected but was not covered is GATE_LIMITED. So is a released
        part that the gate caught only partly.
        """
        covered, touched = self._coverage(part, now_mono_ns)
        opens = part.config.gate.kind is GateKind.NORMALLY_REJECTING
        rejected = not touched if opens else covered
        passed = covered if opens else not touched
        if part.confirmed:
            return GateOutcome.REJECT_CONFIRMED
        if passed and part.released:
            wired = part.config.track.to_guard is not None
            return GateOutcome.LOST if wired and not part.seen_by_guard else GateOutcome.PASSED
        if rejected:
            unconfirmed = part.config.confirm is not None and part.carried
            return GateOutcome.REJECT_UNCONFIRMED if unconfirmed else GateOutcome.REJECTED
        return GateOutcome.GATE_LIMITED

    def _coverage(self, part: InFlight, now_mono_ns: int) -> tuple[bool, bool]:
        """Return whether one activation covered the part's window, and whether any touched it."""
        start, end = part.window_start_mono_ns, part.window_end_mono_ns
        slack_ns = part.config.gate.timing_tolerance_ns
        spans = self._spans_after(start - slack_ns, now_mono_ns)
        covered = any(on <= start + slack_ns and end - slack_ns <= off for on, off in spans)
        touched = any(on < end - slack_ns and start + slack_ns < off for on, off in spans)
        return covered, touched

    def _spans_after(self, mono_ns: int, now_mono_ns: int) -> list[tuple[int, int]]:
        """Return the activations that lasted beyond this time."""
        spans = [span for span in self._spans if span[1] > mono_ns]
        if self._active_since_mono_ns is not None:
            spans.append((self._active_since_mono_ns, now_mono_ns))
        return spans


def _could_confirm(part: InFlight, edge_mono_ns: int) -> bool:
    confirm = part.config.confirm
    if confirm is None or part.confirmed:
        return False
    earliest = part.window_start_mono_ns + confirm.earliest_ns
    return earliest <= edge_mono_ns <= part.window_end_mono_ns + confirm.latest_ns


def lets_pass(part: InFlight, verdict: Verdict) -> bool:
    """Return whether the policy lets a part with this verdict pass the gate."""
    if verdict.kind is VerdictKind.PASS:
        return True
    return verdict.kind is VerdictKind.REVIEW and part.config.review_action == "pass"
