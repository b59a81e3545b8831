"""The inference workers: frames in, inspections out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgeinspect.line.messages import Inspect, Inspected, InspectionFailed
from edgeinspect.part import Doubt, Frame, Inspection
from edgeinspect.ports import Clock
from edgeinspect.runtime.faults import FaultBoard
from edgeinspect.runtime.queues import BoundedQueue

INSPECTION_FAULT = "inspection_failed"
_SETS_KEPT = 3
_JOBS_PER_WORKER = 8


class FrameInspector(Protocol):
    """What a worker needs; ``edgeinspect.bundle.inspector.Inspector`` is the real one."""

    def inspect(self, frame: Frame, *, want_map: bool = False) -> Inspection:
        """Raises InferenceFailed, or anything else: the part is rejected."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectorSet:
    """Checked inspectors of one recipe, one for each worker.

    Attributes:
        description: of the engine in use, for people.
        close: releases the engines; called once no part can need them.
        trouble: what is wrong with the engines now: fault names with a sentence each.
    """

    recipe_digest: str
    inspectors: Sequence[FrameInspector]
    description: str = ""
    close: Callable[[], None] = lambda: None
    trouble: Callable[[], Mapping[str, str]] = dict


@dataclass(frozen=True, slots=True)
class _Job:
    action: Inspect
    deadline_mono_ns: int | None


class InspectionWorkers:
    """A pool that inspects each frame under the recipe that its part was triggered under."""

    def __init__(
        self,
        *,
        inspectors: InspectorSet,
        clock: Clock,
        faults: FaultBoard,
        report: Callable[[Inspected | InspectionFailed], None],
        want_map: bool = False,
    ) -> None:
        """Args:
        report: takes the outcome of each job, in the worker's thread.
        want_map: keep each score map for the live view.

        ``longest_in_time_ns`` is the longest inspection that was done before its deadline.
        """
        self.count = len(inspectors.inspectors)
        self._clock = clock
        self._faults = faults
        self._report = report
        self._want_map = want_map
        self.queue: BoundedQueue[_Job] = BoundedQueue("inspection", _JOBS_PER_WORKER * self.count)
        self._sets = {inspectors.recipe_digest: inspectors}
        self._lock = threading.Lock()
        self._stopping = False
        self._busy_since: dict[int, int] = {}
        self._told: frozenset[str] = frozenset()
        self.longest_in_time_ns = 0

    def add(self, inspectors: InspectorSet) -> None:
        """Make a recipe's inspectors available; the oldest beyond three are released.

        A part still on its way under a released recipe fails its inspection and is rejected.
        """
        if len(inspectors.inspectors) != self.count:
            raise ValueError(f"expected {self.count} inspectors")
        with self._lock:
            kept = [s for d, s in self._sets.items() if d != inspectors.recipe_digest]
            kept.append(inspectors)
            released, kept = kept[:-_SETS_KEPT], kept[-_SETS_KEPT:]
            self._sets = {s.recipe_digest: s for s in kept}
        for old in released:
            old.close()

    def submit(self, action: Inspect, *, deadline_mono_ns: int | None) -> bool:
        """Queue a frame; False if the queue is full. A job past its deadline is not begun."""
        return self.queue.offer(_Job(action, deadline_mono_ns))

    def busy_since_mono_ns(self) -> Mapping[int, int]:
        """Since when each busy worker has been at its present frame."""
        return dict(self._busy_since)

    def stop(self) -> None:
        self._stopping = True
        for _ in range(self.count):
            self.queue.wake()

    def close(self) -> None:
        """Release every engine; only after the workers have ended."""
        with self._lock:
            sets, self._sets = list(self._sets.values()), {}
        for inspectors in sets:
            inspectors.close()

    def run(self, worker: int) -> None:
        """The thread of one worker."""
        while not self._stopping:
            job = self.queue.take()
            if job is not None:
                self._busy_since[worker] = self._clock.now_mono_ns()
                outcome = self._outcome(worker, job)
                self._note_duration(worker, job, outcome)
                self._report(outcome)
                self._busy_since.pop(worker, None)

    def _outcome(self, worker: int, job: _Job) -> Inspected | InspectionFailed:
        part_id = job.action.part_id
        deadline = job.deadline_mono_ns
        if deadline is not None and self._clock.now_mono_ns() > deadline:
            return InspectionFailed(part_id, "its turn came after its deadline")
        inspectors = self._sets.get(job.action.recipe_digest)
        if inspectors is None:
            return InspectionFailed(part_id, "its recipe is no longer loaded")
        try:
            inspection = inspectors.inspectors[worker].inspect(
                job.action.frame, want_map=self._want_map
            )
        except Exception as error:  # noqa: BLE001  whatever it is, this part is rejected
            detail = f"{type(error).__name__}: {error}"
            failed = InspectionFailed.because(part_id, error, detail)
            if failed.doubt is Doubt.ENGINE_FAILED:
                self._faults.count(INSPECTION_FAULT, detail)
            return failed
        finally:
            self._tell(inspectors.trouble())
        return Inspected(part_id, inspection)

    def _note_duration(self, worker: int, job: _Job, outcome: object) -> None:
        now = self._clock.now_mono_ns()
        in_time = job.deadline_mono_ns is None or now <= job.deadline_mono_ns
        if in_time and isinstance(outcome, Inspected):
            took_ns = now - self._busy_since[worker]
            self.longest_in_time_ns = max(self.longest_in_time_ns, took_ns)

    def _tell(self, trouble: Mapping[str, str]) -> None:
        """Begin the faults that the engines name, end those that they no longer name."""
        for name, detail in trouble.items():
            self._faults.begin(name, detail)
        for name in self._told - trouble.keys():
            self._faults.end(name)
        self._told = frozenset(trouble)
