"""One challenge: its masters, how far it is, how it ended, and its record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edgeinspect.challenge.judgement import MasterResult, expected_words, judge_master
from edgeinspect.challenge.masters_file import LoadedMasters, Master
from edgeinspect.challenge.policy import DueReasons, Moment
from edgeinspect.part import PartRecord
from edgeinspect.runtime.plan import StationPlan


@dataclass(slots=True)
class ChallengeSession:
    """A running challenge, or the last one that ran.

    Attributes:
        token: Known to the client that began it.
        recipe_digest: The recipe in force when it began.
        announced_mono_ns: When the master that is on its way was announced; None while none is.
        outcome: "" while it runs, then passed, failed or aborted.
        number: The number of its record, once that is kept.
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
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return not self.outcome

    @property
    def next_master(self) -> Master | None:
        """The first master that has not been judged; None after the last."""
        masters = self.masters.content.masters
        return masters[len(self.results)] if len(self.results) < len(masters) else None

    def judge(self, record: PartRecord, plan: StationPlan) -> None:
        """Judge the announced master by its record."""
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

    def end(self, outcome: str, detail: str) -> None:
        """It has ended."""
        self.outcome, self.detail = outcome, detail
        self.announced_mono_ns = None

    def verdict(self) -> tuple[str, str]:
        """Return outcome and detail; every master has been judged."""
        bad = [result.master for result in self.results if not result.is_good]
        if bad:
            return "failed", f"not as expected: {', '.join(bad)}"
        return "passed", f"all {len(self.results)} masters as expected"

    def progress(self) -> dict[str, Any]:
        """JSON-safe, for the client."""
        phase = "ask" if self.announced_mono_ns is None else "awaiting"
        return {
            "phase": phase if self.is_running else "done",
            "author": self.author,
            "masters": len(self.masters.content.masters),
            "results": [result.as_dict() for result in self.results],
            "outcome": self.outcome or None,
            "detail": self.detail,
            "number": self.number,
            "next": self._next() if self.is_running else None,
        }

    def record(
        self, plan: StationPlan, *, due: DueReasons, ended: Moment, simulated: bool
    ) -> dict[str, Any]:
        """The record that is kept; see docs/reference/challenge.md."""
        return {
            "format": 1,
            "station": plan.station.id,
            "product": self.product,
            "recipe_revision": plan.recipe.revision,
            "recipe_digest": self.recipe_digest,
            "bundle": plan.bundle.card.title,
            "outcome": self.outcome,
            "detail": self.detail,
            "author": self.author,
            "reason": self.reason,
            "demanded_by": {reason.value: text for reason, text in due.items()},
            "began": self.began.as_dict(),
            "ended": ended.as_dict(),
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
