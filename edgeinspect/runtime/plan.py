"""What a station is to do: station file, recipe and bundle found, checked against each other."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from edgeinspect.bundle.card import CARD_FILE
from edgeinspect.bundle.directory import Bundle, bundle_digest, load_bundle
from edgeinspect.bundle.model_store import BundleStore
from edgeinspect.bundle.shipped import SIM_BUNDLE, shipped_bundle, shipped_bundles
from edgeinspect.bundle.signature import load_trusted_keys
from edgeinspect.errors import ConfigError, EdgeInspectError, ModelRefused
from edgeinspect.line.config import LineConfig
from edgeinspect.part import CameraControls, Region
from edgeinspect.runtime.frame_fit import check_fits, expected_frame
from edgeinspect.settings.compile import camera_controls, line_config
from edgeinspect.settings.digest import recipe_digest
from edgeinspect.settings.driver_tables import SIM
from edgeinspect.settings.recipe import (
    BundleReference,
    Checks,
    Recipe,
    check_classes,
    default_recipe,
    load_recipe,
    recipe_yaml,
)
from edgeinspect.settings.recipe_store import RecipeStore
from edgeinspect.settings.station_file import StationFile
from edgeinspect.settings.uncovered import describe_uncovered_faults


@dataclass(frozen=True, slots=True, kw_only=True)
class StationPlan:
    """Everything that is in force for a part, compiled for the core.

    Attributes:
        digest: the recipe digest, of station file, recipe and bundle.
        file_product: the product that the station file names, whatever the job is now.
        audit_head: digest of the audit trail's last entry when this was planned.
    """

    station: StationFile
    recipe: Recipe
    bundle: Bundle
    digest: str
    config: LineConfig
    controls: CameraControls
    uncovered_faults: tuple[str, ...]
    file_product: str = ""
    audit_head: str = ""

    @property
    def roi(self) -> Region | None:
        """The recipe's region of interest; None for the whole frame."""
        return self.recipe.roi.region if self.recipe.roi is not None else None

    @property
    def document(self) -> str:
        """The text behind the recipe digest, as JSON, kept with the records."""
        return json.dumps(
            {
                "station": self.station.model_dump(mode="json"),
                "recipe": recipe_yaml(self.recipe),
                "bundle": self.bundle.identity,
                "roi": self.roi,
                "audit_head": self.audit_head,
                "thresholds": {t.name: [t.review, t.reject] for t in self.config.thresholds},
            }
        )


def make_plan(
    station: StationFile,
    recipe: Recipe,
    bundle: Bundle,
    *,
    file_product: str | None = None,
    from_files: bool = False,
) -> StationPlan:
    """Check the three against each other and compile them.

    Args:
        station: the station file.
        recipe: the recipe.
        bundle: the bundle that the recipe names.
        file_product: what the station file names; None: the station's product.
        from_files: the pictures are files of any size and not the station's camera's.

    Raises:
        ConfigError: the recipe does not fit the bundle or the station.
    """
    classes = bundle.card.defect_classes
    check_classes(recipe, classes)
    frame = None if from_files else expected_frame(station.camera)
    if frame is not None:
        check_fits(recipe, bundle, frame)
    digest = recipe_digest(station, recipe, bundle.digest)
    config = line_config(station, recipe, recipe_digest=digest)
    # Scores come in the bundle's order of classes; a revision may list them in any.
    limits = {limit.name: limit for limit in config.thresholds}
    config = replace(config, thresholds=tuple(limits[name] for name in classes))
    return StationPlan(
        station=station,
        recipe=recipe,
        bundle=bundle,
        digest=digest,
        config=config,
        controls=camera_controls(recipe),
        uncovered_faults=tuple(describe_uncovered_faults(station, recipe)),
        file_product=file_product or station.product,
        audit_head=_audit_head(station),
    )


def _audit_head(station: StationFile) -> str:
    """Kept with the records, so that a trail that is cut short later is noticed."""
    try:
        head = RecipeStore(station.recipes_dir).audit.head()
    except EdgeInspectError:  # `recipe audit` reports the error; the line must not stop
        return ""
    return "" if head is None else head.digest


def plan_station(
    station: StationFile,
    *,
    recipe_file: Path | None = None,
    store_first: bool = True,
    follow_job: bool = True,
) -> StationPlan:
    """Make the plan for a station file with a revision of its own store, or one from a file.

    Args:
        station: the station file.
        recipe_file: use this revision instead.
        store_first: see ``stored_recipe``.
        follow_job: run the product of the last changeover instead of the station file's.

    Raises:
        ConfigError: there is no recipe, or it does not fit the station.
        ModelRefused: its bundle is not installed or was changed.
    """
    file_product = station.product
    if recipe_file is not None:
        recipe = load_recipe(recipe_file)
    else:
        if follow_job:
            station = with_job(station)
        recipe = stored_recipe(station, store_first=store_first)
    bundle = find_bundle(station, recipe.bundle)
    return make_plan(station, recipe, bundle, file_product=file_product)


def with_job(station: StationFile) -> StationFile:
    """The station file with the product of the last changeover. Raises ConfigError."""
    product = RecipeStore(station.recipes_dir).job(station.product)
    return station.model_copy(update={"product": product})


def stored_recipe(station: StationFile, *, store_first: bool = True) -> Recipe:
    """The revision that the station file asks for. Raises ConfigError.

    A simulated line without any recipe gets its first one, for the shipped bundle.

    Args:
        station: the station file.
        store_first: store that first one; else it is only returned.
    """
    store = RecipeStore(station.recipes_dir)
    if isinstance(station.recipe, int):
        return store.load(station.product, station.recipe)
    is_simulated = station.io.driver == SIM and station.product == SIM_BUNDLE
    if is_simulated and not store.revisions(station.product):
        draft = simulated_recipe(load_bundle(shipped_bundle(SIM_BUNDLE)))
        if not store_first:
            return draft
        made = store.create(draft)
        store.activate(made.product, made.revision, author=made.author, reason=made.reason)
    return store.active(station.product)


def simulated_recipe(bundle: Bundle) -> Recipe:
    """Revision 1 for the parts of the simulated line."""
    from edgeinspect.sim.product import PART_ROI

    return bundle_recipe(bundle, product=SIM_BUNDLE, roi=PART_ROI)


def bundle_recipe(
    bundle: Bundle, *, product: str, roi: Region | None = None, checks: Checks | None = None
) -> Recipe:
    """Revision 1 of a product with the bundle's own thresholds."""
    card = bundle.card
    limits = {name: card.threshold(name) for name in card.defect_classes}
    return default_recipe(
        product=product,
        bundle_name=card.name,
        bundle_digest=bundle.digest,
        thresholds={name: (limit.review, limit.reject) for name, limit in limits.items()},
        roi=roi,
        checks=checks,
    )


def find_bundle(station: StationFile, reference: BundleReference) -> Bundle:
    """Return the installed or shipped bundle with exactly this digest. Raises ModelRefused.

    Its name must match, too, because records and messages show the name.
    """
    directory = find_bundle_directory(reference.digest, station.bundles_path)
    if directory is None:
        raise ModelRefused(
            f"The bundle {reference.name} ({reference.digest[:12]}…) of the recipe is not "
            f"installed in {station.bundles_path}.",
            next_action="Run: edgeinspect model install DIRECTORY, or activate another revision.",
        )
    own = directory.parent == station.bundles_path
    bundle = bundle_store(station).load(directory) if own else load_bundle(directory)
    if bundle.card.name != reference.name:
        raise ModelRefused(
            f"The recipe names the bundle {reference.name}, but {reference.digest[:12]}… is "
            f"{bundle.card.name}.",
            next_action="Give the recipe the name and digest of the same bundle; see: edgeinspect "
            "model list",
        )
    return bundle


def bundle_store(station: StationFile) -> BundleStore:
    """The station's installed bundles, and the keys it trusts. Raises ConfigError."""
    keys = load_trusted_keys(station.trusted_keys) if station.trusted_keys is not None else None
    return BundleStore(station.bundles_path, keys=keys)


def find_bundle_directory(digest: str, *folders: Path) -> Path | None:
    """Find the bundle with this digest in these folders and among the shipped bundles."""
    installed = [
        entry
        for folder in folders
        if folder.is_dir()
        for entry in sorted(folder.iterdir())
        if (entry / CARD_FILE).is_file()
    ]
    for directory in (*installed, *shipped_bundles()):
        try:
            if bundle_digest(directory) == digest:
                return directory
        except ModelRefused:
            continue
    return None


def refuse_half_simulated(station: StationFile) -> None:
    """A simulated line needs both its camera and its wires to be simulated. Raises ConfigError."""
    camera_sim = station.camera.driver == SIM
    if camera_sim != (station.io.driver == SIM):
        raise ConfigError(
            file=f"station {station.id}",
            key="io.driver",
            value=station.io.driver,
            expected="sim together with camera.driver sim, because they are one simulated line",
        )
