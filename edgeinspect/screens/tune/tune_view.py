"""What the tuning screen shows, as values; ``drawing`` draws them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeinspect.labels.label_store import LabelKind
from edgeinspect.line.config import ClassThresholds
from edgeinspect.tune.whatif import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmPart:
    """One part of the filmstrip.

    Attributes:
        before, after: verdict codes under the thresholds in force and as drafted.
        score: of the chosen class.
    """

    part_id: int
    score: float
    before: int
    after: int
    label: LabelKind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneView:
    """One moment of the screen.

    Attributes:
        title: station, product and revision.
        state: the station's own word, or that none answers.
        is_live: new parts are followed.
        last_part: a sentence about the newest part.
        health: the worst of all items, "" before it is known.
        class_number, classes: which class is chosen, from 1, of how many.
        in_force, drafted: thresholds of the chosen class.
        changed_classes: how many classes have drafted thresholds that are not in force.
        bins: parts by score for good, defective and unlabelled ones, each of shape (bins,).
        was, would: counts in force and as drafted.
        flips: parts whose verdict would change; to_stricter of them to a worse one.
        film: the parts around the chosen one, ``film_chosen`` its place among them.
        film_number, film_total: which part of the filmstrip is chosen, from 1, of how many.
        message: shown instead of the help line until the next key; empty for the help.
        is_loading: parts are still being read.
    """

    title: str
    state: str
    is_live: bool
    last_part: str
    health: str
    class_number: int
    classes: int
    in_force: ClassThresholds
    drafted: ClassThresholds
    moves_reject: bool
    changed_classes: int
    bins: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
    was: Outcome
    would: Outcome
    flips: int
    to_stricter: int
    film: tuple[FilmPart, ...] = ()
    film_chosen: int = 0
    film_number: int = 0
    film_total: int = 0
    message: str = ""
    is_loading: bool = False
