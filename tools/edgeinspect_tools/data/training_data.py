"""The data set behind a run or a bundle, with every picture in the split that it was used in."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeinspect.bundle.directory import MAX_GOLDEN_BYTES, Bundle, read_bounded
from edgeinspect.errors import ModelRefused, UsageError
from edgeinspect.files.json_text import parse_json
from edgeinspect_tools.data.build import build_dataset
from edgeinspect_tools.data.dataset import Dataset, Item, Split
from edgeinspect_tools.data.dataset_formats import read_source
from edgeinspect_tools.data.manifest import load_manifest

SPLIT_FILE = "split.json"
_DIGEST_LENGTH = 16
_SEEN_FIRST = (Split.TRAIN, Split.CALIBRATION, Split.VALIDATION, Split.TEST)


def load_data(text: str, *, seed: int = 0) -> Dataset:
    """A data set from a manifest, or from anything that ``edgeinspect-tools data`` reads."""
    path = Path(text)
    if path.name == "manifest.json" and path.is_file():
        return load_manifest(path)
    return build_dataset(read_source(text), seed=seed).dataset


def dataset_of_run(described: Mapping[str, Any], text: str) -> Dataset:
    """The very data set of a run, so that no picture changes sides.

    Raises:
        UsageError: it is another one, or was split otherwise.
    """
    from edgeinspect_tools.train.training_run import manifest_digest

    dataset = load_data(text, seed=int(described["seed"]))
    if manifest_digest(dataset) != described["data"]["sha256"]:
        raise UsageError(
            f"{text} is not the data set of this run, or is split differently.",
            next_action="Give the manifest.json of the run's folder.",
        )
    return dataset


def split_bytes(dataset: Dataset) -> bytes:
    """``split.json`` of a bundle: the start of each picture's SHA-256, by split."""
    digests: dict[str, list[str]] = {}
    for split in Split:
        found = sorted({item.sha256[:_DIGEST_LENGTH] for item in dataset.of(split)})
        digests[split.value] = found
    return json.dumps({"format": 1, "seed": dataset.seed, **digests}).encode()


def stored_split(bundle: Bundle) -> bytes | None:
    """The bundle's ``split.json``, or None where it has none. Raises ModelRefused."""
    if SPLIT_FILE not in bundle.card.digests:
        return None
    return read_bounded(bundle.directory / SPLIT_FILE, MAX_GOLDEN_BYTES)


def as_split_before(dataset: Dataset, split_json: bytes | None) -> Dataset:
    """Put every picture that a bundle was made from into its split; others stay where they are.

    Pictures of one group follow the member that was used most: a near-duplicate of a training
    picture is a training picture.

    Raises:
        ModelRefused: the bundle's split cannot be read.
    """
    of_group = _splits_before(dataset, split_json)

    def moved(item: Item) -> Item:
        return dataclasses.replace(item, split=of_group.get(item.group, item.split))

    return dataclasses.replace(dataset, items=tuple(map(moved, dataset.items)))


def never_used(dataset: Dataset, split_json: bytes | None) -> tuple[Item, ...]:
    """Every picture whose group took no part in making a bundle. Raises ModelRefused."""
    of_group = _splits_before(dataset, split_json)
    return tuple(
        item for item in dataset.items if of_group.get(item.group, Split.TEST) is Split.TEST
    )


def _splits_before(dataset: Dataset, split_json: bytes | None) -> dict[str, Split]:
    """The split of each group of which a bundle knows a picture."""
    if split_json is None:
        return {}
    try:
        stored = parse_json(split_json)
        known = {digest: split for split in reversed(_SEEN_FIRST) for digest in stored[split.value]}
    except (ValueError, KeyError, TypeError) as error:
        raise ModelRefused(f"The bundle's {SPLIT_FILE} cannot be read.") from error
    of_group: dict[str, Split] = {}
    for item in dataset.items:
        split = known.get(item.sha256[:_DIGEST_LENGTH])
        if split is not None:
            before = of_group.get(item.group, split)
            of_group[item.group] = min(split, before, key=_SEEN_FIRST.index)
    return of_group
