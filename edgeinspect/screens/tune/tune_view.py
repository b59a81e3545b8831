"""What the tuning screen shows, as values; ``tune_drawing`` draws them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeinspect.labels.label_store import LabelKind
from edgeinspect.line.config import ClassThresholds
from edgeinspect.tune.whatif import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmstripPart:
    """One part of the filmstrip.

    Attributes:
        before: Verdict code under the thresholds in force.
        after: Verdict code under the drafted thresholds.
        score: Of the chosen class.
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
        title: Station, product and revision.
        state: The station's state, or that no station answers.
        is_live: Whether the screen follows new parts.
        last_part: A sentence about the newest part.
        health: The worst of all items, "" before it is known.
        class_number: The chosen class, counted from 1.
        classes: The number of classes.
        in_force: Thresholds of the chosen class.
        drafted: The same as drafted.
        changed_classes: Number of classes whose drafted thresholds are not in force.
        bins: Parts by score, each of shape (bins,): good, defective and unlabelled ones.
        was: Counts under the thresholds in force.
        would: Counts under the drafted thresholds.
        flips: Number of parts whose verdict would change.
        to_stricter: Number of those whose verdict would become stricter.
        filmstrip: The parts around the chosen one.
        filmstrip_chosen: The chosen part's place among them.
        filmstrip_number: The chosen part's place in the whole filmstrip, counted from 1.
        filmstrip_total: The number of parts in the whole filmstrip.
        message: Shown in place of the help line until the next key; "" shows the help.
        is_loading: Whether parts are still being read.
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
    filmstrip: tuple[FilmstripPart, ...] = ()
    filmstrip_chosen: int = 0
    filmstrip_number: int = 0
    filmstrip_total: int = 0
    message: str = ""
    is_loading: bool = False
