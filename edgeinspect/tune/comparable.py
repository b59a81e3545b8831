"""Which recorded scores may be set beside each other: same model, same region, same reducer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeinspect.errors import ConfigError
from edgeinspect.files.yaml_file import parse_yaml, validate
from edgeinspect.line.config import ClassThresholds
from edgeinspect.records.reader import RecordReader
from edgeinspect.records.recipes import RegisteredRecipe, registered_recipes
from edgeinspect.records.score_table import ScoreColumns
from edgeinspect.settings.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Scoring:
    """What makes a score of a picture; thresholds, checks and timing do not.

    Attributes:
        bundle: digest.
        roi: as (x, y, width, height); None for the whole frame.
        reducer: kind and k; None for the bundle's.
    """

    bundle: str
    roi: tuple[int, ...] | None
    reducer: tuple[str, int] | None

    @classmethod
    def of(cls, recipe: Recipe) -> Scoring:
        """Return how this recipe scores."""
        return cls(
            bundle=recipe.bundle.digest,
            roi=None if recipe.roi is None else tuple(recipe.roi.region),
            reducer=None if recipe.reducer is None else (recipe.reducer.kind, recipe.reducer.k),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRecipe:
    """A recipe that parts were recorded under, as far as the records keep it.

    Attributes:
        recipe: None where it was not registered or cannot be read.
        review_passes: the gate let reviews through.
        bundles_dir: where the station's bundles were.
    """

    recipe_id: int
    digest: str
    recipe: Recipe | None
    review_passes: bool = False
    bundles_dir: Path | None = None

    @property
    def thresholds(self) -> tuple[ClassThresholds, ...]:
        """Of the recipe, empty where it is not known."""
        return () if self.recipe is None else thresholds_of(self.recipe)


def thresholds_of(recipe: Recipe) -> tuple[ClassThresholds, ...]:
    """The recipe's thresholds as the line takes them."""
    return tuple(
        ClassThresholds(name=entry.name, review=entry.review, reject=entry.reject)
        for entry in recipe.thresholds
    )


def recorded_recipes(reader: RecordReader) -> dict[int, RecordedRecipe]:
    """Every recipe of the records, by ``recipe_id``. Raises StorageFault."""
    return {entry.recipe_id: _recorded(entry) for entry in registered_recipes(reader)}


def _recorded(entry: RegisteredRecipe) -> RecordedRecipe:
    try:
        text = str(entry.document["recipe"]).encode()
        return RecordedRecipe(
            recipe_id=entry.recipe_id,
            digest=entry.digest,
            recipe=validate(parse_yaml(text, path=f"recipe {entry.digest[:12]}"), Recipe),
            review_passes=entry.document["station"].get("review_action") == "pass",
            bundles_dir=entry.bundles_dir,
        )
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError):
        return RecordedRecipe(recipe_id=entry.recipe_id, digest=entry.digest, recipe=None)


def comparable_ids(
    recipes: dict[int, RecordedRecipe], scoring: Scoring, *, any_reducer: bool = False
) -> set[int]:
    """Ids of the recipes whose scores are those that ``scoring`` would have given.

    Args:
        recipes: the recorded recipes by id.
        scoring: the way of scoring to compare with.
        any_reducer: their order statistics are to be reduced again, so their own does not count.
    """
    wanted = replace(scoring, reducer=None) if any_reducer else scoring
    found = set()
    for recipe_id, recorded in recipes.items():
        if recorded.recipe is not None:
            own = Scoring.of(recorded.recipe)
            if (replace(own, reducer=None) if any_reducer else own) == wanted:
                found.add(recipe_id)
    return found


def only(columns: ScoreColumns, recipe_ids: set[int]) -> ScoreColumns:
    """The parts of these recipes; the others are counted with those of other classes."""
    kept = np.isin(columns.recipe_ids, list(recipe_ids))
    if kept.all():
        return columns
    order = columns.order_statistics
    return replace(
        columns,
        part_ids=columns.part_ids[kept],
        recipe_ids=columns.recipe_ids[kept],
        verdicts=columns.verdicts[kept],
        scores=columns.scores[kept],
        order_statistics=None if order is None else order[kept],
        other_classes=columns.other_classes + int((~kept).sum()),
    )
