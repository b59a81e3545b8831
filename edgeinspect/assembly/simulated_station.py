"""The simulated line wired to a station: ``camera.driver: sim`` and ``io.driver: sim``."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from edgeinspect.errors import ConfigError, UsageError
from edgeinspect.hw.opened import Drivers
from edgeinspect.line.config import GateKind
from edgeinspect.ports import EdgeListener
from edgeinspect.settings.distances import DelayTrack, distances_of
from edgeinspect.settings.station_file import StationFile
from edgeinspect.sim.devices import Eye
from edgeinspect.sim.live_line import LiveLine
from edgeinspect.sim.presets import MS, NS_PER_COUNT, SECOND, LineGeometry
from edgeinspect.sim.product import FRAME_HEIGHT_PX, FRAME_WIDTH_PX
from edgeinspect.sim.rendered import RenderedParts
from edgeinspect.sim.world import LensView, PartSource, SimPart

ENDLESS = 10_000_000
"""Parts of a line that just runs: more than three weeks of them."""
AHEAD = 12
"""Pictures that are rendered before their parts come."""


class PicturesAhead(PartSource, Eye):
    """Renders the next parts' pictures before they come, as a real camera costs no computing.

    Is both ``PartSource`` and ``Eye``. A part that does not stand in its place, or that is looked
    at twice, is rendered when it is looked at.
    """

    def __init__(self, parts: RenderedParts) -> None:
        """Fills the renderer's texture banks and renders the first parts; takes a second."""
        self._parts = parts
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="renderer")
        self._ahead: dict[int, Future[NDArray[np.uint8]]] = {}
        self._masters: dict[int, NDArray[np.uint8]] = {}
        self._next_master: tuple[NDArray[np.uint8], bool] | None = None
        self._next = 0
        self._render_to(AHEAD)
        for picture in list(self._ahead.values()):
            picture.result()

    @override
    def make(self, number: int) -> tuple[bool, float]:
        self._render_to(number + AHEAD)
        if self._next_master is not None:
            picture, defective = self._next_master
            self._masters, self._next_master = {number: _grainy(picture, number)}, None
            return defective, float(defective)
        return self._parts.make(number)

    def show_next(self, picture: NDArray[np.uint8], *, defective: bool) -> None:
        """The next part that is made looks like this picture."""
        self._next_master = (picture, defective)

    @override
    def expose(self, view: LensView, exposure_ns: int) -> NDArray[np.uint8]:
        picture = None
        if view.part is not None:
            if view.part.number in self._masters:
                return self._masters[view.part.number]
            picture = self._ahead.pop(view.part.number, None)
            self._ahead.pop(view.part.number - AHEAD, None)  # it was never looked at
        if picture is None or not view.placed:
            return self._parts.expose(view, exposure_ns)
        return picture.result()

    def close(self) -> None:
        """Stop rendering."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _render_to(self, end: int) -> None:
        for number in range(self._next, end):
            self._ahead[number] = self._pool.submit(self._render, number)
        self._next = max(self._next, end)

    def _render(self, number: int) -> NDArray[np.uint8]:
        part = SimPart(number, defective=False, score=0.0, sensor_travel_ns=0)
        return self._parts.expose(LensView(part, offset_ns=0, placed=True), 0)


def _grainy(picture: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Add sensor noise of one grey level to the picture, so that no two frames are equal.

    Otherwise a master that is put on the line again would look like a frozen camera.
    """
    noise = np.random.default_rng(number).integers(-1, 2, picture.shape, np.int16)
    grainy: NDArray[np.uint8] = np.clip(picture + noise, 0, 255).astype(np.uint8)
    return grainy


class SimulatedLine:
    """Rendered parts on a live line whose dimensions are those of the station file.

    Attributes:
        line: the world; it starts when the station begins to listen to the trigger.
    """

    def __init__(
        self,
        station: StationFile,
        *,
        parts: int = ENDLESS,
        seed: int = 1,
        rate_per_s: float = 5.0,
        defect_rate: float = 0.05,
    ) -> None:
        """Create the line; it does not move yet.

        Args:
            station: gives the line's dimensions.
            parts: how many parts to put on the belt.
            seed: makes the run repeatable.
            rate_per_s: average parts per second, as far as the smallest pitch allows.
            defect_rate: share of defective parts, [0, 1].

        Raises:
            ConfigError: the station file wires a line that the simulated line does not have.
        """
        _refuse_unwired(station)
        rendered = PicturesAhead(RenderedParts(seed=seed, defect_rate=defect_rate))
        self._pictures = rendered
        self.line = LiveLine(
            parts=parts,
            seed=seed,
            gate=gate_name(station),
            source=rendered,
            eye=rendered,
            encoder=station.encoder is not None,
            geometry=geometry_of(station, rate_per_s=rate_per_s),
        )

    @property
    def drivers(self) -> Drivers:
        """For the station; its trigger input starts and stops the line."""
        return replace(self.line.drivers, trigger=_StartingTrigger(self.line, self._pictures))

    def hold_back(self) -> None:
        """See ``edgeinspect.challenge.challenge_service.MasterFeeder``."""
        self.line.hold_back(True)

    def put_on(self, picture: NDArray[np.uint8], *, defective: bool) -> None:
        """Put a part that looks like this on the belt; its picture must be of the line's size."""
        if picture.shape != (FRAME_HEIGHT_PX, FRAME_WIDTH_PX):
            raise UsageError(
                f"The simulated line shows grey pictures of {FRAME_WIDTH_PX} x {FRAME_HEIGHT_PX} "
                f"pixels, but this one has the shape {picture.shape}."
            )
        self._pictures.show_next(picture, defective=defective)
        self.line.put_on()

    @property
    def is_clear(self) -> bool:
        """Whether the belt is empty."""
        return self.line.belt_is_empty

    def go_on(self) -> None:
        """Put parts on the belt again."""
        self.line.hold_back(False)

    def connect(self, acknowledge: Callable[[], object]) -> None:
        """Let the line's operator acknowledge the station's alarms."""
        self.line.on_acknowledge = lambda: (acknowledge(), None)[1]


class _StartingTrigger:
    """The trigger sensor of a line that runs for as long as somebody listens to it."""

    def __init__(self, line: LiveLine, pictures: PicturesAhead) -> None:
        self._line = line
        self._pictures = pictures
        self._running = False

    def start(self, listener: EdgeListener) -> None:
        self._line.trigger.start(listener)
        self._line.start()
        self._running = True

    def close(self) -> None:
        if self._running:
            self._running = False
            self._line.stop()
        self._pictures.close()
        self._line.trigger.close()


def gate_name(station: StationFile) -> str:
    """The station's gate by its name in ``edgeinspect.sim.presets.GATES``."""
    guarded = station.lines.guard is not None
    if station.gate.kind is GateKind.NORMALLY_REJECTING:
        return "normally-rejecting"
    return "normally-passing-guarded" if guarded else "normally-passing"


def geometry_of(station: StationFile, *, rate_per_s: float) -> LineGeometry:
    """The line's dimensions as the station file states them, in nanoseconds of travel."""
    places = distances_of(station.track)
    unit = MS if places.unit == "ms" else NS_PER_COUNT
    usual = LineGeometry()
    least_ns = max(usual.pitch_min_ns, round(places.min_pitch * unit) + 2 * usual.slip_ns)
    guard = places.sensor_to_guard
    # more time for the camera in the station file: parts that stay longer in their place
    placed_ns = max(usual.view_tolerance_ns, round(places.exposure_window * unit) + 2 * MS)
    lease_ns = round(station.gate.lease_ms * MS)
    restart_ms = station.track.restart_ms if isinstance(station.track, DelayTrack) else None
    restart_ns = usual.restart_ns if restart_ms is None else round(restart_ms * MS)
    return replace(
        usual,
        restart_ns=min(usual.restart_ns, restart_ns),
        view_tolerance_ns=placed_ns,
        view_ns=usual.view_ns + placed_ns - usual.view_tolerance_ns,
        heartbeat_timeout_ns=max(usual.heartbeat_timeout_ns, lease_ns + 100 * MS),
        pitch_min_ns=least_ns,
        pitch_mean_ns=max(least_ns + MS, round(SECOND / rate_per_s)),
        to_lens_ns=round(places.sensor_to_lens * unit),
        to_guard_ns=usual.to_guard_ns if guard is None else round(guard * unit),
        to_gate_ns=round(places.sensor_to_gate * unit),
        to_end_ns=max(usual.to_end_ns, round(places.sensor_to_gate * unit) + SECOND),
    )


def _refuse_unwired(station: StationFile) -> None:
    lines = station.lines
    if lines.guard is not None and station.gate.kind is GateKind.NORMALLY_REJECTING:
        raise ConfigError(
            file=f"station {station.id}",
            key="lines.guard",
            value=lines.guard.line,
            expected="no guard sensor; the simulated line has one only with a passing gate",
        )
    for key in ("confirm", "line_stopped", "heartbeat", "line_stop"):
        if getattr(lines, key) is None:
            raise ConfigError(
                file=f"station {station.id}",
                key=f"lines.{key}",
                value=None,
                expected="the line, because the simulated line has it",
            )
