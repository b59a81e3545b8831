"""The recipes that parts were recorded under, as the station registered them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeinspect.files.json_text import parse_json
from edgeinspect.records.reader import RecordReader


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredRecipe:
    """One row of the table ``recipes``.

    Attributes:
        recipe_id: the number that the parts' rows refer to.
        digest: the recipe digest.
        document: the text behind the digest, see ``StationPlan.document``; empty if it is damaged.
    """

    recipe_id: int
    digest: str
    document: Mapping[str, Any]

    @property
    def bundles_dir(self) -> Path:
        """The folder that held the station's bundles.

        Raises:
            KeyError, TypeError: the document does not name it.
        """
        station = self.document["station"]
        return Path(station["bundles_dir"] or Path(station["data_dir"], "bundles"))


def registered_recipes(reader: RecordReader) -> list[RegisteredRecipe]:
    """Every registered recipe, the oldest first. Raises StorageFault."""
    rows = reader.query("SELECT recipe_id, digest, document FROM recipes ORDER BY recipe_id", {})
    return [
        RegisteredRecipe(recipe_id=recipe_id, digest=digest, document=_document(text))
        for recipe_id, digest, text in rows
    ]


def _document(text: str) -> Mapping[str, Any]:
    try:
        document = parse_json(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
