"""The events that the core takes and the actions that it returns.

A shell (the runtime or the simulated line) feeds every event together with the time at which it is
handled, and carries out the actions in order. Nothing else connects the core to the world.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from edgeinspect.errors import Misaligned
from edgeinspect.line.config import LineConfig
from edgeinspect.part import Doubt, Frame, Inspection, PartRecord

# --- events -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TriggerEdge:
    """An active edge of the part-present sensor, stamped by the kernel."""

    edge_mono_ns: int


@dataclass(frozen=True, slots=True)
class FrameArrived:
    """The camera delivered a frame."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class CaptureFailed:
    """The camera delivered no frame for this part."""

    part_id: int
    detail: str


@dataclass(frozen=True, slots=True)
class Inspected:
    """The inference workers have inspected a part."""

    part_id: int
    inspection: Inspection


@dataclass(frozen=True, slots=True)
class InspectionFailed:
    """The inference workers could not inspect a part."""

    part_id: int
    detail: str
    doubt: Doubt = Doubt.ENGINE_FAILED

    @classmethod
    def because(cls, part_id: int, error: Exception, detail: str) -> Self:
        """Choose the doubt for an error: a misplaced part, or else a failure of the engine."""
        misplaced = isinstance(error, Misaligned)
        return cls(part_id, detail, Doubt.MISALIGNED if misplaced else Doubt.ENGINE_FAILED)


@dataclass(frozen=True, slots=True)
class EncoderCount:
    """New readings of the encoder.

    Attributes:
        count, edge_mono_ns: the newest reading.
        earlier: older readings that the core has not received yet, oldest first.
    """

    count: int
    edge_mono_ns: int
    earlier: tuple[tuple[int, int], ...] = ()

    @property
    def readings(self) -> tuple[tuple[int, int], ...]:
        """All readings as ``(count, edge_mono_ns)``, oldest first."""
        return (*self.earlier, (self.count, self.edge_mono_ns))


@dataclass(frozen=True, slots=True)
class GuardEdge:
    """An active edge of the second sensor, before the gate."""

    edge_mono_ns: int


@dataclass(frozen=True, slots=True)
class ConfirmEdge:
    """An active edge of the sensor in the reject chute."""

    edge_mono_ns: int


@dataclass(frozen=True, slots=True)
class GateActivated:
    """The pulse thread drove the gate for this span; ``end_mono_ns`` is None while it lasts."""

    start_mono_ns: int
    end_mono_ns: int | None


@dataclass(frozen=True, slots=True)
class ReleaseTooLate:
    """The pulse thread could not honour a ``Release`` because the part's window had begun."""

    part_id: int


@dataclass(frozen=True, slots=True)
class LineStopped:
    """The line-stopped input changed."""

    stopped: bool
    edge_mono_ns: int


@dataclass(frozen=True, slots=True)
class ApplyConfig:
    """Inspect parts that are triggered from now on with these settings."""

    config: LineConfig


@dataclass(frozen=True, slots=True)
class Pause:
    """Reject everything until ``Resume``."""


@dataclass(frozen=True, slots=True)
class Resume:
    """End a ``Pause``."""


@dataclass(frozen=True, slots=True)
class Lock:
    """Judge every part except announced masters CANNOT_INSPECT (locked) until ``Unlock``.

    A second ``Lock`` withdraws an announcement.
    """


@dataclass(frozen=True, slots=True)
class Unlock:
    """End a ``Lock``."""


@dataclass(frozen=True, slots=True)
class AnnounceMaster:
    """The next part is a master: inspect it although the station is locked.

    Refused and counted unless the station is locked and the belt is empty.
    """


@dataclass(frozen=True, slots=True)
class DemandChallenge:
    """A challenge is due: raise the alarm."""

    detail: str


@dataclass(frozen=True, slots=True)
class AcknowledgeAlarms:
    """Close all open alarms."""


@dataclass(frozen=True, slots=True)
class QueueOverflow:
    """A bounded queue dropped something that belonged to this part (None: to no known part)."""

    part_id: int | None
    queue: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The station stops: close every part's record, at once or as the belt empties."""

    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed. Sent at ``next_wake_mono_ns`` and to renew the lease."""


Event = (
    TriggerEdge
    | FrameArrived
    | CaptureFailed
    | Inspected
    | InspectionFailed
    | EncoderCount
    | GuardEdge
    | ConfirmEdge
    | GateActivated
    | ReleaseTooLate
    | LineStopped
    | ApplyConfig
    | Pause
    | Resume
    | Lock
    | Unlock
    | AnnounceMaster
    | DemandChallenge
    | AcknowledgeAlarms
    | QueueOverflow
    | Stop
    | Tick
)

# --- actions ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Capture:
    """Ask the camera for the first frame exposed at or after ``not_before_mono_ns``."""

    part_id: int
    not_before_mono_ns: int
    deadline_mono_ns: int


@dataclass(frozen=True, slots=True)
class Inspect:
    """Ask the inference workers to inspect the part's frame."""

    part_id: int
    frame: Frame
    recipe_digest: str


@dataclass(frozen=True, slots=True)
class Arm:
    """The part's window at the gate; the part is rejected unless released.

    Sent again with new times when an encoder changes the prediction.
    """

    part_id: int
    start_mono_ns: int
    end_mono_ns: int


@dataclass(frozen=True, slots=True)
class Release:
    """Let the part pass; sent only in time, and only for a part whose verdict allows it."""

    part_id: int


@dataclass(frozen=True, slots=True)
class RejectEverything:
    """Reject every part until this time, whatever is armed or released; None means no end yet."""

    until_mono_ns: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class EndRejectEverything:
    """End a ``RejectEverything``; armed windows and releases apply again."""


@dataclass(frozen=True, slots=True)
class RenewLease:
    """The core is alive; see ``GateConfig.lease_ns``."""

    until_mono_ns: int


@dataclass(frozen=True, slots=True)
class Record:
    """Write the record of a finished part; ``frame`` is the picture it was judged by, if any."""

    record: PartRecord
    frame: Frame | None = None


class AlarmName(StrEnum):
    """The names of the alarms."""

    CONSECUTIVE_REJECTS = "consecutive_rejects"
    CONSECUTIVE_CANNOT_INSPECT = "consecutive_cannot_inspect"
    REJECT_UNCONFIRMED = "reject_unconfirmed"
    UNEXPECTED_CONFIRM = "unexpected_confirm"
    UNTRIGGERED_PART = "untriggered_part"
    PART_LOST = "part_lost"
    GATE_LIMITED = "gate_limited"
    ENCODER_STALLED = "encoder_stalled"
    CHALLENGE_DUE = "challenge_due"


@dataclass(frozen=True, slots=True)
class RaiseAlarm:
    """Report an alarm to a person."""

    name: AlarmName
    part_id: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class RequestLineStop:
    """Ask the line's controller to stop the belt; a person must clear the outfeed."""

    reason: str


GateAction = Arm | Release | RejectEverything | EndRejectEverything | RenewLease
"""What the core asks of the gate; ``PulseSchedule.carry_out`` does it."""

Action = (
    Capture
    | Inspect
    | Arm
    | Release
    | RejectEverything
    | EndRejectEverything
    | RenewLease
    | Record
    | RaiseAlarm
    | RequestLineStop
)
