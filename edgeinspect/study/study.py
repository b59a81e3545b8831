"""An attribute agreement study: parts x trials x appraisers, the station being one of them.

Follows the cross-tab method of the AIAG's Measurement Systems Analysis (4th edition, chapter III
section C) with its bounds; kappa is judged at 0.9 and 0.7. ``study_file`` reads the decisions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import UsageError
from edgeinspect.intervals import clopper_pearson, parts_needed
from edgeinspect.study.kappa import Kappa, cohen_kappa, fleiss_kappa

BAD, GOOD = 0, 1
"""Values of a decision and of the truth: 0 for reject, 1 for pass, as in the AIAG's tables."""


class Grade(StrEnum):
    """How a figure compares with its bounds, best first."""

    ACCEPTABLE = "acceptable"
    MARGINAL = "marginal"
    UNACCEPTABLE = "unacceptable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Where acceptable and marginal end; both in [0, 1]."""

    acceptable: float
    marginal: float
    high_is_good: bool

    def grade(self, value: float) -> Grade:
        """Grade a value; NaN is unacceptable because nothing was shown."""
        if self._holds(value, self.acceptable):
            return Grade.ACCEPTABLE
        return Grade.MARGINAL if self._holds(value, self.marginal) else Grade.UNACCEPTABLE

    def shown_by(self, low: float, high: float) -> bool:
        """Whether the whole interval is acceptable, not just the value."""
        return self._holds(low if self.high_is_good else high, self.acceptable)

    def _holds(self, value: float, limit: float) -> bool:
        return value >= limit if self.high_is_good else value <= limit


BOUNDS = {
    "effectiveness": Bound(acceptable=0.90, marginal=0.80, high_is_good=True),
    "miss_rate": Bound(acceptable=0.02, marginal=0.05, high_is_good=False),
    "false_alarm_rate": Bound(acceptable=0.05, marginal=0.10, high_is_good=False),
    "kappa": Bound(acceptable=0.90, marginal=0.70, high_is_good=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Every decision of a complete study.

    Attributes:
        parts: their names, in the order of the axes below.
        appraisers: their names, in the order of the axes below.
        reference: the truth, BAD or GOOD, int8 (parts,).
        decisions: BAD or GOOD, int8 (appraisers, parts, trials).
    """

    parts: tuple[str, ...]
    appraisers: tuple[str, ...]
    reference: NDArray[np.int8] = field(repr=False)
    decisions: NDArray[np.int8] = field(repr=False)

    @property
    def trials(self) -> int:
        """How often each appraiser decided on each part."""
        return int(self.decisions.shape[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportion:
    """``count`` of ``of`` with its exact interval (Clopper and Pearson); NaN if ``of`` is 0."""

    count: int
    of: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AppraiserResult:
    """The figures of one appraiser.

    Attributes:
        effectiveness: parts that were decided correctly in every trial, of all parts.
        right_decisions: correct decisions, of all decisions.
        miss_rate: decisions that let a bad part pass, of those on bad parts.
        false_alarm_rate: decisions that rejected a good part, of those on good parts.
        bad_parts_missed: bad parts that passed at least once, of the bad parts.
        repeatability: parts decided alike in every trial, of all parts.
        kappa: Cohen's, against the reference.
        kappa_within: Fleiss', over the appraiser's own trials; None if there is one trial.
        grades: by name of the bound.
        shown: by name of the bound, whether the whole interval is in the acceptable range.
        grade: the worst of ``grades``.
    """

    name: str
    effectiveness: Proportion
    right_decisions: Proportion
    miss_rate: Proportion
    false_alarm_rate: Proportion
    bad_parts_missed: Proportion
    repeatability: Proportion
    kappa: Kappa
    kappa_within: Kappa | None
    grades: dict[str, Grade]
    shown: dict[str, bool]
    grade: Grade


@dataclass(frozen=True, slots=True, kw_only=True)
class PairResult:
    """Two appraisers compared: Cohen's kappa over trials of the same number."""

    first: str
    second: str
    kappa: Kappa
    grade: Grade


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """All figures of a study.

    Attributes:
        all_agree: parts decided alike by everybody in every trial, of all parts.
        all_right: parts that everybody decided correctly in every trial, of all parts.
        kappa_between: Fleiss', over all trials of all appraisers; None for one decision a part.
        grade: the worst appraiser's.
        remarks: sentences about what the study is too small to show.
    """

    parts: int
    bad_parts: int
    good_parts: int
    trials: int
    confidence: float
    appraisers: tuple[AppraiserResult, ...]
    pairs: tuple[PairResult, ...]
    all_agree: Proportion
    all_right: Proportion
    kappa_between: Kappa | None
    grade: Grade
    remarks: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        return asdict(self)


def analyse(study: Study, *, confidence: float = 0.95) -> StudyResult:
    """Compute all figures with their intervals.

    Raises:
        UsageError: the study has no good part or no bad part, so nothing can be judged.
    """
    kinds = [int((study.reference == kind).sum()) for kind in (BAD, GOOD)]
    if not all(kinds):
        missing = "bad" if not kinds[BAD] else "good"
        raise UsageError(
            f"The study has no {missing} parts.",
            next_action="Include both good and bad parts, about half of them near the limit.",
        )
    results = tuple(_appraiser(study, at, confidence) for at in range(len(study.appraisers)))
    every = np.moveaxis(study.decisions, 1, 0).reshape(len(study.parts), -1)
    agree = (every == every[:, :1]).all(axis=1)
    right = (every == study.reference[:, None]).all(axis=1)
    return StudyResult(
        parts=len(study.parts),
        bad_parts=kinds[BAD],
        good_parts=kinds[GOOD],
        trials=study.trials,
        confidence=confidence,
        appraisers=results,
        pairs=tuple(_pair(study, a, b, confidence) for a, b in _pairs(study)),
        all_agree=_share(agree, confidence),
        all_right=_share(right, confidence),
        kappa_between=_fleiss(every, confidence),
        grade=_worst(result.grade for result in results),
        remarks=tuple(_remarks(kinds, study.trials, confidence)),
    )


def _appraiser(study: Study, at: int, confidence: float) -> AppraiserResult:
    decisions, truth = study.decisions[at], study.reference[:, None]
    right = decisions == truth
    bad = study.reference == BAD
    against_truth = _tables(decisions, np.broadcast_to(truth, decisions.shape))
    kappa = cohen_kappa(against_truth, confidence=confidence)
    shares = {
        "effectiveness": _share(right.all(axis=1), confidence),
        "miss_rate": _share(~right[bad], confidence),
        "false_alarm_rate": _share(~right[~bad], confidence),
    }
    figures: dict[str, Proportion | Kappa] = {**shares, "kappa": kappa}
    grades = {name: BOUNDS[name].grade(figure.value) for name, figure in figures.items()}
    return AppraiserResult(
        name=study.appraisers[at],
        **shares,
        right_decisions=_share(right, confidence),
        bad_parts_missed=_share((~right[bad]).any(axis=1), confidence),
        repeatability=_share((decisions == decisions[:, :1]).all(axis=1), confidence),
        kappa=kappa,
        kappa_within=_fleiss(decisions, confidence),
        grades=grades,
        shown={name: BOUNDS[name].shown_by(f.low, f.high) for name, f in figures.items()},
        grade=_worst(grades.values()),
    )


def _pairs(study: Study) -> list[tuple[int, int]]:
    return list(combinations(range(len(study.appraisers)), 2))


def _pair(study: Study, a: int, b: int, confidence: float) -> PairResult:
    tables = _tables(study.decisions[a], study.decisions[b])
    kappa = cohen_kappa(tables, confidence=confidence)
    grade = BOUNDS["kappa"].grade(kappa.value)
    return PairResult(
        first=study.appraisers[a], second=study.appraisers[b], kappa=kappa, grade=grade
    )


def _tables(first: NDArray[np.int8], second: NDArray[np.int8]) -> NDArray[np.int64]:
    """Make a cross table (2, 2) for each part from two sets of decisions (parts, trials)."""
    kinds = np.arange(2)
    said_first = (first[:, :, None] == kinds).astype(np.int64)
    said_second = (second[:, :, None] == kinds).astype(np.int64)
    return np.asarray(np.einsum("ptf,pts->pfs", said_first, said_second))


def _fleiss(decisions: NDArray[np.int8], confidence: float) -> Kappa | None:
    """Fleiss' kappa over the second axis; None if each part has only one decision."""
    if decisions.shape[1] < 2:
        return None
    good = decisions.sum(axis=1, dtype=np.int64)
    counts = np.stack([decisions.shape[1] - good, good], axis=1)
    return fleiss_kappa(counts, confidence=confidence)


def _share(which: NDArray[np.bool_], confidence: float) -> Proportion:
    count, of = int(which.sum()), int(which.size)
    low, high = clopper_pearson(count, of, confidence=confidence)
    value = count / of if of else math.nan
    return Proportion(count=count, of=of, value=value, low=low, high=high)


def _worst(grades: Iterable[Grade]) -> Grade:
    order = list(Grade)
    return max(grades, key=order.index)


def _remarks(kinds: Sequence[int], trials: int, confidence: float) -> list[str]:
    """Report what this number of decisions cannot prove, however good they are."""
    made = []
    for kind, name, words in ((BAD, "miss_rate", "bad"), (GOOD, "false_alarm_rate", "good")):
        limit = BOUNDS[name].acceptable
        needed = parts_needed(rate=limit, confidence=1 - (1 - confidence) / 2)
        decisions = kinds[kind] * trials
        if decisions < needed:
            made.append(
                f"At least {needed} decisions on {words} parts without a mistake are needed to "
                f"prove a {name.replace('_', ' ')} of at most {limit:.0%} at {confidence:.0%}; "
                "this "
                f"study has {decisions}."
            )
    if trials < 2:
        made.append("One trial cannot show how well an appraiser repeats their own decisions.")
    return made
