"""The whole station on a folder of pictures, on virtual time.

Each picture is a part on an ideal conveyor: a trigger, a frame, the real inspection, a verdict,
the gate and a record. Time is virtual, so the outcome depends on the pictures and the recipe
alone; reading and inspecting run ahead on as many threads as there are inspectors.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import queue
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import EdgeInspectError, UsageError
from edgeinspect.hw.picture_file import read_picture
from edgeinspect.line import messages as m
from edgeinspect.line.config import GateConfig, LineConfig, TrackConfig, TriggerConfig
from edgeinspect.line.core import LineCore
from edgeinspect.line.reject import PulseSchedule
from edgeinspect.part import CameraControls, Frame, FrameMeta, PartRecord, VerdictKind
from edgeinspect.runtime.finished_part import FinishedPart, without_score_map
from edgeinspect.runtime.inspection import FrameInspector
from edgeinspect.runtime.recorder_thread import RecordSink
from edgeinspect.runtime.replay_result import ReplayResult, ReplaySummary

PITCH_NS = 100_000_000
TO_LENS_NS = 10_000_000
FRAME_NS = 20_000_000
WINDOW_HALF_NS = 30_000_000
_BATCH = 64

Pixels = NDArray[np.uint8]


def replay_config(config: LineConfig, *, workers: int, reject_frozen: bool = False) -> LineConfig:
    """The configuration's policy on the ideal conveyor of a replay.

    Kept: gate kind, thresholds, review action, checks on the picture's content, alarms.
    Replaced: all timing. Left out: checks of the camera's controls, which picture files do not
    carry, and, unless asked for, of frozen pictures, because data sets contain equal ones.
    """
    latency_ns = _latency_ns(workers)
    checks = dataclasses.replace(
        config.checks, controls=CameraControls(), reject_frozen=reject_frozen
    )
    return dataclasses.replace(
        config,
        trigger=TriggerConfig(debounce_ns=1_000_000, min_pitch=PITCH_NS // 2),
        track=TrackConfig(
            to_lens=TO_LENS_NS,
            exposure_window=2 * FRAME_NS,
            to_gate=TO_LENS_NS + FRAME_NS + latency_ns + PITCH_NS,
            window_before=WINDOW_HALF_NS,
            window_after=WINDOW_HALF_NS,
            restart_ns=0,
        ),
        gate=GateConfig(kind=config.gate.kind, lease_ns=4 * PITCH_NS),
        confirm=None,
        checks=checks,
        max_parts_in_flight=64 + 4 * workers,
    )


def _latency_ns(workers: int) -> int:
    """How long an inspection takes on virtual time: this many pictures are in work at once."""
    return (2 * workers + 1) * PITCH_NS


class Replay:
    """One run over a list of files. Iterate over ``results`` once, then read ``summary``."""

    def __init__(
        self,
        *,
        config: LineConfig,
        inspectors: Sequence[FrameInspector],
        files: Sequence[Path],
        folder: Path,
        pace_s: float | None = None,
        want_map: bool = False,
        reject_frozen: bool = False,
        sink: RecordSink[FinishedPart] | None = None,
        next_part_id: int = 1,
        read: Callable[[Path], Pixels] = read_picture,
    ) -> None:
        """Prepare a replay; nothing is inspected until ``results``.

        Args:
            config: of the station and recipe; see ``replay_config`` for the parts of it that are
                used.
            inspectors: one for each thread; two use two cores.
            files: the pictures.
            folder: file names in the results are relative to it.
            pace_s: real seconds from picture to picture; None: as fast as possible.
            want_map: whether results contain score maps.
            reject_frozen: whether a repeated picture is rejected.
            sink: takes every part's record, in batches.
            next_part_id: id of the first part.
            read: reads a picture file.
        """
        if not inspectors:
            raise UsageError("A replay needs at least one inspector.")
        self._config = replay_config(config, workers=len(inspectors), reject_frozen=reject_frozen)
        self._workers = len(inspectors)
        self._idle_inspectors: queue.SimpleQueue[FrameInspector] = queue.SimpleQueue()
        for inspector in inspectors:
            self._idle_inspectors.put(inspector)
        self._files = tuple(files)
        self._folder = folder
        self._pace_s = pace_s
        self._want_map = want_map
        self._sink = sink
        self._first_part_id = next_part_id
        self._read = read
        self._pixels: dict[int, Future[Pixels]] = {}
        self._frames: dict[int, Frame] = {}
        self._to_write: list[FinishedPart] = []
        self._counts: dict[str, Counter[str]] = {
            name: Counter() for name in ("verdicts", "reasons", "gate_outcomes")
        }
        self._elapsed_s = 0.0

    @property
    def summary(self) -> ReplaySummary:
        """Return the summary of the results so far."""
        verdicts = dict.fromkeys((kind.value for kind in VerdictKind), 0)
        return ReplaySummary(
            pictures=self._counts["verdicts"].total(),
            verdicts=verdicts | self._counts["verdicts"],
            reasons=dict(sorted(self._counts["reasons"].items())),
            gate_outcomes=dict(sorted(self._counts["gate_outcomes"].items())),
            elapsed_s=self._elapsed_s,
        )

    def results(self) -> Iterator[ReplayResult]:
        """Yield one result for each file, in order.

        Raises:
            StorageFault: the records cannot be stored; results yielded before are valid.
        """
        started_s = time.monotonic()
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="replay")
        try:
            for record in _Conveyor(self, pool).run():
                self._elapsed_s = time.monotonic() - started_s
                yield self._result(record)
            self._write_out()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    # --- for the conveyor -------------------------------------------------------------------

    @property
    def config(self) -> LineConfig:
        """The configuration in use."""
        return self._config

    @property
    def first_part_id(self) -> int:
        """Id of the first part."""
        return self._first_part_id

    @property
    def workers(self) -> int:
        """Number of inspection threads."""
        return self._workers

    @property
    def pictures(self) -> int:
        """Number of pictures."""
        return len(self._files)

    def read_ahead(self, index: int, pool: ThreadPoolExecutor) -> None:
        """Start reading the pictures up to a few after this one."""
        for ahead in range(index, min(index + 2 * self._workers + 1, len(self._files))):
            if ahead not in self._pixels:
                self._pixels[ahead] = pool.submit(self._read, self._files[ahead])

    def wait_for_pace(self, index: int, started_s: float) -> None:
        """Wait until this picture is due."""
        if self._pace_s is not None:
            time.sleep(max(0.0, started_s + index * self._pace_s - time.monotonic()))

    def frame(self, capture: m.Capture, exposure_mono_ns: int) -> m.Event:
        """The part's picture as a frame, or why there is none."""
        index = capture.part_id - self._first_part_id
        try:
            pixels = self._pixels.pop(index).result()
        except EdgeInspectError as error:
            return m.CaptureFailed(capture.part_id, str(error))
        meta = FrameMeta(
            sequence=index,
            exposure_mono_ns=exposure_mono_ns,
            arrived_mono_ns=exposure_mono_ns,
            source=self._name(index),
        )
        frame = Frame(meta, pixels)
        if self._sink is not None:
            self._frames[capture.part_id] = frame
        return m.FrameArrived(frame)

    def inspect(self, action: m.Inspect) -> m.Inspected | m.InspectionFailed:
        """In a thread of the pool."""
        inspector = self._idle_inspectors.get()
        try:
            inspection = inspector.inspect(action.frame, want_map=self._want_map)
        except Exception as error:  # noqa: BLE001  whatever it is, this part is rejected
            detail = f"{type(error).__name__}: {error}"
            return m.InspectionFailed.because(action.part_id, error, detail)
        finally:
            self._idle_inspectors.put(inspector)
        return m.Inspected(action.part_id, inspection)

    # --- results ------------------------------------------------------------------------------

    def _result(self, record: PartRecord) -> ReplayResult:
        inspection = record.inspection
        score_map = inspection.score_map if inspection is not None else None
        record = without_score_map(record)
        verdict = record.verdict
        self._counts["verdicts"][verdict.kind.value] += 1
        self._counts["gate_outcomes"][record.gate_outcome.value] += 1
        if verdict.reason:
            self._counts["reasons"][verdict.reason] += 1
        self._keep(record)
        return ReplayResult(
            file=self._name(record.part_id - self._first_part_id),
            record=record,
            top_class=inspection.top_class if inspection is not None else "",
            top_score=inspection.top_score if inspection is not None else 0.0,
            score_map=score_map,
        )

    def _keep(self, record: PartRecord) -> None:
        if self._sink is None:
            return
        self._to_write.append(FinishedPart(record, self._frames.pop(record.part_id, None)))
        if len(self._to_write) >= _BATCH:
            self._write_out()

    def _write_out(self) -> None:
        if self._sink is not None and self._to_write:
            self._sink.write(self._to_write)
            self._to_write = []

    def _name(self, index: int) -> str:
        file = self._files[index]
        try:
            return file.relative_to(self._folder).as_posix()
        except ValueError:
            return file.as_posix()


class _Conveyor:
    """Virtual time: feeds the core what an ideal belt, camera and gate would."""

    def __init__(self, replay: Replay, pool: ThreadPoolExecutor) -> None:
        self._replay = replay
        self._pool = pool
        self._config = replay.config
        self._latency_ns = _latency_ns(replay.workers)
        self._now_mono_ns = 1_000_000_000
        self._core = LineCore(
            replay.config, next_part_id=replay.first_part_id, now_mono_ns=self._now_mono_ns
        )
        self._gate = PulseSchedule(replay.config.gate)
        self._due: list[tuple[int, int, Callable[[], m.Event | None]]] = []
        self._order = itertools.count()
        self._records: list[PartRecord] = []

    def run(self) -> Iterator[PartRecord]:
        started_s = time.monotonic()
        self._carry_out(self._core.start(self._now_mono_ns))
        track = self._config.track
        first_mono_ns = self._now_mono_ns + track.to_gate + track.window_after + PITCH_NS
        for index in range(self._replay.pictures):
            yield from self._until(first_mono_ns + index * PITCH_NS)
            self._replay.wait_for_pace(index, started_s)
            self._replay.read_ahead(index, self._pool)
            self._handle(m.TriggerEdge(self._now_mono_ns))
        while self._core.parts_in_flight:
            yield from self._until(self._now_mono_ns + PITCH_NS)

    def _until(self, end_mono_ns: int) -> Iterator[PartRecord]:
        """Let everything happen that is due before ``end_mono_ns``."""
        while True:
            happens_mono_ns = self._due[0][0] if self._due else end_mono_ns
            changes_mono_ns = self._gate.next_change_mono_ns() or end_mono_ns
            wakes_mono_ns = self._core.next_wake_mono_ns
            now_mono_ns = min(happens_mono_ns, changes_mono_ns, wakes_mono_ns)
            if now_mono_ns >= end_mono_ns:
                break
            self._now_mono_ns = max(now_mono_ns, self._now_mono_ns)
            self._move_gate()
            if self._due and self._due[0][0] <= self._now_mono_ns:
                event = heapq.heappop(self._due)[2]()
                if event is not None:
                    self._handle(event)
            elif wakes_mono_ns <= self._now_mono_ns:
                self._handle(m.Tick())
            taken, self._records = self._records, []
            yield from taken
        self._now_mono_ns = end_mono_ns

    def _handle(self, event: m.Event) -> None:
        self._carry_out(self._core.handle(event, self._now_mono_ns))
        self._move_gate()

    def _move_gate(self) -> None:
        for span in self._gate.advance(self._now_mono_ns):
            self._carry_out(self._core.handle(span, self._now_mono_ns))

    def _carry_out(self, actions: Sequence[m.Action]) -> None:
        for action in actions:
            if isinstance(action, m.Capture):
                self._capture(action)
            elif isinstance(action, m.Inspect):
                self._inspect(action)
            elif isinstance(action, m.Record):
                self._records.append(action.record)
            elif isinstance(action, m.GateAction):
                on_time = self._gate.carry_out(action, self._now_mono_ns)
                if not on_time and isinstance(action, m.Release):
                    self._handle(m.ReleaseTooLate(action.part_id))

    def _capture(self, action: m.Capture) -> None:
        exposure_mono_ns = action.not_before_mono_ns
        self._later(
            exposure_mono_ns + FRAME_NS, lambda: self._replay.frame(action, exposure_mono_ns)
        )

    def _inspect(self, action: m.Inspect) -> None:
        inspected = self._pool.submit(self._replay.inspect, action)
        self._later(self._now_mono_ns + self._latency_ns, inspected.result)

    def _later(self, at_mono_ns: int, make_event: Callable[[], m.Event]) -> None:
        heapq.heappush(self._due, (at_mono_ns, next(self._order), make_event))
