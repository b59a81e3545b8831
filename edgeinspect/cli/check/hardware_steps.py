"""``edgeinspect check --hardware``: the acceptance test of a machine, with a person present."""

from __future__ import annotations

import dataclasses
import platform
import queue
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeinspect.assembly.finding import Finding
from edgeinspect.cli.check import hardware_measure as measure
from edgeinspect.errors import EdgeInspectError
from edgeinspect.files.atomic_file import nearest_folder

if TYPE_CHECKING:
    from edgeinspect.hw.registry import IoModule
    from edgeinspect.part import CameraControls
    from edgeinspect.ports import Board
    from edgeinspect.settings.station_file import StationFile
    from edgeinspect.settings.wiring import InputLine, OutputLine

_EDGE_WAIT_S = 30.0
_DRIVE_S = 0.5
_FRAMES = 100
_SLOW_FSYNC_MS, _SLOW_DISK_MB_PER_S = 50.0, 5.0
_LATE_US = 1000.0


@dataclass(frozen=True, slots=True)
class Person:
    """The person at the machine: ``ask`` puts a yes-or-no question, ``instruct`` shows a text."""

    ask: Callable[[str], bool]
    instruct: Callable[[str], None]


def acceptance(
    station: StationFile, *, person: Person | None, board: Board | None = None
) -> Iterator[Finding]:
    """Test everything that the station file names, one step after another.

    Args:
        station: the station file, read and checked.
        person: who helps; with None, lines are opened but outputs stay at their safe level.
        board: where to read the board's health; the real board by default.

    Yields:
        One result per step. After a failed step, the others are still tested.
    """
    from edgeinspect.assembly.preflight import check_station
    from edgeinspect.hw.board_health import SystemBoard

    machine = measure.machine_emulation()
    yield from check_station(station)
    yield Finding(name="machine", state="ok", detail=_machine_words(), emulated=machine)
    yield from _board(station, board or SystemBoard(), machine)
    yield from _guarded("storage", lambda: _storage(station, machine))
    yield from _guarded("punctuality", lambda: _punctuality(machine))
    if station.engine.delegate == "edgetpu":
        yield from _guarded("edge tpu", lambda: _edgetpu(station))
    yield from _guarded("camera", lambda: _camera(station))
    yield from _lines(station, person)


def _guarded(name: str, steps: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from steps()
    except EdgeInspectError as error:
        yield Finding.failed(name, error)
    except OSError as error:
        words = str(error.strerror or error)
        yield Finding(name=name, state="fail", detail=f"{words}.", exit_code=4)


def _machine_words() -> str:
    name = platform.uname()
    return f"{name.node}, {name.machine}, Linux {name.release}, Python {platform.python_version()}"


def _board(station: StationFile, board: Board, machine: str) -> Iterator[Finding]:
    import shutil

    from edgeinspect.health.machine_health import machine_health
    from edgeinspect.hw.clock import SystemClock

    folder = nearest_folder(station.data_dir)
    state = board.read()
    items = machine_health(
        state,
        free_bytes=shutil.disk_usage(folder).free,
        min_free_bytes=station.storage.min_free_bytes,
        clock_synchronized=SystemClock().is_synchronized(),
    )
    states = {"ok": "ok", "warn": "warn", "bad": "fail"}
    for item in items:
        yield Finding(
            name=item.name,
            state=states.get(item.state.value, "warn"),
            detail=item.detail,
            next_action=item.next_action,
            emulated=machine,
            exit_code=4 if item.state.value == "bad" else 0,
        )
    if state.model:
        yield Finding(name="board", state="ok", detail=state.model, emulated=machine)


def _storage(station: StationFile, machine: str) -> Iterator[Finding]:
    folder = nearest_folder(station.data_dir)
    found = measure.disk_figures(folder)
    slow = found.fsync_ms_p99 > _SLOW_FSYNC_MS or found.write_mb_per_s < _SLOW_DISK_MB_PER_S
    yield Finding(
        name="storage speed",
        state="warn" if slow else "ok",
        detail=f"{found.write_mb_per_s:.0f} MB/s; one durable record takes "
        f"{found.fsync_ms_median:.1f} ms (99 of 100 take at most {found.fsync_ms_p99:.1f} ms)",
        next_action="Use an SSD or an A2 card; a slow disk drops pictures." if slow else "",
        figures=dataclasses.asdict(found),
        emulated=machine,
    )
    wear = measure.disk_wear(folder)
    worn = any(word not in ("0x00", "0x01", "0x02") for word in wear.get("life_time", "").split())
    said = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in wear.items())
    if "life_time" in wear:
        state, words = ("warn" if worn else "ok"), said
    else:
        state = "warn"
        words = (said + ": " if said else "") + "the medium does not report its wear"
    budget = station.storage.max_image_bytes / 1e9
    yield Finding(
        name="storage endurance",
        state=state,
        detail=f"{words}; pictures may use {budget:.1f} GB",
        next_action="" if state == "ok" else "Keep backups and a spare card with the same image.",
        figures=wear,
        emulated=machine,
    )


def _punctuality(machine: str) -> Iterator[Finding]:
    import numpy as np

    idle = measure.timer_lateness_us()
    grid = np.random.default_rng(1).random((400, 400))
    with measure.loaded(lambda: grid @ grid):
        busy = measure.timer_lateness_us()
    figures = {
        f"late_us_{name}_{share}": float(np.percentile(late, percent, method="higher"))
        for name, late in (("idle", idle), ("loaded", busy))
        for share, percent in (("median", 50), ("p99", 99), ("max", 100))
    }
    worst = figures["late_us_loaded_p99"]
    yield Finding(
        name="punctuality",
        state="warn" if worst > _LATE_US else "ok",
        detail="99 of 100 times a real-time thread wakes at most "
        f"{figures['late_us_idle_p99']:.0f} us late on the idle machine, and {worst:.0f} us late "
        "with every core busy",
        next_action="Allow real-time priority (the service file does), or increase "
        "gate.timing_tolerance_ms."
        if worst > _LATE_US
        else "",
        figures=figures,
        emulated=machine,
    )


def _edgetpu(station: StationFile) -> Iterator[Finding]:
    from edgeinspect.hw.edgetpu import find_edgetpus

    found = find_edgetpus()
    if not found:
        yield Finding(
            name="edge tpu",
            state="fail",
            detail="the kernel did not find an Edge TPU on USB or PCIe",
            next_action="Plug it into a USB 3 port with enough power, or load the apex driver.",
            exit_code=4,
        )
    for device in found:
        yield Finding(
            name="edge tpu",
            state="warn" if device.is_slow_port else "ok",
            detail=f"{device.kind} at {device.place} {device.detail}"
            + (f", {device.mbit_per_s} Mbit/s" if device.mbit_per_s else ""),
            next_action="Use a blue USB 3 port; USB 2 is slower than most models."
            if device.is_slow_port
            else "",
        )


def _camera(station: StationFile) -> Iterator[Finding]:
    from edgeinspect.cli.camera.opened_camera import opened_camera, quality_fields
    from edgeinspect.cli.camera.stream import stream_fields
    from edgeinspect.settings.driver_tables import SIM

    wiring = station.camera
    if wiring.driver == SIM:
        yield Finding(name="camera", state="ok", detail="simulated line", emulated="simulated line")
        return
    emulated = _camera_emulation(wiring.driver, wiring.device or "")
    try:
        with opened_camera(station, force=False) as opened:
            frames = [opened.frame() for _ in range(_FRAMES)]
            quality = quality_fields(opened.roi_pixels(frames[-1]))
    except EdgeInspectError as error:
        yield Finding.failed("camera", error, emulated=emulated)
        return
    figures = stream_fields([frame.meta for frame in frames], opened.controls)
    wrong = str(figures["off_recipe_detail"])
    height, width = frames[-1].pixels.shape[:2]
    yield Finding(
        name="camera",
        state="fail" if wrong else "ok",
        detail=f"{wiring.driver}, {width} x {height}, "
        f"{figures['frames_per_s']:.1f} frames/s, frames {figures['age_ms_median']:.1f} ms old"
        + (f"; {wrong}" if wrong else _settings_words(opened.controls)),
        next_action="Correct it with: edgeinspect camera expose" if wrong else "",
        figures=figures | quality,
        emulated=emulated,
        exit_code=4 if wrong else 0,
    )


def _settings_words(controls: CameraControls) -> str:
    asked = any(value is not None for value in dataclasses.asdict(controls).values())
    return "; settings match the recipe" if asked else "; the recipe sets no camera controls"


def _camera_emulation(driver: str, device: str) -> str:
    if driver == "folder":
        return "folder of pictures"
    if driver == "v4l2":
        return measure.video_emulation(device)
    if driver != "picamera2":
        return ""
    from edgeinspect.hw.picamera2 import camera_ids

    try:
        ids = camera_ids()
    except EdgeInspectError:
        return ""  # the camera's own step reports why
    # Sensors on a ribbon cable are named by the device tree, USB cameras by their port.
    real = [name for name in ids if name.startswith("/base/") or "usb" in name]
    return "" if real or not ids else f"libcamera's {ids[0]}"


def _lines(station: StationFile, person: Person | None) -> Iterator[Finding]:
    from edgeinspect.cli.io.opened_lines import idle_station, inputs_of, io_module, outputs_of
    from edgeinspect.settings.driver_tables import SIM

    if station.io.driver == SIM:
        yield Finding(name="lines", state="ok", detail="simulated line", emulated="simulated line")
        return
    try:
        module = io_module(station)
        with idle_station(station, force=False):
            for name, wire in inputs_of(station).items():
                yield _input(station, module, name, wire, person)
            for name, out in outputs_of(station).items():
                yield _output(station, module, name, out, person)
    except EdgeInspectError as error:
        yield Finding.failed("lines", error)


def _input(
    station: StationFile, module: IoModule, name: str, wire: InputLine, person: Person | None
) -> Finding:
    emulated = _line_emulation(station, wire.chip)
    news: queue.SimpleQueue[int] = queue.SimpleQueue()
    try:
        close = _started(station, module, name, wire, news)
    except EdgeInspectError as error:
        return Finding.failed(f"input {name}", error, emulated=emulated)
    try:
        if person is None:
            return _not_tried(f"input {name}", f"line {wire.line} opens; no edge requested")
        person.instruct(
            f"Make the input {name.replace('_', ' ')} change once within {_EDGE_WAIT_S:.0f} s."
        )
        try:
            edge = news.get(timeout=_EDGE_WAIT_S)
        except queue.Empty:
            return Finding(
                name=f"input {name}",
                state="fail",
                detail=f"line {wire.line}: no edge within {_EDGE_WAIT_S:.0f} s",
                next_action="Check the sensor's supply and wire, and the keys active and bias.",
                emulated=emulated,
                exit_code=4,
            )
        time.sleep(0.3)  # wait for bounces
        edges = 1 + news.qsize()
        age_ms = (time.monotonic_ns() - edge) / 1e6
        bounced = edges > 1 and name != "encoder"
        return Finding(
            name=f"input {name}",
            state="warn" if bounced else "ok",
            detail=f"line {wire.line}: {edges} edge{'s' if edges > 1 else ''}",
            next_action="If it changed only once, set debounce_us." if bounced else "",
            figures={"edges": edges, "first_edge_age_ms": age_ms},
            emulated=emulated,
        )
    finally:
        close()


def _started(
    station: StationFile,
    module: IoModule,
    name: str,
    wire: InputLine,
    news: queue.SimpleQueue[int],
) -> Callable[[], None]:
    """Open the input, put the times of its edges into ``news``, and return its close function."""
    if name == "line_stopped":
        level = module.level_input(station.io, wire)
        level.start(lambda active, edge_mono_ns: news.put(edge_mono_ns))
        return level.close
    if name == "encoder" and station.encoder is not None:
        encoder = module.encoder_input(station.io, station.encoder)
        encoder.start(lambda count, edge_mono_ns: news.put(edge_mono_ns))
        return encoder.close
    edge = module.edge_input(station.io, wire)
    edge.start(news.put)
    return edge.close


def _output(
    station: StationFile, module: IoModule, name: str, wire: OutputLine, person: Person | None
) -> Finding:
    emulated = _line_emulation(station, wire.chip)
    step = f"output {name}"
    try:
        output = module.output(station.io, wire)
    except EdgeInspectError as error:
        return Finding.failed(step, error, emulated=emulated)
    try:
        if person is None:
            return _not_tried(step, f"line {wire.line} is held at its safe level; not driven")
        words = name.replace("_", " ")
        if not person.ask(f"The output {words} will be switched on twice. Is everybody clear?"):
            return _not_tried(step, "not driven: the line was not clear")
        for _ in range(2):
            output.drive(True)
            time.sleep(_DRIVE_S)
            output.drive(False)
            time.sleep(_DRIVE_S)
        good = person.ask(f"Did {words} switch on twice, and is it off now?")
    except EdgeInspectError as error:
        return Finding.failed(step, error, emulated=emulated)
    finally:
        output.close()
    return Finding(
        name=step,
        state="ok" if good else "fail",
        detail=f"line {wire.line}: " + ("seen to move" if good else "not seen to move"),
        next_action="" if good else "Check the driver stage, its supply, and the key active.",
        emulated=emulated,
        exit_code=0 if good else 4,
    )


def _not_tried(name: str, detail: str) -> Finding:
    return Finding(name=name, state="not tried", detail=detail)


def _line_emulation(station: StationFile, chip: str | None) -> str:
    from edgeinspect.hw.gpio_chips import list_chips

    label = chip or station.io.chip
    try:
        chips: list[Any] = [facts for facts in list_chips() if facts.label == label]
    except EdgeInspectError:
        return ""
    return measure.chip_emulation(chips[0].device) if chips else ""
