"""Renders stored parts with their score maps, which the model computes again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeinspect.drawing.canvas import Rgb, crop, small_overlay
from edgeinspect.errors import EdgeInspectError, NotGood
from edgeinspect.part import Frame, Region, ScoreMap
from edgeinspect.records.reader import RecordReader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeinspect.runtime.inspection import InspectorSet
    from edgeinspect.runtime.plan import StationPlan


@dataclass(frozen=True, slots=True)
class RenderedPicture:
    """A picture for the terminal, or the reason why there is none.

    Attributes:
        picture: uint8 RGB, at most as large as asked for; None if there is none.
        note: Why there is no picture or no score map.
    """

    picture: Rgb | None
    note: str = ""


class PartRenderer:
    """Renders parts as the plan's model sees them; use it from one thread at a time."""

    def __init__(self, plan: StationPlan) -> None:
        self._plan = plan
        self._inspectors: InspectorSet | None = None
        self._refused = ""

    def draw(self, part_id: int, *, width: int, height: int) -> RenderedPicture:
        """Return the part's ROI under its scores, at most ``width`` x ``height`` pixels.

        A missing picture or a model that cannot be opened leads to a note, never to an error.
        """
        try:
            pixels = self._pixels(part_id)
        except NotGood:
            return RenderedPicture(None, "no picture")
        except EdgeInspectError as error:
            return RenderedPicture(None, error.message)
        score_map = self._score_map(pixels)
        shown, score_map = _at_roi(pixels, score_map, self._plan.roi)
        scale = min(width / shown.shape[1], height / shown.shape[0])
        small = small_overlay(
            shown,
            score_map,
            width=max(1, round(shown.shape[1] * scale)),
            height=max(1, round(shown.shape[0] * scale)),
        )
        return RenderedPicture(small, self._refused)

    def close(self) -> None:
        """Close the model."""
        if self._inspectors is not None:
            self._inspectors.close()
            self._inspectors = None

    def _pixels(self, part_id: int) -> NDArray[np.uint8]:
        from edgeinspect.labels.label_store import LabelStore
        from edgeinspect.records.images import decode_png

        data_dir = self._plan.station.data_dir
        with LabelStore(data_dir) as store:
            kept = store.picture(part_id)
        if kept is not None:
            pixels = decode_png(kept.read_bytes())
            if pixels is not None:
                return pixels
        with RecordReader(data_dir) as reader:
            part = reader.part(part_id)
            if part is None:
                raise NotGood(f"Part {part_id} was not found in the records.")
            return reader.picture(part)

    def _score_map(self, pixels: NDArray[np.uint8]) -> ScoreMap | None:
        if self._refused:
            return None
        try:
            if self._inspectors is None:
                self._inspectors = self._open()
            frame = Frame.of_picture(pixels)
            return self._inspectors.inspectors[0].inspect(frame, want_map=True).score_map
        except EdgeInspectError as error:
            self._refused = f"no score map: {error.message}"
            return None

    def _open(self) -> InspectorSet:
        from edgeinspect.runtime.models import open_inspectors
        from edgeinspect.settings.station_file import EngineSettings

        return open_inspectors(
            self._plan.bundle,
            engine=EngineSettings(threads=1),
            roi=self._plan.roi,
            reducer=self._plan.recipe.reducer,
        )


def _at_roi(
    pixels: NDArray[np.uint8], score_map: ScoreMap | None, roi: Region | None
) -> tuple[NDArray[np.uint8], ScoreMap | None]:
    """Cut picture and map to the ROI, so that a small drawing shows nothing else."""
    if roi is None:
        return pixels, score_map
    shown = crop(pixels, roi)
    if not shown.size:
        return pixels, score_map
    if score_map is not None:
        at = score_map.roi
        moved = Region(at.x - max(0, roi.x), at.y - max(0, roi.y), at.width, at.height)
        score_map = replace(score_map, roi=moved)
    return shown, score_map
