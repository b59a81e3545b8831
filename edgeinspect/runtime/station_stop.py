"""Stopping a station in order: the belt first, then sensors, threads and records, the gate last."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from edgeinspect.errors import error_words
from edgeinspect.faults import FaultName
from edgeinspect.hw.opened import Drivers
from edgeinspect.line.config import LineConfig, Tracking
from edgeinspect.ports import Clock
from edgeinspect.runtime.fault_board import FaultBoard
from edgeinspect.runtime.stages import Stages
from edgeinspect.runtime.supervisor import Supervisor
from edgeinspect.runtime.threads import StationThread

_JOIN_S = 2.0
_AT_ONCE_S = 1.0
"""How long a stop at once may take to record the parts on the belt."""


def take_every_step(faults: FaultBoard, *steps: Callable[[], object]) -> None:
    """Take every step, even if others fail; count the failures."""
    for step in steps:
        try:
            step()
        except BaseException as error:  # noqa: BLE001  an interrupt, too, comes after the gate
            faults.count(FaultName.DRIVER_DID_NOT_CLOSE, error_words(error))


class StationStop:
    """Stops the threads of one station; ``run`` once.

    Attributes:
        at_once: Set it so that the stop does not wait for the belt or the disk.
    """

    def __init__(
        self,
        stages: Stages,
        *,
        drivers: Drivers,
        clock: Clock,
        faults: FaultBoard,
        supervisor: Supervisor,
        threads: Mapping[str, StationThread],
    ) -> None:
        self._stages = stages
        self._drivers = drivers
        self._clock = clock
        self._faults = faults
        self._supervisor = supervisor
        self._threads = threads
        self.at_once = threading.Event()

    def run(self, config: LineConfig, *, flush_s: float) -> None:
        """Record every part, flush the records, close everything.

        Triggers are still taken while the belt empties, so that such parts are rejected and
        recorded as ``stopped``.

        Args:
            config: The belt's dimensions say how long it takes to empty.
            flush_s: The longest wait for the disk.
        """
        self._each(
            lambda: self._empty_the_belt(_travel_s(config)),
            self._stages.pulse.latch_reject,
            lambda: self._note_failures(self._drivers.close_inputs()),
            self._stages.camera.stop,
            self._stages.workers.stop,
            self._stages.line.stop,
            self._end_the_line,
        )
        camera_ended = self._join("camera")
        workers_ended = False not in [self._join(name) for name in self._stages.worker_names]
        self._each(
            lambda: self._flush(flush_s),
            self._supervisor.stop,
            lambda: self._join("supervisor"),
            self._stages.pulse.stop,
            lambda: self._join("pulse"),
            lambda: self._note_failures(self._drivers.close_outputs()),
        )
        try:
            self._stages.pulse.close()
        except BaseException as error:  # noqa: BLE001  the rest must still be closed
            self._faults.count(FaultName.GATE_DID_NOT_CLOSE, error_words(error))
        # A driver or an engine that still hangs would also hang whoever closes it.
        if camera_ended:
            self._each(self._stages.camera.close)
        if workers_ended:
            self._each(self._stages.workers.close)

    def _each(self, *steps: Callable[[], object]) -> None:
        take_every_step(self._faults, *steps)

    def _empty_the_belt(self, travel_s: float) -> None:
        """Wait until it is empty, or somebody insists: then its parts are recorded as they are."""
        thread = self._threads["line"]
        if not thread.is_alive:
            return
        self._stages.line.post_stop()
        self._wait_for(self._stages.line.drained, travel_s, thread)
        if not self._stages.line.drained.is_set():
            self._stages.pulse.latch_reject()
            self._stages.line.post_stop(at_once=True)
            self._stages.line.drained.wait(_AT_ONCE_S)

    def _end_the_line(self) -> None:
        if self._join("line") and self._threads["line"].error is not None:
            self._stages.line.record_what_is_left()

    def _flush(self, flush_s: float) -> None:
        thread = self._threads["recorder"]
        self._stages.recorder.stop()
        if thread.is_alive:
            self._wait_for(threading.Event(), flush_s, thread)
            thread.join(_AT_ONCE_S)
        if thread.is_alive or len(self._stages.recorder):
            self._stages.recorder.abandon()
            thread.join(_JOIN_S)

    def _wait_for(self, event: threading.Event, timeout_s: float, thread: StationThread) -> None:
        """Wait for the event, the thread's end, the time-out, or an order to stop at once."""
        deadline_mono_ns = self._clock.now_mono_ns() + int(timeout_s * 1e9)
        while not event.wait(0.02):
            if self.at_once.is_set() or not thread.is_alive:
                return
            if self._clock.now_mono_ns() >= deadline_mono_ns:
                return

    def _join(self, name: str) -> bool:
        return self._threads[name].join(_JOIN_S)

    def _note_failures(self, sentences: Sequence[str]) -> None:
        for sentence in sentences:
            self._faults.count(FaultName.DRIVER_DID_NOT_CLOSE, sentence)


def _travel_s(config: LineConfig) -> float:
    """Longer than the core needs to empty the belt after ``Stop``."""
    track = config.track
    encoder = track.tracking is Tracking.ENCODER
    way_ns = 2_000_000_000 if encoder else track.to_gate + track.window_after
    return (way_ns + config.gate.settle_ns) / 1e9 + 2.0
