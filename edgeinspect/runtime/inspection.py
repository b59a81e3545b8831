"""The inference workers: frames in, inspections out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgeinspect.faults import FaultName
from edgeinspect.line.messages import Inspect, Inspected, InspectionFailed
from edgeinspect.part import Doubt, Frame, Inspection
from edgeinspect.ports import Clock
from edgeinspect.runtime.fault_board import FaultBoard
from edgeinspect.runtime.queues import BoundedQueue

_SETS_KEPT = 3
_JOBS_PER_WORKER = 8


class FrameInspector(Protocol):
    """What a worker needs; ``edgeinspect.bundle.inspector.Inspector`` is the real one."""

    def inspect(self, frame: Frame, *, want_map: bool = False) -> Inspection:
        """Raises InferenceFailed, or anything else: the part is rejected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectorSet:
    """Checked inspectors of one recipe, one for each worker.

    Attributes:
        description: the engine in use, for people.
        close: releases the engines; called after no part can need them.
        trouble: returns the engines' present troubles: fault names with a sentence each.
    """

    recipe_digest: str
    inspectors: Sequence[FrameInspector]
    description: str = ""
    close: Callable[[], None] = lambda: None
    trouble: Callable[[], Mapping[FaultName, str]] = dict


@dataclass(slots=True)
class _Loaded:
    """Inspectors with how many workers use them now; closed once retired and unused."""

    inspectors: InspectorSet
    uses: int = 0
    retired: bool = False


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
        """Make the workers; they start with ``run``.

        ``longest_in_time_ns`` is the longest inspection that was done before its deadline.

        Args:
            inspectors: one for each worker.
            clock: the station's clock.
            faults: where faults are counted.
            report: takes the outcome of each job, in the worker's thread.
            want_map: keep each score map for the live view.
        """
        self.count = len(inspectors.inspectors)
        self._clock = clock
        self._faults = faults
        self._report = report
        self._want_map = want_map
        self.queue: BoundedQueue[_Job] = BoundedQueue("inspection", _JOBS_PER_WORKER * self.count)
        self._sets = {inspectors.recipe_digest: _Loaded(inspectors)}
        self._retired: list[_Loaded] = []
        self._lock = threading.Lock()
        self._stopping = False
        self._busy_since: dict[int, int] = {}
        self._reported: frozenset[FaultName] = frozenset()
        self.longest_in_time_ns = 0

    def add(self, inspectors: InspectorSet) -> None:
        """Make a recipe's inspectors available, in place of those of the same recipe.

        The oldest beyond three recipes are retired: a part still on its way under one of them
        fails its inspection and is rejected. Waits for nothing; ``release_retired`` frees them.
        """
        if len(inspectors.inspectors) != self.count:
            raise ValueError(f"expected {self.count} inspectors")
        with self._lock:
            replaced = self._sets.pop(inspectors.recipe_digest, None)
            self._sets[inspectors.recipe_digest] = _Loaded(inspectors)
            oldest = list(self._sets)[:-_SETS_KEPT]
            retired = [self._sets.pop(digest) for digest in oldest]
            self._retired += retired if replaced is None else [replaced, *retired]

    def release_retired(self) -> None:
        """Release the engines that are no longer needed; engines in use are released afterwards."""
        with self._lock:
            retired, self._retired = self._retired, []
            for loaded in retired:
                loaded.retired = True
            unused = [loaded for loaded in retired if not loaded.uses]
        for loaded in unused:
            self._release(loaded)

    def _release(self, loaded: _Loaded) -> None:
        try:
            loaded.inspectors.close()
        except Exception as error:  # noqa: BLE001  the recipe that replaced it is in force
            self._faults.count(
                FaultName.DRIVER_DID_NOT_CLOSE, f"an engine: {type(error).__name__}: {error}"
            )

    def submit(self, action: Inspect, *, deadline_mono_ns: int | None) -> bool:
        """Queue a frame; False if the queue is full. A job past its deadline is not begun."""
        return self.queue.offer(_Job(action, deadline_mono_ns))

    def busy_since_mono_ns(self) -> Mapping[int, int]:
        """Since when each busy worker has been at its present frame."""
        return dict(self._busy_since)

    def stop(self) -> None:
        """Ask every worker to return."""
        self._stopping = True
        for _ in range(self.count):
            self.queue.wake()

    def close(self) -> None:
        """Release every engine; only after the workers have ended."""
        with self._lock:
            self._retired += self._sets.values()
            self._sets = {}
        self.release_retired()

    def run(self, worker: int) -> None:
        """The thread of one worker."""
        while not self._stopping:
            job = self.queue.take()
            if job is not None:
                self._busy_since[worker] = self._clock.now_mono_ns()
                outcome = self.outcome(worker, job)
                self._note_duration(worker, job, outcome)
                self._report(outcome)
                self._busy_since.pop(worker, None)

    def outcome(self, worker: int, job: _Job) -> Inspected | InspectionFailed:
        """Inspect one job, in that worker's thread."""
        part_id = job.action.part_id
        deadline = job.deadline_mono_ns
        if deadline is not None and self._clock.now_mono_ns() > deadline:
            return InspectionFailed(part_id, "its deadline passed while it waited in the queue")
        with self._lock:
            loaded = self._sets.get(job.action.recipe_digest)
            if loaded is not None:
                loaded.uses += 1
        if loaded is None:
            return InspectionFailed(part_id, "its recipe is no longer loaded")
        try:
            return self._inspect(worker, job, loaded.inspectors)
        finally:
            with self._lock:
                loaded.uses -= 1
                last = loaded.retired and not loaded.uses
            if last:
                self._release(loaded)

    def _inspect(
        self, worker: int, job: _Job, inspectors: InspectorSet
    ) -> Inspected | InspectionFailed:
        part_id = job.action.part_id
        try:
            inspection = inspectors.inspectors[worker].inspect(
                job.action.frame, want_map=self._want_map
            )
        except Exception as error:  # noqa: BLE001  whatever it is, this part is rejected
            detail = f"{type(error).__name__}: {error}"
            failed = InspectionFailed.because(part_id, error, detail)
            if failed.doubt is Doubt.ENGINE_FAILED:
                self._faults.count(FaultName.INSPECTION_FAILED, detail)
            return failed
        finally:
            self._report_trouble(inspectors.trouble())
        return Inspected(part_id, inspection)

    def _note_duration(self, worker: int, job: _Job, outcome: object) -> None:
        now = self._clock.now_mono_ns()
        in_time = job.deadline_mono_ns is None or now <= job.deadline_mono_ns
        if in_time and isinstance(outcome, Inspected):
            took_ns = now - self._busy_since[worker]
            self.longest_in_time_ns = max(self.longest_in_time_ns, took_ns)

    def _report_trouble(self, trouble: Mapping[FaultName, str]) -> None:
        """Begin the faults that the engines name, end those that they no longer name."""
        for name, detail in trouble.items():
            self._faults.begin(name, detail)
        for name in self._reported - trouble.keys():
            self._faults.end(name)
        self._reported = frozenset(trouble)
