"""The composition root: from a plan to a running station, and back to nothing.

Everything is opened here in the order in which it can fail: data directory, model, threads and
drivers, socket. Whatever was opened is closed again in reverse if a later step fails.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgeinspect.assembly.recipe_change import RecipeChange
from edgeinspect.assembly.simulated_station import SimulatedLine
from edgeinspect.challenge.challenge_service import ChallengeService
from edgeinspect.control.connections import Role
from edgeinspect.control.server import ControlServer
from edgeinspect.control.unix_socket import Door
from edgeinspect.faults import FaultName
from edgeinspect.hw.clock import SystemClock
from edgeinspect.hw.opened import Drivers
from edgeinspect.hw.picture_file import read_picture
from edgeinspect.line.config import LineConfig, Tracking
from edgeinspect.part import Frame, Inspection, PartRecord
from edgeinspect.ports import Clock
from edgeinspect.records.images import ImagePolicy
from edgeinspect.records.part_ids import Draw
from edgeinspect.records.retention import LASTING_TROUBLES, RecordPolicy
from edgeinspect.records.writer import OpenReport, RecordWriter
from edgeinspect.runtime.frame_fit import KnownFrame, check_fits
from edgeinspect.runtime.inspection import FrameInspector
from edgeinspect.runtime.models import open_inspectors
from edgeinspect.runtime.opened_wires import open_drivers
from edgeinspect.runtime.plan import StationPlan, plan_station, refuse_half_simulated
from edgeinspect.runtime.realtime import keep_core_free
from edgeinspect.runtime.records_sink import RecordsSink
from edgeinspect.runtime.station import PreparedRecipe, Station
from edgeinspect.runtime.threads import StationThread
from edgeinspect.settings.audit import AUDIT_FILE, AuditTrail
from edgeinspect.settings.audit_guard import AuditGuard
from edgeinspect.settings.station_file import StationFile, Storage
from edgeinspect.settings.wiring import IoDriver


def image_policy(storage: Storage) -> ImagePolicy:
    """The station file's storage budget as the image ring takes it."""
    return ImagePolicy(
        max_bytes=storage.max_image_bytes,
        min_free_bytes=storage.min_free_bytes,
        pass_sample_share=storage.pass_sample_share,
        near_miss_margin=storage.near_miss_margin,
    )


def record_policy(storage: Storage) -> RecordPolicy:
    """The station file's storage budget as the records take it."""
    return RecordPolicy(
        max_bytes=storage.max_record_bytes,
        max_days=storage.max_record_days,
        min_free_bytes=storage.min_free_bytes,
    )


_JOIN_S = 2.0
Watcher = Callable[[Frame, Inspection], None]


class _Watched:
    """An inspector that shows somebody what it has seen."""

    def __init__(self, inspector: FrameInspector, watch: Watcher) -> None:
        self._inspector = inspector
        self._watch = watch

    def inspect(self, frame: Frame, *, want_map: bool = False) -> Inspection:
        inspection = self._inspector.inspect(frame, want_map=want_map)
        self._watch(frame, inspection)
        return inspection


def prepare(plan: StationPlan, *, watch: Watcher | None = None) -> PreparedRecipe:
    """Load the plan's model and check it on the engine in use. Raises ModelRefused."""
    inspectors = open_inspectors(
        plan.bundle,
        engine=plan.station.engine,
        roi=plan.roi,
        reducer=plan.recipe.reducer,
        recipe_digest=plan.digest,
        cycle_ns=_cycle_ns(plan.config),
    )
    if watch is not None:
        watched = tuple(_Watched(inspector, watch) for inspector in inspectors.inspectors)
        inspectors = replace(inspectors, inspectors=watched)
    return PreparedRecipe(config=plan.config, inspectors=inspectors, controls=plan.controls)


def _cycle_ns(config: LineConfig) -> int | None:
    """From one part to the next at the least; with an encoder it depends on the belt's speed."""
    by_time = config.track.tracking is Tracking.DELAY
    return config.trigger.min_pitch if by_time else None


def open_hardware(station: StationFile) -> Drivers:
    """The drivers that the station file names.

    Raises:
        ConfigError: only half of the line is simulated.
        DriverMissing: a vendor library, or the driver itself, is not installed.
        HardwareError: a line or the camera cannot be opened.
    """
    refuse_half_simulated(station)
    return open_drivers(station)


class AssembledStation:
    """A station with its records and its control socket. Use it in a ``with`` block.

    Attributes:
        plan: what is in force; ``apply_recipe`` over the socket may bring another.
    """

    def __init__(
        self,
        plan: StationPlan,
        *,
        simulated: SimulatedLine | None = None,
        clock: Clock | None = None,
        want_map: bool = False,
        serve: bool = True,
        watch: Watcher | None = None,
        on_plan: Callable[[StationPlan], None] = lambda plan: None,
        draw: Draw = secrets.randbelow,
    ) -> None:
        """Open the records and the model; nothing moves before ``start``.

        Args:
            simulated: the line for a station file whose drivers are sim; an endless one if
                left out.
            want_map: keep the score maps of the last parts for a live view.
            serve: listen on the control socket.
            watch: called in an inference worker with every frame and what was seen in it.
            draw: where part ids begin, see ``edgeinspect.records.part_ids``.
            on_plan: told every plan that comes into force, this one included.

        Raises:
            EdgeInspectError: with what is missing; nothing stays open.
        """
        self.plan = plan
        self._on_plan = on_plan
        self._clock = clock or SystemClock()
        self._serve = serve
        self._watch = watch
        self._server: ControlServer | None = None
        core = plan.station.gate.pulse_core
        core_refused = "" if core is None else keep_core_free(core)  # before any other thread
        with contextlib.ExitStack() as opened:
            self._writer = RecordWriter(
                plan.station.data_dir,
                clock=self._clock,
                policy=image_policy(plan.station.storage),
                record_policy=record_policy(plan.station.storage),
                uncovered_faults=plan.uncovered_faults,
                draw=draw,
            )
            opened.callback(self._writer.close)
            self._audit_guard = AuditGuard(
                AuditTrail(plan.station.data_dir / AUDIT_FILE),
                now_mono_ns=self._clock.now_mono_ns,
            )
            opened.callback(self._audit_guard.close)
            self._sink = RecordsSink(
                self._writer,
                image_policy(plan.station.storage),
                on_fault=self._count_fault,
                on_troubles=self._show_troubles,
                on_recorded=self._tell_recorded,
                look_after_audit=self._audit_guard.look,
            )
            self._sink.add_recipe(plan.digest, plan.config.thresholds, document=plan.document)
            recipe = prepare(plan, watch=watch)
            opened.callback(recipe.inspectors.close)
            self.engine = recipe.inspectors.description
            if simulated is None and plan.station.io.driver is IoDriver.SIM:
                simulated = SimulatedLine(plan.station)
            drivers = open_hardware(plan.station) if simulated is None else simulated.drivers
            opened.callback(_close_all, drivers)
            self.challenges = ChallengeService(
                data_dir=plan.station.data_dir,
                policy=plan.station.challenge,
                plan=lambda: self.plan,
                clock=self._clock,
                read_picture=read_picture,
                feeder=simulated,
            )
            self.station = Station(
                recipe=recipe,
                drivers=drivers,
                sink=self._sink,
                maintain=self._sink.maintain,
                clock=self._clock,
                next_part_id=self._sink.first_part_id,
                uncovered_faults=plan.uncovered_faults,
                want_map=want_map,
                locked=self.challenges.locks_now,
                pulse_core=core,
            )
            if core_refused:
                self.station.faults.begin(FaultName.PULSE_CORE_IS_SHARED, core_refused)
            self.challenges.attach(self.station)
            self._challenge_thread = StationThread(
                "challenge", self.challenges.run, self.station.thread_died
            )
            if simulated is not None:
                simulated.connect(self.station.acknowledge)
            for name, count in self._writer.report.faults.items():
                self.station.faults.count(name, "found when the records were opened", times=count)
            opened.pop_all()
        on_plan(plan)

    @property
    def records_report(self) -> OpenReport:
        """What was found when the records were opened."""
        return self._writer.report

    def _tell_recorded(self, records: Sequence[PartRecord]) -> None:
        self.challenges.recorded(records)

    def _count_fault(self, name: FaultName, detail: str) -> None:
        self.station.faults.count(name, detail)

    def _show_troubles(self, troubles: Mapping[FaultName, str]) -> None:
        for name in LASTING_TROUBLES:
            if name in troubles:
                self.station.faults.begin(name, troubles[name])
            else:
                self.station.faults.end(name)

    @property
    def sink(self) -> RecordsSink:
        return self._sink

    def start(self) -> None:
        """Start the line, then listen on the socket. Raises StationBusy, HardwareError."""
        try:
            self.station.start()
        except BaseException:
            self._close_records()
            raise
        self._challenge_thread.start()
        if not self._serve:
            return
        control = self.plan.station.control
        server = ControlServer(
            path=self.plan.station.socket_path,
            controlled=self.station,
            apply_recipe=self._apply_recipe,
            challenge=self.challenges.command,
            mode=control.mode,
            group=control.group,
            watch=Door(
                self.plan.station.watch_path,
                mode=control.watch_mode,
                group=control.watch_group or control.group,
                role=Role.WATCH,
            ),
            commanders=control.commanders,
        )
        try:
            server.start()
        except BaseException:
            self.stop()
            raise
        self._server = server

    def stop(self) -> int:
        """Stop the line, close everything; returns the exit code that the station earned."""
        with contextlib.ExitStack() as closing:  # in reverse, and each whatever the others do
            closing.callback(self._close_records)
            closing.callback(self.station.stop)
            closing.callback(self._challenge_thread.join, _JOIN_S)
            closing.callback(self.challenges.stop)
        return self.station.exit_code

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _close_records(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None
        clean = self.station.exit_code == 0 and not self.station.status()["parts_in_flight"]
        self._audit_guard.close()
        self._writer.close(next_part_id=self._sink.next_part_id if clean else None)

    def _apply_recipe(
        self, arguments: Mapping[str, Any], wanted: Callable[[], bool]
    ) -> Mapping[str, object]:
        """The control command; see ``RecipeChange`` for the arguments."""
        change = RecipeChange.of(arguments)
        before = self.plan
        plan = change.plan(before)
        shape = self.station.frame_shape
        if shape is not None:
            check_fits(plan.recipe, plan.bundle, KnownFrame(shape, "of the camera's last frame"))
        with contextlib.ExitStack() as unused:
            prepared = prepare(plan, watch=self._watch)
            unused.callback(prepared.inspectors.close)
            with change.kept(plan, instead_of=before):
                self._sink.add_recipe(plan.digest, plan.config.thresholds, document=plan.document)
                with self.challenges.changing_to(plan):
                    self.station.apply_recipe(prepared, wanted=wanted)
                    unused.pop_all()  # they are the station's from here on
                    self.plan = plan
        self._on_plan(plan)
        return {
            "product": plan.recipe.product,
            "revision": plan.recipe.revision,
            "recipe_digest": plan.digest,
            "previous_revision": before.recipe.revision,
        }


def _close_all(drivers: Drivers) -> None:
    drivers.close_inputs()
    drivers.close_outputs()
    drivers.gate.close()
    drivers.camera.close()


def load_plan(config: Path, *, recipe_file: Path | None = None) -> StationPlan:
    """Station file, recipe and bundle, found and checked. Raises ConfigError, ModelRefused."""
    from edgeinspect.settings.station_file import load_station

    return plan_station(load_station(config), recipe_file=recipe_file)
