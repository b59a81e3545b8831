"""One challenge: its masters, how far it has come, and its record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edgeinspect.challenge.challenge_store import moment_as_json
from edgeinspect.challenge.judgement import (
    MasterResult,
    expected_words,
    judge_master,
    overlap,
)
from edgeinspect.challenge.policy import Due, Moment
from edgeinspect.errors import ConfigError
from edgeinspect.part import PartRecord
from edgeinspect.runtime.plan import StationPlan
from edgeinspect.settings.challenge import LoadedMasters, Master


@dataclass(slots=True)
class ChallengeSession:
    """Attributes:
    token: known to the client that began it.
    recipe_digest: in force when it began.
    announced_mono_ns: when the master that is on its way was announced; None: none is.
    outcome: "" while it runs, then passed, failed or aborted.
    number: of its record, once that is kept.
    """

    token: str
    author: str
    reason: str
    began: Moment
    masters: LoadedMasters
    product: str
    recipe_digest: str
    last_call_mono_ns: int
    results: list[MasterResult] = field(default_factory=list)
    announced_mono_ns: int | None = None
    outcome: str = ""
    detail: str = ""
    number: int | None = None

    @property
    def running(self) -> bool:
        return not self.outcome

    @property
    def next_master(self) -> Master | None:
        masters = self.masters.content.masters
        return masters[len(self.results)] if len(self.results) < len(masters) else None

    def judge(self, record: PartRecord, plan: StationPlan) -> None:
        """The announced master's record."""
        master = self.next_master
        assert master is not None
        result = judge_master(
            master,
            record,
            recipe_digest=self.recipe_digest,
            confirm_wired=plan.config.confirm is not None,
            review_action=plan.config.review_action,
        )
        self.results.append(result)
        self.announced_mono_ns = None

    def verdict(self) -> tuple[str, str]:
        """Outcome and detail, once every master has been judged."""
        bad = [result.master for result in self.results if not result.is_good]
        if bad:
            return "failed", f"not as expected: {', '.join(bad)}"
        return "passed", f"all {len(self.results)} masters as expected"

    def state(self) -> dict[str, Any]:
        """For the client."""
        phase = "ask" if self.announced_mono_ns is None else "awaiting"
        return {
            "phase": phase if self.running else "done",
            "author": self.author,
            "masters": len(self.masters.content.masters),
            "results": [result.as_dict() for result in self.results],
            "outcome": self.outcome or None,
            "detail": self.detail,
            "number": self.number,
            "next": self._next() if self.running else None,
        }

    def record(
        self, plan: StationPlan, *, due: Due, ended: Moment, simulated: bool
    ) -> dict[str, Any]:
        """What is kept of it; see docs/reference/challenge.md."""
        return {
            "format": 1,
            "station": plan.station.id,
            "product": self.product,
            "recipe_revision": plan.recipe.revision,
            "recipe_digest": self.recipe_digest,
            "bundle": f"{plan.bundle.card.name} {plan.bundle.card.version}",
            "outcome": self.outcome,
            "detail": self.detail,
            "author": self.author,
            "reason": self.reason,
            "demanded_by": {reason.value: text for reason, text in due.items()},
            "began": moment_as_json(self.began),
            "ended": moment_as_json(ended),
            "masters_file": self.masters.path.name,
            "masters_sha256": self.masters.sha256,
            "masters": len(self.masters.content.masters),
            "confirm_wired": plan.config.confirm is not None,
            "simulated": simulated,
            "results": [result.as_dict() for result in self.results],
        }

    def _next(self) -> dict[str, Any] | None:
        master = self.next_master
        if master is None:
            return None
        picture = self.masters.picture_of(master)
        return {
            "id": master.label,
            "description": master.description or "",
            "expected": expected_words(master),
            "picture": None if picture is None else str(picture),
        }


def check_masters(masters: LoadedMasters, plan: StationPlan, *, simulated: bool) -> None:
    """What the file alone cannot say. Raises ConfigError."""
    content = masters.content
    if content.product != plan.recipe.product:
        raise ConfigError(
            file=masters.path,
            line=masters.source.line_of(("product",)),
            key="product",
            value=content.product,
            expected=f"{plan.recipe.product}, which the station inspects now",
        )
    classes = plan.bundle.card.defect_classes
    for at, master in enumerate(content.masters):
        if master.defect_class is not None and master.defect_class not in classes:
            expected = f"one of {', '.join(classes)}"
            raise masters.refuse(at, "defect_class", master.defect_class, expected)
        if master.place is not None and plan.roi is not None:
            place = master.place.region
            if not overlap(place, plan.roi):
                expected = f"a place within the recipe's ROI {tuple(plan.roi)}"
                raise masters.refuse(at, "place", tuple(place), expected)
        if simulated and master.picture is None:
            expected = "a picture, for the simulated line shows it to the camera"
            raise masters.refuse(at, "picture", None, expected)
