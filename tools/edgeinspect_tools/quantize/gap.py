"""What int8 costs against float, on the same pictures through the station's own inspection."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.align import compared
from edgeinspect.bundle.card import Card, Task
from edgeinspect.bundle.directory import Bundle
from edgeinspect.errors import Misaligned
from edgeinspect.hw.picture_file import read_picture
from edgeinspect.part import Frame, Region
from edgeinspect_tools.certify import band, flips
from edgeinspect_tools.quantize.draft_bundle import inspector_of
from edgeinspect_tools.quantize.real import FloatModel, Pixels
from edgeinspect_tools.statistics import auroc, auroc_loss_error

AUROC_BOUND = 0.001
_AROUND = (-0.1, 0.0, 0.1)
_ONE_SIDED_95 = 1.645

Advance = Callable[[int], None]
"""Called with the number of pictures done."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A picture and whether it is defective; None where nobody said.

    Attributes:
        reference: of the same product without a defect, for models that compare.
    """

    path: Path
    defective: bool | None
    reference: Path | None = None

    def pixels(self) -> Pixels:
        """uint8 (height, width) or (height, width, 3) RGB. Raises CameraFault."""
        return read_picture(self.path)

    def reference_pixels(self, card: Card) -> Pixels | None:
        """The reference where the card's model takes one. Raises CameraFault."""
        if not card.input.reference or self.reference is None:
            return None
        return read_picture(self.reference)

    def region(self, card: Card) -> Pixels:
        """What ``Pipeline`` and ``FloatModel`` take: with its reference where there is one.

        Raises:
            CameraFault: a picture cannot be read.
            Misaligned: it does not lie as its reference.
        """
        reference = self.reference_pixels(card)
        pixels = self.pixels()
        if reference is None:
            return pixels
        whole = Region(0, 0, pixels.shape[1], pixels.shape[0])
        try:
            return compared(card.input, pixels, reference, whole)
        except Misaligned as error:
            raise Misaligned(f"{self.path}: {error.message}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Scores of the same pictures by both models.

    Attributes:
        defective: one per picture, or None.
        real, int8: (pictures, defect classes), [0, 1].
        map_error: of the score maps, cell by cell; empty for a classifier.
    """

    pictures: tuple[Labelled, ...]
    real: NDArray[np.float64] = field(repr=False)
    int8: NDArray[np.float64] = field(repr=False)
    map_error: dict[str, float]

    def bad_and_good(self, scores: NDArray[np.float64]) -> tuple[list[float], list[float]]:
        """The highest class score of the defective and of the good pictures."""
        top = scores.max(axis=1)
        kinds = [entry.defective for entry in self.pictures]
        bad = [float(s) for s, kind in zip(top, kinds, strict=True) if kind is True]
        good = [float(s) for s, kind in zip(top, kinds, strict=True) if kind is False]
        return bad, good


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How far the int8 model is from the float model.

    Attributes:
        pairs: number of pairs of a good and a defective picture, on which the AUROC rests.
        auroc_float: None without good and defective pictures.
        auroc_int8: None without good and defective pictures.
        auroc_loss_error: standard error of their difference; None with fewer than two of a kind.
        flips: number of verdicts that differ at the review or reject threshold.
        flips_outside_band: those of them whose float score is farther from the threshold than the
            declared band.
        mean_error: mean difference of the reduced scores.
        max_error: largest difference of the reduced scores.
        agreement: share of pictures with the same top class.
    """

    pictures: int
    pairs: int
    auroc_float: float | None
    auroc_int8: float | None
    auroc_loss_error: float | None
    flips: int
    flips_outside_band: int
    mean_error: float
    max_error: float
    agreement: float
    map_error: dict[str, float]

    @property
    def auroc_lost(self) -> float:
        """AUROC that int8 loses; 0 if it loses none or if there is no AUROC."""
        if self.auroc_float is None or self.auroc_int8 is None:
            return 0.0
        return max(0.0, self.auroc_float - self.auroc_int8)

    @property
    def is_within_bound(self) -> bool:
        """At most 0.1 point of AUROC lost and no flip outside the band, or nothing else is shown.

        A handful of pictures cannot show 0.1 point: one that changes places with a neighbour it
        scores alike costs more. A larger loss is therefore held against int8 where it is more
        than chance would bring (one-sided, 95 %), and also where any score moved by more than the
        declared band, whatever chance may bring.
        """
        if self.flips_outside_band:
            return False
        return self.is_loss_within_bound or not (self.is_loss_shown or self.max_error > band())

    @property
    def is_loss_within_bound(self) -> bool:
        """Of fewer than 1,000 pairs one may change its order: they cannot show less."""
        allowed = max(AUROC_BOUND, 1 / self.pairs if self.pairs else 0.0)
        return self.auroc_lost <= allowed + 1e-12

    @property
    def is_loss_shown(self) -> bool:
        """Whether these pictures show that more than the bound is lost."""
        if self.auroc_loss_error is None:
            return not self.is_loss_within_bound
        return self.auroc_lost - _ONE_SIDED_95 * self.auroc_loss_error > AUROC_BOUND

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""

        def short(value: float | None) -> float | None:
            return None if value is None else round(value, 6)

        return {
            "pictures": self.pictures,
            "auroc_float": short(self.auroc_float),
            "auroc_int8": short(self.auroc_int8),
            "auroc_loss_error": short(self.auroc_loss_error),
            "flips": self.flips,
            "flips_outside_band": self.flips_outside_band,
            "flip_band": band(),
            "score_error_mean": short(self.mean_error),
            "score_error_max": short(self.max_error),
            "top_class_agreement": short(self.agreement),
            "score_map_error": self.map_error,
            "within_bound": self.is_within_bound,
        }


def score_both(
    float_model: bytes,
    bundle: Bundle,
    pictures: Sequence[Labelled],
    *,
    advance: Advance = lambda _: None,
) -> Scored:
    """Look at every picture with both models.

    Raises:
        CameraFault: a picture cannot be read.
        ModelRefused: the float model does not have the card's shapes.
    """
    card = bundle.card
    floating = FloatModel(float_model, card)
    is_map = card.task is Task.SEGMENTATION
    before: list[tuple[float, ...]] = []
    after: list[tuple[float, ...]] = []
    errors = MapError()
    with inspector_of(bundle) as inspector:
        for entry in pictures:
            look = floating.look(entry.region(card))
            found = inspector.inspect(
                Frame.of_picture(entry.pixels()),
                want_map=is_map,
                reference=entry.reference_pixels(card),
            )
            before.append(look.scores)
            after.append(found.scores)
            shown = found.score_map
            if shown is not None and shown.scores.shape == look.score_map.shape:
                errors.add(look.score_map, shown.scores)
            advance(1)
    return Scored(
        pictures=tuple(pictures),
        real=np.array(before, np.float64).reshape(len(pictures), -1),
        int8=np.array(after, np.float64).reshape(len(pictures), -1),
        map_error=errors.as_dict(),
    )


def score_int8(
    bundle: Bundle, pictures: Sequence[Labelled], *, advance: Advance = lambda _: None
) -> Scored:
    """As ``score_both`` where the float model is not known: its scores are NaN."""
    after = []
    with inspector_of(bundle) as inspector:
        for entry in pictures:
            frame = Frame.of_picture(entry.pixels())
            reference = entry.reference_pixels(bundle.card)
            after.append(inspector.inspect(frame, reference=reference).scores)
            advance(1)
    found = np.array(after, np.float64).reshape(len(pictures), -1)
    return Scored(
        pictures=tuple(pictures), real=np.full_like(found, np.nan), int8=found, map_error={}
    )


def gap_against_float(
    float_model: bytes, card: Card, pictures: Sequence[Labelled], int8: NDArray[np.float64]
) -> Gap:
    """The gap where the int8 model's scores (pictures, defect classes) are known already.

    Raises:
        CameraFault: a picture cannot be read.
        ModelRefused: the float model does not have the card's shapes.
    """
    floating = FloatModel(float_model, card)
    real = [floating.look(entry.region(card)).scores for entry in pictures]
    found = Scored(
        pictures=tuple(pictures), real=np.array(real, np.float64), int8=int8, map_error={}
    )
    return gap_of(found, card)


def gap_of(scored: Scored, card: Card) -> Gap:
    """The figures of scored pictures at the card's thresholds."""
    areas = [auroc(*scored.bad_and_good(scores)) for scores in (scored.real, scored.int8)]
    known = [None if math.isnan(area) else area for area in areas]
    limits = [card.threshold(name) for name in card.defect_classes]
    counted = [
        flips(scored.real, scored.int8, [getattr(limit, name) for limit in limits])
        for name in ("review", "reject")
    ]
    errors = np.abs(scored.real - scored.int8)
    same = scored.real.argmax(axis=1) == scored.int8.argmax(axis=1)
    bad, good = scored.bad_and_good(scored.real)
    bad_after, good_after = scored.bad_and_good(scored.int8)
    return Gap(
        pictures=len(scored.pictures),
        pairs=len(bad) * len(good),
        auroc_float=known[0],
        auroc_int8=known[1],
        auroc_loss_error=auroc_loss_error((bad, bad_after), (good, good_after)),
        flips=max(count["flips"] for count in counted),
        flips_outside_band=max(count["flips_outside_band"] for count in counted),
        mean_error=float(errors.mean()) if errors.size else 0.0,
        max_error=float(errors.max()) if errors.size else 0.0,
        agreement=float(same.mean()) if same.size else 1.0,
        map_error=scored.map_error,
    )


def flips_around(
    real: NDArray[np.float64], int8: NDArray[np.float64], card: Card
) -> dict[str, dict[str, int]]:
    """What ``flips`` counts at the card's thresholds and 0.1 of score beside them.

    Args:
        real: (pictures, defect classes), [0, 1].
        int8: (pictures, defect classes), [0, 1].
    """
    limits = [card.threshold(name) for name in card.defect_classes]
    return {
        f"{name}{shift:+.2f}": flips(
            real, int8, [min(1.0, max(0.0, getattr(limit, name) + shift)) for limit in limits]
        )
        for name in ("review", "reject")
        for shift in _AROUND
    }


class MapError:
    """Collects the absolute error of score maps, cell by cell, in bounded memory."""

    _BINS = 10_000

    def __init__(self) -> None:
        self._counts = np.zeros(self._BINS + 1, np.int64)
        self._sum = self._max = 0.0

    def add(self, one: NDArray[np.floating], other: NDArray[np.floating]) -> None:
        """Count the differences of two score maps of the same shape, values in [0, 1]."""
        error = np.abs(np.asarray(one, np.float64) - other).ravel()
        bins = np.minimum((error * self._BINS).astype(np.int64), self._BINS)
        self._counts += np.bincount(bins, minlength=self._BINS + 1)
        self._sum += float(error.sum())
        self._max = max(self._max, float(error.max()))

    def as_dict(self) -> dict[str, float]:
        """mean, max, and the 99.9th percentile rounded up to 0.0001; empty without a map."""
        cells = int(self._counts.sum())
        if not cells:
            return {}
        rank = int(self._counts.cumsum().searchsorted(0.999 * cells))
        return {
            "mean": round(self._sum / cells, 6),
            "p99_9": min((rank + 1) / self._BINS, round(self._max, 6)),
            "max": round(self._max, 6),
        }
