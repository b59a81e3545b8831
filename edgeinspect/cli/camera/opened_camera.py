"""What the ``camera`` commands share: the station's camera, opened with the recipe's settings."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from edgeinspect.cli.io.opened_lines import idle_station, io_module
from edgeinspect.cli.options import option_group, station_option
from edgeinspect.errors import CameraFault, ConfigError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.text import Text

    from edgeinspect.part import CameraControls, Frame, FrameMeta, Region
    from edgeinspect.ports import Camera
    from edgeinspect.settings.recipe import Recipe
    from edgeinspect.settings.station_file import StationFile

FRAME_NS = 5_000_000_000
PREVIEW_COLUMNS = 80
_FRAMES_TO_FOLLOW = 40


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OpenedCamera:
    """A camera that is open, with the settings of the active recipe.

    Attributes:
        station: the station file.
        recipe: the active recipe; None if the product has none yet.
        controls: the settings that the camera was opened with.
        camera: the opened camera.
    """

    station: StationFile
    recipe: Recipe | None
    controls: CameraControls
    camera: Camera

    def frame(self, *, after_mono_ns: int | None = None) -> Frame:
        """Return the next frame exposed after now or the given time. Raises CameraFault."""
        now = time.monotonic_ns()
        not_before = now if after_mono_ns is None else after_mono_ns
        return self.camera.capture(
            not_before_mono_ns=not_before, deadline_mono_ns=max(now, not_before) + FRAME_NS
        )

    def frame_with(self, controls: CameraControls) -> Frame:
        """Set the controls and return the first frame that has them.

        Raises:
            CameraFault: none of the next 40 frames has them.
        """
        self.camera.apply(controls)
        wrong = ""
        for _ in range(_FRAMES_TO_FOLLOW):
            frame = self.frame()
            wrong = off_controls(frame.meta, controls)
            if not wrong:
                return frame
        raise CameraFault(
            f"The camera did not apply its settings within {_FRAMES_TO_FOLLOW} frames: {wrong}.",
            next_action="Choose a value that this camera supports.",
        )

    def roi_pixels(self, frame: Frame) -> NDArray[np.uint8]:
        """Return a view of the recipe's region of interest, or of the whole frame without one.

        Raises ConfigError if the region is outside the frame.
        """
        pixels = frame.pixels
        roi = self.recipe.roi.region if self.recipe is not None and self.recipe.roi else None
        if roi is None:
            return pixels
        _refuse_outside(roi, pixels, self.recipe)
        return pixels[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]


def _refuse_outside(roi: Region, pixels: NDArray[np.uint8], recipe: Recipe | None) -> None:
    height, width = pixels.shape[:2]
    if roi.x + roi.width > width or roi.y + roi.height > height:
        name = f"{recipe.product}/{recipe.revision:06d}.yaml" if recipe is not None else "recipe"
        raise ConfigError(
            file=name,
            key="roi",
            value=tuple(roi),
            expected=f"a region inside the camera's {width} x {height} pixels",
        )


def off_controls(
    meta: FrameMeta,
    controls: CameraControls,
    *,
    tolerance: float = 0.05,
    must_report: bool = False,
) -> str:
    """Describe the first control of this frame that differs from the request; "" if none does.

    Args:
        meta: the frame's settings as the camera reports them.
        controls: the requested settings; None entries are not checked.
        tolerance: allowed relative difference.
        must_report: count a control that the camera does not report as different, as the station
            does. If False, such a camera (a folder) is trusted.
    """
    for key, asked in dataclasses.asdict(controls).items():
        found = getattr(meta.controls, key)
        allowed = tolerance * max(abs(asked or 0), 1.0 if key == "lens_position" else 0.0)
        if asked is not None and found is not None and abs(found - asked) > allowed:
            return f"{key} is {found:g} instead of {asked:g}"
        if must_report and asked is not None and found is None:
            return f"the camera does not report {key}, which the recipe sets"
    return ""


camera_options = option_group(
    station_option("Station file that names the camera."),
    click.option(
        "--force", is_flag=True, help="Work even while the station runs and uses the camera."
    ),
)


@contextlib.contextmanager
def opened_camera(station: StationFile, *, force: bool) -> Iterator[OpenedCamera]:
    """Open the camera of the station file until the block ends.

    Raises:
        UsageError: the camera is simulated.
        StationBusy: the station is running.
        CameraFault: the camera cannot be opened.
        DriverMissing: the camera's library is not installed.
    """
    from edgeinspect.hw.camera_strobe import StrobedCamera
    from edgeinspect.hw.registry import camera_module
    from edgeinspect.part import CameraControls
    from edgeinspect.settings.compile import camera_controls
    from edgeinspect.settings.driver_tables import SIM

    if station.camera.driver == SIM:
        raise UsageError(
            f"The camera of {station.id} is simulated; there is nothing to set up.",
            next_action="Give a station file with another camera.driver.",
        )
    recipe = _active_recipe(station)
    controls = camera_controls(recipe) if recipe is not None else CameraControls()
    module = camera_module(station.camera.driver)
    with idle_station(station, force=force), contextlib.ExitStack() as closing:
        camera = module.open_driver(station.camera)
        if station.lines.strobe is not None and station.io.driver != SIM:
            lamp = io_module(station).output(station.io, station.lines.strobe)
            closing.callback(lamp.close)
            lead_ns = round(station.camera.strobe_lead_ms * 1e6)
            camera = StrobedCamera(camera, lamp, lead_ns=lead_ns)
        camera.open(controls)
        closing.callback(camera.close)
        yield OpenedCamera(station=station, recipe=recipe, controls=controls, camera=camera)


def _active_recipe(station: StationFile) -> Recipe | None:
    from edgeinspect.settings.recipe_store import RecipeStore

    store = RecipeStore(station.recipes_dir)
    if isinstance(station.recipe, int):
        return store.load(station.product, station.recipe)
    if store.active_pointer(station.product) is None:
        return None
    return store.active(station.product)


def preview(pixels: NDArray[np.uint8], *, columns: int = PREVIEW_COLUMNS) -> Text:
    """Draw the picture in half blocks, at most ``columns`` wide."""
    import cv2
    import numpy as np

    from edgeinspect.terminal.half_blocks import half_blocks

    height, width = pixels.shape[:2]
    columns = min(columns, width)
    rows = max(2, round(height * columns / width))
    small = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA)
    if small.ndim == 2:
        small = cv2.cvtColor(small, cv2.COLOR_GRAY2RGB)
    return half_blocks(np.asarray(small, np.uint8))


def quality_fields(pixels: NDArray[np.uint8]) -> dict[str, float]:
    """Measure mean, clipping and focus of these pixels, named as in ``FrameQuality``."""
    from edgeinspect.line.quality import measure_quality

    return measure_quality(pixels).values()
