"""Joins the steps of a part's path: events in, actions out.

The core has no thread, clock or file. A shell feeds it every event together with the time at which
the event is handled, carries out the returned actions in order, and sends a ``Tick`` at
``next_wake_mono_ns`` after all earlier events. Only a ``Tick`` renews the lease, so if a shell
falls behind, the gate falls back to rejecting everything.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from edgeinspect.line import messages as m
from edgeinspect.line.alarms import AlarmWatch
from edgeinspect.line.clearing import DistancesOnBelt
from edgeinspect.line.config import GateKind, LineConfig
from edgeinspect.line.frame import FrameMatcher, in_view
from edgeinspect.line.holds import Holds
from edgeinspect.line.ledger import InFlight, Late, Ledger, Stage, lets_pass
from edgeinspect.line.parts_lock import LockState, PartsLock
from edgeinspect.line.reject import FOREVER_NS
from edgeinspect.line.track import DelayTrack, EncoderTrack, Place, make_track
from edgeinspect.line.trigger import Debouncer, PitchCheck
from edgeinspect.line.verdict import cannot_inspect, judge_controls, judge_inspection
from edgeinspect.part import Doubt, Frame, GateOutcome, Verdict

STARTING, CLEARING, PAUSED, LINE_STOPPED = "starting", "clearing", "paused", "line_stopped"
LOCKED = "locked"
"""Reasons to reject everything; the first two end when the parts on the belt have left it."""
CAPTURES_PER_PART = 6
STOP_PATIENCE_NS = 2_000_000_000
"""How long a stopping station waits for the parts on a belt that may stand."""
FRAMES_WAITING = 16
"""How many frames may wait until the belt's position at their exposure is known."""
REARM_NS = 200_000
"""A prediction that moved by less than this is not sent to the pulse thread again."""
_RENEWED_WITHIN_NS = 250_000_000
"""The longest renewal period, however long the lease; a longer silence looks like a hang."""


class LineCore:
    """Decides what happens to every part on the belt."""

    def __init__(self, config: LineConfig, *, next_part_id: int, now_mono_ns: int) -> None:
        self._config = config
        self._next_part_id = next_part_id
        self._now_mono_ns = now_mono_ns
        self._track = make_track(config.track)
        self._trigger = Debouncer()
        self._pitch = PitchCheck()
        self._guard = Debouncer()
        self._guard_edges: list[tuple[int, int]] = []
        self._frames: deque[tuple[Frame, int]] = deque()
        self._matcher = FrameMatcher()
        self._ledger = Ledger()
        self._holds = Holds()
        self._distances = DistancesOnBelt()
        self._lock = PartsLock()
        self._alarms = AlarmWatch()
        self._counts: Counter[str] = Counter()
        self._actions: list[m.Action] = []
        self._lease_renewed_mono_ns = now_mono_ns
        self._last_reject_ended_mono_ns = 0
        self._stop_by_mono_ns: int | None = None
        self._handlers: dict[type, Callable[[Any], None]] = {
            m.TriggerEdge: self._on_trigger,
            m.FrameArrived: self._on_frame,
            m.CaptureFailed: self._on_capture_failed,
            m.Inspected: self._on_inspected,
            m.InspectionFailed: self._on_inspection_failed,
            m.EncoderCount: self._on_encoder,
            m.GuardEdge: self._on_guard,
            m.ConfirmEdge: self._on_confirm,
            m.GateActivated: self._ledger.note_gate,
            m.ReleaseTooLate: self._on_release_too_late,
            m.LineStopped: self._on_line_stopped,
            m.ApplyConfig: self._on_apply_config,
            m.Pause: self._on_pause,
            m.Resume: self._on_resume,
            m.Lock: self._on_lock,
            m.Unlock: self._on_unlock,
            m.AnnounceMaster: self._on_announce_master,
            m.DemandChallenge: self._on_demand_challenge,
            m.AcknowledgeAlarms: self._on_acknowledge,
            m.QueueOverflow: self._on_overflow,
            m.Stop: self._on_stop,
            m.Tick: self._on_tick,
        }

    # --- what a shell uses ------------------------------------------------------------------

    def start(self, now_mono_ns: int) -> list[m.Action]:
        """Return the first actions: reject every part that is already on the belt.

        Those parts are unknown, and the belt itself may have started only a moment ago.
        """
        self._now_mono_ns = now_mono_ns
        if isinstance(self._track, DelayTrack):
            self._track.start(now_mono_ns, self._config.track.restart_ns)
        if self._config.gate.kind is GateKind.NORMALLY_PASSING:
            self._purge(STARTING)
        self._on_tick(m.Tick())
        return self._taken()

    def handle(self, event: m.Event, now_mono_ns: int) -> list[m.Action]:
        """Handle one event at ``now_mono_ns`` and return the actions; times never run backwards."""
        away_ns = now_mono_ns - self._now_mono_ns
        self._now_mono_ns = max(now_mono_ns, self._now_mono_ns)
        self._note_silence(away_ns)
        self._expire()
        self._handlers[type(event)](event)
        return self._taken()

    @property
    def next_wake_mono_ns(self) -> int:
        """When the next ``Tick`` is due."""
        times = [self._lease_renewed_mono_ns + self._renewed_within_ns]
        times += [part.due_mono_ns for part in self._ledger]
        if isinstance(self._track, EncoderTrack) and self._track.silence_mono_ns is not None:
            times.append(self._track.silence_mono_ns)
        times += [due_mono_ns for _, due_mono_ns in self._guard_edges]
        if self._stop_by_mono_ns is not None and not self.drained:
            times.append(self._stop_by_mono_ns)
        return min(times)

    @property
    def _renewed_within_ns(self) -> int:
        return min(self._config.gate.lease_ns // 3, _RENEWED_WITHIN_NS)

    @property
    def drained(self) -> bool:
        """Whether a ``Stop`` was requested and every part is recorded."""
        return self._stop_by_mono_ns is not None and not (self._ledger or self._guard_edges)

    @property
    def parts_in_flight(self) -> int:
        """The number of parts between trigger and gate."""
        return len(self._ledger)

    @property
    def belt_is_steady(self) -> bool:
        """Whether the belt's state allows a part that comes now to be inspected."""
        return self._belt_was_steady_at(self._now_mono_ns)

    @property
    def status(self) -> Mapping[str, int]:
        """Counters by name since the start."""
        return self._counts

    @property
    def holds(self) -> tuple[str, ...]:
        """Why everything is being rejected at the moment; empty if it is not."""
        locked = (LOCKED,) if self._lock.rejects_everything else ()
        return (*self._holds.reasons, *locked)

    @property
    def lock_state(self) -> LockState:
        """Whether the station is locked, and whether a master is expected or on its way."""
        return self._lock.state

    @property
    def open_alarms(self) -> tuple[m.AlarmName, ...]:
        """The alarms that nobody has acknowledged yet."""
        return self._alarms.open

    # --- a part begins ------------------------------------------------------------------------

    def _on_trigger(self, event: m.TriggerEdge) -> None:
        if self._trigger.is_bounce(event.edge_mono_ns, self._config.trigger):
            self._counts["bounce"] += 1
            return
        place = self._track.place_at(event.edge_mono_ns)
        part = self._begin(event.edge_mono_ns, place)
        self._counts["triggers"] += 1
        doubt = self._doubt_at_trigger(part)
        if doubt is not None:
            self._judge(part, cannot_inspect(doubt))
        if place.settled:
            self._settle_part(part, place)
        if part.stage is Stage.AWAITING_FRAME:
            self._request_frame(part)

    def _doubt_at_trigger(self, part: InFlight) -> Doubt | None:
        admitted = self._lock.admits(part.part_id)
        if self._lock.state is LockState.MASTER_IN_FLIGHT and admitted:
            self._tell_hold()  # the gate has to treat the master as it treats any part
        if self._stop_by_mono_ns is not None:
            return Doubt.STOPPED
        if PAUSED in self._holds.reasons:
            return Doubt.PAUSED
        if not self._belt_was_steady_at(part.edge_mono_ns):
            return Doubt.LINE_STOPPED
        if len(self._ledger) > self._config.max_parts_in_flight:
            return Doubt.OVERFLOW
        if not admitted:
            return Doubt.LOCKED
        return None if self._track.known else Doubt.POSITION_UNCERTAIN

    def _begin(self, edge_mono_ns: int, place: Place, *, travelled: int = 0) -> InFlight:
        """Start to track a part that was seen this far beyond the trigger sensor."""
        part = InFlight(
            self._next_part_id,
            edge_mono_ns,
            place.position - travelled,
            self._config,
            slack=place.slack,
            settled=place.settled,
            travelled=travelled,
            carried=self._belt_was_steady_at(edge_mono_ns),
        )
        self._next_part_id += 1
        self._ledger.add(part)
        part.predict(self._track)
        self._arm(part)
        return part

    def _settle_part(self, part: InFlight, place: Place) -> None:
        """Decide whether to trust the part, now that the belt's position at its edge is known."""
        position = place.position - part.travelled
        moved = abs(position - part.position)
        part.position, part.slack, part.settled = position, place.slack, True
        if part.travelled:
            return  # the guard sensor saw it first: it is rejected whatever is known of it
        too_close = self._pitch.is_too_close(place, part.config.trigger)
        tolerance = part.config.track.exposure_window
        if part.stage is Stage.AWAITING_FRAME:
            if moved > tolerance or part.slack > tolerance:
                detail = "the encoder count at the part's trigger is unknown"
                if part.slack < FOREVER_NS:
                    detail = f"it was {max(moved, part.slack)} counts from its estimated position"
                self._judge(part, cannot_inspect(Doubt.POSITION_UNCERTAIN, detail))
            elif too_close:
                self._judge(part, cannot_inspect(Doubt.TOO_CLOSE))
            elif moved:
                part.wants_frame = True
        sure = not place.slack or not self._track.known
        if too_close and sure and self._encoder_was_silent_at(part.edge_mono_ns):
            self._distrust_encoder("a part arrived although the encoder is not moving")

    def _arm(self, part: InFlight) -> None:
        self._actions.append(m.Arm(part.part_id, *part.armed_mono_ns))

    # --- its frame ------------------------------------------------------------------------------

    def _request_frame(self, part: InFlight) -> None:
        in_view_from = self._track.soonest(part.position + part.config.track.to_lens)
        part.wants_frame = in_view_from >= FOREVER_NS
        if part.wants_frame:
            return  # the belt stands; asked again when the encoder moves
        part.captures_requested += 1
        not_before = max(in_view_from, part.edge_mono_ns)
        self._actions.append(m.Capture(part.part_id, not_before, part.frame_deadline_mono_ns))

    def _on_frame(self, event: m.FrameArrived) -> None:
        if len(self._frames) >= FRAMES_WAITING:
            self._on_useless_frame(self._ledger.awaiting_frame(), Doubt.POSITION_UNCERTAIN)
            return
        self._frames.append((event.frame, self._now_mono_ns))
        self._look_at_frames()

    def _look_at_frames(self) -> None:
        """Match the frames for which the belt's position at the exposure is known."""
        while self._frames:
            frame, arrived_mono_ns = self._frames[0]
            plausible = frame.meta.earliest_mono_ns <= arrived_mono_ns
            if plausible and not self._track.place_at(frame.meta.latest_mono_ns).settled:
                return
            self._frames.popleft()
            self._take_frame(frame, arrived_mono_ns)

    def _take_frame(self, frame: Frame, arrived_mono_ns: int) -> None:
        waiting = self._ledger.awaiting_frame()
        found = self._matcher.match(frame, waiting, self._track, arrived_mono_ns)
        part = found.part
        if part is None:
            self._on_useless_frame(waiting, found.doubt or Doubt.STALE)
            if found.doubt is not Doubt.REPEATED:
                late = in_view(frame.meta, self._track, self._ledger.missing_frames())
                self._note_late(late, Late.FRAME)
            return
        part.frame, part.frame_mono_ns = frame, arrived_mono_ns
        verdict = judge_controls(frame.meta, part.config.checks)
        if found.doubt is not None:
            verdict = cannot_inspect(found.doubt)
        if verdict is not None:
            self._judge(part, verdict)
            return
        part.stage = Stage.INSPECTING
        digest = part.config.recipe_digest
        self._actions.append(m.Inspect(part.part_id, frame, digest))

    def _on_useless_frame(self, waiting: list[InFlight], doubt: Doubt) -> None:
        """Count the frame and request another for the part that waits longest, if there is time."""
        self._counts[f"frame_{doubt}"] += 1
        if not waiting:
            return
        waiting[0].frame_doubt = doubt
        if doubt is Doubt.MISALIGNED:
            detail = (
                "exposed after the part had left the view, or too close to that time for the "
                "stamp's accuracy"
            )
            self._judge(waiting[0], cannot_inspect(doubt, detail))
        elif waiting[0].captures_requested < CAPTURES_PER_PART:
            self._request_frame(waiting[0])

    def _on_capture_failed(self, event: m.CaptureFailed) -> None:
        part = self._ledger.get(event.part_id)
        if part is not None and part.stage is Stage.AWAITING_FRAME:
            doubt = part.frame_doubt or Doubt.CAMERA_FAILED
            self._judge(part, cannot_inspect(doubt, event.detail))

    # --- its verdict --------------------------------------------------------------------------

    def _on_inspected(self, event: m.Inspected) -> None:
        part = self._inspecting(event.part_id)
        if part is None:
            return
        part.inspection = event.inspection
        checks, thresholds = part.config.checks, part.config.thresholds
        self._judge(part, judge_inspection(event.inspection, thresholds, checks))

    def _on_inspection_failed(self, event: m.InspectionFailed) -> None:
        part = self._inspecting(event.part_id)
        if part is not None:
            self._judge(part, cannot_inspect(event.doubt, event.detail))

    def _inspecting(self, part_id: int) -> InFlight | None:
        part = self._ledger.get(part_id)
        if part is None or part.stage is not Stage.INSPECTING:
            self._counts["unexpected_inspection"] += 1
            self._note_late(part, Late.INFERENCE)
            return None
        return part

    def _judge(self, part: InFlight, verdict: Verdict) -> None:
        part.stage = Stage.JUDGED
        part.verdict = verdict
        part.verdict_mono_ns = self._now_mono_ns
        if lets_pass(part, verdict):
            part.released = True
            self._predict(part)
            self._actions.append(m.Release(part.part_id))

    def _overrule(self, part: InFlight, doubt: Doubt, detail: str = "") -> None:
        """Take back a verdict that can no longer be honoured."""
        part.released = False
        part.late = None
        part.verdict = cannot_inspect(doubt, detail)
        part.verdict_mono_ns = self._now_mono_ns

    def _on_release_too_late(self, event: m.ReleaseTooLate) -> None:
        part = self._ledger.get(event.part_id)
        if part is not None and part.released:
            after_ns = self._now_mono_ns - part.window_start_mono_ns
            detail = f"release: {_ms(after_ns)} after the part's window at the gate had started"
            self._overrule(part, Doubt.LATE, detail)

    def _on_overflow(self, event: m.QueueOverflow) -> None:
        self._counts[f"overflow_{event.queue}"] += 1
        if event.part_id is None:
            self._purge(CLEARING)  # a trigger may have been lost: its part has no ledger entry
            return
        part = self._ledger.get(event.part_id)
        if part is not None and part.stage is not Stage.JUDGED:
            self._judge(part, cannot_inspect(Doubt.OVERFLOW, f"the {event.queue} queue is full"))

    # --- time -----------------------------------------------------------------------------------

    def _on_tick(self, event: m.Tick) -> None:
        del event
        if isinstance(self._track, EncoderTrack):
            self._track.note_quiet_until(self._now_mono_ns)
            self._settle()
            self._predict_again()
        lease_ns = self._config.gate.lease_ns
        self._lease_renewed_mono_ns = self._now_mono_ns
        self._actions.append(m.RenewLease(self._now_mono_ns + lease_ns))

    def _expire(self) -> None:
        """Give up on every part whose time has run out, before a later event can use it."""
        now = self._now_mono_ns
        self._holds.forget_before(now)
        for part in self._ledger:
            if part.stage is Stage.AWAITING_FRAME and now >= part.frame_deadline_mono_ns:
                self._judge(part, self._verdict_without_frame(part))
            elif part.stage is Stage.INSPECTING and now >= part.deadline_mono_ns:
                part.late = Late.INFERENCE
                self._judge(part, cannot_inspect(Doubt.LATE))
            if now >= part.finished_mono_ns:  # after its deadline, so it has been judged
                self._finish(part, self._ledger.outcome(part, now))
        due = [edge for edge in self._guard_edges if now >= edge[1]]
        for edge in due:
            self._guard_edges.remove(edge)
            self._on_untriggered(edge[0])
        if self._stop_by_mono_ns is not None and now >= self._stop_by_mono_ns:
            self._close_all()

    def _verdict_without_frame(self, part: InFlight) -> Verdict:
        if part.frame_doubt is not None:
            return cannot_inspect(part.frame_doubt)
        if self._frames or not part.settled:
            return cannot_inspect(Doubt.POSITION_UNCERTAIN)
        if self._now_mono_ns < part.deadline_mono_ns:
            return cannot_inspect(Doubt.NO_FRAME)
        part.late = Late.FRAME
        return cannot_inspect(Doubt.LATE)

    def _note_late(self, part: InFlight | None, late: Late) -> None:
        """Note when a frame or result arrived that its part was given up for."""
        if part is not None and part.late is late:
            self._say_how_late(part, "came")

    def _say_how_late(self, part: InFlight, state: str) -> None:
        """Add the cause and the length of the delay to the verdict of a late part."""
        assert part.verdict is not None
        begun_mono_ns, since = part.edge_mono_ns, "the trigger"
        if part.frame_mono_ns is not None:
            begun_mono_ns, since = part.frame_mono_ns, "its frame arrived"
        late_ns = self._now_mono_ns - part.deadline_mono_ns
        took_ns = self._now_mono_ns - begun_mono_ns
        after = f"{_ms(late_ns)} after the deadline, {_ms(took_ns)} after {since}"
        part.verdict = replace(part.verdict, detail=f"{part.late}: {state} {after}")
        part.late = None

    def _finish(self, part: InFlight, outcome: GateOutcome) -> None:
        self._ledger.remove(part)
        if self._lock.end_of(part.part_id):
            self._tell_hold()
        if part.late is not None:
            self._say_how_late(part, "was still missing")
        if part.must_be_rejected and part.window_end_mono_ns <= self._now_mono_ns:
            ended = max(self._last_reject_ended_mono_ns, part.window_end_mono_ns)
            self._last_reject_ended_mono_ns = ended
        record = part.record(outcome)
        self._actions.append(m.Record(record, part.frame))
        self._counts[record.verdict.kind.value] += 1
        self._counts[f"gate_{outcome}"] += 1
        if record.verdict.doubt is not None:
            self._counts[f"doubt_{record.verdict.doubt}"] += 1
        self._actions += self._alarms.note(
            record, must_be_rejected=part.must_be_rejected, limits=part.config.alarms
        )

    # --- the belt -------------------------------------------------------------------------------

    def _on_encoder(self, event: m.EncoderCount) -> None:
        assert isinstance(self._track, EncoderTrack)
        if not self._track.known:
            for part in self._ledger:
                part.settled = False  # what silence said of it was said of an unknown belt
        said = [self._track.add(count, edge_mono_ns) for count, edge_mono_ns in event.readings]
        why = next(filter(None, said), "")
        if why:
            self._distrust_encoder(why)
        self._settle()
        self._predict_again()

    def _settle(self) -> None:
        """Check again whatever waits for counts to determine the belt's position."""
        assert isinstance(self._track, EncoderTrack)
        for part in self._ledger:
            if not part.settled:
                place = self._track.place_at(part.edge_mono_ns)
                if place.settled:
                    self._settle_part(part, place)
        self._look_at_guard_edges()
        self._look_at_frames()
        if self._track.known and self._holds.end_passed(self._track, self._track.last_count):
            self._tell_hold()

    def _note_silence(self, away_ns: int) -> None:
        """Notice an overdue count before anything relies on predictions, which it makes worthless.

        Args:
            away_ns: how long the core has handled nothing; longer than its own ticks means that it
                hung.
        """
        if isinstance(self._track, EncoderTrack):
            if away_ns > 2 * self._renewed_within_ns:
                self._track.note_absence(self._now_mono_ns)
            if self._track.note_silence(self._now_mono_ns):
                self._predict_again()

    def _predict(self, part: InFlight) -> None:
        start, end = part.armed_mono_ns
        part.predict(self._track)
        new_start, new_end = part.armed_mono_ns
        if max(abs(new_start - start), abs(new_end - end)) > REARM_NS:
            self._arm(part)

    def _predict_again(self) -> None:
        for part in self._ledger:
            self._predict(part)
            if part.stage is Stage.AWAITING_FRAME and part.wants_frame:
                self._request_frame(part)

    def _encoder_was_silent_at(self, mono_ns: int) -> bool:
        return isinstance(self._track, EncoderTrack) and self._track.was_silent_at(mono_ns)

    def _distrust_encoder(self, why: str) -> None:
        self._counts["encoder_distrusted"] += 1
        self._actions += self._alarms.sound(m.AlarmName.ENCODER_STALLED, None, why)
        self._distrust(Doubt.ENCODER_STALLED)
        # Until now the gate trusted the encoder: the parts that it let through must be recalled.
        self._actions.append(m.RequestLineStop(why))

    def _distrust(self, doubt: Doubt) -> None:
        """Let no part pass, because the positions of the parts on the belt are no longer known."""
        for part in self._ledger:
            if part.window_start_mono_ns > self._now_mono_ns:
                self._overrule(part, doubt)
                self._finish(part, GateOutcome.REJECTED)
        self._holds.begin_again(self._now_mono_ns)
        self._purge(CLEARING)

    def _purge(self, reason: str) -> None:
        """Reject everything until the parts on the belt now have left the gate."""
        way = self._longest_way()
        if isinstance(self._track, EncoderTrack):
            self._holds.until_travelled(reason, self._now_mono_ns, way)
        elif self._track.steady_from_mono_ns < FOREVER_NS:
            # What reaches the sensor while the belt gathers speed has the whole way before it.
            steady_mono_ns = max(self._now_mono_ns, self._track.steady_from_mono_ns)
            self._holds.until_time(reason, steady_mono_ns + way)
        self._tell_hold()

    def _longest_way(self) -> int:
        return self._distances.longest(self._config.track.way, self._least_travel())

    def _least_travel(self) -> int:
        if isinstance(self._track, EncoderTrack):
            return self._track.last_count
        return self._track.least_travel(self._now_mono_ns)

    def _tell_hold(self) -> None:
        if self.holds:
            until_mono_ns = None if LOCKED in self.holds else self._holds.until_mono_ns
            self._actions.append(m.RejectEverything(until_mono_ns, ", ".join(self.holds)))
        else:
            self._actions.append(m.EndRejectEverything())

    def _on_line_stopped(self, event: m.LineStopped) -> None:
        """Handle a stop or start of the belt.

        With a fixed speed, either makes every prediction wrong, even if the stop went unnoticed.
        With an encoder, windows simply wait.
        """
        if isinstance(self._track, EncoderTrack):
            return
        if event.stopped:
            self._counts["line_stops"] += 1
            self._look_for_missed_rejects(event.edge_mono_ns)
            self._track.stop(self._now_mono_ns)
            self._holds.open_ended(LINE_STOPPED)
        else:
            self._track.start(self._now_mono_ns, self._config.track.restart_ns)
            self._holds.end(LINE_STOPPED)
        self._distrust(Doubt.LINE_STOPPED)
        for part in self._ledger:
            part.carried = False  # it was at the gate, and falls when the belt moves on

    def _look_for_missed_rejects(self, stopped_mono_ns: int) -> None:
        """Find parts whose reject pulse ended early because the stop was reported late."""
        late_ns = self._now_mono_ns - stopped_mono_ns
        ends = [p.window_end_mono_ns for p in self._ledger if p.must_be_rejected]
        ended_since = any(
            stopped_mono_ns < end <= self._now_mono_ns
            for end in (*ends, self._last_reject_ended_mono_ns)
        )
        if late_ns > self._config.gate.timing_tolerance_ns and ended_since:
            why = (
                f"the belt stop was reported {_ms(late_ns)} late, so a rejected part may have "
                "passed"
            )
            self._actions += self._alarms.sound(m.AlarmName.GATE_LIMITED, None, why)
            self._actions.append(m.RequestLineStop(why))

    def _belt_was_steady_at(self, mono_ns: int) -> bool:
        """Return whether the belt had the speed at that time that every prediction assumes."""
        track = self._track
        return isinstance(track, EncoderTrack) or mono_ns >= track.steady_from_mono_ns

    def _on_guard(self, event: m.GuardEdge) -> None:
        if self._guard.is_bounce(event.edge_mono_ns, self._config.trigger):
            return
        track = self._config.track
        position = self._track.place_at(event.edge_mono_ns).position
        at_gate = position + track.to_gate - track.window_before - (track.to_guard or 0)
        due_mono_ns = self._track.soonest(at_gate) - self._config.gate.decision_margin_ns
        self._guard_edges.append((event.edge_mono_ns, due_mono_ns))
        self._look_at_guard_edges()

    def _look_at_guard_edges(self) -> None:
        """Find the part of each guard edge for which the belt's position is known."""
        edges, self._guard_edges = self._guard_edges, []
        for edge_mono_ns, due_mono_ns in edges:
            place = self._track.place_at(edge_mono_ns)
            if not place.settled:
                self._guard_edges.append((edge_mono_ns, due_mono_ns))
            elif self._ledger.note_guard(place) is None:
                self._on_untriggered(edge_mono_ns)

    def _on_untriggered(self, edge_mono_ns: int) -> None:
        """Reject a part that no trigger explains, or whose trigger came too late."""
        place = self._track.place_at(edge_mono_ns)
        part = self._begin(edge_mono_ns, place, travelled=self._config.track.to_guard or 0)
        part.seen_by_guard = True
        self._counts["untriggered"] += 1
        self._judge(part, cannot_inspect(Doubt.UNTRIGGERED))

    def _on_confirm(self, event: m.ConfirmEdge) -> None:
        if self._ledger.note_confirm(event.edge_mono_ns) is not None or self.holds:
            return
        self._counts["unexpected_confirm"] += 1
        detail = "a part that was not rejected fell into the reject chute"
        self._actions += self._alarms.sound(m.AlarmName.UNEXPECTED_CONFIRM, None, detail)

    # --- commands -------------------------------------------------------------------------------

    def _on_apply_config(self, event: m.ApplyConfig) -> None:
        """Apply new settings; the gate and the kind of tracking are wiring and need a restart."""
        new, old = event.config, self._config
        if new.gate != old.gate or new.track.tracking is not old.track.tracking:
            self._counts["configs_refused"] += 1
            return
        self._distances.replace(old.track.way, self._least_travel())
        self._config = new
        self._counts["configs_applied"] += 1

    def _on_pause(self, event: m.Pause) -> None:
        del event
        self._holds.open_ended(PAUSED)
        self._tell_hold()

    def _on_resume(self, event: m.Resume) -> None:
        """End the pause; parts that came during it are armed one by one and stay rejected."""
        del event
        self._holds.end(PAUSED)
        self._tell_hold()

    def _on_lock(self, event: m.Lock) -> None:
        del event
        self._lock.lock()
        self._tell_hold()

    def _on_unlock(self, event: m.Unlock) -> None:
        """End the lock; parts that came during it are armed one by one and stay rejected."""
        del event
        self._lock.unlock()
        self._tell_hold()

    def _on_announce_master(self, event: m.AnnounceMaster) -> None:
        del event
        if self._lock.state is not LockState.LOCKED or len(self._ledger):
            self._counts["masters_refused"] += 1
            return
        self._lock.announce()

    def _on_demand_challenge(self, event: m.DemandChallenge) -> None:
        self._actions += self._alarms.sound(m.AlarmName.CHALLENGE_DUE, None, event.detail)

    def _on_acknowledge(self, event: m.AcknowledgeAlarms) -> None:
        del event
        self._alarms.acknowledge()

    def _on_stop(self, event: m.Stop) -> None:
        """Let the parts on the belt leave as they were judged; reject new ones."""
        if self._stop_by_mono_ns is None:
            by_encoder = isinstance(self._track, EncoderTrack)
            travel_ns = STOP_PATIENCE_NS if by_encoder else self._longest_way()
            ends = [self._now_mono_ns + travel_ns + self._config.gate.settle_ns]
            if not by_encoder:
                ends += [part.finished_mono_ns for part in self._ledger]
            self._stop_by_mono_ns = max(ends)
        if event.at_once:
            self._stop_by_mono_ns = self._now_mono_ns
            self._close_all()

    def _close_all(self) -> None:
        while self._guard_edges:
            self._on_untriggered(self._guard_edges.pop()[0])
        for part in self._ledger:
            if part.stage is not Stage.JUDGED:
                self._judge(part, cannot_inspect(Doubt.STOPPED))
            self._finish(part, self._ledger.outcome(part, self._now_mono_ns))

    def _taken(self) -> list[m.Action]:
        taken, self._actions = self._actions, []
        return taken


def _ms(duration_ns: int) -> str:
    return f"{duration_ns / 1e6:.1f} ms"
