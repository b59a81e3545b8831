"""Refuses a bundle older than the one in force without explicit permission, which is audited.

Older models know fewer defects, and a signature stays valid forever, so anybody who kept a copy
could bring an old model back. Going back is allowed to people who state that they intend it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from edgeinspect.bundle.directory import Bundle, load_bundle
from edgeinspect.bundle.order import Build, is_older
from edgeinspect.bundle.signature import TrustedKeys, build_of
from edgeinspect.errors import ConfigError, EdgeInspectError, OlderBundle
from edgeinspect.runtime.plan import StationPlan, bundle_store, find_bundle_directory
from edgeinspect.settings.recipe_store import RecipeStore
from edgeinspect.settings.station_file import StationFile

HOW_TO_GO_BACK = "To go back to an older bundle, add --older; the audit trail will record it."
STARTED_OLDER = "station.older_bundle"
UNKNOWN = "an unknown version"


def newer_in_force(
    station: StationFile,
    bundle: Bundle,
    products: Iterable[str],
    *,
    running: Bundle | None = None,
    keys: TrustedKeys | None = None,
) -> Build | None:
    """Return the build in force that is newer than this bundle; None if there is none.

    The last build of the bundle's name counts as in force even if another model is active now.
    Otherwise a detour would be enough to go back.

    Args:
        station: the station file.
        bundle: the offered bundle.
        products: the products whose recipes are checked.
        running: the bundle that a running station inspects with, whatever its recipes say.
        keys: the keys that a bundle on a card may be signed with; None: the station's.

    Raises:
        ConfigError: the station's keys cannot be read.
    """
    keys = keys or bundle_store(station).keys
    offered = build_of(bundle, keys)
    known = [] if running is None else [build_of(running, keys)]
    known += [last for name in products for last in _last_of_name(station, name, offered, keys)]
    return next((build for build in known if _may_be_newer(build, offered)), None)


def refuse_older(
    newer: Build | None, bundle: Bundle | None, *, next_action: str = HOW_TO_GO_BACK
) -> None:
    """Raise OlderBundle if a newer build is in force."""
    if newer is not None and bundle is not None:
        raise OlderBundle(
            f"{bundle.card.title} ({bundle.digest[:12]}) is older than the bundle in force: "
            f"{newer}.",
            next_action=next_action,
        )


def audit_note(newer: Build | None) -> dict[str, Any]:
    """Return the audit details that name the newer build; empty if there is none."""
    if newer is None:
        return {}
    return {"older_than": {"version": newer.version, "digest": newer.digest}}


def note_older_start(plan: StationPlan) -> str:
    """Return a sentence if the station starts with an older bundle than the active one.

    This happens only with a pinned revision in the station file, or with a recipe file, so it is
    intended. The audit trail records it once, however often the station restarts. A trail that
    cannot be written does not stop the line.
    """
    station, product = plan.station, plan.recipe.product
    newer = newer_in_force(station, plan.bundle, [product])
    if newer is None:
        return ""
    details = {
        "product": product,
        "revision": plan.recipe.revision,
        "bundle": {"version": plan.bundle.card.version, "digest": plan.bundle.digest},
        **audit_note(newer),
    }
    trail = RecipeStore(station.recipes_dir).audit
    with contextlib.suppress(EdgeInspectError, OSError):
        last = trail.head()
        if last is None or (last.action, dict(last.details)) != (STARTED_OLDER, details):
            reason = f"the station file or the command selects revision {plan.recipe.revision}"
            trail.append(STARTED_OLDER, author="edgeinspect", reason=reason, details=details)
    return f"As requested, the station inspects with a bundle older than the active one, {newer}."


def _may_be_newer(known: Build, offered: Build) -> bool:
    if known.name != offered.name or known.digest == offered.digest:
        return False
    return known.version == UNKNOWN or is_older(offered, known)


def _last_of_name(
    station: StationFile, product: str, offered: Build, keys: TrustedKeys | None
) -> Iterator[Build]:
    """Yield the product's last bundle of this name, if it had one."""
    store = RecipeStore(station.recipes_dir)
    pointer = store.active_pointer(product)
    revisions = () if pointer is None else (pointer.revision, *reversed(pointer.history))
    for revision in revisions:
        try:
            reference = store.load(product, revision).bundle
        except ConfigError:  # `recipe audit` reports the error
            continue
        if reference.name == offered.name:
            yield _build(reference.name, reference.digest, station, keys)
            return


def _build(name: str, digest: str, station: StationFile, keys: TrustedKeys | None) -> Build:
    """Return the build; a missing or damaged bundle has no known version and may be newer."""
    directory = find_bundle_directory(digest, station.bundles_path)
    try:
        if directory is not None:
            return build_of(load_bundle(directory), keys)
    except EdgeInspectError:
        pass
    return Build(name=name, version=UNKNOWN, digest=digest)
