"""From a source to a data set: scanned, grouped, split, and everything odd about it named."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import NotGood, UsageError
from edgeinspect_tools.data.dataset import GOOD, Dataset, Excluded, Item, Source, Split
from edgeinspect_tools.data.duplicates import DEFAULT_CORRELATION, joined, near_duplicates
from edgeinspect_tools.data.findings import Findings, describe
from edgeinspect_tools.data.scan import Scanned, scan
from edgeinspect_tools.data.split import FRACTIONS, assign, checked_fractions


@dataclass(frozen=True, slots=True)
class Judged:
    """A data set with the findings about it.

    ``scanned`` runs parallel to ``dataset.items``.
    """

    dataset: Dataset
    findings: Findings
    scanned: tuple[Scanned, ...]


def build_dataset(
    source: Source,
    *,
    seed: int = 0,
    fractions: Mapping[Split, float] = FRACTIONS,
    group_pattern: str = "",
    correlation: float = DEFAULT_CORRELATION,
    needs_defects: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Judged:
    """Scan, group and split.

    Args:
        group_pattern: regular expression searched in each path below the root; pictures whose
            groups (or whole match, without any) are equal show the same part.
        correlation: bound for near-duplicates, see ``near_duplicates``.
        needs_defects: refuse a data set of good pictures alone.

    Raises:
        ConfigError: a mask is unreadable or of the wrong size.
        NotGood: the pictures cannot make a data set; one sentence says why.
        UsageError: bad pattern or shares.
    """
    pattern = _compiled(group_pattern)
    shares = checked_fractions(fractions)
    scanned, unreadable = scan(source.pictures, progress=progress)
    scanned, contradicting = _without_contradictions(scanned)
    excluded = (*unreadable, *contradicting)
    _check_classes(source, scanned, excluded, needs_defects=needs_defects)
    thumbnails = np.stack([entry.thumbnail for entry in scanned])
    pairs = near_duplicates(thumbnails, correlation=correlation)
    groups, cut = _grouped(source, scanned, pairs, pattern)
    splits = _split(source, scanned, groups, shares, seed)
    items = tuple(map(_item, scanned, groups, splits))
    dataset = Dataset(kind=source.kind, root=source.root, seed=seed, items=items, excluded=excluded)
    _check_splits(dataset, shares)
    findings = describe(dataset, scanned, pairs=pairs, cut=cut, notes=source.notes)
    return Judged(dataset, findings, scanned)


def k_folds(dataset: Dataset, folds: int, *, seed: int = 0) -> tuple[Dataset, ...]:
    """Split anew, ``folds`` times: each group is in the test split of exactly one.

    The rest is shared among training, calibration and validation as by default.

    Raises:
        UsageError: fewer than 2 folds, or fewer groups than folds.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for at, item in enumerate(dataset.items):
        members[item.group].append(at)
    if not 2 <= folds <= len(members):
        raise UsageError(
            f"{folds} folds of {len(members)} groups cannot be made; expected 2 to "
            f"{len(members)} folds."
        )
    labels = [[dataset.items[at].label for at in group] for group in members.values()]
    fold_of = assign(labels, dict.fromkeys(range(folds), 1 / folds), seed=seed)
    rest = checked_fractions({s: share for s, share in FRACTIONS.items() if s is not Split.TEST})
    result = []
    for fold in range(folds):
        kept = [at for at, own in enumerate(fold_of) if own != fold]
        parts = assign([labels[at] for at in kept], rest, seed=seed + 1 + fold)
        split_of = dict(zip(kept, parts, strict=True))
        items = list(dataset.items)
        for number, group in enumerate(members.values()):
            split = split_of.get(number, Split.TEST)
            for at in group:
                items[at] = replace(items[at], split=split)
        result.append(replace(dataset, items=tuple(items), seed=seed))
    return tuple(result)


def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern) if pattern else None
    except re.error as error:
        raise UsageError(f"{pattern!r} is not a valid regular expression: {error}.") from error


def _without_contradictions(
    scanned: Sequence[Scanned],
) -> tuple[tuple[Scanned, ...], tuple[Excluded, ...]]:
    """Leave out every picture that is there under two labels, byte for byte."""
    labels: dict[str, set[str]] = defaultdict(set)
    for entry in scanned:
        labels[entry.sha256].add(entry.label)
    bad = {digest: sorted(found) for digest, found in labels.items() if len(found) > 1}
    excluded = tuple(
        Excluded(entry.picture.path, f"the same picture is labelled {' and '.join(found)}")
        for entry in scanned
        if (found := bad.get(entry.sha256))
    )
    return tuple(entry for entry in scanned if entry.sha256 not in bad), excluded


def _check_classes(
    source: Source,
    scanned: Sequence[Scanned],
    excluded: Sequence[Excluded],
    *,
    needs_defects: bool,
) -> None:
    if not scanned:
        raise NotGood(
            f"{source.root} has no usable picture among {len(excluded)}: "
            f"{excluded[0].path.name}: {excluded[0].reason}".rstrip(".")
            + ".",
            next_action="Correct the files or their labels.",
        )
    classes = {entry.label for entry in scanned}
    if classes == {GOOD} and needs_defects:
        raise NotGood(
            f"{source.root} has good pictures only.",
            next_action="Add pictures of at least one kind of defect, or learn from good pictures "
            "alone with: edgeinspect-tools all",
        )
    located = any(entry.picture.boxes or entry.picture.mask for entry in scanned)
    if GOOD not in classes and not located:
        raise NotGood(
            f"{source.root} has no good pictures, only {', '.join(sorted(classes))}.",
            next_action="Name the good class good or ok, or give it with --good.",
        )


def _grouped(
    source: Source,
    scanned: Sequence[Scanned],
    pairs: NDArray[np.intp],
    pattern: re.Pattern[str] | None,
) -> tuple[list[str], int]:
    """Name each picture's group; also count the near-duplicates that an official split parts."""
    sides = [entry.picture.split for entry in scanned]
    kept = [(int(a), int(b)) for a, b in pairs if sides[a] == sides[b]]
    cut = len(pairs) - len(kept)
    same: dict[object, list[int]] = defaultdict(list)
    for at, entry in enumerate(scanned):
        same[sides[at], "file", entry.sha256].append(at)
        if entry.picture.group:
            same[sides[at], "source", entry.picture.group].append(at)
        name = Path(os.path.relpath(entry.picture.path, source.root)).as_posix()
        if pattern is not None and (match := pattern.search(name)):
            same[sides[at], "pattern", match.groups() or match[0]].append(at)
    kept += [pair for members in same.values() for pair in pairwise(members)]
    return [f"g{number:05d}" for number in joined(len(scanned), kept)], cut


def _split(
    source: Source,
    scanned: Sequence[Scanned],
    groups: Sequence[str],
    shares: Mapping[Split, float],
    seed: int,
) -> list[Split]:
    if source.official_split:
        shares = checked_fractions({s: v for s, v in shares.items() if s is not Split.TEST})
    members: dict[str, list[int]] = defaultdict(list)
    result: dict[int, Split] = {}
    for at, (entry, group) in enumerate(zip(scanned, groups, strict=True)):
        if entry.picture.split is not None:
            result[at] = entry.picture.split
        else:
            members[group].append(at)
    labels = [[scanned[at].label for at in group] for group in members.values()]
    for indices, split in zip(members.values(), assign(labels, shares, seed=seed), strict=True):
        result |= dict.fromkeys(indices, split)
    return [result[at] for at in range(len(scanned))]


def _item(entry: Scanned, group: str, split: Split) -> Item:
    return Item(
        path=entry.picture.path,
        label=entry.label,
        width=entry.width,
        height=entry.height,
        sha256=entry.sha256,
        group=group,
        split=split,
        mask=entry.picture.mask,
        mask_sha256=entry.mask_sha256,
        boxes=entry.picture.boxes,
        reference=entry.picture.reference,
    )


def _check_splits(dataset: Dataset, shares: Mapping[Split, float]) -> None:
    groups = Counter(kind for kind, _ in {(item.is_good, item.group) for item in dataset.items})
    present = {item.is_good for item in dataset.items}
    for split in shares:
        kinds = {item.is_good for item in dataset.of(split)}
        wanted = kinds if kinds and split is Split.CALIBRATION else present
        if not wanted <= kinds:
            raise NotGood(
                f"{dataset.root} is too small to split: {len(dataset.items)} usable pictures show "
                f"{groups[True]} good and {groups[False]} defective parts, and {split.value} "
                "would get none of one kind.",
                next_action="Add pictures of other parts, at least 4 good and 4 defective.",
            )
