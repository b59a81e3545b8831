"""``edgeinspect camera expose``: find exposure and gain for the present light."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from edgeinspect.cli.camera.opened_camera import OpenedCamera, camera_options, opened_camera
from edgeinspect.cli.options import FiniteRange
from edgeinspect.errors import NotGood, UsageError
from edgeinspect.terminal.output import examples, json_option, print_result, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from edgeinspect.part import FrameQuality
    from edgeinspect.settings.recipe import Recipe
    from edgeinspect.settings.station_file import StationFile

_START_US, _START_GAIN = 1000.0, 1.0
_LARGEST_STEP = 4.0
_NEAR_CLIPPING = 1.1
_USB_STEP_US = 100
_ROUNDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """The wanted brightness and its limits.

    Attributes:
        mean: wanted mean grey level of the region, [0, 255].
        clipped_max: highest acceptable share of white pixels, [0, 1].
        max_exposure_us: longest exposure; a longer one would blur a moving part.
        max_gain: highest gain; a higher one would hide small defects in noise.
        tolerance: allowed relative difference from ``mean``.
    """

    mean: float
    clipped_max: float
    max_exposure_us: float
    max_gain: float
    tolerance: float = 0.03


@dataclass(frozen=True, slots=True)
class Light:
    """One pair of exposure and gain."""

    exposure_us: float
    gain: float

    @property
    def amount(self) -> float:
        """The product of exposure and gain; brightness is proportional to it."""
        return self.exposure_us * self.gain


@dataclass(frozen=True, slots=True)
class Step:
    """What the search does next.

    Attributes:
        light: the light to try next; None if the search has ended.
        verdict: why the search has ended: "good", "too_dark" (both limits reached) or "clips"
            (white before the mean is reached); "" while it continues.
    """

    light: Light | None
    verdict: str = ""


def next_step(now: Light, seen: FrameQuality, goal: Goal, *, ceiling: float | None) -> Step:
    """Do one round of the search: the sensor is linear, so light scales with the wanted mean.

    Args:
        now: the light of the last frame.
        seen: what was measured in it.
        goal: the wanted brightness.
        ceiling: the smallest amount of light that clipped so far; the search stays below it.
    """
    clips = seen.clipped_high > goal.clipped_max
    if not clips and abs(seen.mean - goal.mean) <= goal.tolerance * goal.mean:
        return Step(None, "good")
    factor = 0.5 if clips else min(_LARGEST_STEP, goal.mean / max(seen.mean, 1.0))
    amount = now.amount * factor
    if ceiling is not None and amount >= ceiling:
        if ceiling <= _NEAR_CLIPPING * now.amount:
            return Step(None, "clips")
        amount = math.sqrt(now.amount * ceiling)
    light = _divided(amount, goal)
    if light.amount <= now.amount * (1 + 1e-3) and factor > 1:
        return Step(None, "too_dark")
    return Step(light)


def _divided(amount: float, goal: Goal) -> Light:
    """Use as much exposure as allowed, because gain adds noise; gain provides the rest."""
    exposure = max(1.0, min(amount, goal.max_exposure_us))
    return Light(exposure, min(max(1.0, amount / exposure), goal.max_gain))


@click.command(
    epilog=examples(
        "edgeinspect camera expose --config station.yaml",
        "edgeinspect camera expose --config station.yaml --mean 120 --max-exposure-us 400",
        'edgeinspect camera expose --config station.yaml --write --author mia --reason "new lamp"',
    )
)
@click.option(
    "--mean",
    type=FiniteRange(10, 245),
    default=110.0,
    help="Mean grey level to reach in the region of interest.",
)
@click.option(
    "--clipped-max",
    type=FiniteRange(0, 1),
    default=0.005,
    help="Highest acceptable share of white pixels.",
)
@click.option(
    "--max-exposure-us",
    type=FiniteRange(1, 1e7),
    default=20_000.0,
    help="Longest exposure, in microseconds.",
)
@click.option("--max-gain", type=FiniteRange(1, 64), default=8.0, help="Highest gain.")
@click.option(
    "--write", is_flag=True, help="Store the result as a new revision, without activating it."
)
@click.option("--author", metavar="NAME", help="Your name, for the revision.")
@click.option("--reason", metavar="TEXT", help="Reason, for the revision.")
@camera_options
@json_option
def command(
    *,
    mean: float,
    clipped_max: float,
    max_exposure_us: float,
    max_gain: float,
    write: bool,
    author: str | None,
    reason: str | None,
    station: StationFile,
    force: bool,
    as_json: bool,
) -> None:
    """Find the exposure and gain that give a good part the wanted mean grey level.

    Put a good part under the camera first. Set --max-exposure-us so that a moving part travels
    less than half the size of the smallest defect during the exposure; otherwise the picture is
    blurred. Gain then makes up for the missing light.
    """
    if write and not (author and reason):
        raise UsageError("--write needs --author and --reason.")
    goal = Goal(
        mean=mean, clipped_max=clipped_max, max_exposure_us=max_exposure_us, max_gain=max_gain
    )
    with opened_camera(station, force=force) as opened:
        if write and opened.recipe is None:
            raise UsageError(
                f"{opened.station.product} has no active recipe to change.",
                next_action="Leave out --write, or apply a recipe first.",
            )
        rounds = search(opened, goal)
    light, seen, verdict = rounds[-1]
    stored = None
    if write and verdict == "good" and opened.recipe is not None and author and reason:
        stored = _store(opened, opened.recipe, light, author=author, reason=reason)
    fields = {
        "verdict": verdict,
        "exposure_us": light.exposure_us,
        "gain": None if _is_usb(opened) else light.gain,
        "quality": dataclasses.asdict(seen),
        "rounds": len(rounds),
        "revision": stored,
    }
    print_result(fields, *_words(rounds, stored, opened), as_json=as_json)
    if verdict != "good":
        raise NotGood(_WHY[verdict], next_action=_WHAT_NOW[verdict])


_WHY = {
    "too_dark": "The picture is too dark even at the longest exposure and the highest gain.",
    "clips": "Parts of the picture turn white before the mean grey level is reached.",
    "": "The brightness does not settle; the light may flicker.",
}
_WHAT_NOW = {
    "too_dark": "Add light, open the aperture, or allow a longer exposure.",
    "clips": "Diffuse or turn the light, or set a lower --mean.",
    "": "Use a lamp that does not flicker, or an exposure of one full mains period.",
}


def search(opened: OpenedCamera, goal: Goal) -> list[tuple[Light, FrameQuality, str]]:
    """Return the light, measurement and verdict of each round. Raises CameraFault."""
    from edgeinspect.line.quality import measure_quality

    asked = opened.controls
    # A USB camera counts exposure in steps, and its gain in numbers without a known scale.
    is_usb = _is_usb(opened)
    step_us = _USB_STEP_US if is_usb else 1
    if is_usb:
        goal = dataclasses.replace(goal, max_gain=1.0)
    start_gain = 1.0 if is_usb else asked.gain or _START_GAIN
    light = _divided((asked.exposure_us or _START_US) * start_gain, goal)
    ceiling: float | None = None
    rounds: list[tuple[Light, FrameQuality, str]] = []
    for _ in range(_ROUNDS):
        exposure_us = max(step_us, step_us * round(light.exposure_us / step_us))
        light = Light(exposure_us, round(light.gain, 3))
        gain = asked.gain if is_usb else light.gain
        controls = dataclasses.replace(asked, exposure_us=light.exposure_us, gain=gain)
        frame = opened.frame_with(controls)
        seen = measure_quality(opened.roi_pixels(frame))
        if seen.clipped_high > goal.clipped_max:
            ceiling = min(light.amount, ceiling or light.amount)
        step = next_step(light, seen, goal, ceiling=ceiling)
        rounds.append((light, seen, step.verdict))
        if step.light is None:
            break
        light = step.light
    return rounds


def _is_usb(opened: OpenedCamera) -> bool:
    from edgeinspect.settings.driver_tables import CAMERA_DRIVERS

    return CAMERA_DRIVERS[opened.station.camera.driver].own_units


def _store(opened: OpenedCamera, recipe: Recipe, light: Light, *, author: str, reason: str) -> int:
    from edgeinspect.settings.recipe_store import RecipeStore

    found = {"exposure_us": float(light.exposure_us)}
    if not _is_usb(opened):
        found["gain"] = light.gain
    camera = recipe.camera.model_copy(update=found)
    changes = {"camera": camera, "parent": recipe.revision, "author": author, "reason": reason}
    draft = recipe.model_copy(update=changes)
    return RecipeStore(opened.station.recipes_dir).create(draft).revision


def _words(
    rounds: list[tuple[Light, FrameQuality, str]], stored: int | None, opened: OpenedCamera
) -> Iterator[RenderableType]:
    rows = [
        (f"{light.exposure_us:.0f}", f"{light.gain:.2f}", f"{q.mean:.1f}", f"{q.clipped_high:.2%}")
        for light, q, _ in rounds
    ]
    yield table(("exposure us", "gain", "mean", "white"), rows, right=("exposure us", "gain"))
    light, _, verdict = rounds[-1]
    if verdict != "good":
        return
    gain = "" if _is_usb(opened) else f", camera.gain {light.gain:g}"
    yield f"Good: camera.exposure_us {light.exposure_us:.0f}{gain}."
    if stored is not None:
        yield f"Stored as revision {stored} of {opened.station.product}; it is not active yet."
    elif opened.recipe is not None:
        yield 'To store it, add: --write --author NAME --reason "why"'
