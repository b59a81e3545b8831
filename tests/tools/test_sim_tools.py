"""Tools of the shipped model: rendered pictures, metrics, exact statistics."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeinspect.hw.picture_file import read_picture
from edgeinspect.intervals import clopper_pearson
from edgeinspect.part import Region
from edgeinspect.sim.defects import DEFECT_KINDS
from edgeinspect.sim.renderer import PART_ROI, PlantedDefect, RenderedPart
from edgeinspect_tools.certify import flips, score_error
from edgeinspect_tools.data.dataset import GOOD
from edgeinspect_tools.data.dataset_formats import read_source
from edgeinspect_tools.shipped.sim_surface.defect_sheet import contact_sheet
from edgeinspect_tools.shipped.sim_surface.sim_metrics import (
    Look,
    SeenDefect,
    SeenPart,
    report,
    see,
    table,
)
from edgeinspect_tools.shipped.sim_surface.sim_parts import render_folder
from edgeinspect_tools.statistics import auroc

_ROI = Region(0, 0, 80, 80)


def test_clopper_pearson_matches_published_values() -> None:
    # Rule of three's exact form: 1 - 0.025 ** (1 / 100).
    assert clopper_pearson(0, 100) == pytest.approx((0.0, 0.036217), abs=1e-6)
    assert clopper_pearson(10, 100) == pytest.approx((0.049005, 0.176223), abs=1e-6)
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="successes"):
        clopper_pearson(3, 2)


@given(st.integers(0, 300), st.integers(0, 300))
@settings(max_examples=50)
def test_clopper_pearson_holds_the_share(hits: int, misses: int) -> None:
    low, high = clopper_pearson(hits, hits + misses)
    assert 0 <= low <= high <= 1
    if hits + misses:
        assert low <= hits / (hits + misses) <= high


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
)
@settings(max_examples=50)
def test_auroc_counts_pairs(bad: list[int], good: list[int]) -> None:
    pairs = [(b > g) + 0.5 * (b == g) for b in bad for g in good]
    assert auroc(bad, good) == pytest.approx(np.mean(pairs))


def test_a_rendered_folder_is_a_data_set_with_masks(tmp_path: Path) -> None:
    render_folder(tmp_path / "first", good=2, each=3)
    render_folder(tmp_path / "again", good=2, each=3)
    source = read_source(tmp_path / "first")
    assert source.kind == "folders"
    counts = Counter(picture.label for picture in source.pictures)
    assert counts == {GOOD: 2, **dict.fromkeys(DEFECT_KINDS, 3)}
    for picture in source.pictures:
        assert (picture.mask is None) == (picture.label == GOOD)
        other = tmp_path / "again" / picture.path.relative_to(tmp_path / "first")
        assert picture.path.read_bytes() == other.read_bytes()
        pixels = read_picture(picture.path)
        assert pixels.shape == (PART_ROI.height, PART_ROI.width)
        if picture.mask is not None:
            mask = read_picture(picture.mask)
            assert mask.shape == pixels.shape
            assert set(np.unique(mask)) == {0, 255}


def _seen(top: float, *defects: SeenDefect) -> SeenPart:
    return SeenPart(1, (top,) * len(DEFECT_KINDS), defects)


def _defect(score: float, *, size_px: float = 6.0, kind: str = "pit") -> SeenDefect:
    local = tuple(score if name == kind else 0.0 for name in DEFECT_KINDS)
    return SeenDefect(kind, size_px, local)


def test_a_defect_is_found_only_at_its_own_place() -> None:
    seen = [
        _seen(0.9, _defect(0.9)),
        _seen(0.9, _defect(0.1)),  # stopped, but for something elsewhere
        _seen(0.2, _defect(0.2, size_px=3.0)),
        _seen(0.6),
        _seen(0.1),
    ]
    result = report(seen, [0.5] * len(DEFECT_KINDS))
    assert (result.found.hits, result.found.total) == (1, 2)
    assert (result.found_small.hits, result.found_small.total) == (0, 1)
    assert (result.false_rejects.hits, result.false_rejects.total) == (1, 2)
    assert (result.caught.hits, result.caught.total) == (2, 3)
    assert result.by_kind["pit"].total == 2
    assert sum(tally.total for tally in result.by_size.values()) == 3
    assert "50.00%" in table(result)
    assert result.as_dict()["found_by_size_px"]["4-8"]["hits"] == 1


def test_looking_reads_the_map_at_and_around_the_defect() -> None:
    score_map = np.zeros((20, 20, len(DEFECT_KINDS)))
    score_map[5, 6, 1] = 0.8  # frame pixels x 24 to 27, y 20 to 23
    blank = np.zeros((80, 80), dtype=np.uint8)
    near = PlantedDefect("pit", Region(29, 20, 3, 3), 3.0)
    far = PlantedDefect("pit", Region(33, 20, 3, 3), 3.0)
    part = RenderedPart(blank, blank, (near, far))
    look = Look([0.8] * len(DEFECT_KINDS), score_map, _ROI, 4.0)
    (seen,) = see([(7, part)], lambda _: look)
    assert seen.defects[0].local_scores[1] == 0.8
    assert seen.defects[1].local_scores[1] == 0.0


def test_flips_are_counted_inside_and_outside_the_band() -> None:
    before = np.array([[0.52], [0.9], [0.1], [0.48]])
    after = np.array([[0.49], [0.3], [0.1], [0.51]])
    counted = flips(before, after, [0.5])
    assert counted == {"parts": 4, "flips": 3, "flips_outside_band": 1, "parts_in_band": 2}


def test_a_class_near_its_threshold_excuses_no_flip_of_another_that_decides() -> None:
    before = np.array([[0.95, 0.48], [0.55, 0.48], [0.47, 0.1]])
    after = np.array([[0.20, 0.48], [0.45, 0.48], [0.51, 0.1]])
    counted = flips(before, after, [0.5, 0.5])
    assert counted == {"parts": 3, "flips": 3, "flips_outside_band": 1, "parts_in_band": 2}


def test_score_error_is_the_largest_cell_difference() -> None:
    error = score_error([np.zeros((4, 4, 2))], [np.full((4, 4, 2), 0.25)])
    assert error == {"mean": 0.25, "p99_9": 0.25, "max": 0.25}


def test_the_sheet_shows_parts_with_outlined_defects() -> None:
    sheet = contact_sheet(seed=3)
    assert sheet.shape == (720, 1440, 3)
    coloured = np.ptp(sheet.astype(int), axis=2) > 50
    assert 100 < coloured.sum() < 30_000
