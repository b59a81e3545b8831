"""What lies before the technician: evidence, draft, and the part that is looked at. No terminal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeinspect.screens.tune.draft_thresholds import Draft
from edgeinspect.screens.tune.evidence import Evidence, histogram, no_parts
from edgeinspect.screens.tune.source import InForce
from edgeinspect.screens.tune.tune_drawing import film_places, plot_bins
from edgeinspect.screens.tune.tune_view import FilmPart, TuneView

MOST_FILM_PARTS = 500
Bins = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


class Desk:
    """Judges the evidence under the thresholds in force and as drafted, and chooses the filmstrip.

    Attributes:
        in_force: the recipe that is tuned.
        draft: what is being tried.
        evidence: the parts and their labels.
        pictured: ids of the parts whose pictures are kept, int64, ascending.
        was, would: of all parts, under the thresholds in force and as drafted.
    """

    def __init__(self, in_force: InForce, draft: Draft) -> None:
        self.in_force = in_force
        self.draft = draft
        self.evidence = Evidence(no_parts(len(draft.drafted)), {})
        self.pictured: NDArray[np.int64] = np.zeros(0, np.int64)
        self._film: NDArray[np.intp] = np.zeros(0, np.intp)
        self._film_ids: NDArray[np.int64] = np.zeros(0, np.int64)
        self._film_at = 0
        self.judge()

    def judge(self) -> None:
        """After any change of draft or evidence.

        A part that the technician went to stays chosen if it can.
        """
        chosen = self.chosen_part() if self._film_at else None
        draft, evidence = self.draft, self.evidence
        self._was = evidence.codes(draft.in_force, draft.chosen)
        self._would = self._was
        if draft.is_changed:
            self._would = evidence.codes(draft.drafted, draft.chosen)
        self._film = self._choose_film()
        self._film_ids = evidence.parts.part_ids[self._film]
        found = np.flatnonzero(self._film_ids == (-1 if chosen is None else chosen))
        self._film_at = int(found[0]) if found.size else 0
        review_passes = self.in_force.review_passes
        self.was = evidence.outcome(self._was, review_passes=review_passes)
        self.would = evidence.outcome(self._would, review_passes=review_passes)
        self._flips = int((self._was != self._would).sum())
        self._stricter = int((self._would > self._was).sum())
        self._bins: dict[int, Bins] = {}

    def take_in_force(self, in_force: InForce) -> None:
        """Another revision came into force."""
        self.in_force = in_force
        self.draft = self.draft.with_in_force(in_force.thresholds)
        self.judge()

    @property
    def flipped_part_ids(self) -> NDArray[np.int64]:
        """Parts whose verdict would change."""
        return np.asarray(self.evidence.parts.part_ids[self._was != self._would])

    def chosen_part(self) -> int | None:
        """The part that labels and a closer look are for."""
        return int(self._film_ids[self._film_at]) if self._film.size else None

    def choose_next(self, by: int) -> None:
        if self._film.size:
            self._film_at = int(np.clip(self._film_at + by, 0, self._film.size - 1))

    def film(self, places: int) -> tuple[int, tuple[FilmPart, ...]]:
        """The place of the chosen part among ``places`` shown ones, and those."""
        first = max(0, min(self._film_at - places // 2, self._film.size - places))
        shown = self._film[first : first + places]
        return self._film_at - first, tuple(self._film_part(int(index)) for index in shown)

    def chosen(self) -> FilmPart | None:
        return self._film_part(int(self._film[self._film_at])) if self._film.size else None

    def view(
        self,
        *,
        width: int,
        state: str,
        is_live: bool,
        is_loading: bool,
        last_part: str,
        health: str,
        message: str,
    ) -> TuneView:
        """Everything that the screen shows.

        Args:
            width: of the screen, in characters.
        """
        draft = self.draft
        film_chosen, film = self.film(film_places(width))
        drafted_classes = sum(a != b for a, b in zip(draft.in_force, draft.drafted, strict=True))
        return TuneView(
            title=f"{self.in_force.product} revision {self.in_force.revision}",
            state=state,
            is_live=is_live,
            last_part=last_part,
            health=health,
            class_number=draft.chosen + 1,
            classes=len(draft.drafted),
            in_force=draft.in_force[draft.chosen],
            drafted=draft.limit,
            moves_reject=draft.moves_reject,
            changed_classes=drafted_classes,
            bins=self._histograms(plot_bins(width)),
            was=self.was,
            would=self.would,
            flips=self._flips,
            to_stricter=self._stricter,
            film=film,
            film_chosen=film_chosen,
            film_number=self._film_at + 1 if self._film.size else 0,
            film_total=int(self._film.size),
            message=message,
            is_loading=is_loading,
        )

    def _histograms(self, bins: int) -> Bins:
        """Of good, defective and all other parts, by the chosen class's score."""
        if bins not in self._bins:
            evidence = self.evidence
            scores = evidence.parts.scores[:, self.draft.chosen]
            others = ~(evidence.good | evidence.defective)
            self._bins[bins] = (
                histogram(scores[evidence.good], bins),
                histogram(scores[evidence.defective], bins),
                histogram(scores[others], bins),
            )
        return self._bins[bins]

    def _choose_film(self) -> NDArray[np.intp]:
        """Indices of the parts that flip, else of those nearest to the moved threshold.

        Those with a picture come first, then the newest, or the nearest.
        """
        parts = self.evidence.parts
        found = np.flatnonzero(self._was != self._would)
        if found.size:
            order = -found.astype(np.float64)
        else:
            distance = np.abs(parts.scores[:, self.draft.chosen] - self.draft.moved)
            found = np.arange(len(parts))
            if len(parts) > MOST_FILM_PARTS:
                found = np.argpartition(distance, MOST_FILM_PARTS)[:MOST_FILM_PARTS]
            order = distance[found]
        without = ~np.isin(parts.part_ids[found], self.pictured)
        return found[np.lexsort((order, without))][:MOST_FILM_PARTS]

    def _film_part(self, index: int) -> FilmPart:
        part_id = int(self.evidence.parts.part_ids[index])
        label = self.evidence.labels.get(part_id)
        return FilmPart(
            part_id=part_id,
            score=float(self.evidence.parts.scores[index, self.draft.chosen]),
            before=int(self._was[index]),
            after=int(self._would[index]),
            label=None if label is None else label.kind,
        )
