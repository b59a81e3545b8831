"""Judge one master: verdict, class, place and what the gate did. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeinspect.challenge.masters_file import Master
from edgeinspect.line.config import ReviewAction
from edgeinspect.part import GateOutcome, PartRecord, Region, VerdictKind

UNCONFIRMED_REMARK = (
    "no confirm sensor is wired, so it is not confirmed that the part fell into the reject chute"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterResult:
    """How one master was judged.

    Attributes:
        master: Its id.
        expected: The expectation in words.
        part_id: Of its record.
        findings: A sentence for each thing that was not as expected; empty if the master is good.
        remarks: What this station's wiring cannot check.
    """

    master: str
    description: str
    expected: str
    part_id: int
    verdict: str
    reason: str
    detail: str
    score: float
    worst_region: Region | None
    expected_region: Region | None
    gate_outcome: str
    findings: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether everything was as expected."""
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        """Return it JSON-safe, as the challenge's record keeps it."""
        worst, place = self.worst_region, self.expected_region
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "worst_region": None if worst is None else worst._asdict(),
            "expected_region": None if place is None else place._asdict(),
            "findings": [*self.findings],
            "remarks": [*self.remarks],
            "good": self.is_good,
        }


def judge_master(
    master: Master,
    record: PartRecord,
    *,
    recipe_digest: str,
    confirm_wired: bool,
    review_action: ReviewAction,
) -> MasterResult:
    """Compare a master's record with the expectation.

    Args:
        master: The master and its expectation.
        record: The record of its part.
        recipe_digest: The recipe in force when the challenge began.
        confirm_wired: Whether a confirm sensor is wired.
        review_action: What the gate does with REVIEW.
    """
    findings = _verdict_findings(master, record)
    outcome = record.gate_outcome
    expected = _expected_outcome(master, confirm_wired=confirm_wired, review_action=review_action)
    if outcome is not expected:
        findings.append(f"the gate: {_words(expected)} expected, found {_words(outcome)}")
    if record.recipe_digest != recipe_digest:
        findings.append("the recipe was changed during the challenge")
    remarks = [UNCONFIRMED_REMARK] if outcome is GateOutcome.REJECTED else []
    inspection = record.inspection
    return MasterResult(
        master=master.label,
        description=master.description or "",
        expected=expected_words(master),
        part_id=record.part_id,
        verdict=record.verdict.kind.value,
        reason=record.verdict.reason,
        detail=record.verdict.detail,
        score=record.verdict.score,
        worst_region=None if inspection is None else inspection.worst_region,
        expected_region=None if master.place is None else master.place.region,
        gate_outcome=outcome.value,
        findings=tuple(findings),
        remarks=tuple(remarks),
    )


def expected_words(master: Master) -> str:
    """Describe the expectation for a master."""
    words = master.expect.value
    if master.defect_class is not None:
        words += f" ({master.defect_class})"
    if master.place is not None:
        x, y, width, height = master.place.region
        words += f" at x {x} to {x + width}, y {y} to {y + height}"
    return words


def _verdict_findings(master: Master, record: PartRecord) -> list[str]:
    verdict = record.verdict
    if verdict.kind is not master.expect:
        found = f"{verdict.kind.value} ({verdict.reason})" if verdict.reason else verdict.kind.value
        return [f"the verdict: {master.expect.value} expected, found {found}"]
    findings = []
    if master.defect_class is not None and verdict.defect_class != master.defect_class:
        findings.append(f"the class: {master.defect_class} expected, found {verdict.defect_class}")
    if master.place is not None:
        worst = None if record.inspection is None else record.inspection.worst_region
        if worst is None:
            findings.append("the position: the station marked none")
        elif not worst.overlaps(master.place.region):
            findings.append(
                f"the position: the worst spot at x {worst.x}, y {worst.y} ({worst.width} x "
                f"{worst.height} px) is outside the expected area"
            )
    return findings


def _expected_outcome(
    master: Master, *, confirm_wired: bool, review_action: ReviewAction
) -> GateOutcome:
    reviewed_pass = master.expect is VerdictKind.REVIEW and review_action is ReviewAction.PASS
    if master.expect is VerdictKind.PASS or reviewed_pass:
        return GateOutcome.PASSED
    return GateOutcome.REJECT_CONFIRMED if confirm_wired else GateOutcome.REJECTED


def _words(outcome: GateOutcome) -> str:
    return outcome.value.replace("_", " ")
