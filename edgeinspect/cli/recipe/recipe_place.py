"""Options and lookups that the recipe commands share: data directory, product, author, reason."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.options import (
    author_option,
    find_data_dir,
    option_group,
    reason_option,
    records_options,
    station_option,
)
from edgeinspect.errors import StorageFault, UsageError
from edgeinspect.terminal.output import json_option

if TYPE_CHECKING:
    from edgeinspect.settings.audit import Anchor
    from edgeinspect.settings.recipe import Recipe
    from edgeinspect.settings.recipe_store import RecipeStore
    from edgeinspect.settings.station_file import StationFile

product_option = click.option(
    "--product", metavar="NAME", help="Product; the running one by default."
)


older_option = click.option(
    "--older",
    is_flag=True,
    help="Allow a bundle that is older than the active one; the audit trail notes it.",
)


change_options = option_group(
    station_option(), product_option, author_option, reason_option, json_option
)


def place_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--data-dir`` and ``--config``; the recipes that they name are ``place``."""

    @records_options
    @functools.wraps(function)
    def with_place(*, data_dir: Path | None, station: StationFile | None, **others: Any) -> Any:
        return function(place=RecipePlace.of(station, data_dir), **others)

    return with_place


@dataclass(frozen=True, slots=True)
class RecipePlace:
    """The recipes of one data directory.

    Attributes:
        running: the running product; None without a station file.
    """

    data_dir: Path
    store: RecipeStore
    running: str | None = None

    @classmethod
    def of(cls, station: StationFile | None, data_dir: Path | None) -> RecipePlace:
        """Find the recipes from ``--config`` or ``--data-dir``. Raises UsageError, ConfigError."""
        from edgeinspect.settings.recipe_store import RecipeStore

        if station is not None:
            return cls.of_station(station)
        place = find_data_dir(data_dir, station)
        return cls(place, RecipeStore(place / "recipes"))

    @classmethod
    def of_station(cls, station: StationFile) -> RecipePlace:
        """Find the recipes of this station."""
        from edgeinspect.settings.recipe_store import RecipeStore

        store = RecipeStore(station.recipes_dir)
        return cls(station.data_dir, store, store.job(station.product))

    def product(self, given: str | None) -> str:
        """Return ``given``, the running product, or the only product. Raises UsageError."""
        if given is not None:
            return given
        if self.running is not None:
            return self.running
        known = self.store.products()
        if len(known) == 1:
            return known[0]
        raise UsageError(
            f"There are {len(known)} products in {self.data_dir}: {', '.join(known) or 'none'}.",
            next_action="Choose one with --product, or give --config STATION_FILE.",
        )

    def load(self, product: str | None, revision: int | None) -> Recipe:
        """Load this revision, or the active one. Raises ConfigError, UsageError."""
        chosen = self.product(product)
        if revision is None:
            return self.store.active(chosen)
        self.check_there(chosen, revision)
        return self.store.load(chosen, revision)

    def check_there(self, product: str, revision: int) -> None:
        """Raise UsageError if there is no such revision."""
        stored = self.store.revisions(product)
        if revision not in stored:
            there = f"It has revisions 1 to {stored[-1]}" if stored else "It has no revisions"
            raise UsageError(f"{product} has no revision {revision}. {there}.")

    def recorded_anchors(self) -> list[Anchor]:
        """Return the audit digests that the parts database stores with its recipes."""
        from edgeinspect.records.reader import RecordReader
        from edgeinspect.records.recipes import registered_recipes
        from edgeinspect.settings.audit import Anchor

        try:
            with RecordReader(self.data_dir) as reader:
                recipes = registered_recipes(reader)
        except StorageFault:
            return []  # no records yet, or broken ones, which `check` reports
        return [
            Anchor(str(head), f"the records of recipe {recipe.digest[:12]}…")
            for recipe in recipes
            if (head := recipe.document.get("audit_head"))
        ]
