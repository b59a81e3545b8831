"""One frame in, its scores out: the only way in which station, replay and tools use a model."""

from __future__ import annotations

import time
from collections import OrderedDict, deque

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.align import compared
from edgeinspect.bundle.card import ReducerCard
from edgeinspect.bundle.directory import Bundle
from edgeinspect.bundle.pipeline import Pipeline
from edgeinspect.bundle.reference import bundle_reference
from edgeinspect.errors import InferenceFailed
from edgeinspect.line.quality import measure_quality
from edgeinspect.part import Frame, Inspection, Region, ScoreMap, StageTimes
from edgeinspect.ports import Engine

_SIZES_KEPT = 8


class Inspector:
    """Inspects frames with one bundle on one engine.

    ``inspect`` may be called from several threads at once. Equal pixels give equal results,
    whatever the arrangement of the engine and whoever asks.

    Args:
        bundle: verified; its golden check is the caller's (``check_golden``).
        engine: that runs the bundle's model.
        roi: in frame pixels; None: the whole frame, whatever its size.
        reducer: of the recipe, instead of the card's.
        reference: for a model that compares with a faultless part: that part in the frame, of
            the same size as the frames; None: the bundle's own, where it has one.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        roi: Region | None,
        *,
        reducer: ReducerCard | None = None,
        reference: NDArray[np.uint8] | None = None,
    ) -> None:
        self._card = bundle.card
        self._engine = engine
        self._roi = roi
        self._reducer = reducer
        self._reference = bundle_reference(bundle) if reference is None else reference
        self._classes = bundle.card.defect_classes
        self._idle: OrderedDict[tuple[int, int], deque[Pipeline]] = OrderedDict()
        if roi is not None:
            self._put_back((roi.width, roi.height), self._take((roi.width, roi.height)))

    @property
    def defect_classes(self) -> tuple[str, ...]:
        """Names for ``Inspection.scores``."""
        return self._classes

    def inspect(
        self,
        frame: Frame,
        *,
        want_map: bool = False,
        reference: NDArray[np.uint8] | None = None,
    ) -> Inspection:
        """Measure and score the region of interest of one frame.

        Args:
            frame: the frame of the part.
            want_map: also return the score map.
            reference: instead of the inspector's own; ignored by models that take none.

        Raises:
            InferenceFailed: the frame does not hold the region, the model failed, or it needs a
                reference picture of the frame's size and there is none.
            Misaligned: the part is not positioned like the reference picture.
        """
        clock = time.perf_counter_ns
        start = clock()
        roi = self._region_of(frame.pixels)
        pixels = frame.pixels[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]
        size = (roi.width, roi.height)
        pipeline = self._take(size)
        tiles = pipeline.tiles(self._compared(pixels, frame, roi, reference))
        prepared = clock()
        outputs = self._engine.run(tiles)
        invoked = clock()
        found = pipeline.score(outputs)
        score_map = None
        if want_map:
            scores, stride_px = pipeline.score_map(outputs)
            score_map = ScoreMap(scores, roi, stride_px, self._classes)
        self._put_back(size, pipeline)
        scored = clock()
        quality = measure_quality(pixels)
        worst = found.worst
        if worst is not None:
            worst = Region(roi.x + worst.x, roi.y + worst.y, worst.width, worst.height)
        return Inspection(
            scores=found.scores,
            top_class=found.top_class,
            top_score=found.top_score,
            quality=quality,
            order_statistics=found.order_statistics,
            worst_region=worst,
            times=StageTimes(
                preprocess_ns=prepared - start,
                invoke_ns=invoked - prepared,
                postprocess_ns=scored - invoked,
                quality_ns=clock() - scored,
            ),
            score_map=score_map,
        )

    def _compared(
        self,
        pixels: NDArray[np.uint8],
        frame: Frame,
        roi: Region,
        reference: NDArray[np.uint8] | None,
    ) -> NDArray[np.uint8]:
        """The region, with the reference's where the model takes one."""
        if not self._card.input.reference:
            return pixels
        chosen = self._reference if reference is None else reference
        if chosen is None or chosen.shape[:2] != frame.pixels.shape[:2]:
            size = "none" if chosen is None else f"one of {chosen.shape[1]} x {chosen.shape[0]} px"
            raise InferenceFailed(
                f"{self._card.name} needs a reference picture of the frame's size, "
                f"{frame.pixels.shape[1]} x {frame.pixels.shape[0]} px; it has {size}."
            )
        return compared(self._card.input, pixels, chosen, roi)

    def _region_of(self, pixels: NDArray[np.uint8]) -> Region:
        is_picture = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
        if not is_picture or pixels.dtype != np.uint8 or not pixels.size:
            raise InferenceFailed(
                f"The frame is {pixels.dtype} {pixels.shape}; expected grey or RGB in uint8."
            )
        height, width = pixels.shape[:2]
        roi = self._roi
        if roi is None:
            return Region(0, 0, width, height)
        if min(roi) < 0 or roi.x + roi.width > width or roi.y + roi.height > height:
            raise InferenceFailed(
                f"The region of interest {tuple(roi)} is not inside the frame of "
                f"{width} x {height} px."
            )
        return roi

    def _take(self, size: tuple[int, int]) -> Pipeline:
        """A pipeline of this size that nobody else uses now."""
        idle = self._idle.get(size)
        if idle:
            try:
                return idle.pop()
            except IndexError:  # another thread took the last one
                pass
        return Pipeline(self._card, width=size[0], height=size[1], reducer=self._reducer)

    def _put_back(self, size: tuple[int, int], pipeline: Pipeline) -> None:
        self._idle.setdefault(size, deque(maxlen=64)).append(pipeline)
        while len(self._idle) > _SIZES_KEPT:
            try:
                self._idle.popitem(last=False)
            except KeyError:  # another thread was faster
                break
