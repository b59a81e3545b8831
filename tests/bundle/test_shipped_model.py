"""The model that ships, measured on held-out parts through the station's own path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeinspect.bundle.directory import Bundle, load_bundle
from edgeinspect.bundle.shipped import SIM_BUNDLE, shipped_bundle
from edgeinspect.sim.renderer import DEFECT_KINDS, PART_ROI
from edgeinspect_tools.shipped.sim_surface.evaluate_sim import evaluate
from edgeinspect_tools.shipped.sim_surface.sim_parts import TEST_SEED

_UNSEEN_FIRST_PART = 500_000  # beyond the parts that the card's own figures come from
_SAMPLE = 240


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(shipped_bundle(SIM_BUNDLE))


def test_the_card_describes_our_own_small_model(bundle: Bundle) -> None:
    assert bundle.card.defect_classes == DEFECT_KINDS
    assert bundle.card.licence == "Apache-2.0"
    assert len(bundle.model) <= 300 * 1024
    assert bundle.card.input.scale == pytest.approx(1 / 128)
    assert bundle.card.input.zero_point == 0


def test_the_part_is_covered_by_whole_tiles(bundle: Bundle) -> None:
    tile_px, overlap_px = bundle.card.input.height, bundle.card.input.tile_overlap_px
    assert (tile_px, overlap_px) == (160, 32)
    for extent in (PART_ROI.width, PART_ROI.height):
        assert (extent - tile_px) % (tile_px - overlap_px) == 0


def test_seeds_of_training_validation_and_test_differ(bundle: Bundle) -> None:
    seeds = bundle.card.provenance["seeds"]
    assert len(set(seeds.values())) == 3
    assert seeds["test"] == TEST_SEED


def test_the_stated_figures_meet_the_promise(bundle: Bundle) -> None:
    metrics = bundle.card.metrics
    assert metrics["held_out_parts"] >= 3000
    found = metrics["defects_found_4px_or_more"]
    false_rejects = metrics["false_rejects_of_good_parts"]
    assert found["total"] > 800
    assert found["share"] >= 0.99
    assert false_rejects["total"] >= 1900
    assert false_rejects["share"] <= 0.005


def test_a_fresh_held_out_sample_agrees(bundle: Bundle) -> None:
    result = evaluate(bundle, parts=_SAMPLE, first=_UNSEEN_FIRST_PART)
    assert result.found.total > 50
    # At 99 % found and 0.5 % false rejects, more than these come up less than once in 200 runs.
    assert result.found.total - result.found.hits <= 3
    assert result.false_rejects.hits <= 4
    assert result.auroc > 0.97


def test_int8_agrees_with_float_as_the_certificate_says(bundle: Bundle) -> None:
    comparison: dict[str, Any] = bundle.certificate.comparison
    assert comparison["auroc_float"] - comparison["auroc_int8"] <= 0.001
    for name, counted in comparison["flips"].items():
        assert counted["flips_outside_band"] == 0, name
    assert comparison["score_error_max"] <= bundle.certificate.tolerance.score_error
    assert np.isclose(bundle.card.output.scale, 1 / 16)
