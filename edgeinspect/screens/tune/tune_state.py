"""The state of tuning: the evidence, the draft and the chosen part; independent of a terminal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeinspect.screens.tune.draft_thresholds import Draft
from edgeinspect.screens.tune.evidence import Evidence, histogram, no_parts
from edgeinspect.screens.tune.source import InForce
from edgeinspect.screens.tune.tune_drawing import plot_bins, thumbnails_across
from edgeinspect.screens.tune.tune_view import FilmstripPart, TuneView

FILMSTRIP_MAX_PARTS = 500
Bins = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


class TuneState:
    """Judges the parts under the thresholds in force and drafted, and chooses the filmstrip.

    Attributes:
        in_force: The recipe that is being tuned.
        draft: The thresholds that are being tried.
        evidence: The parts and their labels.
        pictured: Ids of the parts whose pictures are kept, int64, ascending.
        was: Counts of all parts under the thresholds in force.
        would: The same under the drafted thresholds.
    """

    def __init__(self, in_force: InForce, draft: Draft) -> None:
        self.in_force = in_force
        self.draft = draft
        self.evidence = Evidence(no_parts(len(draft.drafted)), {})
        self.pictured: NDArray[np.int64] = np.zeros(0, np.int64)
        self._filmstrip: NDArray[np.intp] = np.zeros(0, np.intp)
        self._filmstrip_ids: NDArray[np.int64] = np.zeros(0, np.int64)
        self._filmstrip_at = 0
        self.judge()

    def judge(self) -> None:
        """Count and choose again; call it after any change of draft or evidence.

        A part that the technician chose stays chosen if it is still there.
        """
        chosen = self.chosen_part() if self._filmstrip_at else None
        draft, evidence = self.draft, self.evidence
        self._was = evidence.codes(draft.in_force, draft.chosen)
        self._would = self._was
        if draft.is_changed:
            self._would = evidence.codes(draft.drafted, draft.chosen)
        self._filmstrip = self._choose_filmstrip()
        self._filmstrip_ids = evidence.parts.part_ids[self._filmstrip]
        found = np.flatnonzero(self._filmstrip_ids == (-1 if chosen is None else chosen))
        self._filmstrip_at = int(found[0]) if found.size else 0
        review_passes = self.in_force.review_passes
        self.was = evidence.outcome(self._was, review_passes=review_passes)
        self.would = evidence.outcome(self._would, review_passes=review_passes)
        self._flips = int((self._was != self._would).sum())
        self._stricter = int((self._would > self._was).sum())
        self._bins: dict[int, Bins] = {}

    def take_in_force(self, in_force: InForce) -> None:
        """Take another revision as the one in force; the draft stays."""
        self.in_force = in_force
        self.draft = self.draft.with_in_force(in_force.thresholds)
        self.judge()

    @property
    def flipped_part_ids(self) -> NDArray[np.int64]:
        """Ids of the parts whose verdict would change, int64."""
        return np.asarray(self.evidence.parts.part_ids[self._was != self._would])

    def chosen_part(self) -> int | None:
        """The id of the part that is labelled and looked at."""
        return int(self._filmstrip_ids[self._filmstrip_at]) if self._filmstrip.size else None

    def choose_next(self, by: int) -> None:
        """Choose the part this many places further on."""
        if self._filmstrip.size:
            self._filmstrip_at = int(np.clip(self._filmstrip_at + by, 0, self._filmstrip.size - 1))

    def filmstrip(self, places: int) -> tuple[int, tuple[FilmstripPart, ...]]:
        """Return the chosen part's place among at most ``places`` parts, and those parts."""
        first = max(0, min(self._filmstrip_at - places // 2, self._filmstrip.size - places))
        shown = self._filmstrip[first : first + places]
        return self._filmstrip_at - first, tuple(
            self._filmstrip_part(int(index)) for index in shown
        )

    def chosen(self) -> FilmstripPart | None:
        """The chosen part of the filmstrip; None if it is empty."""
        return (
            self._filmstrip_part(int(self._filmstrip[self._filmstrip_at]))
            if self._filmstrip.size
            else None
        )

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
        """Return everything that the screen shows.

        Args:
            width: Of the screen, in characters.
            state: State of the station.
            is_live: The screen follows the running line.
            is_loading: Records are being read.
            last_part: The newest part, in words.
            health: The health of the station, in words.
            message: The message line.
        """
        draft = self.draft
        filmstrip_chosen, filmstrip = self.filmstrip(thumbnails_across(width))
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
            filmstrip=filmstrip,
            filmstrip_chosen=filmstrip_chosen,
            filmstrip_number=self._filmstrip_at + 1 if self._filmstrip.size else 0,
            filmstrip_total=int(self._filmstrip.size),
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

    def _choose_filmstrip(self) -> NDArray[np.intp]:
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
            if len(parts) > FILMSTRIP_MAX_PARTS:
                found = np.argpartition(distance, FILMSTRIP_MAX_PARTS)[:FILMSTRIP_MAX_PARTS]
            order = distance[found]
        without = ~np.isin(parts.part_ids[found], self.pictured)
        return found[np.lexsort((order, without))][:FILMSTRIP_MAX_PARTS]

    def _filmstrip_part(self, index: int) -> FilmstripPart:
        part_id = int(self.evidence.parts.part_ids[index])
        label = self.evidence.labels.get(part_id)
        return FilmstripPart(
            part_id=part_id,
            score=float(self.evidence.parts.scores[index, self.draft.chosen]),
            before=int(self._was[index]),
            after=int(self._would[index]),
            label=None if label is None else label.kind,
        )
