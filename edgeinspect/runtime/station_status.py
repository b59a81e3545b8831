"""What the station says of itself, as one JSON-safe object."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

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
"""While one of these lasts, no part passes."""


class StationState(StrEnum):
    STARTING = "starting"
    INSPECTING = "inspecting"
    PAUSED = "paused"
    LOCKED = "locked"
    FAULTED = "faulted"
    STOPPING = "stopping"


_WAITING = (StationState.STARTING, StationState.PAUSED, StationState.LOCKED)
"""Nothing passes, and nothing is wrong: somebody or something has to come first."""


def stops_inspection(faults: Mapping[str, Fault]) -> list[str]:
    """The names of the faults that last and because of which no part passes."""
    return [
        name
        for name, fault in faults.items()
        if fault.active and fault.name in FAULTS_THAT_STOP_INSPECTION
    ]


def state_words(status: Mapping[str, Any]) -> str:
    """The first thing to know of a station, from its status as JSON: its state, and what is wrong.

    ``inspecting`` alone means that it inspects and that parts pass.
    """
    state, nothing = str(status["state"]), status.get("nothing_passes")
    if nothing is None:
        return state
    reason = str(nothing["reason"]).replace("_", " ")
    return f"{state}, but nothing passes: {reason}"


def faults_as_json(faults: Mapping[str, Fault]) -> dict[str, object]:
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
    """Which of the lights shine; see ``Drivers.lights``."""
    return {
        "green": state is StationState.INSPECTING,
        "yellow": state in _WAITING or degraded,
        "red": state is StationState.FAULTED,
        "beacon": alarm_is_open,
    }
