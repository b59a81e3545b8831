"""A station file and a recipe revision, compiled into what the core and the drivers take."""

from __future__ import annotations

import math
from dataclasses import replace

from pydantic import ValidationError

from edgeinspect.errors import ConfigError
from edgeinspect.files.yaml_expected import Rule
from edgeinspect.line.config import (
    ASSUMED_RESTART_NS,
    AlarmConfig,
    ClassThresholds,
    ConfirmConfig,
    FrameChecks,
    GateConfig,
    LineConfig,
    TrackConfig,
    Tracking,
    TriggerConfig,
)
from edgeinspect.part import CameraControls
from edgeinspect.settings.distances import DelayTrack, Distances, distances_of
from edgeinspect.settings.driver_tables import IO_DRIVERS, SIM
from edgeinspect.settings.recipe import Recipe
from edgeinspect.settings.station_file import StationFile
from edgeinspect.settings.wiring import EncoderLine, Io

LEAST_PARTS_IN_FLIGHT = 64
KERNEL_JITTER_NS = 1_000_000
CALLBACK_JITTER_NS = 100_000_000
"""How far counts may be pushed together by when they are stamped: by the kernel, or by a thread
of a library that has to wait for a processor (docs/reference/hardware.md)."""


def line_config(station: StationFile, recipe: Recipe, *, recipe_digest: str) -> LineConfig:
    """Everything in force for the parts triggered under this station file and revision.

    Raises:
        ConfigError: the revision's timing does not fit this station.
    """
    station = with_timing(station, recipe)
    distances = distances_of(station.track)
    alarms = station.alarms
    return LineConfig(
        trigger=TriggerConfig(
            debounce_ns=_ns(station.trigger_debounce_ms),
            min_pitch=_track_units(distances, distances.min_pitch),
        ),
        track=_track(station, distances),
        gate=_gate(station),
        thresholds=tuple(
            ClassThresholds(name=entry.name, review=entry.review, reject=entry.reject)
            for entry in recipe.thresholds
        ),
        checks=_checks(station, recipe),
        review_action=station.review_action,
        confirm=_confirm(station),
        alarms=AlarmConfig(
            consecutive_rejects=alarms.consecutive_rejects,
            consecutive_cannot_inspect=alarms.consecutive_cannot_inspect,
            unconfirmed_rejects=alarms.unconfirmed_rejects,
            stop_line_on_unconfirmed=alarms.stop_line_on_unconfirmed,
        ),
        max_parts_in_flight=_parts_in_flight(distances),
        recipe_digest=recipe_digest,
    )


def camera_controls(recipe: Recipe) -> CameraControls:
    """What the revision asks of the camera."""
    return CameraControls(**recipe.camera.model_dump())


def with_timing(station: StationFile, recipe: Recipe) -> StationFile:
    """The station file with the revision's timing in place, validated again.

    Raises:
        ConfigError: a value has the wrong unit or breaks a rule of the station file.
    """
    overrides = recipe.timing.given()
    if not overrides:
        return station
    name = f"recipe {recipe.product} revision {recipe.revision}"
    known = type(station.track).model_fields
    for key, value in overrides.items():
        if key not in known:
            expected = f"the unit of the station's tracking, which is {station.track.tracking}"
            raise ConfigError(file=name, key=f"timing.{key}", value=value, expected=expected)
    fields = {key: getattr(station, key) for key in StationFile.model_fields}
    fields["track"] = station.track.model_copy(update=overrides)
    try:
        return StationFile(**fields)
    except ValidationError as error:
        rule = error.errors()[0].get("ctx", {}).get("error")
        if not isinstance(rule, Rule):
            raise
        raise ConfigError(
            file=name,
            key="timing, applied to " + ".".join(map(str, rule.key_path)),
            value=rule.value,
            expected=rule.expected,
        ) from error


def _ns(milliseconds: float) -> int:
    return round(milliseconds * 1_000_000)


def _track_units(distances: Distances, distance: float) -> int:
    """Nanoseconds of travel for a delay track, counts as they are for an encoder track."""
    return _ns(distance) if distances.unit == "ms" else int(distance)


def _track(station: StationFile, d: Distances) -> TrackConfig:
    def units(distance: float) -> int:
        return _track_units(d, distance)

    restart_ms = station.track.restart_ms if isinstance(station.track, DelayTrack) else None
    track = TrackConfig(
        tracking=Tracking(station.track.tracking),
        to_lens=units(d.sensor_to_lens),
        exposure_window=units(d.exposure_window),
        to_gate=units(d.sensor_to_gate),
        window_before=units(d.window_before),
        window_after=units(d.window_after_in_all),
        to_guard=None if d.sensor_to_guard is None else units(d.sensor_to_guard),
        guard_tolerance=units(d.guard_tolerance or 0),
        restart_ns=ASSUMED_RESTART_NS if restart_ms is None else _ns(restart_ms),
    )
    return track if station.encoder is None else _with_encoder(track, station.encoder, station.io)


def _with_encoder(track: TrackConfig, encoder: EncoderLine, io: Io) -> TrackConfig:
    kernel_stamps = io.driver == SIM or IO_DRIVERS[io.driver].kernel_stamps
    return replace(
        track,
        encoder_timeout_ns=_ns(encoder.timeout_ms),
        encoder_max_counts_per_s=encoder.max_counts_per_s,
        encoder_jitter_ns=KERNEL_JITTER_NS if kernel_stamps else CALLBACK_JITTER_NS,
    )


def _gate(station: StationFile) -> GateConfig:
    gate = station.gate
    return GateConfig(
        kind=gate.kind,
        min_off_ns=_ns(gate.min_off_ms),
        max_on_ns=None if gate.max_on_ms is None else _ns(gate.max_on_ms),
        decision_margin_ns=_ns(gate.decision_margin_ms),
        lease_ns=_ns(gate.lease_ms),
        timing_tolerance_ns=_ns(gate.timing_tolerance_ms),
    )


def _confirm(station: StationFile) -> ConfirmConfig | None:
    if station.confirm is None:
        return None
    return ConfirmConfig(
        earliest_ns=_ns(station.confirm.earliest_ms), latest_ns=_ns(station.confirm.latest_ms)
    )


def _checks(station: StationFile, recipe: Recipe) -> FrameChecks:
    """A folder shows its pictures again and again, and says so; no other camera may."""
    checks = frame_checks(recipe)
    if station.camera.replays_files:
        return replace(checks, reject_frozen=False)
    return checks


def frame_checks(recipe: Recipe) -> FrameChecks:
    """The revision's limits on a frame, as the line takes them."""
    checks = recipe.checks
    return FrameChecks(
        limits=checks.limits(),
        controls=camera_controls(recipe),
        exposure_tolerance=checks.exposure_tolerance,
        gain_tolerance=checks.gain_tolerance,
        white_balance_tolerance=checks.white_balance_tolerance,
        lens_tolerance=checks.lens_tolerance,
        reject_frozen=checks.reject_frozen,
    )


def _parts_in_flight(d: Distances) -> int:
    """Room for twice as many parts as fit between the trigger and the end of the gate."""
    fit = math.ceil((d.sensor_to_gate + d.window_after_in_all) / d.min_pitch)
    return max(LEAST_PARTS_IN_FLIGHT, 2 * fit)
