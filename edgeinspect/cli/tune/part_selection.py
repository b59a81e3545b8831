"""What the tuning commands share: the selected parts, their recipe and their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeinspect.cli.options import (
    filter_options,
    find_data_dir,
    option_group,
    part_filter,
    records_options,
)
from edgeinspect.errors import NotGood, UsageError

if TYPE_CHECKING:
    from edgeinspect.labels.label_store import Label
    from edgeinspect.records.reader import PartFilter, RecordReader
    from edgeinspect.records.score_table import ScoreColumns
    from edgeinspect.settings.recipe import Recipe
    from edgeinspect.settings.station_file import StationFile
    from edgeinspect.tune.comparable import RecordedRecipe


selection_options = option_group(records_options, filter_options)
"""The options that name the records and select parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The selected parts.

    Attributes:
        data_dir: the data directory with the records.
        wanted: the filter that selects the parts.
        base: the recipe that was in force for the newest selected part.
        recipes: every recorded recipe, by id.
    """

    data_dir: Path
    wanted: PartFilter
    base: RecordedRecipe
    recipes: dict[int, RecordedRecipe]

    @property
    def recipe(self) -> Recipe:
        """The recipe of the newest part. Raises NotGood if the records do not contain it."""
        if self.base.recipe is None:
            raise NotGood(
                f"The records do not contain the recipe {self.base.digest[:12]}… of these parts.",
                next_action="Choose parts from another period with --since or --from.",
            )
        return self.base.recipe


def select(reader: RecordReader, data_dir: Path, filters: dict[str, Any]) -> Selection:
    """Find the selection's newest scored part and its recipe.

    Raises:
        UsageError: a filter is wrong.
        NotGood: no part of the selection has scores.
    """
    from edgeinspect.records.score_table import newest_scored_recipe
    from edgeinspect.tune.comparable import recorded_recipes

    wanted = part_filter(filters)
    recipes = recorded_recipes(reader)
    newest = newest_scored_recipe(reader, wanted)
    if newest is None:
        raise NotGood(
            f"None of the selected parts was scored. {doubts(reader, wanted)}".rstrip(),
            next_action="Let the station inspect some parts, or choose a longer period.",
        )
    return Selection(data_dir=data_dir, wanted=wanted, base=recipes[newest], recipes=recipes)


def complete(reader: RecordReader, selection: Selection) -> tuple[Selection, str]:
    """Limit the selection to parts after the pruned ones; add a sentence if this leaves parts out.

    Pruning keeps rows with pictures and labels, which are mostly rejects. They would make every
    rate wrong. Raises StorageFault.
    """
    from edgeinspect.records.part_history import missing, records_kept

    gone = missing(reader, selection.wanted)
    if not gone:
        return selection, ""
    after = records_kept(reader).pruned_through + 1
    first = max(selection.wanted.from_part_id or 0, after)
    wanted = replace(selection.wanted, from_part_id=first)
    return replace(selection, wanted=wanted), f"{gone} Older parts are left out."


def doubts(reader: RecordReader, wanted: PartFilter) -> str:
    """Explain which selected parts were not inspected; "" if all were.

    E.g. ``12 of the parts could not be inspected and are not counted: 10 locked, 2 no frame.``
    """
    from edgeinspect.records.score_table import doubt_counts

    counts = doubt_counts(reader, wanted)
    if not counts:
        return ""
    words = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
    total = sum(counts.values())
    return f"{total:,} of the parts could not be inspected and are not counted: {words}."


def comparable_scores(
    reader: RecordReader,
    selection: Selection,
    *,
    recipe: Recipe | None = None,
    any_reducer: bool = False,
) -> ScoreColumns:
    """Read the scores of the selected parts that ``recipe`` would have scored the same.

    Args:
        reader: the open records.
        selection: the selected parts.
        recipe: the newest part's recipe by default.
        any_reducer: also accept other reducers, and read order statistics to reduce them again.

    Raises:
        NotGood: there are no such parts.
    """
    from edgeinspect.records.score_table import read_scores
    from edgeinspect.tune.comparable import Scoring, comparable_ids, only

    chosen = selection.recipe if recipe is None else recipe
    ids = comparable_ids(selection.recipes, Scoring.of(chosen), any_reducer=any_reducer)
    columns = only(
        read_scores(
            reader,
            selection.wanted,
            classes=[entry.name for entry in chosen.thresholds],
            with_order_statistics=any_reducer,
        ),
        ids,
    )
    if not len(columns):
        raise NotGood(
            f"None of the {columns.parts} recorded parts was scored with the model, region and "
            f"reducer of {chosen.product} revision {chosen.revision}.",
            next_action="Score the stored pictures again with --pictures.",
        )
    return columns


def read_labels(data_dir: Path) -> Mapping[int, Label]:
    """Return the current label of each labelled part. Raises StorageFault."""
    from edgeinspect.labels.label_store import LabelStore

    with LabelStore(data_dir) as store:
        return store.current()


def place_of(options: dict[str, Any]) -> tuple[Path, StationFile | None]:
    """Remove the data directory and the station file from a command's options; return them."""
    station = options.pop("station")
    return find_data_dir(options.pop("data_dir"), station), station


def parse_limits(given: tuple[str, ...], option: str) -> dict[str, float]:
    """Read ``0.7`` (for every class, "*") or ``scratch=0.7``. Raises UsageError."""
    limits: dict[str, float] = {}
    for text in given:
        name, equals, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        if not 0 <= value <= 1 or (equals and not name):
            raise UsageError(
                f"{option}: {text!r} is not a threshold between 0 and 1.",
                next_action=f"Write {option} 0.7 for all classes or {option} scratch=0.7 for one.",
            )
        limits[name or "*"] = value
    return limits


def with_limits(recipe: Recipe, review: Mapping[str, float], reject: Mapping[str, float]) -> Recipe:
    """Return the recipe with these thresholds; a class's own limit overrides that of all classes.

    Raises:
        UsageError: a class is unknown, or a review threshold is above the reject threshold.
    """
    from edgeinspect.settings.recipe import Thresholds
    from edgeinspect.tune.comparable import thresholds_of
    from edgeinspect.tune.whatif import with_thresholds

    names = [entry.name for entry in recipe.thresholds]
    everyone = {name: (review.get("*"), reject.get("*")) for name in names}
    changes = dict(everyone)
    for name in (set(review) | set(reject)) - {"*"}:
        whole = everyone.get(name, (None, None))
        changes[name] = (review.get(name, whole[0]), reject.get(name, whole[1]))
    limits = with_thresholds(thresholds_of(recipe), changes)
    return recipe.model_copy(
        update={
            "thresholds": tuple(
                Thresholds(name=limit.name, review=limit.review, reject=limit.reject)
                for limit in limits
            )
        }
    )
