"""A station behind the tuning screen that is made of values, for tests without a line."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import EdgeInspectError
from edgeinspect.health.compare import Health, HealthItem, HealthState
from edgeinspect.labels.label_store import Label, LabelKind
from edgeinspect.line.config import ClassThresholds
from edgeinspect.screens.tune.evidence import Parts
from edgeinspect.screens.tune.part_renderer import RenderedPicture
from edgeinspect.screens.tune.source import InForce

THRESHOLDS = (
    ClassThresholds(name="scratch", review=0.4, reject=0.6),
    ClassThresholds(name="pit", review=0.5, reject=0.7),
)


def label_of(part_id: int, kind: LabelKind, defect_class: str = "") -> Label:
    return Label(
        label_id=part_id,
        part_id=part_id,
        kind=kind,
        defect_class=defect_class,
        author="ada",
        labelled_wall=datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC),
        note="",
    )


def parts_of(scores: Sequence[Sequence[float]], *, first: int = 1, doubts: int = 0) -> Parts:
    array = np.array(scores, np.float64).reshape(len(scores), len(THRESHOLDS))
    return Parts(
        part_ids=np.arange(first, first + len(scores), dtype=np.int64),
        scores=array,
        doubts=doubts,
    )


def many_parts(count: int, *, seed: int = 1) -> Parts:
    """Mostly good ones, with a tail of defects, on the levels of an int8 model."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(-2.5, 1.0, (count, 2))
    bad = generator.random(count) < 0.06
    logits[bad, 0] = generator.normal(2.0, 1.5, int(bad.sum()))
    levels = np.round(np.clip(logits, -8, 8) * 16) / 16
    return Parts(
        part_ids=np.arange(1, count + 1, dtype=np.int64),
        scores=1 / (1 + np.exp(-levels)),
        doubts=count // 200,
    )


class MemorySource:
    """Strict: what is not set up fails; everything done is recorded.

    Attributes:
        done: applied thresholds with their reasons, and undone reasons, in order.
        more: parts that come with the next poll.
        refuse: raised by the next apply or undo.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        labels: Mapping[int, Label] | None = None,
        thresholds: tuple[ClassThresholds, ...] = THRESHOLDS,
        pictured: Sequence[int] = (),
        data_dir: Path = Path("/nowhere"),
    ) -> None:
        self._parts = parts
        self._labels = dict(labels or {})
        self._history = [thresholds]
        self._pictured = np.array(pictured, np.int64)
        self._data_dir = data_dir
        self.more: Parts | None = None
        self.done: list[tuple[str, object, str]] = []
        self.refuse: EdgeInspectError | None = None
        self.polls: list[int] = []

    @property
    def draft_key(self) -> tuple[Path, str]:
        return self._data_dir, "cover"

    def in_force(self) -> InForce:
        return InForce(
            station="line-3",
            product="cover",
            revision=len(self._history),
            latest=len(self._history),
            thresholds=self._history[-1],
            review_passes=False,
        )

    def parts(self, after: int = 0) -> Parts:
        if not after:
            return self._parts
        self.polls.append(after)
        return self.more or parts_of([], first=1, doubts=self._parts.doubts)

    def pictured(self) -> NDArray[np.int64]:
        return self._pictured

    def labels(self) -> Mapping[int, Label]:
        return dict(self._labels)

    def label(self, part_id: int, kind: LabelKind, defect_class: str) -> Label:
        label = label_of(part_id, kind, defect_class)
        self._labels[part_id] = label
        return label

    def draw(self, part_id: int, *, width: int, height: int) -> RenderedPicture:
        if part_id not in self._pictured:
            return RenderedPicture(None, "no picture")
        shades = np.linspace(40, 200, width * height).reshape(height, width, 1).astype(np.uint8)
        return RenderedPicture(np.repeat(shades, 3, axis=2))

    def state(self) -> str:
        return "inspecting"

    def health(self) -> Health:
        hot = HealthItem(
            name="temperature",
            state=HealthState.WARN,
            detail="77 °C",
            next_action="Improve the board's cooling, with a fan for example; above 80 °C it "
            "slows down.",
        )
        return Health((hot, HealthItem(name="disk", state=HealthState.OK, detail="12 GB free")))

    def apply(self, thresholds: Sequence[ClassThresholds], reason: str, *, base: InForce) -> str:
        self._refuse()
        self.done.append(("apply", tuple(thresholds), reason))
        self._history.append(tuple(thresholds))
        return f"Revision {base.revision + 1} is in force."

    def undo(self, reason: str, *, base: InForce) -> str:
        assert base.revision == len(self._history)
        self._refuse()
        self._history.pop()
        self.done.append(("undo", self._history[-1], reason))
        return f"Revision {len(self._history)} is in force again."

    def close(self) -> None:
        """Nothing is open."""

    def _refuse(self) -> None:
        if self.refuse is not None:
            error, self.refuse = self.refuse, None
            raise error
