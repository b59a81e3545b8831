"""Which faults can let a part pass that the rule forbids, given how the station is wired."""

from __future__ import annotations

from edgeinspect.line.config import ASSUMED_RESTART_NS, GateKind, ReviewAction
from edgeinspect.settings.distances import DelayTrack
from edgeinspect.settings.driver_tables import CAMERA_DRIVERS, IO_DRIVERS, SIM
from edgeinspect.settings.recipe import Recipe
from edgeinspect.settings.station_file import Camera, StationFile

_SIM_PROOF = "stamps are exact; repeated pictures are rejected"


def describe_uncovered_faults(station: StationFile, recipe: Recipe | None = None) -> list[str]:
    """One sentence for each fault that nothing wired here, and no check of the recipe, stops.

    Shown at start, by ``check``, and kept with the records. An empty list means that every fault
    the station knows of ends in a rejected part or in a stopped line.
    """
    faults = [*_gate_faults(station), *_confirm_faults(station), *_stamp_faults(station)]
    if station.review_action is ReviewAction.PASS:
        faults.append(
            "review_action is pass: parts between the review and the reject threshold pass."
        )
    if isinstance(station.track, DelayTrack):
        faults += _belt_faults(station, station.track)
    camera = station.camera
    if camera.replays_files:
        faults.append(
            f"camera.driver is {camera.driver}: pictures come from files, not from the belt."
        )
    elif recipe is not None and not recipe.checks.reject_frozen:
        faults.append(
            "checks.reject_frozen is false in the recipe: an old picture is accepted if the "
            "camera repeats it with a new stamp and counter."
        )
    if station.encoder is not None and station.encoder.max_counts_per_s is None:
        faults.append(
            "Extra counts of an encoder, from noise or a loose wheel, are not detected "
            "(encoder.max_counts_per_s is not set): parts on the belt are not where they are "
            "expected."
        )
    if station.io.driver == SIM:
        faults.append("io.driver is sim: no real gate is driven.")
    return faults


def describe_frames(camera: Camera) -> str:
    """Describe in one sentence what the camera's driver can prove about a frame."""
    error_ms = camera.stamp_error_ms or 0.0
    declared = f", off by up to {error_ms:g} ms as stated" if error_ms else ""
    proof = _SIM_PROOF if camera.driver == SIM else CAMERA_DRIVERS[camera.driver].proof
    return f"{camera.driver}: {proof.format(error=declared)}"


def _stamp_faults(station: StationFile) -> list[str]:
    faults = []
    camera, io = station.camera, station.io
    is_late = camera.driver != SIM and CAMERA_DRIVERS[camera.driver].stamps_are_late
    if is_late and camera.stamp_error_ms is None:
        faults.append(
            "The camera stamps a frame an unknown time after its exposure (camera.stamp_error_ms "
            "is not set): a picture of another place on the belt can be used for the part."
        )
    if io.driver != SIM and not IO_DRIVERS[io.driver].kernel_stamps:
        faults.append(
            "Edges are stamped when the library's thread receives them, not by the kernel"
            f" (io.driver is {io.driver}): on a busy machine a part's estimated position lags "
            "behind. The driver gpiod uses the kernel's stamps."
        )
    return faults


def _belt_faults(station: StationFile, track: DelayTrack) -> list[str]:
    """What can happen to a belt whose speed is taken to be fixed."""
    if station.lines.line_stopped is None:
        return [
            "The belt can stop, slow down or start undetected (lines.line_stopped is not wired "
            "and tracking is by delay): parts on it are not where the gate expects them."
        ]
    faults = []
    if track.restart_ms is None:
        faults.append(
            "A belt that needs more than"
            f" {ASSUMED_RESTART_NS / 1e6:g} ms to reach its speed after a stop carries parts to "
            "the camera and to the gate later than expected (track.restart_ms is not set)."
        )
    if track.stop_signal_delay_ms is None:
        faults.append(
            "A belt that slows down before lines.line_stopped changes carries rejected parts to "
            "the gate after their pulse (track.stop_signal_delay_ms is not set)."
        )
    return faults


def _gate_faults(station: StationFile) -> list[str]:
    if station.gate.kind is GateKind.NORMALLY_REJECTING:
        return []
    lines = station.lines
    faults = []
    if lines.guard is None:
        faults.append(
            "A part that the trigger did not detect passes (normally passing gate, lines.guard is "
            "not wired)."
        )
    if lines.heartbeat is None:
        faults.append(
            "Parts pass while the station has no power or its process is dead (normally passing"
            " gate, lines.heartbeat is not wired)."
        )
    if station.gate.max_on_ms is not None:
        faults.append(
            "While everything must be rejected (pause, fault, stop), the gate is released after "
            "every"
            f" {station.gate.max_on_ms:g} ms (gate.max_on_ms), and then a part can pass."
        )
    return faults


def _confirm_faults(station: StationFile) -> list[str]:
    lines, alarms = station.lines, station.alarms
    stuck = "A stuck gate lets rejected parts pass"
    if lines.confirm is None:
        return [f"{stuck} unnoticed (lines.confirm is not wired)."]
    if alarms.unconfirmed_rejects == 0:
        return [f"{stuck} without an alarm (alarms.unconfirmed_rejects is 0)."]
    if not alarms.stop_line_on_unconfirmed:
        return [f"{stuck} until somebody reacts to the alarm (stop_line_on_unconfirmed is false)."]
    if lines.line_stop is None:
        return [f"{stuck} until somebody reacts to the alarm (lines.line_stop is not wired)."]
    return []
