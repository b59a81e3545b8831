"""What the tuning screen reads and does: records, labels, pictures, recipes, the running station.

``TuneSource`` is the seam between the screen and the station; ``StationSource`` is the real one.
Everything here may take a while: the screen calls it from worker threads, never from its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeinspect.control.client import ControlClient
from edgeinspect.errors import EdgeInspectError
from edgeinspect.health.compare import Health
from edgeinspect.health.station_health import station_health
from edgeinspect.labels.label_store import Label, LabelKind, LabelStore
from edgeinspect.line.config import ClassThresholds, ReviewAction
from edgeinspect.records.reader import PartFilter, RecordReader
from edgeinspect.records.score_table import doubt_counts, read_scores
from edgeinspect.runtime.plan import plan_station
from edgeinspect.runtime.station_status import state_words
from edgeinspect.screens.tune.evidence import Parts, no_parts, room_for, sound
from edgeinspect.screens.tune.part_renderer import PartRenderer, RenderedPicture
from edgeinspect.settings.recipe import Thresholds
from edgeinspect.settings.recipe_store import RecipeStore
from edgeinspect.settings.station_file import StationFile
from edgeinspect.tune.apply import (
    Applied,
    apply_revision,
    changed_recipe,
    roll_back,
    store_revision,
)
from edgeinspect.tune.comparable import Scoring, comparable_ids, recorded_recipes

_OVERLAP_IDS = 64
"""A part can be written after one with a higher id; this far back is looked again."""
_STATE_TIMEOUT_S = 2.0
NO_STATION = "the station does not answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """The recipe that is tuned.

    Attributes:
        latest: the highest revision number that the product has.
        thresholds: of each class, in the order of the scores.
        review_passes: the gate lets REVIEW through.
    """

    station: str
    product: str
    revision: int
    latest: int
    thresholds: tuple[ClassThresholds, ...]
    review_passes: bool


class TuneSource(Protocol):
    """Everything behind the screen. Methods raise EdgeInspectError and are called in threads."""

    @property
    def draft_key(self) -> tuple[Path, str]:
        """Data directory and product, by which a draft is kept."""

    def in_force(self) -> InForce:
        """Return the recipe in force."""

    def parts(self, after: int = 0) -> Parts:
        """Scored parts with ids beyond ``after``, and perhaps a few before; the newest ones."""

    def pictured(self) -> NDArray[np.int64]:
        """Ids of the parts whose pictures are kept, ascending."""

    def labels(self) -> Mapping[int, Label]:
        """Return the current label of each labelled part."""

    def label(self, part_id: int, kind: LabelKind, defect_class: str) -> Label:
        """Label a part and return the label."""

    def draw(self, part_id: int, *, width: int, height: int) -> RenderedPicture:
        """Draw a part in this size."""

    def state(self) -> str:
        """Return the station's state in words."""

    def health(self) -> Health:
        """Return the health of the station."""

    def apply(self, thresholds: Sequence[ClassThresholds], reason: str, *, base: InForce) -> str:
        """Store and apply a new revision based on ``base``; return a sentence on it.

        Raises RecipeConflict if somebody else has made or applied one since ``base``.
        """

    def undo(self, reason: str, *, base: InForce) -> str:
        """Go back to the revision in force before ``base``; return a sentence on it.

        Raises RecipeConflict if ``base`` is no longer in force.
        """

    def close(self) -> None:
        """Release everything that is open."""


class StationSource:
    """The real source, of the station that a station file names.

    Raises:
        ConfigError, ModelRefused: the station file, its recipe or its bundle is wrong.
    """

    def __init__(self, station: StationFile, *, author: str) -> None:
        self._author = author
        self._station = station
        self._plan = plan_station(self._station)
        self._renderer = PartRenderer(self._plan)

    @property
    def station(self) -> StationFile:
        """The station file."""
        return self._station

    @property
    def draft_key(self) -> tuple[Path, str]:
        """Identifies the draft that belongs to this station and product."""
        return self._station.data_dir, self._station.product

    def in_force(self) -> InForce:
        """Return the recipe in force."""
        plan = self._plan = plan_station(self._station)
        return InForce(
            station=plan.station.id,
            product=plan.recipe.product,
            revision=plan.recipe.revision,
            latest=max(RecipeStore(plan.station.recipes_dir).revisions(plan.recipe.product)),
            thresholds=plan.config.thresholds,
            review_passes=plan.config.review_action is ReviewAction.PASS,
        )

    def parts(self, after: int = 0) -> Parts:
        """Return the scored parts after this id."""
        classes = tuple(limit.name for limit in self._plan.config.thresholds)
        if not self._has_records():
            return no_parts(len(classes))
        with RecordReader(self._station.data_dir) as reader:
            recorded = recorded_recipes(reader)
            comparable = comparable_ids(recorded, Scoring.of(self._plan.recipe))
            newest = reader.newest_part_id()
            first = max(0, newest - room_for(len(classes)) + 1, after - _OVERLAP_IDS)
            columns = read_scores(reader, PartFilter(from_part_id=first), classes=classes)
            mine = np.isin(columns.recipe_ids, list(comparable))
            asked = PartFilter(from_part_id=0 if after else first)
            doubts = doubt_counts(reader, asked, recipe_ids=comparable)
            return sound(columns.part_ids[mine], columns.scores[mine], doubts=sum(doubts.values()))

    def pictured(self) -> NDArray[np.int64]:
        """Return the ids of the parts whose picture is kept."""
        if not self._has_records():
            return np.zeros(0, np.int64)
        with RecordReader(self._station.data_dir) as reader:
            return reader.pictured_part_ids()

    def labels(self) -> Mapping[int, Label]:
        """Return the current label of each labelled part."""
        with LabelStore(self._station.data_dir) as store:
            return store.current()

    def label(self, part_id: int, kind: LabelKind, defect_class: str) -> Label:
        """Label a part and return the label."""
        with RecordReader(self._station.data_dir) as reader:
            part = reader.part(part_id)
        picture = None if part is None else part.image
        with LabelStore(self._station.data_dir) as store:
            return store.add(
                part_id, kind, author=self._author, defect_class=defect_class, picture=picture
            )

    def draw(self, part_id: int, *, width: int, height: int) -> RenderedPicture:
        """Draw a part in this size."""
        return self._renderer.draw(part_id, width=width, height=height)

    def state(self) -> str:
        """Return the station's state in words."""
        try:
            sockets = (self._station.watch_path, self._station.socket_path)
            with ControlClient.to_watch(*sockets, timeout_s=_STATE_TIMEOUT_S) as client:
                return state_words(client.status())
        except EdgeInspectError:
            return NO_STATION

    def health(self) -> Health:
        """Return the health of the station."""
        return station_health(
            self._station.data_dir, min_free_bytes=self._station.storage.min_free_bytes
        )

    def apply(self, thresholds: Sequence[ClassThresholds], reason: str, *, base: InForce) -> str:
        """Store and apply a revision with these thresholds; return a sentence on it."""
        author = self._author
        recipe = RecipeStore(self._station.recipes_dir).load(base.product, base.revision)
        limits = {limit.name: limit for limit in thresholds}
        changed = tuple(
            Thresholds(
                name=old.name, review=limits[old.name].review, reject=limits[old.name].reject
            )
            for old in recipe.thresholds
        )
        draft = changed_recipe(recipe, author=author, reason=reason, thresholds=changed)
        made = store_revision(self._station, draft, expected_latest=base.latest)
        return _sentence(
            apply_revision(
                self._station,
                made.revision,
                author=author,
                reason=reason,
                expected_active=base.revision,
            )
        )

    def undo(self, reason: str, *, base: InForce) -> str:
        """Go back to the previous revision; return a sentence on it."""
        return _sentence(
            roll_back(
                self._station, author=self._author, reason=reason, expected_active=base.revision
            )
        )

    def close(self) -> None:
        """Release the renderer."""
        self._renderer.close()

    def _has_records(self) -> bool:
        from edgeinspect.records.database import DATABASE_NAME

        return (self._station.data_dir / DATABASE_NAME).is_file()


def _sentence(applied: Applied) -> str:
    if not applied.live:
        return f"Revision {applied.revision} is used from the next start; no station is running."
    milliseconds = applied.seconds * 1000
    digest = applied.recipe_digest[:12]
    return f"Revision {applied.revision} is in force, digest {digest}, after {milliseconds:.0f} ms."
