"""The pulse thread: drives the gate on time and does nothing else.

No file, log or socket is touched on this path. The schedule is planned by the line thread under
one lock; the output is driven outside it, so a slow line driver cannot hold the line thread up.

Deadlines are absolute CLOCK_MONOTONIC times. The thread wakes a little before each and waits out
the rest awake: by then it holds the interpreter, which a thread that computes in Python could
otherwise keep from it for as long as ``SWITCH_INTERVAL_S`` of ``edgeinspect.runtime.station``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from edgeinspect.errors import error_words
from edgeinspect.faults import FaultName
from edgeinspect.line.config import GateConfig, GateKind
from edgeinspect.line.messages import GateActivated
from edgeinspect.line.reject import PulseSchedule
from edgeinspect.ports import Clock, Output
from edgeinspect.runtime.fault_board import FaultBoard
from edgeinspect.runtime.realtime import make_this_thread_punctual

AWAKE_BEFORE_NS = 400_000
"""Less than the interpreter's switch interval, so that the wait is not interrupted."""
_LONGEST_WAIT_NS = 50_000_000
_RETRY_OUTPUT_NS = 10_000_000
_LATCH = "latched"


class _CoreHold(NamedTuple):
    until_mono_ns: int | None


class PulseThread:
    """Owns the gate's schedule and its output. The planning methods are for other threads."""

    def __init__(
        self,
        *,
        config: GateConfig,
        output: Output,
        clock: Clock,
        faults: FaultBoard,
        report: Callable[[GateActivated], None],
        ask_for_punctuality: bool = True,
        core: int | None = None,
    ) -> None:
        """Make the thread's work; the output stays at its safe level until ``run``.

        Args:
            config: the gate and its limits.
            output: the gate's output.
            clock: the station's clock.
            faults: where faults are counted.
            report: takes each activation of the gate, in the pulse thread; must not wait.
            ask_for_punctuality: request real-time priority when the thread starts.
            core: the processor core that only this thread uses; None: any.
        """
        self._schedule = PulseSchedule(config)
        self._idle_rejects = config.kind is GateKind.NORMALLY_REJECTING
        self._output = output
        self._clock = clock
        self._faults = faults
        self._report = report
        self._ask_for_punctuality = ask_for_punctuality
        self._core = core
        self._changed = threading.Condition(threading.Lock())
        self._stopping = False
        self._holds: set[str] = set()
        self._core_hold: _CoreHold | None = None
        self._dirty = False
        self._driven: bool | None = False  # outputs are requested at their idle level
        self._retry_mono_ns: int | None = None
        self._span_start_mono_ns: int | None = None
        self._too_late_until_mono_ns = 0
        self._due_mono_ns: int | None = None
        self.last_step_mono_ns = 0

    # --- planning, from the line thread ---------------------------------------------------

    def arm(self, part_id: int, start_mono_ns: int, end_mono_ns: int) -> None:
        """Set or move the part's window, from any thread."""
        with self._changed:
            self._schedule.arm(part_id, start_mono_ns, end_mono_ns)
            self._wake()

    def release(self, part_id: int) -> bool:
        """Let the part pass; False if it is too late for that or the station has failed."""
        with self._changed:
            if _LATCH in self._holds:
                return False
            released = self._schedule.release(part_id, self._clock.now_mono_ns())
            self._wake()
            return released

    def reject_everything(self, until_mono_ns: int | None) -> None:
        """As the core asks; see ``hold`` for the station's own reasons."""
        with self._changed:
            self._core_hold = _CoreHold(until_mono_ns)
            self._apply_holds()

    def end_reject_everything(self) -> None:
        """End the core's hold; other holds stay."""
        with self._changed:
            self._core_hold = None
            self._apply_holds()

    def hold(self, reason: str) -> None:
        """Reject everything, whatever the core asks, until ``unhold`` with the same reason."""
        with self._changed:
            if reason not in self._holds:
                self._holds.add(reason)
                self._apply_holds()

    def unhold(self, reason: str) -> None:
        """End the hold for this reason."""
        with self._changed:
            if reason in self._holds:
                self._holds.remove(reason)
                self._apply_holds()

    def renew_lease(self, until_mono_ns: int) -> None:
        """Extend the time until which the core counts as alive."""
        # Nobody is woken: the thread looks at the new lease when the old one would run out.
        with self._changed:
            self._schedule.renew_lease(until_mono_ns)

    def latch_reject(self) -> None:
        """The station has failed or ends: reject everything from now on, for good."""
        self.hold(_LATCH)

    def stop(self) -> None:
        """Let ``run`` return; the output keeps its level until ``close``."""
        with self._changed:
            self._stopping = True
            self._wake()

    def close(self) -> None:
        """Drive the output to its safe level and release it; last of all."""
        self._output.close()

    def reject_now(self) -> None:
        """Drive the rejecting level at once, from whatever thread: the pulse thread has died."""
        self.latch_reject()
        self._output.drive(not self._idle_rejects)

    # --- the thread -----------------------------------------------------------------------

    def run(self) -> None:
        """Drive the gate until stopped."""
        if self._ask_for_punctuality:
            refused = make_this_thread_punctual(core=self._core)
            if refused:
                self._faults.begin(FaultName.PULSE_THREAD_DEGRADED, "; ".join(refused))
        while self.rest(self.step()):
            pass

    def rest(self, wait_ns: int) -> bool:
        """Wait until something is due, which is in ``wait_ns``, or planned; False once stopped."""
        with self._changed:
            if self._stopping:
                return False
            if not self._dirty and wait_ns > AWAKE_BEFORE_NS:
                self._changed.wait((wait_ns - AWAKE_BEFORE_NS) / 1e9)
            self._dirty = False
        self._wait_awake()
        return True

    def _wait_awake(self) -> None:
        """Wait for the next change without sleeping, if it is soon; new plans come after it."""
        due_mono_ns, now_mono_ns = self._due_mono_ns, self._clock.now_mono_ns
        if due_mono_ns is not None and due_mono_ns - now_mono_ns() <= AWAKE_BEFORE_NS:
            while now_mono_ns() < due_mono_ns and not self._dirty:
                pass

    def step(self) -> int:
        """Do everything that is due; return the time in ns until the next change."""
        with self._changed:
            now_mono_ns = self._clock.now_mono_ns()
            missed_ns = self._schedule.missed(now_mono_ns)
            if missed_ns:
                self._reject_what_still_can_be(now_mono_ns, missed_ns)
            self._schedule.advance(now_mono_ns)
            wanted = self._schedule.active
            next_mono_ns = self._due_mono_ns = self._schedule.next_change_mono_ns()
        self.last_step_mono_ns = now_mono_ns
        wait_ns = _LONGEST_WAIT_NS
        if wanted != self._driven:
            wait_ns = self._drive(wanted, now_mono_ns)
        if next_mono_ns is not None:
            wait_ns = min(wait_ns, max(0, next_mono_ns - self._clock.now_mono_ns()))
        return wait_ns

    def _drive(self, wanted: bool, now_mono_ns: int) -> int:
        """Drive the line if a retry is due; return after how long to look again."""
        if self._retry_mono_ns is not None and now_mono_ns < self._retry_mono_ns:
            return self._retry_mono_ns - now_mono_ns
        try:
            self._output.drive(wanted)
        except Exception as error:  # noqa: BLE001  whatever a driver raises, it is tried again
            self._driven = None
            self._retry_mono_ns = now_mono_ns + _RETRY_OUTPUT_NS
            self._faults.begin(FaultName.GATE_OUTPUT_FAILED, error_words(error))
            # Nobody knows the level now. Report the worse case: a gate that has stopped
            # rejecting, or one that still lets parts through.
            if not self._idle_rejects:
                self._report_end(now_mono_ns)
            return _RETRY_OUTPUT_NS
        self._driven = wanted
        self._retry_mono_ns = None
        self._faults.end(FaultName.GATE_OUTPUT_FAILED)
        if wanted:
            self._report_start(self._clock.now_mono_ns())
        else:
            self._report_end(now_mono_ns)
        return _LONGEST_WAIT_NS

    def _report_start(self, now_mono_ns: int) -> None:
        if self._span_start_mono_ns is None:
            self._span_start_mono_ns = now_mono_ns
            self._report(GateActivated(now_mono_ns, None))

    def _report_end(self, now_mono_ns: int) -> None:
        if self._span_start_mono_ns is not None:
            self._report(GateActivated(self._span_start_mono_ns, now_mono_ns))
            self._span_start_mono_ns = None

    def _reject_what_still_can_be(self, now_mono_ns: int, missed_ns: int) -> None:
        """The thread slept through a window: its part may be at the gate still, or is no more."""
        self._too_late_until_mono_ns = now_mono_ns + missed_ns
        self._faults.count(
            FaultName.GATE_TOO_LATE, "the pulse thread did not run during a part's window"
        )
        self._apply_holds()

    def _apply_holds(self) -> None:
        """Reject everything for as long as any reason asks for."""
        if self._holds or (self._core_hold is not None and self._core_hold.until_mono_ns is None):
            self._schedule.reject_everything(None)
        else:
            core_until_ns = self._core_hold.until_mono_ns if self._core_hold is not None else None
            self._schedule.reject_everything(max(core_until_ns or 0, self._too_late_until_mono_ns))
        self._wake()

    def _wake(self) -> None:
        self._dirty = True
        self._changed.notify()
