"""The station file: this machine's wiring, belt, gate and limits. People write it.

``docs/reference/station-file.md`` lists every key. Milliseconds stand here because people measure
in them;
``edgeinspect.settings.compile`` turns them into the core's nanoseconds.
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, StringConstraints, model_validator

from edgeinspect.errors import ConfigError, UsageError
from edgeinspect.files.yaml_expected import Rule
from edgeinspect.files.yaml_file import YamlFile, read_yaml, validate
from edgeinspect.line.config import GateKind, ReviewAction
from edgeinspect.settings.base import (
    FormatOne,
    Label,
    Milliseconds,
    Name,
    PathText,
    PositiveMilliseconds,
    Section,
    Share,
)
from edgeinspect.settings.challenge import Challenge
from edgeinspect.settings.distances import (
    DelayTrack,
    Distances,
    Track,
    check_distances,
    check_stop_signal,
    distances_of,
)
from edgeinspect.settings.driver_tables import (
    CAMERA_DRIVERS,
    SIM,
    CameraDriverName,
    EngineName,
)
from edgeinspect.settings.wiring import EncoderLine, Io, Lines, check_wires

KEYS_FOLDER = "keys"
"""Beside the station file: the keys whose holders may vouch for bundles. It is root's."""


class Camera(Section):
    """The camera and its driver.

    Attributes:
        device: folder of pictures, ``/dev/video0``, or the camera's number; None: the only one.
        width_px, height_px: the mode; None leaves it to the driver.
        frames_per_s: the sensor's own frame rate; None leaves it to the driver.
        external_trigger: the sensor exposes on an external signal, so silence is not a fault.
        strobe_lead_ms: time from switching ``lines.strobe`` on until it gives full light.
        stamp_error_ms: the largest error of the camera's stamps; None: unknown, treated as 0.
    """

    driver: CameraDriverName
    device: Label | None = None
    width_px: int | None = Field(default=None, ge=16, le=16384)
    height_px: int | None = Field(default=None, ge=16, le=16384)
    frames_per_s: float | None = Field(default=None, gt=0, le=1000)
    color: Literal["gray", "rgb"] = "gray"
    external_trigger: bool = False
    strobe_lead_ms: Milliseconds = 1.0
    stamp_error_ms: Milliseconds | None = None

    @property
    def replays_files(self) -> bool:
        """Whether its pictures come from files; see ``CameraEntry``."""
        return self.driver != SIM and CAMERA_DRIVERS[self.driver].replays_files

    @model_validator(mode="after")
    def _check_device(self) -> Self:
        entry = CAMERA_DRIVERS.get(self.driver)
        if self.device is None and entry is not None and entry.device:
            expected = f"{entry.device}, for the driver {self.driver}"
            raise Rule("device", value=None, expected=expected)
        if (self.width_px is None) != (self.height_px is None):
            key = "width_px" if self.width_px is None else "height_px"
            raise Rule(key, value=None, expected="width_px and height_px together")
        return self


class Gate(Section):
    """See ``edgeinspect.line.config.GateConfig``.

    Attributes:
        pulse_core: the processor core that the pulse thread has to itself; None: any core.
    """

    kind: GateKind
    min_off_ms: Milliseconds = 0.0
    max_on_ms: PositiveMilliseconds | None = None
    decision_margin_ms: PositiveMilliseconds = 5.0
    lease_ms: PositiveMilliseconds = 100.0
    timing_tolerance_ms: PositiveMilliseconds = 5.0
    pulse_core: int | None = Field(default=None, ge=0, le=1023)


class Confirm(Section):
    """See ``edgeinspect.line.config.ConfirmConfig``."""

    earliest_ms: float = Field(ge=-600_000, le=600_000)
    latest_ms: float = Field(ge=-600_000, le=600_000)


class Alarms(Section):
    """How many in a row raise an alarm; 0 leaves the alarm out."""

    consecutive_rejects: int = Field(default=5, ge=0, le=10_000)
    consecutive_cannot_inspect: int = Field(default=5, ge=0, le=10_000)
    unconfirmed_rejects: int = Field(default=1, ge=0, le=10_000)
    stop_line_on_unconfirmed: bool = True


AcceleratorName = Annotated[
    str,
    StringConstraints(pattern=r"^(usb|pci)(:[0-9]{1,2})?$"),
    Field(description="usb or pci, or a numbered device such as usb:1"),
]


class EngineSettings(Section):
    """How the model runs.

    Attributes:
        runtime: the library that runs the model; auto takes LiteRT, else tflite-runtime.
        arrangement: how tiles share the cores; auto measures at start and takes the fastest.
        threads: the most cores to use; None: all of them.
        delegate: edgetpu for models compiled for the Edge TPU.
        device: the accelerator; None: the first.
        deadline_ms: time limit of one part on the accelerator; a part that takes longer is lost.
        when_lost: cpu continues without the accelerator if it is fast enough for the line; reject
            rejects every part.
    """

    runtime: Literal["auto", "litert", "tflite-runtime"] = "auto"
    arrangement: Literal["auto", "threads", "interpreters", "batch"] = "auto"
    threads: int | None = Field(default=None, ge=1, le=64)
    delegate: EngineName = "none"
    device: AcceleratorName | None = None
    deadline_ms: PositiveMilliseconds = 500.0
    when_lost: Literal["reject", "cpu"] = "reject"


class Storage(Section):
    """Limits on records and pictures.

    Attributes:
        max_image_bytes: budget of the image ring.
        min_free_bytes: disk space that the image ring leaves free.
        pass_sample_share: share of passed parts whose picture is kept.
        near_miss_margin: pictures of passed parts whose score is this close to a threshold are
            kept.
        max_record_bytes: budget of the records database with its log.
        max_record_days: older records are reduced to hourly counts; None: only the bytes count.
    """

    max_image_bytes: int = Field(default=2_000_000_000, ge=0, le=10**15)
    min_free_bytes: int = Field(default=200_000_000, ge=0, le=10**15)
    pass_sample_share: Share = 0.01
    near_miss_margin: Share = 0.1
    max_record_bytes: int = Field(default=4_000_000_000, ge=20_000_000, le=10**15)
    max_record_days: int | None = Field(default=400, ge=1, le=36_500)


Access = Literal["owner", "group", "everyone"]


class Control(Section):
    """Who may command the station, and who may only watch it.

    Attributes:
        socket: path of the control socket; None: ``control.sock`` in the data directory.
        group: its group; None: the process's own.
        access: who may connect.
        commanders: the users who may command there; others who may connect can watch. None:
            whoever may connect.
        watch_socket: path of the socket that can only watch; None: ``watch.sock`` beside the
            control socket.
        watch_group: its group; None: the same as ``group``.
        watch_access: who may connect to it.
    """

    socket: PathText | None = None
    group: Name | None = None
    access: Access = "group"
    commanders: tuple[Name, ...] | None = Field(default=None, max_length=64)
    watch_socket: PathText | None = None
    watch_group: Name | None = None
    watch_access: Access = "group"

    @property
    def mode(self) -> int:
        """The control socket's file mode."""
        return _MODES[self.access]

    @property
    def watch_mode(self) -> int:
        """The watch socket's file mode."""
        return _MODES[self.watch_access]


_MODES: dict[Access, int] = {"owner": 0o600, "group": 0o660, "everyone": 0o666}


class StationFile(Section):
    """One station. Relative paths start at the station file's folder once it is loaded.

    Attributes:
        id: the station's name in records and links.
        data_dir: records, images and recipes.
        bundles_dir: installed bundles; None: ``bundles`` in the data directory.
        trusted_keys: folder of minisign public keys; with it, a bundle that did not ship with
            edgeinspect must be signed with one of them. None: ``KEYS_FOLDER`` beside the station
            file if that is there, else any bundle that is whole.
        product: whose recipe is used.
        recipe: ``active``, or the number of a revision to pin.
        trigger_debounce_ms: a further edge this soon after an accepted one is contact bounce.
        review_action: what the gate does with a part between the two thresholds.
        challenge: when masters have to prove the station; None: never demanded.
    """

    format: FormatOne
    id: Name
    data_dir: PathText
    bundles_dir: PathText | None = None
    trusted_keys: PathText | None = None
    product: Name
    recipe: Literal["active"] | int = "active"
    camera: Camera
    io: Io
    lines: Lines
    encoder: EncoderLine | None = None
    trigger_debounce_ms: Milliseconds
    track: Track
    gate: Gate
    confirm: Confirm | None = None
    review_action: ReviewAction = ReviewAction.REJECT
    alarms: Alarms = Alarms()
    engine: EngineSettings = EngineSettings()
    storage: Storage = Storage()
    control: Control = Control()
    challenge: Challenge | None = None

    _path: Path = PrivateAttr(default=Path("station.yaml"))

    @property
    def path(self) -> Path:
        """The file itself, for messages; every path in it has been resolved."""
        return self._path

    def read_from(self, path: Path) -> Self:
        """Note which file this is; returns itself."""
        self._path = path
        return self

    @property
    def recipes_dir(self) -> Path:
        """The folder of the recipes."""
        return self.data_dir / "recipes"

    @property
    def bundles_path(self) -> Path:
        """The folder of the installed bundles."""
        return self.bundles_dir or self.data_dir / "bundles"

    @property
    def socket_path(self) -> Path:
        """The path of the control socket."""
        return self.control.socket or self.data_dir / "control.sock"

    @property
    def watch_path(self) -> Path:
        """The path of the read-only watch socket."""
        return self.control.watch_socket or self.socket_path.with_name("watch.sock")

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        if isinstance(self.recipe, int) and self.recipe < 1:
            raise Rule("recipe", value=self.recipe, expected="active, or a revision from 1")
        check_wires(self.io, self.lines, self.encoder)
        if self.watch_path == self.socket_path:
            expected = "a path different from the control socket's"
            raise Rule("control", "watch_socket", value=str(self.watch_path), expected=expected)
        distances = distances_of(self.track)
        check_distances(distances)
        self._check_sections_match_wires(distances)
        if isinstance(self.track, DelayTrack):
            self._check_times(distances)
            stopped = self.lines.line_stopped
            debounce_ms = 0.0 if stopped is None else stopped.debounce_us / 1000
            check_stop_signal(self.track, debounce_ms=debounce_ms)
        elif self.encoder is not None and self.encoder.max_counts_per_s is not None:
            self._check_times(distances.at_counts_per_s(self.encoder.max_counts_per_s))
        self._check_confirm(distances)
        return self

    def _check_sections_match_wires(self, d: Distances) -> None:
        by_encoder = self.track.tracking == "encoder"
        if by_encoder and self.encoder is None:
            raise Rule(
                "encoder", value=None, expected="the encoder, because track.tracking is encoder"
            )
        if not by_encoder and self.encoder is not None:
            expected = "encoder, because an encoder is wired"
            raise Rule("track", "tracking", value="delay", expected=expected)
        if self.lines.guard is not None and d.sensor_to_guard is None:
            raise d.rule(
                "sensor_to_guard", "the guard sensor's position, because lines.guard is wired"
            )
        if self.lines.guard is None and d.sensor_to_guard is not None:
            raise d.rule("sensor_to_guard", "no value, because lines.guard is not wired")
        if self.lines.confirm is not None and self.confirm is None:
            expected = "earliest_ms and latest_ms, because lines.confirm is wired"
            raise Rule("confirm", value=None, expected=expected)
        if self.lines.confirm is None and self.confirm is not None:
            expected = "the confirm sensor's line, because confirm is given"
            raise Rule("lines", "confirm", value=None, expected=expected)

    def _check_times(self, d: Distances) -> None:
        """What must hold in time; ``d`` in milliseconds of travel at the belt's highest speed."""
        gate, at = self.gate, d.at_speed
        if self.trigger_debounce_ms >= d.min_pitch:
            pitch = f"the time from part to part{at}" if at else "track.min_pitch_ms"
            expected = f"less than {pitch} ({d.min_pitch:g})"
            raise Rule("trigger_debounce_ms", value=self.trigger_debounce_ms, expected=expected)
        rest = d.min_pitch - d.window
        if gate.min_off_ms > rest:
            expected = f"at most the time between neighbours' windows{at}"
            expected += f" (min_pitch_ms - window = {rest:g})" if not at else f" ({rest:g})"
            raise Rule("gate", "min_off_ms", value=gate.min_off_ms, expected=expected)
        if gate.max_on_ms is not None and gate.max_on_ms < d.window:
            expected = f"at least the part's window{at} ({d.window:g}), or null"
            raise Rule("gate", "max_on_ms", value=gate.max_on_ms, expected=expected)
        if 2 * gate.timing_tolerance_ms >= d.window:
            expected = f"less than half the part's window{at} ({d.window / 2:g})"
            value = gate.timing_tolerance_ms
            raise Rule("gate", "timing_tolerance_ms", value=value, expected=expected)
        if gate.lease_ms >= d.gate_opens:
            expected = f"less than the travel from trigger to gate{at} ({d.gate_opens:g})"
            raise Rule("gate", "lease_ms", value=gate.lease_ms, expected=expected)
        stamp_error_ms = self.camera.stamp_error_ms or 0.0
        if 2 * stamp_error_ms >= d.exposure_window:
            half = d.exposure_window / 2
            window = f"the exposure window{at}" if at else "exposure_window_ms"
            expected = f"less than half of {window} ({half:g}), otherwise no frame is fresh"
            raise Rule("camera", "stamp_error_ms", value=stamp_error_ms, expected=expected)
        left = d.gate_opens - d.sensor_to_lens - d.exposure_window
        if gate.decision_margin_ms >= left:
            expected = f"less than the travel from the lens to the gate{at} ({left:g})"
            value = gate.decision_margin_ms
            raise Rule("gate", "decision_margin_ms", value=value, expected=expected)

    def _check_confirm(self, d: Distances) -> None:
        if self.confirm is None:
            return
        longest = d.window if d.unit == "ms" else 0.0
        if self.confirm.earliest_ms >= self.confirm.latest_ms + longest:
            expected = f"less than latest_ms + the part's window ({self.confirm.latest_ms:g}"
            expected += f" + {longest:g})"
            value = self.confirm.earliest_ms
            raise Rule("confirm", "earliest_ms", value=value, expected=expected)


def load_station(path: str | os.PathLike[str]) -> StationFile:
    """Read, validate and resolve one station file. Raises ConfigError."""
    return parse_station(read_yaml(path))


def parse_station(yaml_file: YamlFile, *, at: Path | None = None) -> StationFile:
    """Validate and resolve the content of a station file. Raises ConfigError.

    Args:
        yaml_file: the file that was read.
        at: the folder that relative paths start at; None: the file's own.
    """
    folder = at or yaml_file.path.absolute().parent
    station = _bound_by_keys(yaml_file, _resolve(validate(yaml_file, StationFile), folder), folder)
    return station.read_from(yaml_file.path)


def example_names() -> tuple[str, ...]:
    """The station files that ship with the package."""
    folder = resources.files("edgeinspect.settings") / "examples"
    found = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))


def example_station(name: str, *, data_dir: Path) -> StationFile:
    """A station file that ships with the package, with another data directory.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in example_names():
        known = ", ".join(example_names())
        raise UsageError(f"Unknown example station {name!r}; known examples: {known}.")
    with resources.as_file(
        resources.files("edgeinspect.settings") / "examples" / f"{name}.yaml"
    ) as file:
        read = read_yaml(file)
    station = parse_station(read, at=data_dir.absolute())  # never a path below the package
    return station.model_copy(update={"data_dir": data_dir.absolute()})


def _bound_by_keys(yaml_file: YamlFile, station: StationFile, folder: Path) -> StationFile:
    """The station with the keys that lie beside its file, whatever the file says of them.

    Technicians write the file, and only root writes that folder: so its presence, and no line of
    the file, decides that bundles must be signed, and by whom. A copy of the file somewhere else
    is bound by the keys beside the data that it works on. Raises ConfigError.
    """

    def refuse(key: str, expected: str) -> ConfigError:
        return ConfigError(
            file=yaml_file.path,
            line=yaml_file.line_of((key,)),
            key=key,
            value=str(getattr(station, key)),
            expected=expected,
        )

    places = dict.fromkeys(
        Path(os.path.normpath(place / KEYS_FOLDER)) for place in (folder, station.data_dir.parent)
    )
    found = [place for place in places if os.path.lexists(place)]
    if len(found) > 1:
        raise refuse(
            "data_dir", f"only one folder of trusted keys, but found {found[0]} and {found[1]}"
        )
    if not found:
        return station
    if station.trusted_keys not in (None, found[0]):
        expected = f"{KEYS_FOLDER}, or no value, because this station has its keys in {found[0]}"
        raise refuse("trusted_keys", expected)
    return station.model_copy(update={"trusted_keys": found[0]})


def _resolve(station: StationFile, folder: Path) -> StationFile:
    def absolute(path: Path | None) -> Path | None:
        return None if path is None else folder / path

    sockets = {
        "socket": absolute(station.control.socket),
        "watch_socket": absolute(station.control.watch_socket),
    }
    control = station.control.model_copy(update=sockets)
    camera = station.camera
    if camera.device is not None and camera.replays_files:
        camera = camera.model_copy(update={"device": str(folder / camera.device)})
    challenge = station.challenge
    if challenge is not None:
        challenge = challenge.model_copy(update={"masters": absolute(challenge.masters)})
    changes = {
        "data_dir": absolute(station.data_dir),
        "bundles_dir": absolute(station.bundles_dir),
        "trusted_keys": absolute(station.trusted_keys),
        "control": control,
        "camera": camera,
        "challenge": challenge,
    }
    return station.model_copy(update=changes)
