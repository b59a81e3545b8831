"""What the station says of itself, as one JSON-safe object."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from edgeinspect.runtime.camera_thread import CAMERA_FAULT
from edgeinspect.runtime.faults import Fault
from edgeinspect.runtime.line_thread import RECORDS_FULL
from edgeinspect.runtime.pulse_thread import GATE_OUTPUT_FAULT
from edgeinspect.runtime.recorder_thread import RECORDS_DISPLACED

STATUS_VERSION = 1
THREAD_DIED = "thread_died_"
HANGS = "hangs_"
INPUT_FAILED = "input_failed_"
EDGES_LOST = "edges_lost_"
FAULTS_THAT_STOP_INSPECTION = (
    CAMERA_FAULT,
    GATE_OUTPUT_FAULT,
    RECORDS_FULL,
    RECORDS_DISPLACED,
    THREAD_DIED,
    HANGS,
    INPUT_FAILED,
)
"""While one of these lasts, no part passes. Names that end in "_" stand for all that begin so."""


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
        if fault.active
        and any(
            name.startswith(stopper) if stopper.endswith("_") else name == stopper
            for stopper in FAULTS_THAT_STOP_INSPECTION
        )
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
