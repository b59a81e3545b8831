"""Replays recorded parts with other thresholds, reducers or minimum defect sizes.

Thresholds are replayed exactly: the recorded scores go through the rule that the line uses. For
other reducers, the stored order statistics give a lower and an upper bound of each score. A part
whose verdict depends on the value in between is counted as ``uncertain``, and the worse outcome is
assumed, as on the line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import UsageError
from edgeinspect.intervals import clopper_pearson
from edgeinspect.labels.label_store import Label, label_codes
from edgeinspect.line.config import ClassThresholds
from edgeinspect.line.scores import ReducerKind
from edgeinspect.records.judge_many import judge_many, reduce_again
from edgeinspect.records.score_table import (
    CANNOT_INSPECT,
    PASS,
    REJECT,
    REVIEW,
    VERDICTS,
    ScoreColumns,
)

_SLICE_PARTS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A count out of a total, with the exact 95 % interval of the rate."""

    count: int
    of: int

    @property
    def rate(self) -> float | None:
        """The share as a number; None if there are no parts."""
        return self.count / self.of if self.of else None

    @property
    def interval95(self) -> tuple[float, float]:
        """Clopper-Pearson; (0, 1) where nothing was tried."""
        return clopper_pearson(self.count, self.of)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "count": self.count,
            "of": self.of,
            "rate": self.rate,
            "interval95": list(self.interval95),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became, or would become, of the selection.

    Attributes:
        passed, reviews, rejects, cannot_inspect: parts by verdict.
        delivered: parts that the gate lets through: those that passed, and reviews where the
            station file says so.
        rejects_by_class: rejects by the class that decided.
        escapes: labelled defective parts that the gate lets through, of all labelled ones.
        false_rejects: labelled good parts that the gate diverts, of all labelled good ones.
    """

    passed: int
    reviews: int
    rejects: int
    cannot_inspect: int
    delivered: int
    rejects_by_class: Mapping[str, int]
    escapes: Share
    false_rejects: Share

    @property
    def parts(self) -> int:
        """Number of parts."""
        return self.passed + self.reviews + self.rejects + self.cannot_inspect

    @property
    def yield_share(self) -> float | None:
        """Delivered over all, [0, 1]; None without parts."""
        return self.delivered / self.parts if self.parts else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "parts": self.parts,
            "passed": self.passed,
            "reviews": self.reviews,
            "rejects": self.rejects,
            "cannot_inspect": self.cannot_inspect,
            "delivered": self.delivered,
            "yield": self.yield_share,
            "rejects_by_class": dict(self.rejects_by_class),
            "escapes": self.escapes.as_dict(),
            "false_rejects": self.false_rejects.as_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """The recorded outcome beside the predicted one.

    Attributes:
        before, after: the recorded and the predicted outcome.
        flips: number of parts by (recorded verdict, predicted verdict), if they differ.
        flipped_part_ids: int64, shape (flips,), ascending.
        flipped_from, flipped_to: codes of ``VERDICTS``, in the same order.
        verdicts: predicted codes of all parts of the columns, uint8.
        uncertain: parts whose predicted verdict depends on data that was not kept.
        other_classes: parts that were scored for other classes and cannot be replayed.
    """

    before: Outcome
    after: Outcome
    flips: Mapping[tuple[str, str], int]
    flipped_part_ids: NDArray[np.int64] = field(repr=False)
    flipped_from: NDArray[np.uint8] = field(repr=False)
    flipped_to: NDArray[np.uint8] = field(repr=False)
    verdicts: NDArray[np.uint8] = field(repr=False)
    uncertain: int = 0
    other_classes: int = 0

    def as_dict(self, *, most_flips: int = 1000) -> dict[str, Any]:
        """For JSON; at most ``most_flips`` flipped parts are listed."""
        shown = zip(
            self.flipped_part_ids[:most_flips].tolist(),
            self.flipped_from.tolist(),
            self.flipped_to.tolist(),
            strict=False,
        )
        return {
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "flips": len(self.flipped_part_ids),
            "flips_by_verdict": {f"{old}->{new}": n for (old, new), n in self.flips.items()},
            "flipped_parts": [
                {"part_id": part_id, "from": VERDICTS[old].value, "to": VERDICTS[new].value}
                for part_id, old, new in shown
            ],
            "uncertain": self.uncertain,
            "other_classes": self.other_classes,
        }


def what_if(
    columns: ScoreColumns,
    thresholds: Sequence[ClassThresholds],
    *,
    reducer: tuple[ReducerKind, int] | None = None,
    labels: Mapping[int, Label] | None = None,
    review_passes: bool = False,
) -> WhatIf:
    """Replay the columns under other thresholds.

    Args:
        columns: the recorded scores.
        thresholds: one for each class of the columns, in any order.
        reducer: kind and k instead of the one that made the scores; needs order statistics.
        labels: by part id, for escapes and false rejects.
        review_passes: whether the gate lets reviews through (``review_action: pass``).

    Raises:
        UsageError: thresholds for other classes, or a reducer that cannot be replayed.
    """
    ordered = _in_order(thresholds, columns.classes)
    verdicts, deciding, uncertain = _judged(columns, ordered, reducer)
    good, defective = label_codes(columns.part_ids, labels or {})
    counted = _Counting(columns, good, defective, review_passes)
    differs = verdicts != columns.verdicts
    old, new = columns.verdicts[differs], verdicts[differs]
    pairs = Counter(zip(old.tolist(), new.tolist(), strict=True))
    return WhatIf(
        before=counted.outcome(columns.verdicts, columns.rejects_by_class),
        after=counted.outcome(verdicts, _rejects_by_class(columns, verdicts, deciding)),
        flips={(VERDICTS[a].value, VERDICTS[b].value): n for (a, b), n in sorted(pairs.items())},
        flipped_part_ids=columns.part_ids[differs],
        flipped_from=old,
        flipped_to=new,
        verdicts=verdicts,
        uncertain=uncertain,
        other_classes=columns.other_classes,
    )


def cells_for_area(area_px2: float, stride_px: float) -> int:
    """How many score map cells a defect of this area covers: the k of ``kth_largest``.

    Under ``kth_largest`` a part is rejected only if at least k cells reach the threshold.
    """
    if not (area_px2 > 0 and stride_px > 0):
        raise UsageError("The minimum defect size must be an area above 0 in square pixels.")
    return max(1, int(np.ceil(area_px2 / stride_px**2 - 1e-9)))


def _in_order(
    thresholds: Sequence[ClassThresholds], classes: Sequence[str]
) -> list[ClassThresholds]:
    by_name = {limit.name: limit for limit in thresholds}
    if sorted(by_name) != sorted(classes):
        raise UsageError(
            f"The thresholds are for {', '.join(sorted(by_name)) or 'no class'}, but the recorded "
            f"scores are for {', '.join(sorted(classes)) or 'no class'}.",
            next_action="Select a period or a recipe digest with parts of one model only.",
        )
    return [by_name[name] for name in classes]


def _judged(
    columns: ScoreColumns,
    thresholds: Sequence[ClassThresholds],
    reducer: tuple[ReducerKind, int] | None,
) -> tuple[NDArray[np.uint8], NDArray[np.intp], int]:
    """Verdicts, deciding columns and how many are uncertain; in slices, to bound the memory."""
    verdicts = np.empty(len(columns), np.uint8)
    deciding = np.empty(len(columns), np.intp)
    uncertain = 0
    for start in range(0, len(columns), _SLICE_PARTS):
        part = slice(start, start + _SLICE_PARTS)
        low = high = columns.scores[part]
        if reducer is not None:
            if columns.order_statistics is None:
                raise ValueError("the order statistics were not read")
            low, high = reduce_again(columns.order_statistics[part], *reducer)
        verdicts[part], deciding[part] = judge_many(high, thresholds)
        if reducer is not None:
            uncertain += int((judge_many(low, thresholds)[0] != verdicts[part]).sum())
    return verdicts, deciding, uncertain


@dataclass(frozen=True, slots=True)
class _Counting:
    columns: ScoreColumns
    good: NDArray[np.bool_]
    defective: NDArray[np.bool_]
    review_passes: bool

    def outcome(self, verdicts: NDArray[np.uint8], by_class: Mapping[str, int]) -> Outcome:
        counts = np.bincount(verdicts, minlength=len(VERDICTS))
        delivered = verdicts == PASS
        if self.review_passes:
            delivered |= verdicts == REVIEW
        return Outcome(
            passed=int(counts[PASS]),
            reviews=int(counts[REVIEW]),
            rejects=int(counts[REJECT]),
            cannot_inspect=int(counts[CANNOT_INSPECT]) + sum(self.columns.cannot_inspect.values()),
            delivered=int(delivered.sum()),
            rejects_by_class=by_class,
            escapes=_share(self.defective, delivered),
            false_rejects=_share(self.good, ~delivered),
        )


def _rejects_by_class(
    columns: ScoreColumns, verdicts: NDArray[np.uint8], deciding: NDArray[np.intp]
) -> dict[str, int]:
    counts = np.bincount(deciding[verdicts == REJECT], minlength=len(columns.classes))
    return {name: int(n) for name, n in zip(columns.classes, counts, strict=True) if n}


def _share(among: NDArray[np.bool_], hit: NDArray[np.bool_]) -> Share:
    return Share(count=int((among & hit).sum()), of=int(among.sum()))


def with_thresholds(
    thresholds: Sequence[ClassThresholds],
    changes: Mapping[str, tuple[float | None, float | None]],
) -> list[ClassThresholds]:
    """The thresholds with some replaced: (review, reject) by class, None keeps one.

    Raises:
        UsageError: an unknown class, a value outside [0, 1], or review above reject.
    """
    unknown = sorted(set(changes) - {limit.name for limit in thresholds})
    if unknown:
        names = ", ".join(limit.name for limit in thresholds)
        raise UsageError(f"Unknown class {unknown[0]!r}; known classes: {names}.")
    changed = []
    for limit in thresholds:
        review, reject = changes.get(limit.name, (None, None))
        new = replace(
            limit,
            review=limit.review if review is None else review,
            reject=limit.reject if reject is None else reject,
        )
        if not 0 <= new.review <= new.reject <= 1:
            raise UsageError(
                f"The thresholds of {new.name} are review {new.review:g} and reject "
                f"{new.reject:g}; expected 0 <= review <= reject <= 1.",
                next_action="Give both thresholds.",
            )
        changed.append(new)
    return changed
