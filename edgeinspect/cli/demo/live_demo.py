"""The demo in real time: the real station's threads on the live simulated line."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from typing_extensions import override

from edgeinspect.assembly.assemble import AssembledStation
from edgeinspect.assembly.simulated_station import SimulatedLine
from edgeinspect.faults import FaultName
from edgeinspect.line.config import LineConfig
from edgeinspect.line.verdict import judge_inspection
from edgeinspect.part import Frame, GateOutcome, Inspection, VerdictKind
from edgeinspect.records.part_ids import no_gap
from edgeinspect.records.reader import PartFilter, RecordReader
from edgeinspect.runtime.line_view import Picture
from edgeinspect.runtime.plan import StationPlan
from edgeinspect.runtime.station_status import state_words
from edgeinspect.screens.live.live_screen import LiveScreen
from edgeinspect.screens.live.live_view import BeltPart, LastPart, LiveView
from edgeinspect.screens.screen_picture import save_screen
from edgeinspect.sim.truth import Account
from edgeinspect.terminal.signals import stop_on_signals

FRAMES_PER_S = 8
_SETTLE_S = 15.0
_LAST_PARTS = 40
_SEEN_KEPT = 64
_SCORED = (VerdictKind.PASS, VerdictKind.REJECT, VerdictKind.REVIEW)
_HARMLESS = (FaultName.PULSE_THREAD_DEGRADED,)
"""Faults that are normal on a computer that is not set up as a station."""


class Show:
    """Shows the demo while it runs; this base class shows nothing."""

    def begin(self) -> None:
        """Start to show the demo."""

    def part(self, part: LastPart) -> None:
        """Show one finished part."""

    def moment(self, view: LiveView) -> None:
        """Show the present state of the line."""

    def end(self) -> None:
        """Stop showing the demo."""


class PlainShow(Show):
    """Prints one line per part, for pipes and log files."""

    @override
    def part(self, part: LastPart) -> None:
        words = [f"part {part.part_id}", part.verdict.value, part.reason]
        words += ["" if part.score is None else f"{part.score:.3f}", part.outcome.value]
        sys.stdout.write("  ".join(word for word in words if word) + "\n")
        sys.stdout.flush()


class ScreenShow(Show):
    """Draws the live screen in a terminal."""

    def __init__(self, terminal: Console) -> None:
        self._console = terminal
        self._screen = LiveScreen()
        self._live = Live(console=terminal, auto_refresh=False, screen=True)

    @override
    def begin(self) -> None:
        self._live.start()

    @override
    def moment(self, view: LiveView) -> None:
        size = self._console.size
        drawn = self._screen.render(view, width=size.width, height=size.height)
        self._live.update(drawn, refresh=True)

    @override
    def end(self) -> None:
        self._live.stop()


class LiveDemo:
    """One run of the demo. Call ``run`` once."""

    def __init__(
        self,
        plan: StationPlan,
        *,
        parts: int,
        seed: int,
        rate_per_s: float,
        defect_rate: float,
    ) -> None:
        self._plan = plan
        self._parts = parts
        self._line = SimulatedLine(
            plan.station, parts=parts, seed=seed, rate_per_s=rate_per_s, defect_rate=defect_rate
        )
        self._seen: OrderedDict[int, VerdictKind] = OrderedDict()
        self._configs: list[LineConfig] = []
        self._assembled = AssembledStation(
            plan,
            simulated=self._line,
            want_map=True,
            watch=self._watch,
            on_plan=lambda plan: self._configs.append(plan.config),
            draw=no_gap,
        )
        self._last: deque[LastPart] = deque(maxlen=_LAST_PARTS)
        self._reasons: Counter[str] = Counter()
        self._done = 0
        self._following = 0
        self._began_s = 0.0
        self._picture: Picture | None = None
        self._interrupts = 0
        self._good_view: LiveView | None = None

    def run(
        self, show: Show, *, seconds: float | None = None, picture: Path | None = None
    ) -> tuple[dict[str, Any], Account]:
        """Run until every part has left the line, or until interrupted.

        Args:
            show: shows the parts and the line.
            seconds: stop feeding parts after this time.
            picture: file for a picture of the screen (SVG).

        Returns:
            The demo's result for JSON, and the truth account.
        """
        self._began_s = time.monotonic()
        with stop_on_signals(self._interrupt), contextlib.ExitStack() as ending:
            show.begin()
            ending.callback(show.end)
            self._assembled.start()
            ending.callback(self._assembled.stop)
            self._follow(show, seconds)
            elapsed_s = time.monotonic() - self._began_s
            status = self._assembled.station.status()
        if picture is not None and self._good_view is not None:
            save_screen(self._good_view, picture)
        return self._result(status, elapsed_s)

    def _follow(self, show: Show, seconds: float | None) -> None:
        line = self._line.line
        feeding = True
        while not line.finished.wait(1 / FRAMES_PER_S):
            late = seconds is not None and time.monotonic() - self._began_s >= seconds
            if feeding and (late or self._interrupts):
                feeding = False
                line.stop_feeding()
            if self._interrupts > 1:
                return
            self._take_events(show)
            view = self._view()
            show.moment(view)
            self._keep_good_view(view)
        self._settle(show)

    def _settle(self, show: Show) -> None:
        """Wait until the last part has left the ledger, too."""
        deadline_s = time.monotonic() + _SETTLE_S
        station = self._assembled.station
        while station.status()["parts_in_flight"] and time.monotonic() < deadline_s:
            time.sleep(1 / FRAMES_PER_S)
        self._take_events(show)
        show.moment(self._view())

    def _interrupt(self, *, immediate: bool = False) -> None:
        """Let the belt run empty at the first signal; stop at once at the second Ctrl-C."""
        self._interrupts = 2 if immediate else max(1, self._interrupts)
        self._assembled.station.request_stop(immediate=immediate)

    # --- what has happened ----------------------------------------------------------------

    def _watch(self, frame: Frame, inspection: Inspection) -> None:
        """Remember the verdict for the belt's colours; runs in an inference worker."""
        truth = self._line.line.truth.frames.get(frame.meta.sequence)
        if truth is None or truth.part is None:
            return
        config = self._plan.config
        verdict = judge_inspection(inspection, config.thresholds, config.checks)
        self._seen[truth.part] = verdict.kind
        if len(self._seen) > _SEEN_KEPT:
            self._seen.popitem(last=False)

    def _take_events(self, show: Show) -> None:
        _, entries = self._assembled.station.feed.read(self._following, 2000)
        for entry in entries:
            self._following = entry.sequence + 1
            if entry.fields["event"] == "part":
                part = _last_part(entry.fields)
                self._done += 1
                self._last.appendleft(part)
                if part.verdict is not VerdictKind.PASS:
                    self._reasons[part.reason] += 1
                show.part(part)
        for picture in self._assembled.station.pictures():
            if picture.record.verdict.kind is not VerdictKind.PASS:
                self._picture = picture

    def _view(self) -> LiveView:
        line, station = self._line.line, self._assembled.station
        snapshot = line.snapshot()
        status: Mapping[str, Any] = station.status()
        faults = {name: fault for name, fault in status["faults"].items() if name not in _HARMLESS}
        geometry, card = line.geometry, self._plan.bundle.card
        places = {"trigger": 0, "lens": geometry.to_lens_ns, "gate": geometry.to_gate_ns}
        if line.guard is not None:
            places["guard"] = geometry.to_guard_ns
        return LiveView(
            title=f"edgeinspect demo  {card.title}",
            state=state_words(status),
            elapsed_s=time.monotonic() - self._began_s,
            parts_done=self._done,
            parts_total=self._parts if self._parts < 1_000_000 else None,
            places_ns=places,
            belt=tuple(
                BeltPart(
                    at_ns=part.at_ns,
                    verdict=self._seen.get(part.number),
                    in_chute=part.in_chute,
                )
                for part in snapshot.parts
            ),
            belt_moves=snapshot.belt_moves,
            gate_open=snapshot.gate_open,
            counts=status["counts"],
            passed=status["counts"].get("gate_passed", 0),
            reasons=dict(self._reasons),
            stages_us=status["stage_latency_us"],
            faults={name: fault["count"] for name, fault in faults.items()},
            lasting=tuple(name for name, fault in faults.items() if fault["active"]),
            last=tuple(self._last),
            picture=self._picture,
        )

    def _keep_good_view(self, view: LiveView) -> None:
        """Keep the latest view in which a part that will be rejected approaches the gate."""
        to_gate_ns = view.places_ns["gate"]
        on_its_way = any(
            part.verdict is VerdictKind.REJECT and 0 < part.at_ns < to_gate_ns for part in view.belt
        )
        better = on_its_way and view.picture is not None
        if better or self._good_view is None or self._good_view.picture is None:
            self._good_view = view

    def _result(
        self, status: Mapping[str, Any], elapsed_s: float
    ) -> tuple[dict[str, Any], Account]:
        first = PartFilter(from_part_id=self._assembled.sink.first_part_id)
        with RecordReader(self._plan.station.data_dir) as reader:
            records = [part.record for part in reader.parts(first)]
        account = self._line.line.account(records, configs=self._configs)
        verdicts = Counter(record.verdict.kind.value for record in records)
        faults = self._assembled.station.status()["faults"]
        result = {
            **account.as_dict(),
            "fast": False,
            "elapsed_s": elapsed_s,
            "verdicts": dict(sorted(verdicts.items())),
            "stage_latency_us": status["stage_latency_us"],
            "station_faults": faults,
            "engine": self._assembled.engine,
            "bundle": self._plan.bundle.card.title,
        }
        return result, account


def _last_part(event: Mapping[str, Any]) -> LastPart:
    kind = VerdictKind(event["verdict"])
    return LastPart(
        part_id=event["part_id"],
        verdict=kind,
        reason=event["reason"],
        score=event["score"] if kind in _SCORED else None,
        outcome=GateOutcome(event["gate_outcome"]),
    )
