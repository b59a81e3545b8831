"""What a person should know of a data set before trusting anything trained on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeinspect_tools.data.dataset import Dataset, Split
from edgeinspect_tools.data.scan import Scanned

OUTLIER_SIGMAS = 4.0
"""Robust standard deviations (1.4826 median absolute deviations) from the median."""

_MAX_CLIPPED = 0.25


@dataclass(frozen=True, slots=True)
class Conflict:
    """Near-duplicates with different labels; not reported where boxes mark the defects."""

    first: Path
    first_label: str
    second: Path
    second_label: str


@dataclass(frozen=True, slots=True)
class Outlier:
    """A picture that is unlike the others in one measured quantity."""

    path: Path
    what: str
    value: float
    median: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a person should know about a data set before training.

    Attributes:
        balance: number of pictures by split and class.
        groups: number of groups.
        largest_group: pictures in the largest group.
        near_duplicate_pairs: number of pairs whose thumbnails are alike.
        exact_duplicates: files with the same content, as lists of two or more.
        across_official_split: near-duplicate pairs with one side in the official test split, which
            make its figures too good.
        conflicts: pictures with contradicting labels.
        blurred: pictures that look blurred.
        exposure: pictures that look too dark or too bright.
        missing: (class, split) without a picture.
        notes: remarks of the reader.
    """

    balance: dict[str, dict[str, int]]
    groups: int
    largest_group: int
    near_duplicate_pairs: int
    exact_duplicates: tuple[tuple[Path, ...], ...]
    across_official_split: int
    conflicts: tuple[Conflict, ...]
    blurred: tuple[Outlier, ...]
    exposure: tuple[Outlier, ...]
    missing: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def describe(
    dataset: Dataset,
    scanned: Sequence[Scanned],
    *,
    pairs: NDArray[np.intp],
    cut: int,
    notes: Sequence[str],
) -> Findings:
    """Put together what scanning, grouping and splitting have shown.

    Args:
        scanned: parallel to ``dataset.items``.
        pairs: near-duplicates, indices into both.
        cut: how many of them an official split parts.
    """
    sizes = Counter(item.group for item in dataset.items)
    balance = {
        split.value: dict(sorted(Counter(item.label for item in dataset.of(split)).items()))
        for split in Split
    }
    labels = sorted({item.label for item in dataset.items})
    return Findings(
        balance=balance,
        groups=len(sizes),
        largest_group=max(sizes.values()),
        near_duplicate_pairs=len(pairs),
        exact_duplicates=_exact(scanned),
        across_official_split=cut,
        conflicts=_conflicts(scanned, pairs),
        blurred=_blurred(scanned),
        exposure=_exposure(scanned),
        missing=tuple(
            (label, s.value) for label in labels for s in Split if label not in balance[s.value]
        ),
        notes=tuple(notes),
    )


def _exact(scanned: Sequence[Scanned]) -> tuple[tuple[Path, ...], ...]:
    same: dict[str, list[Path]] = defaultdict(list)
    for entry in scanned:
        same[entry.sha256].append(entry.picture.path)
    return tuple(tuple(paths) for paths in same.values() if len(paths) > 1)


def _conflicts(scanned: Sequence[Scanned], pairs: NDArray[np.intp]) -> tuple[Conflict, ...]:
    both = ((scanned[a], scanned[b]) for a, b in pairs)
    return tuple(
        Conflict(a.picture.path, a.label, b.picture.path, b.label)
        for a, b in both
        if a.label != b.label and not (a.picture.boxes or b.picture.boxes)
    )


def _blurred(scanned: Sequence[Scanned]) -> tuple[Outlier, ...]:
    focus = np.array([entry.quality.focus for entry in scanned])
    sigmas = _robust_sigmas(np.log1p(focus))
    median = float(np.median(focus))
    return tuple(
        Outlier(scanned[at].picture.path, "focus", float(focus[at]), median)
        for at in np.flatnonzero(sigmas < -OUTLIER_SIGMAS).tolist()
    )


def _exposure(scanned: Sequence[Scanned]) -> tuple[Outlier, ...]:
    result: dict[int, Outlier] = {}
    for what, values in (
        ("mean", [entry.quality.mean for entry in scanned]),
        ("clipped_low", [entry.quality.clipped_low for entry in scanned]),
        ("clipped_high", [entry.quality.clipped_high for entry in scanned]),
    ):
        array = np.array(values)
        median = float(np.median(array))
        odd = np.abs(_robust_sigmas(array)) > OUTLIER_SIGMAS
        if what != "mean":
            odd = array > median + _MAX_CLIPPED
        for at in np.flatnonzero(odd).tolist():
            outlier = Outlier(scanned[at].picture.path, what, float(array[at]), median)
            result.setdefault(at, outlier)
    return tuple(result[at] for at in sorted(result))


def _robust_sigmas(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from the median; 0 throughout where the middle half does not vary."""
    distance = values - np.median(values)
    spread = 1.4826 * float(np.median(np.abs(distance)))
    if spread < 1e-9:
        return np.zeros_like(distance)
    return np.asarray(distance / spread, np.float64)
