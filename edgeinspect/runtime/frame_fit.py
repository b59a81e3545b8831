"""Whether a recipe fits the frames of the camera, found out before a part depends on it.

A region that is not inside the frame, or is too small for the model's tile, fails on every part in
the same way. So one blank frame of the right size goes through the inspector's own steps, without
the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.card import Card
from edgeinspect.bundle.directory import Bundle
from edgeinspect.bundle.inspector import Inspector
from edgeinspect.errors import ConfigError, EdgeInspectError, Misaligned
from edgeinspect.part import Frame
from edgeinspect.ports import TensorSpec
from edgeinspect.settings.driver_tables import SIM
from edgeinspect.settings.recipe import Recipe
from edgeinspect.settings.station_file import Camera


@dataclass(frozen=True, slots=True)
class KnownFrame:
    """The size of the frames that the camera will deliver.

    Attributes:
        shape: of the pixels: (height, width) for grey, (height, width, 3) for RGB.
        source: how it is known, for the error's sentence.
    """

    shape: tuple[int, ...]
    source: str

    @property
    def size(self) -> str:
        """The size in words."""
        color = "grey" if len(self.shape) == 2 else "RGB"
        return f"{self.shape[1]} x {self.shape[0]} px, {color}"


def expected_frame(camera: Camera) -> KnownFrame | None:
    """The frame settings of the station file; None if it has none."""
    if camera.driver == SIM:
        from edgeinspect.sim.product import FRAME_HEIGHT_PX, FRAME_WIDTH_PX

        return KnownFrame((FRAME_HEIGHT_PX, FRAME_WIDTH_PX), "of the simulated line")
    if camera.replays_files:
        return _first_picture(camera)
    if camera.width_px is None or camera.height_px is None:
        return None
    channels = (3,) if camera.color == "rgb" else ()
    return KnownFrame((camera.height_px, camera.width_px, *channels), "of the station file")


def _first_picture(camera: Camera) -> KnownFrame | None:
    from edgeinspect.hw.folder_camera import list_pictures
    from edgeinspect.hw.picture_file import read_picture

    try:
        first = list_pictures(camera.device or ".")[0]
        return KnownFrame(read_picture(first).shape, f"of {first.name}")
    except (
        EdgeInspectError,
        OSError,
        IndexError,
    ):  # the error is reported when the camera is opened
        return None


def recorded_frame(data_dir: Path) -> KnownFrame | None:
    """The frame format of the newest recorded picture; None if there is none."""
    from edgeinspect.records.reader import PartFilter, RecordReader

    try:
        with RecordReader(data_dir) as reader:
            newest = next(reader.parts(PartFilter(with_image=True), limit=1, newest_first=True))
            shape = reader.picture(newest).shape
    except (EdgeInspectError, StopIteration):
        return None
    return KnownFrame(shape, f"of the newest recorded picture, part {newest.record.part_id}")


def check_fits(recipe: Recipe, bundle: Bundle, frame: KnownFrame) -> None:
    """Raises ConfigError: no part on such a frame could ever be inspected under the recipe."""
    region = None if recipe.roi is None else recipe.roi.region
    try:
        inspector = Inspector(bundle, _NoEngine(bundle.card), region)
        inspector.inspect(Frame.of_picture(np.zeros(frame.shape, np.uint8)))
    except Misaligned:
        return  # a blank frame cannot be aligned
    except (EdgeInspectError, ValueError) as error:
        why = error.message if isinstance(error, EdgeInspectError) else str(error)
        raise ConfigError(
            file=f"{recipe.product}/{recipe.revision:06d}.yaml",
            key="roi",
            value="the whole frame" if region is None else tuple(region),
            expected=f"a region that {bundle.card.name} can inspect in a frame of {frame.size} "
            f"(size {frame.source}) ({why.rstrip('.')})",
            next_action="Change roi, or the camera's mode in the station file.",
        ) from error


class _NoEngine:
    """Stands in for the model: its answers are of the right shape and mean nothing."""

    def __init__(self, card: Card) -> None:
        self.input_spec: TensorSpec = card.input.spec("input")
        self.output_spec: TensorSpec = card.output.spec("output")
        self.description = "no engine"

    def run(self, tiles: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        """Raises InferenceFailed, as the engine would, for a tile that is not the model's."""
        for tile in tiles:
            self.input_spec.check_tile(tile)
        answer = np.zeros(self.output_spec.shape[1:], self.output_spec.dtype)
        return [answer for _ in tiles]

    def close(self) -> None:
        """Nothing is open."""
