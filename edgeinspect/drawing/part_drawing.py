"""Draws a recorded part: its stored picture, and the score map computed from it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeinspect.drawing.contact_sheet import Threshold, part_sheet, save_png
from edgeinspect.errors import EdgeInspectError
from edgeinspect.files.atomic_file import replace_file
from edgeinspect.part import Frame, Region
from edgeinspect.records.recipes import registered_recipes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeinspect.part import Inspection
    from edgeinspect.records.reader import RecordReader, StoredPart
    from edgeinspect.settings.station_file import StationFile


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRecipe:
    """What the records keep of the recipe that a part was inspected with."""

    bundle_digest: str = ""
    bundles_dir: Path | None = None
    roi: Region | None = None
    thresholds: dict[str, Threshold] = field(default_factory=dict)


def draw_stored_part(
    reader: RecordReader,
    part: StoredPart,
    image: Path,
    *,
    bundle: Path | None,
    station: StationFile | None,
) -> dict[str, Any]:
    """Draw a part into a PNG file and return what the command prints about the drawing.

    Raises:
        NotGood: no picture of the part was kept.
        ModelRefused: the named bundle cannot be trusted.
        StorageFault: the file cannot be written.
    """
    pixels = reader.picture(part)
    recipe = part_recipe(reader, part.record.recipe_digest)
    notes = [f"{part.triggered_wall:%Y-%m-%d %H:%M:%S} UTC"]
    inspection, remark = _inspect_again(pixels, recipe, bundle, station)
    if remark:
        notes.append(remark)
    record = part.record
    sheet = part_sheet(
        record,
        pixels,
        score_map=inspection.score_map if inspection is not None else None,
        threshold=recipe.thresholds.get(record.verdict.defect_class),
        notes=notes,
    )
    replace_file(image, save_png(sheet))
    return {
        "drawing": str(image),
        "drawing_has_score_map": inspection is not None,
        "drawing_remark": remark,
    }


def part_recipe(reader: RecordReader, digest: str) -> PartRecipe:
    """Return the document registered under a recipe digest; empty if there is none."""
    try:
        (entry,) = (entry for entry in registered_recipes(reader) if entry.digest == digest)
        document = entry.document
        return PartRecipe(
            bundle_digest=document["bundle"]["digest"],
            bundles_dir=entry.bundles_dir,
            roi=Region(*document["roi"]) if document["roi"] is not None else None,
            thresholds={
                name: Threshold(review=review, reject=reject)
                for name, (review, reject) in document["thresholds"].items()
            },
        )
    except (KeyError, TypeError, ValueError):
        return PartRecipe()


def _inspect_again(
    pixels: NDArray[np.uint8],
    recipe: PartRecipe,
    bundle: Path | None,
    station: StationFile | None,
) -> tuple[Inspection | None, str]:
    """Inspect again for the score map, with a remark if there is none or it may differ."""
    from edgeinspect.bundle.directory import load_bundle

    if bundle is not None:
        loaded = load_bundle(bundle)
        other = bool(recipe.bundle_digest) and loaded.digest != recipe.bundle_digest
        remark = "score map from a different bundle than the inspection" if other else ""
        return _inspection(loaded, pixels, recipe), remark
    try:
        found = _find_bundle(recipe, station)
        if found is None:
            return None, "no score map: the part's bundle was not found"
        return _inspection(load_bundle(found), pixels, recipe), ""
    except EdgeInspectError as error:
        return None, f"no score map: {error.message}"


def _find_bundle(recipe: PartRecipe, station: StationFile | None) -> Path | None:
    from edgeinspect.runtime.plan import find_bundle_directory

    folders = [] if recipe.bundles_dir is None else [recipe.bundles_dir]
    if station is not None:
        folders.insert(0, station.bundles_path)
    return find_bundle_directory(recipe.bundle_digest, *folders)


def _inspection(bundle: Any, pixels: NDArray[np.uint8], recipe: PartRecipe) -> Inspection:
    from edgeinspect.runtime.models import open_inspectors
    from edgeinspect.settings.station_file import EngineSettings

    opened = open_inspectors(bundle, engine=EngineSettings(threads=1), roi=recipe.roi)
    try:
        frame = Frame.of_picture(pixels)
        return opened.inspectors[0].inspect(frame, want_map=True)
    finally:
        opened.close()
