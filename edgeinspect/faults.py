"""Names and meanings of everything that can go wrong on a running station."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class FaultName(StrEnum):
    """A fault as `edgeinspect status`, events and records name it; see docs/reference/faults.md.

    Where the meaning speaks of a named thread, input or alarm, each has its own fault:
    ``hangs_camera``.

    Attributes:
        meaning: one sentence for the person who reads the name.
    """

    meaning: str

    def __new__(cls, name: str, meaning: str) -> Self:
        """Make a member from its name and its meaning."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.meaning = meaning
        return member

    # Gate and other outputs
    GATE_OUTPUT_FAILED = "gate_output_failed", "The gate's output cannot be driven."
    GATE_TOO_LATE = (
        "gate_too_late",
        "The pulse thread did not run during the window of a part that had to be rejected.",
    )
    GATE_DID_NOT_CLOSE = (
        "gate_did_not_close",
        "The gate's output could not be set to its safe level when the station stopped.",
    )
    HEARTBEAT_OUTPUT_FAILED = "heartbeat_output_failed", "The heartbeat output cannot be driven."
    LINE_STOP_OUTPUT_FAILED = "line_stop_output_failed", "The line-stop output cannot be driven."
    LIGHT_OUTPUT_FAILED = "light_output_failed", "A lamp or the beacon cannot be driven."
    PULSE_THREAD_DEGRADED = (
        "pulse_thread_degraded",
        "The system refused real-time priority or locked memory.",
    )
    PULSE_CORE_IS_SHARED = (
        "pulse_core_is_shared",
        "Other threads cannot be kept off `gate.pulse_core`.",
    )

    # Inputs
    INPUT_FAILED = "input_failed", "The GPIO chip of the named input was removed or has failed."
    EDGES_LOST = (
        "edges_lost",
        "Edges of the named input arrived faster than they could be read.",
    )

    # Camera
    CAMERA_FAILED = (
        "camera_failed",
        "The camera stopped, was unplugged, or failed three times in a row.",
    )
    CAPTURE_FAILED = "capture_failed", "One capture returned no frame."
    FRAME_CLOCK_UNSURE = (
        "frame_clock_unsure",
        "The time stamp of a frame could not be converted to the station's clock.",
    )
    FRAME_REPEATED_BY_DRIVER = (
        "frame_repeated_by_driver",
        "The driver delivered a frame whose time stamp or counter did not increase.",
    )
    FRAME_FROM_FUTURE = "frame_from_future", "A frame has a time stamp in the future."
    FRAME_WITHOUT_STAMP = "frame_without_stamp", "A frame has no time stamp."
    FRAME_DAMAGED = "frame_damaged", "The driver reports that a frame may be corrupt."

    # Inspection
    INSPECTION_FAILED = (
        "inspection_failed",
        "The model, its preprocessing or its postprocessing failed on one frame.",
    )
    NOTHING_PASSES = "nothing_passes", "No part has passed for a long time."
    EDGETPU_LOST = (
        "edgetpu_lost",
        "The Edge TPU failed, took longer than `engine.deadline_ms`, or was missing at the start.",
    )
    EDGETPU_SLOW = "edgetpu_slow", "The Edge TPU is 50 % slower than at the start."
    EDGETPU_WITHOUT_CPU_FALLBACK = (
        "edgetpu_without_cpu_fallback",
        "`engine.when_lost` is `cpu`, but the CPU is too slow for the line.",
    )

    # Records
    RECORDS_NOT_WRITTEN = "records_not_written", "The disk refuses records."
    RECORDS_QUEUE_FULL = (
        "records_queue_full",
        "The queue of records that wait for the disk is almost full.",
    )
    RECORDS_LOST = (
        "records_lost",
        "A record was lost: its queue was full, or the station was stopped immediately.",
    )
    DATA_FILES_DISPLACED = (
        "data_files_displaced",
        "A file of the data directory was deleted, replaced or moved.",
    )
    RECORDS_SET_ASIDE = "records_set_aside", "The records database was damaged."
    IMAGES_UNINDEXED = "images_unindexed", "The picture folder has files without a record."
    IMAGES_MISSING = "images_missing", "Picture files are missing although their records exist."
    PICTURES_DROPPED = (
        "pictures_dropped",
        "The disk is slower than the line: more than 64 records are waiting.",
    )
    PICTURES_NOT_WRITTEN = "pictures_not_written", "A picture could not be written."
    RECORDS_UPKEEP_FAILED = "records_upkeep_failed", "Old records could not be removed."
    RECORDS_HELD = (
        "records_held",
        "Records over the budget are kept: a link is far behind, or the labels cannot be read.",
    )
    RECORDS_PRUNED_UNSENT = (
        "records_pruned_unsent",
        "Records were removed before a link had sent them.",
    )
    RECORDS_SHORT_OF_SPACE = (
        "records_short_of_space",
        "The disk has less free space than the budget needs.",
    )
    RECORDS_OVER_BUDGET = (
        "records_over_budget",
        "The records that cannot be removed need more space than the budget allows.",
    )
    AUDIT_TRAIL_DISPLACED = "audit_trail_displaced", "The audit trail was deleted or replaced."

    # Challenge
    CHALLENGE_DUE = "challenge_due", "A challenge is due."
    CHALLENGE_NOT_KEPT = (
        "challenge_not_kept",
        "The state or the report of a challenge could not be written.",
    )

    # The station itself
    ALARM = "alarm", "The named alarm was raised."
    EVENTS_LOST = "events_lost", "The event queue was full."
    HANGS = "hangs", "The named thread, camera or model made no progress for one second."
    THREAD_DIED = "thread_died", "The named thread ended with an error."
    DRIVER_DID_NOT_CLOSE = (
        "driver_did_not_close",
        "A GPIO line, a camera or an engine could not be released.",
    )
    REPORTING_FAILED = "reporting_failed", "A message could not reach the log, systemd or a screen."
