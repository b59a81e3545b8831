"""The composition root: turns a plan into a running station, and takes it down again.

It opens the data directory, the model, the drivers and the socket, in this order. If a step
fails, everything that was opened is closed in reverse.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from edgeinspect.assembly.opened_records import OpenedRecords
from edgeinspect.assembly.prepared_model import Watcher, prepare_model
from edgeinspect.assembly.recipe_change import RecipeChange
from edgeinspect.assembly.simulated_station import SimulatedLine
from edgeinspect.challenge.challenge_service import ChallengeService
from edgeinspect.control.connections import Role
from edgeinspect.control.server import ControlServer
from edgeinspect.control.unix_socket import Endpoint
from edgeinspect.faults import FaultName
from edgeinspect.hw.clock import SystemClock
from edgeinspect.hw.opened import Drivers
from edgeinspect.hw.picture_file import read_picture
from edgeinspect.part import PartRecord
from edgeinspect.ports import Clock
from edgeinspect.records.part_ids import Draw
from edgeinspect.records.retention import LASTING_TROUBLES
from edgeinspect.records.writer import OpenReport
from edgeinspect.runtime.frame_fit import KnownFrame, check_fits
from edgeinspect.runtime.opened_wires import open_drivers
from edgeinspect.runtime.plan import StationPlan, refuse_half_simulated
from edgeinspect.runtime.realtime import keep_core_free
from edgeinspect.runtime.records_sink import RecordsSink
from edgeinspect.runtime.station import Station
from edgeinspect.runtime.threads import StationThread
from edgeinspect.settings.driver_tables import SIM
from edgeinspect.settings.station_file import StationFile
from edgeinspect.undo import undo_on_error

_JOIN_S = 2.0


class AssembledStation:
    """A station with its records and its control socket. Use it in a ``with`` block.

    Making it opens the records and the model; nothing moves before ``start``.

    Args:
        simulated: The line for a station file whose drivers are sim; None makes an endless one.
        want_map: Keep the score maps of the last parts for a live view.
        serve: Listen on the control socket.
        watch: Called in an inspection thread with every frame and what was seen in it.
        on_plan: Called with every plan that comes into force, this one included.
        draw: Where part ids begin; see ``edgeinspect.records.part_ids``.

    Attributes:
        plan: The plan in force; ``apply_recipe`` over the socket may bring another.

    Raises:
        EdgeInspectError: Something is missing or refused; nothing stays open.
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
        self.plan = plan
        self._on_plan = on_plan
        self._clock = clock or SystemClock()
        self._serve = serve
        self._watch = watch
        self._server: ControlServer | None = None
        core = plan.station.gate.pulse_core
        core_refused = "" if core is None else keep_core_free(core)  # before any other thread
        with contextlib.ExitStack() as opened:
            self._records = OpenedRecords(
                plan,
                clock=self._clock,
                draw=draw,
                on_fault=self._count_fault,
                on_troubles=self._show_troubles,
                on_recorded=self._on_recorded,
            )
            opened.callback(self._records.close)
            recipe = prepare_model(plan, watch=watch)
            opened.callback(recipe.inspectors.close)
            self.engine = recipe.inspectors.description
            if simulated is None and plan.station.io.driver == SIM:
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
                sink=self.sink,
                maintain=self.sink.maintain,
                clock=self._clock,
                next_part_id=self.sink.first_part_id,
                uncovered_faults=plan.uncovered_faults,
                want_map=want_map,
                locked=self.challenges.locks_now,
                pulse_core=core,
            )
            self._report_found_at_start(core_refused)
            self.challenges.attach(self.station)
            self._challenge_thread = StationThread(
                "challenge", self.challenges.run, self.station.thread_died
            )
            if simulated is not None:
                simulated.connect(self.station.acknowledge)
            opened.pop_all()
        on_plan(plan)

    @property
    def records_report(self) -> OpenReport:
        """The faults found when the records were opened."""
        return self._records.report

    @property
    def sink(self) -> RecordsSink:
        """Where the station's records become durable."""
        return self._records.sink

    def _report_found_at_start(self, core_refused: str) -> None:
        if core_refused:
            self.station.faults.begin(FaultName.PULSE_CORE_IS_SHARED, core_refused)
        for name, count in self.records_report.faults.items():
            self.station.faults.count(name, "found when the records were opened", times=count)

    def _on_recorded(self, records: Sequence[PartRecord]) -> None:
        self.challenges.recorded(records)

    def _count_fault(self, name: FaultName, detail: str) -> None:
        self.station.faults.count(name, detail)

    def _show_troubles(self, troubles: Mapping[FaultName, str]) -> None:
        for name in LASTING_TROUBLES:
            if name in troubles:
                self.station.faults.begin(name, troubles[name])
            else:
                self.station.faults.end(name)

    def start(self) -> None:
        """Start the line, then listen on the socket. Raises StationBusy, HardwareError."""
        with undo_on_error(self._close_records):
            self.station.start()
        self._challenge_thread.start()
        if not self._serve:
            return
        server = self._control_server()
        with undo_on_error(self.stop):
            server.start()
        self._server = server

    def stop(self) -> int:
        """Stop the line and close everything; returns the exit code of the station."""
        with contextlib.ExitStack() as closing:  # in reverse, and each whatever the others do
            closing.callback(self._close_records)
            closing.callback(self.station.stop)
            closing.callback(self._challenge_thread.join, _JOIN_S)
            closing.callback(self.challenges.stop)
        return self.station.exit_code

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _control_server(self) -> ControlServer:
        control = self.plan.station.control
        return ControlServer(
            path=self.plan.station.socket_path,
            controlled=self.station,
            apply_recipe=self._apply_recipe,
            challenge=self.challenges.command,
            mode=control.mode,
            group=control.group,
            watch=Endpoint(
                self.plan.station.watch_path,
                mode=control.watch_mode,
                group=control.watch_group or control.group,
                role=Role.WATCH,
            ),
            commanders=control.commanders,
        )

    def _close_records(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None
        in_flight = self.station.status()["parts_in_flight"]
        self._records.close(is_clean=self.station.exit_code == 0 and not in_flight)

    def _apply_recipe(
        self, arguments: Mapping[str, Any], wanted: Callable[[], bool]
    ) -> Mapping[str, object]:
        """Apply a recipe, as a client asked; see ``RecipeChange`` for the arguments."""
        change = RecipeChange.of(arguments)
        before = self.plan
        plan = change.plan(before)
        shape = self.station.frame_shape
        if shape is not None:
            check_fits(plan.recipe, plan.bundle, KnownFrame(shape, "of the camera's last frame"))
        with contextlib.ExitStack() as unused:
            prepared = prepare_model(plan, watch=self._watch)
            unused.callback(prepared.inspectors.close)
            with change.kept(plan, instead_of=before):
                self._records.add_recipe(plan)
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


def open_hardware(station: StationFile) -> Drivers:
    """Open the drivers that the station file names.

    Raises:
        ConfigError: Only half of the line is simulated.
        DriverMissing: A vendor library, or the driver itself, is not installed.
        HardwareError: A line or the camera cannot be opened.
    """
    refuse_half_simulated(station)
    return open_drivers(station)


def _close_all(drivers: Drivers) -> None:
    drivers.close_inputs()
    drivers.close_outputs()
    drivers.gate.close()
    drivers.camera.close()
