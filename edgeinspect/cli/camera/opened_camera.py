"""What the ``camera`` commands share: the station's camera, opened with its recipe's settings."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from edgeinspect.cli.io.opened_lines import idle_station, io_module
from edgeinspect.cli.options import config_option
from edgeinspect.errors import CameraFault, ConfigError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.text import Text

    from edgeinspect.part import Frame, FrameMeta, Region
    from edgeinspect.ports import Camera, CameraControls
    from edgeinspect.runtime.opened_wires import CameraModule
    from edgeinspect.settings.recipe import Recipe
    from edgeinspect.settings.station_file import StationFile

FRAME_NS = 5_000_000_000
PREVIEW_COLUMNS = 80
_FRAMES_TO_FOLLOW = 40
_FORCE = "Even while the station runs, whose camera it is."


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OpenedCamera:
    """Attributes:
    recipe: the active one; None if the product has none yet.
    controls: what the camera was opened with.
    """

    station: StationFile
    recipe: Recipe | None
    controls: CameraControls
    camera: Camera

    def frame(self, *, after_mono_ns: int | None = None) -> Frame:
        """The next frame exposed after now, or after the given time. Raises CameraFault."""
        now = time.monotonic_ns()
        not_before = now if after_mono_ns is None else after_mono_ns
        return self.camera.capture(
            not_before_mono_ns=not_before, deadline_mono_ns=max(now, not_before) + FRAME_NS
        )

    def frame_with(self, controls: CameraControls) -> Frame:
        """Set the controls and return the first frame that has them.

        Raises:
            CameraFault: no frame says so, among the next ones.
        """
        self.camera.apply(controls)
        wrong = ""
        for _ in range(_FRAMES_TO_FOLLOW):
            frame = self.frame()
            wrong = off_controls(frame.meta, controls)
            if not wrong:
                return frame
        raise CameraFault(
            f"The camera does not follow: {wrong}, after {_FRAMES_TO_FOLLOW} frames.",
            next_action="Choose a value that this camera can take.",
        )

    def roi_pixels(self, frame: Frame) -> NDArray[np.uint8]:
        """The recipe's region of interest, a view. Raises ConfigError if it is not in the frame."""
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
    must_tell: bool = False,
) -> str:
    """Which control of this frame is not as asked for, in words; "" if all are.

    Args:
        must_tell: a control that the camera does not read back is off, as it is for the station;
            else such a camera (a folder) is believed.
    """
    for key, asked in dataclasses.asdict(controls).items():
        found = getattr(meta, key)
        allowed = tolerance * max(abs(asked or 0), 1.0 if key == "lens_position" else 0.0)
        if asked is not None and found is not None and abs(found - asked) > allowed:
            return f"{key} is {found:g} and not {asked:g}"
        if must_tell and asked is not None and found is None:
            return f"the camera does not tell {key}, which the recipe fixes"
    return ""


def camera_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--config`` and ``--force``."""
    for decorate in (
        click.option("--force", is_flag=True, help=_FORCE),
        config_option("The station file that names the camera."),
    ):
        function = decorate(function)
    return function


@contextlib.contextmanager
def opened_camera(config: Path | None, *, force: bool) -> Iterator[OpenedCamera]:
    """The camera of the station file, open until the block ends.

    Raises:
        UsageError: no station file, or one for the simulated line.
        StationBusy: the station runs.
        CameraFault, DriverMissing: the camera cannot be had.
    """
    if config is None:
        raise UsageError(
            "It is not said which station's camera is meant.",
            next_action="Give --config STATION_FILE.",
        )
    from edgeinspect.hw.camera_strobe import StrobedCamera
    from edgeinspect.hw.registry import CAMERA_DRIVERS, resolve_driver
    from edgeinspect.settings.compile import camera_controls
    from edgeinspect.settings.station_file import CameraDriver, load_station
    from edgeinspect.settings.wiring import IoDriver

    station = load_station(config)
    if station.camera.driver is CameraDriver.SIM:
        raise UsageError(f"The camera of {station.id} is simulated; there is nothing to set up.")
    recipe = _active_recipe(station)
    from edgeinspect.ports import CameraControls

    controls = camera_controls(recipe) if recipe is not None else CameraControls()
    module = resolve_driver(station.camera.driver.value, CAMERA_DRIVERS, kind="camera")
    with idle_station(station, force=force), contextlib.ExitStack() as closing:
        camera = cast("CameraModule", module).open_driver(station.camera)
        if station.lines.strobe is not None and station.io.driver is not IoDriver.SIM:
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
    """The picture in half blocks, at most ``columns`` wide."""
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
    """Mean, clipping and focus of these pixels, as in ``FrameQuality``."""
    from edgeinspect.line.quality import measure_quality

    return dataclasses.asdict(measure_quality(pixels))


def read_back_fields(meta: FrameMeta) -> dict[str, object]:
    """What the camera says of this frame's settings; null where it does not say."""
    keys = ("exposure_us", "gain", "red_gain", "blue_gain", "white_balance_k", "lens_position")
    return {key: getattr(meta, key) for key in keys}
