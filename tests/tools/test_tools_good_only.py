"""Good pictures alone: what is drawn onto them, and what is never learned from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeinspect.errors import NotGood
from edgeinspect_tools.data.build import build_dataset
from edgeinspect_tools.data.dataset import Dataset, Split
from edgeinspect_tools.data.dataset_formats import read_source
from edgeinspect_tools.data.drawn_anomalies import draw_anomaly
from edgeinspect_tools.data.good_only import ANOMALY, with_drawn_defects
from edgeinspect_tools.data.manifest import load_manifest, save_manifest
from tests.helpers.sim_folder import write_sim_folder


def picture(shape: tuple[int, ...], seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(90, 130, shape, np.uint8)


@pytest.mark.parametrize("shape", [(64, 80), (200, 120, 3), (16, 16), (300, 40)])
def test_what_is_drawn_is_visible_within_its_mask_and_nowhere_else(shape: tuple[int, ...]) -> None:
    shares = []
    for seed in range(60):
        before, other = picture(shape, 1), picture(shape, 2)
        after, mask = draw_anomaly(before, other, np.random.default_rng(seed))
        assert (after.shape, after.dtype) == (before.shape, np.uint8)
        assert mask.shape == shape[:2]
        assert set(np.unique(mask)) == {0, 255}
        moved = np.abs(after.astype(int) - before).reshape(*mask.shape, -1).max(axis=2)
        assert moved[mask == 255].min() >= 8
        assert moved[mask == 0].max() < 8
        shares.append((mask == 255).mean())
    assert np.median(shares) < 0.15
    assert len(set(shares)) > 30, "every kind and size comes up"


def test_a_defect_shows_even_where_nothing_else_would() -> None:
    flat = np.zeros((12, 12), np.uint8)
    for seed in range(40):
        after, mask = draw_anomaly(flat, flat, np.random.default_rng(seed))
        assert (mask == 255).sum() >= 6
        assert (after != flat).any()


def only_good(folder: Path) -> Dataset:
    write_sim_folder(folder, good=24, each=0)
    return build_dataset(read_source(str(folder)), seed=1, needs_defects=False).dataset


def test_each_good_picture_gets_a_copy_in_its_own_group_and_split(tmp_path: Path) -> None:
    dataset = only_good(tmp_path / "pictures")
    found = with_drawn_defects(dataset, tmp_path / "run", seed=3)
    assert found.defect_classes == (ANOMALY,)
    drawn = [item for item in found.items if item.drawn]
    assert len(drawn) == len(dataset.items) == 24
    places = {item.group: item.split for item in dataset.items}
    assert all(places[item.group] is item.split for item in drawn)
    for split in (Split.TRAIN, Split.VALIDATION, Split.TEST):
        assert {item.is_good for item in found.of(split)} == {True, False}
    assert all(item.mask is not None and item.mask_sha256 for item in drawn)
    again = with_drawn_defects(dataset, tmp_path / "again", seed=3)
    assert [item.sha256 for item in again.items] == [item.sha256 for item in found.items]
    other = with_drawn_defects(dataset, tmp_path / "other", seed=4)
    assert [item.sha256 for item in other.items] != [item.sha256 for item in found.items]
    save_manifest(found, tmp_path / "run" / "manifest.json")
    assert load_manifest(tmp_path / "run" / "manifest.json") == replace(found, excluded=())


def test_real_defects_are_tested_on_and_never_learned_from(tmp_path: Path) -> None:
    folder = write_sim_folder(tmp_path / "pictures", good=24, each=8)
    dataset = build_dataset(read_source(str(folder)), seed=1).dataset
    beside = next(item for item in dataset.items if not item.is_good).group
    items = list(dataset.items)
    at = next(n for n, item in enumerate(items) if item.is_good and item.split is Split.TRAIN)
    items[at] = replace(items[at], group=beside)  # a good picture of a part that has a defect
    found = with_drawn_defects(replace(dataset, items=tuple(items)), tmp_path / "run", seed=3)
    real = [item for item in found.items if not item.is_good and not item.drawn]
    assert len(real) == 16
    assert {(item.label, item.split) for item in real} == {(ANOMALY, Split.TEST)}
    assert not any(item.drawn for item in found.of(Split.TEST))
    of_group = [item.split for item in found.items if item.group == beside]
    assert set(of_group) == {Split.TEST}
    drawn = {item.group for item in found.items if item.drawn}
    assert not drawn & {item.group for item in found.of(Split.TEST)}


def test_without_defects_other_commands_say_how_to_go_on(tmp_path: Path) -> None:
    write_sim_folder(tmp_path / "pictures", good=24, each=0)
    with pytest.raises(NotGood, match="has good pictures only") as caught:
        build_dataset(read_source(str(tmp_path / "pictures")), seed=1)
    assert "edgeinspect-tools all" in caught.value.next_action


def test_colour_and_grey_pictures_may_lie_beside_each_other(tmp_path: Path) -> None:
    dataset = only_good(tmp_path / "pictures")
    for item in dataset.items[::2]:
        pixels = cv2.imread(str(item.path))
        assert pixels is not None
        cv2.imwrite(str(item.path), cv2.applyColorMap(pixels, cv2.COLORMAP_JET))
    found = with_drawn_defects(dataset, tmp_path / "run", seed=3)
    shapes = {cv2.imread(str(i.path), cv2.IMREAD_UNCHANGED).ndim for i in found.items if i.drawn}  # type: ignore[union-attr]
    assert shapes == {2, 3}
