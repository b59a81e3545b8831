"""Real pictures for the simulated line: the renderer behind ``PartSource`` and ``Eye``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeinspect.sim.presets import MS
from edgeinspect.sim.renderer import DefectSpec, draw_defects, render_empty_belt, render_part
from edgeinspect.sim.world import LensView

PX_PER_MS = 0.25
"""How far a part moves in the picture per millisecond of travel, while it is in its place."""
PX_PER_MS_OUT_OF_PLACE = 4.0


class RenderedParts:
    """Parts with the renderer's defects; also the eye that sees them.

    Args:
        seed: chooses every part's surface and defects.
        defect_rate: share of defective parts, [0, 1].
        min_size_px: no defect is shorter than this.
    """

    def __init__(self, *, seed: int, defect_rate: float = 0.05, min_size_px: float = 4.0) -> None:
        self._seed = seed
        self._defect_rate = defect_rate
        self._min_size_px = min_size_px

    def defects_of(self, number: int) -> tuple[DefectSpec, ...]:
        """Return the defects of this part."""
        return draw_defects(self._seed, number, self._defect_rate, min_size_px=self._min_size_px)

    def make(self, number: int) -> tuple[bool, float]:
        """See ``PartSource``; the model will say the score, so it is only 0 or 1 here."""
        defective = bool(self.defects_of(number))
        return defective, float(defective)

    def expose(self, view: LensView, exposure_ns: int) -> NDArray[np.uint8]:
        """See ``Eye``; uint8 grey, (FRAME_HEIGHT_PX, FRAME_WIDTH_PX)."""
        if view.part is None:
            return render_empty_belt(self._seed, exposure_ns // MS)
        scale = PX_PER_MS if view.placed else PX_PER_MS_OUT_OF_PLACE
        number = view.part.number
        return render_part(
            seed=self._seed,
            part_number=number,
            defects=self.defects_of(number),
            offset_px=(scale * view.offset_ns / MS, 0.0),
        ).pixels
