"""A station's state, lights and exit code, as they follow from its faults."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from edgeinspect.errors import LineFault
from edgeinspect.faults import FaultName
from edgeinspect.runtime.fault_board import Fault

STATUS_VERSION = 1
FAULTS_THAT_STOP_INSPECTION = (
    FaultName.CAMERA_FAILED,
    FaultName.GATE_OUTPUT_FAILED,
    FaultName.RECORDS_QUEUE_FULL,
    FaultName.DATA_FILES_DISPLACED,
    FaultName.THREAD_DIED,
    FaultName.HANGS,
    FaultName.INPUT_FAILED,
)
"""While one of these is active no part passes."""


class StationState(StrEnum):
    """What a station is doing, for its status and lights."""

    STARTING = "starting"
    INSPECTING = "inspecting"
    PAUSED = "paused"
    LOCKED = "locked"
    FAULTED = "faulted"
    STOPPING = "stopping"


_WAITING = (StationState.STARTING, StationState.PAUSED, StationState.LOCKED)
"""No part passes, although nothing is wrong: something else has to happen first."""


def stops_inspection(faults: Mapping[str, Fault]) -> list[str]:
    """Return the names of the active faults that stop all parts from passing."""
    return [
        name
        for name, fault in faults.items()
        if fault.active and fault.name in FAULTS_THAT_STOP_INSPECTION
    ]


def state_words(status: Mapping[str, Any]) -> str:
    """Return a station's state, and why no part passes, from its status as JSON.

    ``inspecting`` alone means that it inspects and that parts pass.
    """
    state, nothing = str(status["state"]), status.get("nothing_passes")
    if nothing is None:
        return state
    reason = str(nothing["reason"]).replace("_", " ")
    return f"{state}, but nothing passes: {reason}"


def exit_code_for(faults: Mapping[str, Fault]) -> int:
    """Return the exit code of a station with these faults, active or not."""
    if any(name.startswith(FaultName.THREAD_DIED) for name in faults):
        return 1
    input_failed = any(name.startswith(FaultName.INPUT_FAILED) for name in faults)
    if input_failed or FaultName.GATE_DID_NOT_CLOSE in faults:
        return LineFault.exit_code
    return 6 if FaultName.RECORDS_LOST in faults else 0


def faults_as_json(faults: Mapping[str, Fault]) -> dict[str, object]:
    """Return the faults JSON-safe, by name."""
    return {
        name: {
            "count": fault.count,
            "active": fault.active,
            "detail": fault.detail,
            "last_mono_ns": fault.last_mono_ns,
        }
        for name, fault in sorted(faults.items())
    }


def lights_for(state: StationState, *, alarm_is_open: bool, degraded: bool) -> Mapping[str, bool]:
    """Return which of ``Drivers.lights`` are on."""
    return {
        "green": state is StationState.INSPECTING,
        "yellow": state in _WAITING or degraded,
        "red": state is StationState.FAULTED,
        "beacon": alarm_is_open,
    }
