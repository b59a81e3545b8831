"""Everything about a bundle or a station file that can be verified before it is used."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

from edgeinspect.assembly.finding import Finding
from edgeinspect.bundle.directory import Bundle, load_bundle
from edgeinspect.challenge.masters_file import check_masters, load_masters
from edgeinspect.errors import EdgeInspectError, StorageFault
from edgeinspect.files.atomic_file import nearest_folder
from edgeinspect.hw.registry import resolve_driver
from edgeinspect.part import Region
from edgeinspect.runtime.frame_fit import check_fits, expected_frame, recorded_frame
from edgeinspect.runtime.plan import StationPlan, plan_station, refuse_half_simulated
from edgeinspect.settings.driver_tables import CAMERA_DRIVERS, IO_DRIVERS, SIM
from edgeinspect.settings.recipe import Recipe
from edgeinspect.settings.station_file import EngineSettings, StationFile, load_station
from edgeinspect.settings.uncovered import describe_frames, describe_uncovered_faults


def check_bundle(directory: Path) -> Iterator[Finding]:
    """Card, digests, golden pictures on the engine in use, thresholds, certificate."""
    bundle = None
    try:
        bundle = load_bundle(directory)
    except EdgeInspectError as error:
        yield Finding.failed("bundle", error)
    if bundle is not None:
        yield from _check_loaded(bundle, engine=EngineSettings(), roi=None)


def check_station_file(path: Path) -> Iterator[Finding]:
    """Check the file, then what ``check_station`` checks."""
    try:
        station = load_station(path)
    except EdgeInspectError as error:
        yield Finding.failed("station file", error)
        return
    yield from check_station(station)


def check_station(station: StationFile) -> Iterator[Finding]:
    """Check data directory, recipe, bundle and drivers, and name what the wiring cannot stop."""
    yield _ok("station file", f"{station.id}: {station.gate.kind.value} gate, valid")
    yield from _check_storage(station)
    recipe = yield from _check_recipe(station)
    yield from _check_drivers(station)
    yield _ok("camera frames", describe_frames(station.camera))
    uncovered = describe_uncovered_faults(station, recipe)
    for sentence in uncovered:
        yield Finding(name="not covered", state="warn", detail=sentence)
    if not uncovered:
        yield _ok("fault cover", "every known fault ends in a rejected part or a stopped line")


def _check_loaded(
    bundle: Bundle, *, engine: EngineSettings, roi: Region | None
) -> Iterator[Finding]:
    card = bundle.card
    yield _ok(
        "bundle",
        f"{card.title}, {card.task.value}, {len(bundle.card.digests)} files match "
        f"their digests, {bundle.digest[:12]}",
    )
    yield _ok("thresholds", _thresholds(bundle))
    from edgeinspect.runtime.models import open_inspectors

    try:
        opened = open_inspectors(bundle, engine=engine, roi=roi)
    except EdgeInspectError as error:
        yield Finding.failed("model", error)
        return
    opened.close()
    yield _ok("model", f"golden pictures agree on {opened.description}")


def _thresholds(bundle: Bundle) -> str:
    card = bundle.card
    shown = card.defect_classes[:6]
    limits = [f"{name} {card.threshold(name).reject:g}" for name in shown]
    more = len(card.defect_classes) - len(shown)
    rest = f" and {more} more" if more else ""
    return f"reject from {', '.join(limits)}{rest}; reducer {card.reducer.kind.value}"


def _check_storage(station: StationFile) -> Iterator[Finding]:
    folder = station.data_dir
    present = nearest_folder(folder)
    try:
        with _storage_words(folder), tempfile.NamedTemporaryFile(dir=present):
            free = shutil.disk_usage(present).free
    except EdgeInspectError as error:
        yield Finding.failed("data directory", error)
        return
    made = "" if folder.exists() else ", will be created"
    yield _ok("data directory", f"{folder} is writable{made}, {free / 1e9:.1f} GB free")
    needed = station.storage.max_image_bytes + station.storage.min_free_bytes
    if free < needed:
        yield Finding(
            name="disk space",
            state="warn",
            detail=f"the image budget and the reserve need {needed / 1e9:.1f} GB together, but "
            f"{free / 1e9:.1f} GB are free; old pictures will be removed earlier.",
            next_action="Lower storage.max_image_bytes or use a larger disk.",
        )


def _check_recipe(station: StationFile) -> Generator[Finding, None, Recipe | None]:
    """Returns the recipe, where there is one."""
    try:
        plan = plan_station(station, store_first=False)
    except EdgeInspectError as error:
        yield Finding.failed("recipe", error)
        return None
    yield _ok("recipe", _recipe_words(plan))
    yield _check_frame(plan)
    yield from _check_masters(plan)
    yield from _check_loaded(plan.bundle, engine=station.engine, roi=plan.roi)
    return plan.recipe


def _check_frame(plan: StationPlan) -> Finding:
    """The plan has already compared the station file's frame settings with the recipe."""
    frame = expected_frame(plan.station.camera)
    try:
        if frame is None and (frame := recorded_frame(plan.station.data_dir)) is not None:
            check_fits(plan.recipe, plan.bundle, frame)
    except EdgeInspectError as error:
        return Finding.failed("region of interest", error)
    if frame is None:
        return Finding(
            name="region of interest",
            state="warn",
            detail="the frame size is unknown here; it is checked when a recipe is applied.",
            next_action="Set camera.width_px and camera.height_px.",
        )
    return _ok("region of interest", f"fits a frame of {frame.size} (size {frame.source})")


def _check_masters(plan: StationPlan) -> Iterator[Finding]:
    policy = plan.station.challenge
    if policy is None:
        return
    try:
        masters = load_masters(policy.masters_of(plan.recipe.product))
        check_masters(masters, plan, simulated=plan.station.io.driver == SIM)
    except EdgeInspectError as error:
        yield Finding.failed("masters", error)
        return
    when = ", ".join(occasion.value for occasion in policy.when)
    count = len(masters.content.masters)
    yield _ok("masters", f"{count}, demanded by {when}; without: {policy.without.value}")


def _recipe_words(plan: StationPlan) -> str:
    recipe = plan.recipe
    return f"{recipe.product} revision {recipe.revision}, recipe digest {plan.digest[:12]}"


def _check_drivers(station: StationFile) -> Iterator[Finding]:
    try:
        refuse_half_simulated(station)
    except EdgeInspectError as error:
        yield Finding.failed("drivers", error)
        return
    if station.io.driver == SIM:
        yield _ok("drivers", "simulated line")
        return
    for kind, name, known in (
        ("camera", station.camera.driver, CAMERA_DRIVERS),
        ("io", station.io.driver, IO_DRIVERS),
    ):
        try:
            resolve_driver(name, known, kind=kind)
        except EdgeInspectError as error:
            yield Finding.failed(f"{kind} driver", error)
        else:
            yield _ok(f"{kind} driver", f"{name} is installed")


@contextlib.contextmanager
def _storage_words(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, EdgeInspectError):
            raise
        raise StorageFault(
            f"{folder} is not writable: {error.strerror or error}.",
            next_action=f"Give the user {os.geteuid()} write permission for that folder.",
        ) from error


def _ok(name: str, detail: str) -> Finding:
    return Finding(name=name, state="ok", detail=detail)
