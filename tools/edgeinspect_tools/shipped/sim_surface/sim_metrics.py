"""What a model found on simulated parts whose truth is known, at any thresholds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.intervals import clopper_pearson
from edgeinspect.part import Region
from edgeinspect.sim.defects import DEFECT_KINDS
from edgeinspect.sim.renderer import PlantedDefect, RenderedPart
from edgeinspect_tools.statistics import auroc

SIZE_EDGES_PX = (0.0, 4.0, 8.0, 16.0, 32.0, 1000.0)
CLAIMED_SIZE_PX = 4.0


@dataclass(frozen=True, slots=True)
class Look:
    """A model's answer for one part.

    Attributes:
        scores: one per class, reduced.
        score_map: (rows, columns, classes) in [0, 1] over ``roi``.
    """

    scores: Sequence[float]
    score_map: NDArray[np.floating]
    roi: Region
    stride_px: float


@dataclass(frozen=True, slots=True)
class SeenDefect:
    """A planted defect and the highest score of each class at or touching its place."""

    kind: str
    size_px: float
    local_scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SeenPart:
    """A part's reduced scores, one per class, and its defects; a good part has none."""

    part_number: int
    scores: tuple[float, ...]
    defects: tuple[SeenDefect, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """``hits`` of ``total`` with the exact 95 % interval of the share."""

    hits: int
    total: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        low, high = clopper_pearson(self.hits, self.total)
        share = self.hits / self.total if self.total else None
        return {
            "hits": self.hits,
            "total": self.total,
            "share": None if share is None else round(share, 6),
            "interval_95": [round(low, 6), round(high, 6)],
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The measured performance at one set of thresholds.

    Attributes:
        found: defects of CLAIMED_SIZE_PX or more.
        false_rejects: good parts that were rejected or sent to review.
        found_small: defects below CLAIMED_SIZE_PX.
        caught: defective parts that were rejected or sent to review.
        by_kind: found, CLAIMED_SIZE_PX or more, by kind.
        by_size: found by size, all kinds; keys like "4-8".
        named: found defects of CLAIMED_SIZE_PX or more whose own class scored highest there.
        auroc: of the highest class score, defective against good parts.
    """

    found: Tally
    false_rejects: Tally
    found_small: Tally
    caught: Tally
    named: Tally
    auroc: float
    by_kind: dict[str, Tally] = field(default_factory=dict)
    by_size: dict[str, Tally] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "defects_found_4px_or_more": self.found.as_dict(),
            "false_rejects_of_good_parts": self.false_rejects.as_dict(),
            "defects_found_below_4px": self.found_small.as_dict(),
            "defective_parts_caught": self.caught.as_dict(),
            "class_named_right_4px_or_more": self.named.as_dict(),
            "auroc_part": round(self.auroc, 6),
            "found_by_kind_4px_or_more": {k: t.as_dict() for k, t in self.by_kind.items()},
            "found_by_size_px": {k: t.as_dict() for k, t in self.by_size.items()},
        }


def see(
    parts: Iterable[tuple[int, RenderedPart]], look: Callable[[NDArray[np.uint8]], Look]
) -> list[SeenPart]:
    """Score every part, and keep what any threshold needs."""
    seen = []
    for number, part in parts:
        found = look(part.pixels)
        defects = tuple(_at(defect, found) for defect in part.defects)
        scores = tuple(float(score) for score in found.scores)
        seen.append(SeenPart(number, scores, defects))
    return seen


def report(seen: Sequence[SeenPart], review: Sequence[float]) -> Report:
    """Performance where a part is rejected or reviewed from ``review`` on, one per class.

    A defect counts as found if its part is rejected or reviewed and a class reaches its own
    threshold at or touching the defect's place.
    """
    limits = np.asarray(review)
    good = [part for part in seen if not part.defects]
    bad = [part for part in seen if part.defects]
    outcomes = [
        (defect, _stopped(part, limits) and bool(np.any(defect.local_scores >= limits)))
        for part in bad
        for defect in part.defects
    ]
    large = [(d, hit) for d, hit in outcomes if d.size_px >= CLAIMED_SIZE_PX]
    small = [(d, hit) for d, hit in outcomes if d.size_px < CLAIMED_SIZE_PX]
    named = [
        (d, int(np.argmax(d.local_scores)) == DEFECT_KINDS.index(d.kind)) for d, hit in large if hit
    ]
    return Report(
        found=_tally(large),
        false_rejects=Tally(sum(_stopped(part, limits) for part in good), len(good)),
        found_small=_tally(small),
        caught=Tally(sum(_stopped(part, limits) for part in bad), len(bad)),
        named=_tally(named),
        auroc=auroc([max(p.scores) for p in bad], [max(p.scores) for p in good]),
        by_kind={k: _tally([o for o in large if o[0].kind == k]) for k in DEFECT_KINDS},
        by_size={
            f"{low:g}-{high:g}" if high < 1000 else f"{low:g}+": _tally(
                [o for o in outcomes if low <= o[0].size_px < high]
            )
            for low, high in itertools.pairwise(SIZE_EDGES_PX)
        },
    )


def table(result: Report) -> str:
    """The report for a person's eyes."""
    rows = [
        ("defects of 4 px or more found", result.found),
        ("good parts rejected or reviewed", result.false_rejects),
        ("defects below 4 px found", result.found_small),
        ("defective parts caught", result.caught),
        ("class named right (of found, 4 px or more)", result.named),
        *((f"  {kind} of 4 px or more", tally) for kind, tally in result.by_kind.items()),
        *((f"  size {size} px", tally) for size, tally in result.by_size.items()),
    ]
    lines = [f"{'':44}{'count':>13}  {'share':>8}  95 % interval"]
    for name, tally in rows:
        low, high = clopper_pearson(tally.hits, tally.total)
        share = f"{tally.hits / tally.total:8.2%}" if tally.total else f"{'-':>8}"
        counted = f"{tally.hits}/{tally.total}"
        lines.append(f"{name:44}{counted:>13}  {share}  {low:.2%} to {high:.2%}")
    lines.append(f"{'AUROC, defective against good parts':44}{result.auroc:>13.5f}")
    return "\n".join(lines)


def _stopped(part: SeenPart, limits: NDArray[np.float64]) -> bool:
    return bool(np.any(np.asarray(part.scores) >= limits))


def _tally(outcomes: Sequence[tuple[SeenDefect, bool]]) -> Tally:
    return Tally(sum(hit for _, hit in outcomes), len(outcomes))


def _at(defect: PlantedDefect, look: Look) -> SeenDefect:
    """Highest scores in the cells that the defect's box covers or touches."""
    x, y, width, height = defect.box
    rows, columns = look.score_map.shape[:2]
    left = max(0, int((x - look.roi.x) // look.stride_px) - 1)
    top = max(0, int((y - look.roi.y) // look.stride_px) - 1)
    right = min(columns, int((x + width - 1 - look.roi.x) // look.stride_px) + 2)
    bottom = min(rows, int((y + height - 1 - look.roi.y) // look.stride_px) + 2)
    near = look.score_map[top:bottom, left:right]
    local = near.max(axis=(0, 1)) if near.size else np.zeros(look.score_map.shape[2])
    return SeenDefect(defect.kind, defect.size_px, tuple(float(s) for s in local))
