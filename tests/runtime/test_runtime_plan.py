"""A plan joins station file, recipe and bundle."""

from __future__ import annotations

from pathlib import Path

from edgeinspect.bundle.directory import load_bundle
from edgeinspect.bundle.shipped import SIM_BUNDLE, shipped_bundle
from edgeinspect.runtime.plan import make_plan, simulated_recipe
from edgeinspect.settings.station_file import example_station


def test_thresholds_are_in_the_order_of_the_scores_however_the_recipe_lists_them(
    tmp_path: Path,
) -> None:
    """Else a class's score would be judged by another class's threshold."""
    bundle = load_bundle(shipped_bundle(SIM_BUNDLE))
    station = example_station("normally-rejecting", data_dir=tmp_path)
    recipe = simulated_recipe(bundle)
    turned = recipe.model_copy(update={"thresholds": recipe.thresholds[::-1]})
    plan = make_plan(station, turned, bundle)
    assert tuple(limit.name for limit in plan.config.thresholds) == bundle.card.defect_classes
    assert plan.config.thresholds == make_plan(station, recipe, bundle).config.thresholds
