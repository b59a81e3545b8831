"""A bundle on held-out pictures: its figures, the loss of int8, and whether the station agrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.directory import Bundle
from edgeinspect.errors import NotGood, UsageError
from edgeinspect.hw.model_probe import try_bare
from edgeinspect.intervals import clopper_pearson
from edgeinspect.part import GateOutcome
from edgeinspect_tools.certify import band, layer_findings
from edgeinspect_tools.data.dataset import Item
from edgeinspect_tools.missing import need
from edgeinspect_tools.quantize.calibration import calibration_samples
from edgeinspect_tools.quantize.gap import (
    Advance,
    Gap,
    Scored,
    flips_around,
    gap_of,
    score_both,
    score_int8,
)
from edgeinspect_tools.quantize.int8_candidates import worst_layers
from edgeinspect_tools.quantize.real import FloatModel
from edgeinspect_tools.quantize.steps import labelled, spread
from edgeinspect_tools.statistics import auroc
from edgeinspect_tools.verify.replayed import Replayed, replay_pictures

_LAYER_PICTURES = 8
_LAYER_TILES = 12


@dataclass(frozen=True, slots=True)
class Flip:
    """A picture whose verdict differs between float and int8.

    Attributes:
        threshold: ``review`` or ``reject``.
        distance: of the float score from the threshold, of the class that decides.
    """

    file: str
    threshold: str
    defect_class: str
    score_float: float
    score_int8: float
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Everything that ``verify`` found.

    Attributes:
        items: in the order of ``scored`` and ``replayed``.
        scored: float scores are NaN where the float model is not known.
        flips_around: counted at the thresholds and beside them; empty without the float model.
        gap: None without the float model.
        layers: in the graph's order; empty without the float model.
    """

    model_bytes: int
    items: tuple[Item, ...] = field(repr=False)
    scored: Scored = field(repr=False)
    replayed: Replayed = field(repr=False)
    gap: Gap | None
    flips: tuple[Flip, ...]
    flips_around: dict[str, dict[str, int]]
    layers: list[dict[str, Any]] = field(repr=False)

    @property
    def passed(self) -> NDArray[np.bool_]:
        """Which pictures the station's gate let pass."""
        return np.array([one is GateOutcome.PASSED for one in self.replayed.outcomes], np.bool_)

    @property
    def defective(self) -> NDArray[np.bool_]:
        """Which of the pictures are defective, (pictures,)."""
        return np.array([not item.is_good for item in self.items], np.bool_)

    def figures(self) -> dict[str, Any]:
        """What ``--json`` prints, without lists."""
        bad, good = self.scored.bad_and_good(self.scored.int8)
        escapes = int((self.passed & self.defective).sum())
        rejected = int((~self.passed & ~self.defective).sum())
        gap = self.gap
        return {
            "n_good": len(good),
            "n_defective": len(bad),
            "n_drawn": sum(item.drawn for item in self.items),
            "auroc_float": None if gap is None else gap.auroc_float,
            "auroc_int8": auroc(bad, good),
            "auroc_loss_error": None if gap is None else gap.auroc_loss_error,
            "average_precision_int8": average_precision(bad, good),
            "escapes": escapes,
            **_rate("escape", escapes, len(bad)),
            "false_rejects": rejected,
            **_rate("false_reject", rejected, len(good)),
            "flips": None if gap is None else gap.flips,
            "flips_outside_band": None if gap is None else gap.flips_outside_band,
            "flip_band": band(),
            "score_error_max": None if gap is None else gap.max_error,
            "score_map_error": self.scored.map_error,
            "within_bound": None if gap is None else gap.is_within_bound,
            "auroc_loss_in_doubt": gap is not None
            and gap.is_within_bound
            and not gap.is_loss_within_bound,
            "replay_identical": self.replayed.identical,
            "model_bytes": self.model_bytes,
        }

    def as_dict(self) -> dict[str, Any]:
        """The figures with flips and layers."""
        return {
            **self.figures(),
            "flips_around": self.flips_around,
            "flip_list": [
                {name: getattr(flip, name) for name in Flip.__slots__} for flip in self.flips
            ],
            "worst_layers": worst_layers(self.layers),
        }


def _rate(name: str, count: int, total: int) -> dict[str, float | None]:
    """A rate with its exact 95 % interval; None without a picture."""
    lower, upper = clopper_pearson(count, total)
    rate = count / total if total else None
    return {f"{name}_rate": rate, f"{name}_lower95": lower, f"{name}_upper95": upper}


def verify_bundle(
    bundle: Bundle,
    items: Sequence[Item],
    float_model: bytes | None,
    *,
    advance: Advance = lambda _: None,
) -> Verification:
    """Measure a bundle at its default thresholds.

    A part that the station would not let pass, a reviewed one too, counts as rejected.

    Raises:
        UsageError: no pictures.
        NotGood: the station's replay gives other scores than the tools, which must never be.
        ModelRefused: the float model is not the bundle's, or a model kills or hangs a process.
    """
    if not items:
        raise UsageError("There are no pictures to verify with.")
    try_bare(bundle.model, source=str(bundle.directory / bundle.card.model))
    pictures = labelled(items)
    layers: list[dict[str, Any]] = []
    gap = None
    if float_model is None:
        scored = score_int8(bundle, pictures, advance=advance)
    else:
        scored = score_both(float_model, bundle, pictures, advance=advance)
        gap = gap_of(scored, bundle.card)
        few = labelled(spread(items, _LAYER_PICTURES))
        floating = FloatModel(float_model, bundle.card)
        tiles = calibration_samples(floating, bundle.card, few, most=_LAYER_TILES)
        layers = layer_findings(float_model, bundle.model, tiles)
    replayed = replay_pictures(bundle, pictures, advance=advance)
    check_identical(scored, replayed)
    return Verification(
        model_bytes=len(bundle.model),
        items=tuple(items),
        scored=scored,
        replayed=replayed,
        gap=gap,
        flips=() if gap is None else tuple(_flips(bundle, items, scored)),
        flips_around={} if gap is None else flips_around(scored.real, scored.int8, bundle.card),
        layers=layers,
    )


def check_identical(scored: Scored, replayed: Replayed) -> None:
    """Raises NotGood unless the replay's scores are the tools' bit for bit."""
    rows = [tuple(row) for row in scored.int8.tolist()]
    names = [entry.path.name for entry in scored.pictures]
    differing = [
        name
        for name, ours, theirs in zip(names, rows, replayed.scores, strict=True)
        if ours != theirs
    ]
    if differing:
        raise NotGood(
            f"The station's replay gives {len(differing)} of {len(rows)} pictures other scores "
            f"than the tools; the first is {differing[0]}.",
            next_action="Please report this as a bug.",
        )


def average_precision(bad: Sequence[float], good: Sequence[float]) -> float:
    """Mean precision over the recall of defective pictures, every point; ties count as one step.

    NaN without a defective picture.
    """
    if not bad:
        return float("nan")
    truth = [True] * len(bad) + [False] * len(good)
    return float(need("sklearn.metrics").average_precision_score(truth, [*bad, *good]))


def _flips(bundle: Bundle, items: Sequence[Item], scored: Scored) -> list[Flip]:
    names = bundle.card.defect_classes
    found = []
    for threshold in ("review", "reject"):
        limits = np.array([getattr(bundle.card.threshold(name), threshold) for name in names])
        before, after = scored.real - limits, scored.int8 - limits
        flipped = (before >= 0).any(axis=1) != (after >= 0).any(axis=1)
        for at in np.flatnonzero(flipped).tolist():
            stronger = before[at] if before[at].max() >= 0 else after[at]
            chosen = int(stronger.argmax())
            found.append(
                Flip(
                    file=items[at].path.name,
                    threshold=threshold,
                    defect_class=names[chosen],
                    score_float=round(float(scored.real[at, chosen]), 6),
                    score_int8=round(float(scored.int8[at, chosen]), 6),
                    distance=round(abs(float(before[at, chosen])), 6),
                )
            )
    return found
