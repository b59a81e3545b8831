"""Events that the core takes and actions that it returns.

A shell (the runtime or the simulated line) feeds every event together with the time at which it
is handled, and carries out the actions in order. Nothing else connects the core to the world.
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
    frame: Frame


@dataclass(frozen=True, slots=True)
class CaptureFailed:
    """The camera gave no frame for this part."""

    part_id: int
    detail: str


@dataclass(frozen=True, slots=True)
class Inspected:
    """The inference workers are done with a part."""

    part_id: int
    inspection: Inspection


@dataclass(frozen=True, slots=True)
class InspectionFailed:
    part_id: int
    detail: str
    doubt: Doubt = Doubt.ENGINE_FAILED

    @classmethod
    def because(cls, part_id: int, error: Exception, detail: str) -> Self:
        """A part out of place is doubtful by itself; anything else is the engine's failure."""
        misplaced = isinstance(error, Misaligned)
        return cls(part_id, detail, Doubt.MISALIGNED if misplaced else Doubt.ENGINE_FAILED)


@dataclass(frozen=True, slots=True)
class EncoderCount:
    """Attributes:
    count, edge_mono_ns: the newest reading.
    earlier: readings that came before it and that the core has not had yet, oldest first.
    """

    count: int
    edge_mono_ns: int
    earlier: tuple[tuple[int, int], ...] = ()

    @property
    def readings(self) -> tuple[tuple[int, int], ...]:
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
    """The pulse thread has driven the gate for this span; ``end_mono_ns`` None while it lasts."""

    start_mono_ns: int
    end_mono_ns: int | None


@dataclass(frozen=True, slots=True)
class ReleaseTooLate:
    """The pulse thread could not honour a ``Release``: the part's window had begun."""

    part_id: int


@dataclass(frozen=True, slots=True)
class LineStopped:
    """The line-stopped input changed."""

    stopped: bool
    edge_mono_ns: int


@dataclass(frozen=True, slots=True)
class ApplyConfig:
    """Parts triggered from now on are inspected under this configuration."""

    config: LineConfig


@dataclass(frozen=True, slots=True)
class Pause:
    """Reject everything until ``Resume``."""


@dataclass(frozen=True, slots=True)
class Resume:
    pass


@dataclass(frozen=True, slots=True)
class Lock:
    """Judge every part CANNOT_INSPECT (locked) until ``Unlock``, but for announced masters.

    Sent again it withdraws an announcement.
    """


@dataclass(frozen=True, slots=True)
class Unlock:
    pass


@dataclass(frozen=True, slots=True)
class AnnounceMaster:
    """The next part is a master: inspect it although the station is locked.

    Refused, and counted, unless the station is locked and the belt empty.
    """


@dataclass(frozen=True, slots=True)
class DemandChallenge:
    """A challenge is due: raise the alarm."""

    detail: str


@dataclass(frozen=True, slots=True)
class AcknowledgeAlarms:
    pass


@dataclass(frozen=True, slots=True)
class QueueOverflow:
    """A bounded queue dropped something that belonged to this part (None: to no known part)."""

    part_id: int | None
    queue: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The station is being stopped: close every part's record, at once or as the belt empties."""

    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; sent when ``next_wake_mono_ns`` is reached and to renew the lease."""


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
    """Ask the inference workers to look at the part's frame."""

    part_id: int
    frame: Frame
    recipe_digest: str


@dataclass(frozen=True, slots=True)
class Arm:
    """This part's window at the gate; it is rejected unless released.

    Sent again with new times when an encoder moves the prediction.
    """

    part_id: int
    start_mono_ns: int
    end_mono_ns: int


@dataclass(frozen=True, slots=True)
class Release:
    """Let the part pass; only ever sent for a part whose verdict allows it, in time."""

    part_id: int


@dataclass(frozen=True, slots=True)
class RejectEverything:
    """Reject whatever comes until this time, whatever is armed or released; None: no end yet."""

    until_mono_ns: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class EndRejectEverything:
    pass


@dataclass(frozen=True, slots=True)
class RenewLease:
    """The core is alive; see ``GateConfig.lease_ns``."""

    until_mono_ns: int


@dataclass(frozen=True, slots=True)
class Record:
    """The part's way has ended; ``frame`` is the picture it was judged by, where there is one."""

    record: PartRecord
    frame: Frame | None = None


class AlarmName(StrEnum):
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
    name: AlarmName
    part_id: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class RequestLineStop:
    """Ask the line's control to stop the belt; the outfeed must be cleared by hand."""

    reason: str


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
