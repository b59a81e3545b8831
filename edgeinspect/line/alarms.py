"""Finds alarms in the stream of finished parts."""

from __future__ import annotations

from edgeinspect.line.config import AlarmConfig
from edgeinspect.line.messages import Action, AlarmName, RaiseAlarm, RequestLineStop
from edgeinspect.part import Doubt, GateOutcome, PartRecord, VerdictKind


class AlarmWatch:
    """Counts runs of bad outcomes. An alarm is raised once and stays open until acknowledged."""

    def __init__(self) -> None:
        self._open: dict[AlarmName, str] = {}
        self._runs = dict.fromkeys(("rejects", "cannot_inspect", "unconfirmed"), 0)

    @property
    def open(self) -> tuple[AlarmName, ...]:
        """The alarms that nobody has acknowledged yet."""
        return tuple(self._open)

    def acknowledge(self) -> None:
        """Close all alarms and restart all counts."""
        self._open.clear()
        self._runs = dict.fromkeys(self._runs, 0)

    def note(
        self, record: PartRecord, *, must_be_rejected: bool, limits: AlarmConfig
    ) -> list[Action]:
        """Take one finished part into account; return the alarms and requests that it causes."""
        actions: list[Action] = []
        kind, outcome = record.verdict.kind, record.gate_outcome
        rejects = self._run("rejects", kind in (VerdictKind.REJECT, VerdictKind.REVIEW))
        doubts = self._run("cannot_inspect", kind is VerdictKind.CANNOT_INSPECT)
        if _reached(rejects, limits.consecutive_rejects):
            detail = f"{rejects} parts in a row were rejected"
            actions += self.sound(AlarmName.CONSECUTIVE_REJECTS, record.part_id, detail)
        if _reached(doubts, limits.consecutive_cannot_inspect):
            detail = f"{doubts} parts in a row could not be inspected: {record.verdict.reason}"
            actions += self.sound(AlarmName.CONSECUTIVE_CANNOT_INSPECT, record.part_id, detail)
        if record.verdict.doubt is Doubt.UNTRIGGERED:
            detail = "a part that the trigger did not detect reached the gate"
            actions += self.sound(AlarmName.UNTRIGGERED_PART, record.part_id, detail)
        if outcome is GateOutcome.LOST:
            detail = "a part passed the trigger but did not reach the guard sensor"
            actions += self.sound(AlarmName.PART_LOST, record.part_id, detail)
        return actions + self._watch_gate(record, must_be_rejected, limits)

    def sound(self, name: AlarmName, part_id: int | None, detail: str) -> list[Action]:
        """Raise the alarm unless it is already open."""
        if name in self._open:
            return []
        self._open[name] = detail
        return [RaiseAlarm(name, part_id, detail)]

    def _watch_gate(
        self, record: PartRecord, must_be_rejected: bool, limits: AlarmConfig
    ) -> list[Action]:
        """Watch for the worst case: a part that had to be rejected and perhaps was not."""
        outcome = record.gate_outcome
        actions: list[Action] = []
        if outcome is GateOutcome.GATE_LIMITED and must_be_rejected:
            detail = f"the gate could not cover the window of part {record.part_id}"
            actions += self.sound(AlarmName.GATE_LIMITED, record.part_id, detail)
            actions.append(RequestLineStop(detail))
        if outcome is GateOutcome.REJECT_CONFIRMED:
            self._runs["unconfirmed"] = 0
        if outcome is GateOutcome.REJECT_UNCONFIRMED and must_be_rejected:
            self._runs["unconfirmed"] += 1
            run = self._runs["unconfirmed"]
            if limits.unconfirmed_rejects and run >= limits.unconfirmed_rejects:
                detail = f"part {record.part_id} was rejected but not seen in the reject chute"
                actions += self.sound(AlarmName.REJECT_UNCONFIRMED, record.part_id, detail)
                if limits.stop_line_on_unconfirmed:
                    actions.append(RequestLineStop(detail))
        return actions

    def _run(self, name: str, goes_on: bool) -> int:
        self._runs[name] = self._runs[name] + 1 if goes_on else 0
        return self._runs[name]


def _reached(run: int, limit: int) -> bool:
    return bool(limit) and run >= limit
