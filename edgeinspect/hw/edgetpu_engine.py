"""The Edge TPU: tried in a child process, watched at every run, and replaced when it fails.

An accelerator can hang in the middle of a run (libedgetpu issue 766), its library can take the
process along where it does not fit (pycoral issues 85, 133), and a USB stick reports no temperature
(edgetpu issue 859). So the first run happens in a child that may be killed, each later one has a
deadline on the monotonic clock, and a drift of its latency is a fault with a name.
"""

from __future__ import annotations

import contextlib
import queue
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.directory import EDGETPU_MODEL_FILE, Bundle
from edgeinspect.bundle.golden import check_golden
from edgeinspect.errors import HardwareError, InferenceFailed, ModelRefused
from edgeinspect.faults import FaultName
from edgeinspect.hw import cpu_engine
from edgeinspect.hw.arrangement import BUDGET_NS, median_run_ns
from edgeinspect.hw.edgetpu import is_compiled
from edgeinspect.hw.litert import LiteRtEngine, open_engine
from edgeinspect.hw.registry import Workload
from edgeinspect.ports import Engine, StationEngine
from edgeinspect.settings.station_file import EngineSettings
from edgeinspect.undo import undo_on_error

Tile = NDArray[np.generic]

_BASELINE_RUNS = 20
_DRIFT = 1.5


def open_station_engine(bundle: Bundle, settings: EngineSettings, work: Workload) -> EdgeTpuEngine:
    """See ``edgeinspect.hw.registry.EngineModule``: the accelerator with its fallback."""
    trouble: dict[FaultName, str] = {}
    fallback = None
    if settings.when_lost == "cpu":
        fallback = _cpu_fallback(bundle, settings, work, trouble)
    accelerator = None
    with contextlib.ExitStack() as opened:
        if fallback is not None:
            opened.callback(fallback.close)
        try:
            accelerator = open_engine(
                bundle, runtime=settings.runtime, delegate="edgetpu", device=settings.device
            )
        except HardwareError as error:
            if fallback is None:
                raise
            trouble[FaultName.EDGETPU_LOST] = f"{error.message} Inspecting on the CPU"
        opened.pop_all()
    return EdgeTpuEngine(
        accelerator,
        fallback=fallback,
        deadline_ns=round(settings.deadline_ms * 1e6),
        trouble=trouble,
    )


def _cpu_fallback(
    bundle: Bundle, settings: EngineSettings, work: Workload, trouble: dict[FaultName, str]
) -> LiteRtEngine | None:
    """A checked engine on the CPU; None, with the reason in ``trouble``, if it cannot keep up."""
    if is_compiled(bundle.model):
        raise ModelRefused(
            f"The bundle {bundle.card.name} has no CPU model, which engine.when_lost: cpu needs.",
            next_action="Add the uncompiled model and name the compiled one "
            f"{EDGETPU_MODEL_FILE}, or set "
            "engine.when_lost: reject.",
        )
    cpu = cpu_engine.open_station_engine(bundle, settings, work)
    with undo_on_error(cpu.close):
        check_golden(bundle, cpu)
        tile = np.zeros(cpu.input_spec.shape[1:], cpu.input_spec.dtype)
        took_ns = median_run_ns(cpu.run, [tile] * work.tiles, budget_ns=BUDGET_NS)
    if work.cycle_ns is not None and took_ns <= work.cycle_ns:
        return cpu
    cpu.close()
    limit = "is unknown" if work.cycle_ns is None else f"is {work.cycle_ns / 1e6:.1f} ms"
    trouble[FaultName.EDGETPU_WITHOUT_CPU_FALLBACK] = (
        f"the CPU takes {took_ns / 1e6:.1f} ms per part and the time between two parts {limit}, "
        "so every part is rejected while the Edge TPU is missing"
    )
    return None


class _Job(NamedTuple):
    work: Callable[[], list[Tile]]
    answer: queue.SimpleQueue[list[Tile] | Exception]


class RunnerThread:
    """One daemon thread, which nobody waits for once it hangs."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="edgetpu", daemon=True)
        self._thread.start()

    def run(self, work: Callable[[], list[Tile]], *, timeout_s: float) -> list[Tile] | Exception:
        """What ``work`` returned or raised. Raises queue.Empty after ``timeout_s``."""
        answer: queue.SimpleQueue[list[Tile] | Exception] = queue.SimpleQueue()
        self._jobs.put(_Job(work, answer))
        return answer.get(timeout=timeout_s)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job.answer.put(job.work())
            except Exception as error:  # noqa: BLE001  handed to the caller
                job.answer.put(error)

    def stop(self, timeout_s: float) -> bool:
        """Let the thread end; False if it still runs then."""
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()


class LatencyWatch:
    """Compares the median of the last runs with that of the first ones."""

    def __init__(self) -> None:
        self._first: list[int] = []
        self._last: deque[int] = deque(maxlen=_BASELINE_RUNS)
        self._baseline_ns = 0.0

    def add(self, run_ns: int) -> str:
        """Take one more run into account; return the trouble, or ""."""
        if len(self._first) < _BASELINE_RUNS:
            self._first.append(run_ns)
            self._baseline_ns = statistics.median(self._first)
            return ""
        self._last.append(run_ns)
        now_ns = statistics.median(self._last)
        if len(self._last) < _BASELINE_RUNS or now_ns <= _DRIFT * self._baseline_ns:
            return ""
        return (
            f"a part takes {now_ns / 1e6:.1f} ms on the Edge TPU; at the start it took "
            f"{self._baseline_ns / 1e6:.1f} ms. The Edge TPU may be too hot"
        )


class EdgeTpuEngine(StationEngine):
    """An engine on the accelerator, with a deadline for each run and a fallback engine.

    Once lost, it stays lost until the station starts again: an accelerator that comes and goes is
    not a basis for verdicts.
    """

    def __init__(
        self,
        accelerator: Engine | None,
        *,
        fallback: Engine | None,
        deadline_ns: int,
        trouble: Mapping[FaultName, str] | None = None,
        now_mono_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Combine the accelerator with its fallback.

        Args:
            accelerator: None if it is already lost; then there must be a fallback.
            fallback: runs on the CPU; with None, a lost accelerator rejects every part.
            deadline_ns: time limit of one run.
            trouble: troubles from the start, by fault name.
            now_mono_ns: the clock.
        """
        first = accelerator if accelerator is not None else fallback
        if first is None:
            raise ValueError("neither accelerator nor fallback")
        self._accelerator = accelerator
        self._fallback = fallback
        self._deadline_ns = deadline_ns
        self._now_mono_ns = now_mono_ns
        self.input_spec, self.output_spec = first.input_spec, first.output_spec
        self.description = first.description
        self._runner = RunnerThread() if accelerator is not None else None
        self._watch = LatencyWatch()
        self._trouble = dict(trouble or {})
        self._lost = accelerator is None

    def trouble(self) -> Mapping[FaultName, str]:
        """Return the present troubles: fault names with a sentence each."""
        return dict(self._trouble)

    def run(self, tiles: Sequence[Tile]) -> list[Tile]:
        """See ``edgeinspect.ports.Engine``; a run past its deadline costs its part."""
        if not self._lost:
            outputs = self._accelerated(tiles)
            if outputs is not None:
                return outputs
        if self._fallback is None:
            raise InferenceFailed(
                f"The Edge TPU is lost: {self._trouble.get(FaultName.EDGETPU_LOST, '')}."
            )
        return self._fallback.run(tiles)

    def _accelerated(self, tiles: Sequence[Tile]) -> list[Tile] | None:
        """None: it was lost quickly enough for the CPU to take over this part."""
        accelerator, runner = self._accelerator, self._runner
        if accelerator is None or runner is None:
            return None
        began = self._now_mono_ns()
        try:
            answer = runner.run(lambda: accelerator.run(tiles), timeout_s=self._deadline_ns / 1e9)
        except queue.Empty:
            self._lose(f"no answer within {self._deadline_ns / 1e6:.0f} ms")
            raise InferenceFailed("The Edge TPU does not respond.") from None
        if isinstance(answer, Exception):
            if not isinstance(answer.__cause__, RuntimeError):
                raise answer  # the picture's fault, not the device's
            self._lose(str(answer))
            return None
        slow = self._watch.add(self._now_mono_ns() - began)
        if slow:
            self._trouble[FaultName.EDGETPU_SLOW] = slow
        else:
            self._trouble.pop(FaultName.EDGETPU_SLOW, None)
        return answer

    def _lose(self, why: str) -> None:
        self._lost = True
        self._trouble.pop(FaultName.EDGETPU_SLOW, None)
        rest = "inspecting on the CPU" if self._fallback is not None else "every part is rejected"
        self._trouble[FaultName.EDGETPU_LOST] = f"{why}; {rest} until the station is restarted"

    def close(self) -> None:
        """Release both engines; one that hangs is left to the end of the process."""
        ended = self._runner is None or self._runner.stop(self._deadline_ns / 1e9)
        if self._accelerator is not None and ended:
            self._accelerator.close()
        if self._fallback is not None:
            self._fallback.close()
