"""``edgeinspect model``: install, list, verify and switch the bundles of a station."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.application import LazyGroup
from edgeinspect.cli.options import FOLDER, station_option
from edgeinspect.cli.recipe.recipe_place import change_options, older_option
from edgeinspect.errors import EdgeInspectError, ModelRefused, UsageError
from edgeinspect.terminal.output import examples, json_option, print_result, table

if TYPE_CHECKING:
    from edgeinspect.bundle.directory import Bundle
    from edgeinspect.bundle.model_store import InstalledBundle
    from edgeinspect.settings.recipe import Recipe, Thresholds
    from edgeinspect.settings.station_file import StationFile
    from edgeinspect.tune.apply import Applied

_CONFIG = station_option()


@click.group(
    cls=LazyGroup,
    epilog=examples(
        "edgeinspect model install /media/stick/brackets --config station.yaml",
        "edgeinspect model activate brackets-2 --config station.yaml --reason 'finds dents too'",
        "edgeinspect model rollback --config station.yaml --reason 'too many false rejects'",
    ),
)
def command() -> None:
    """Install, list, verify and switch the bundles that a station inspects with.

    Each recipe revision names its bundle by digest, so switching the model creates a new revision.
    It is recorded in the audit trail, applied between two parts, and can be rolled back in one
    step.
    """


@command.command("install")
@click.argument("source", type=FOLDER)
@_CONFIG
@older_option
@json_option
def install_command(source: Path, *, station: StationFile, older: bool, as_json: bool) -> None:
    """Check the bundle SOURCE and copy it to the station; the active model does not change.

    The checks are: file digests, the signature if the station trusts any keys, and the golden
    pictures on this machine's engine. A bundle that is older than the active one of the same name
    is refused unless you give --older.
    """
    from edgeinspect.runtime.bundle_age import audit_note, newer_in_force, refuse_older
    from edgeinspect.runtime.plan import bundle_store
    from edgeinspect.settings.author import login_name
    from edgeinspect.settings.recipe_store import RecipeStore

    store = bundle_store(station)
    offered = store.load(source)
    newer = newer_in_force(station, offered, RecipeStore(station.recipes_dir).products())
    if not older:
        refuse_older(newer, offered)
    engine = _check_golden(station, offered)
    if newer is not None:
        RecipeStore(station.recipes_dir).audit.append(
            "model.install",
            author=login_name(),
            reason="an older bundle, with --older",
            details={"bundle": offered.identity, **audit_note(newer)},
        )
    bundle = store.install(source)
    name = f"{bundle.card.name}-{bundle.card.version}"
    print_result(
        {**bundle.identity, "directory": str(bundle.directory), "engine": engine},
        f"Installed {bundle.card.title} in {bundle.directory}.",
        f"Golden pictures agree on {engine}.",
        f"To use it: edgeinspect model activate {name} --config {station.path} --reason '…'",
        as_json=as_json,
    )


@command.command("list")
@_CONFIG
@json_option
def list_command(*, station: StationFile, as_json: bool) -> None:
    """List the installed bundles, who signed them, and which products use them."""
    from edgeinspect.runtime.plan import bundle_store

    users = _users(station)
    rows = [_row(entry, users) for entry in bundle_store(station).installed()]
    columns = ("bundle", "version", "digest", "signed by", "used by", "size", "state")
    shown = [
        (
            row["name"],
            row["version"],
            row["digest"][:12],
            row["signed_by"] or "-",
            ", ".join(row["used_by"]) or "-",
            f"{row['size_bytes'] / 1e6:.1f} MB",
            row["refused"] or "good",
        )
        for row in rows
    ]
    print_result({"bundles": rows}, table(columns, shown, right=("size",)), as_json=as_json)


@command.command("activate")
@click.argument("name")
@click.option("--keep-thresholds", is_flag=True, help="Keep the active recipe's thresholds.")
@older_option
@change_options
def activate_command(
    name: str,
    *,
    station: StationFile,
    reason: str,
    author: str,
    product: str | None,
    keep_thresholds: bool,
    older: bool,
    as_json: bool,
) -> None:
    """Switch to the installed bundle NAME from the next part on.

    NAME is a name, a name-version or the start of a digest. The command stores and applies a new
    revision of the active recipe with this bundle. The revision takes the bundle's reducer and
    thresholds, because scores of different models cannot be compared. A bundle older than the
    active one needs --older; model rollback does not.
    """
    from edgeinspect.runtime.bundle_age import newer_in_force, refuse_older
    from edgeinspect.runtime.plan import bundle_store
    from edgeinspect.settings.recipe_store import RecipeStore
    from edgeinspect.tune.apply import apply_revision, store_revision

    bundles = bundle_store(station)
    bundle = bundles.load(bundles.find(name).directory)
    engine = _check_golden(station, bundle)
    store = RecipeStore(station.recipes_dir)
    job = product or store.job(station.product)
    if not older:  # before a revision is stored that cannot be applied
        refuse_older(newer_in_force(station, bundle, [job]), bundle)
    existing = store.revisions(job)
    latest = existing[-1] if existing else None
    base = store.active(job) if store.active_pointer(job) is not None else None
    draft = _draft(bundle, base, job, author, reason, keep_thresholds=keep_thresholds)
    made = store_revision(station, draft, expected_latest=latest)
    applied = apply_revision(
        station,
        made.revision,
        author=author,
        reason=reason,
        product=product,
        expected_active=None if base is None else base.revision,
        older=older,
    )
    _print_applied(applied, bundle, engine, as_json=as_json)


@command.command("rollback")
@change_options
def rollback_command(
    *, station: StationFile, reason: str, author: str, product: str | None, as_json: bool
) -> None:
    """Go back to the previously active recipe revision and its bundle."""
    from edgeinspect.runtime.plan import find_bundle
    from edgeinspect.settings.recipe_store import RecipeStore
    from edgeinspect.tune.apply import roll_back

    store = RecipeStore(station.recipes_dir)
    job = product or store.job(station.product)
    before = store.load(job, store.previous(job))
    bundle = find_bundle(station, before.bundle)
    engine = _check_golden(station, bundle)
    applied = roll_back(station, author=author, reason=reason, product=product)
    _print_applied(applied, bundle, engine, as_json=as_json)


@command.command("verify")
@click.argument("name", required=False)
@_CONFIG
@json_option
def verify_command(name: str | None, *, station: StationFile, as_json: bool) -> int:
    """Verify the files, signature and golden pictures of bundle NAME; of all by default."""
    from edgeinspect.runtime.plan import bundle_store

    store = bundle_store(station)
    entries = store.installed() if name is None else [store.find(name)]
    results = []
    for entry in entries:
        refused = entry.refused
        engine = ""
        if not refused:
            try:
                engine = _check_golden(station, store.load(entry.directory))
            except EdgeInspectError as error:
                refused = str(error)
        results.append({**_row(entry, {}), "refused": refused, "engine": engine})
    good = all(not result["refused"] for result in results)
    words = [
        f"{result['name']} {result['version']}: "
        + (result["refused"] or f"good on {result['engine']}")
        for result in results
    ] or ["No bundle is installed. To check a shipped one, use: edgeinspect check"]
    print_result({"good": good, "bundles": results}, *words, as_json=as_json)
    return 0 if good else ModelRefused.exit_code


def _draft(
    bundle: Bundle, base: Recipe | None, product: str, author: str, reason: str,
    *, keep_thresholds: bool,
) -> Recipe:  # fmt: skip
    from edgeinspect.runtime.plan import bundle_recipe
    from edgeinspect.settings.recipe import BundleReference
    from edgeinspect.tune.apply import changed_recipe

    first = bundle_recipe(bundle, product=product)
    if base is None:
        if keep_thresholds:
            raise UsageError(
                f"{product} has no active recipe, so there are no thresholds to keep.",
                next_action="Leave out --keep-thresholds.",
            )
        return first.model_copy(update={"author": author, "reason": reason})
    thresholds: tuple[Thresholds, ...] = first.thresholds
    if keep_thresholds:
        named = {entry.name for entry in base.thresholds}
        if named != set(bundle.card.defect_classes):
            raise UsageError(
                f"The thresholds cannot be kept: the recipe's classes are "
                f"{', '.join(sorted(named))}, but the bundle's are "
                f"{', '.join(bundle.card.defect_classes)}.",
                next_action="Leave out --keep-thresholds.",
            )
        thresholds = base.thresholds
    return changed_recipe(
        base,
        author=author,
        reason=reason,
        bundle=BundleReference(name=bundle.card.name, digest=bundle.digest),
        reducer=base.reducer if keep_thresholds else None,
        thresholds=thresholds,
    )


def _check_golden(station: StationFile, bundle: Bundle) -> str:
    """Check the golden pictures and return the engine's description. Raises ModelRefused."""
    from edgeinspect.runtime.models import open_inspectors

    opened = open_inspectors(bundle, engine=station.engine, roi=None)
    opened.close()
    return opened.description


def _users(station: StationFile) -> dict[str, list[str]]:
    """Return the products whose active recipe uses each bundle, by the bundle's digest."""
    from edgeinspect.settings.recipe_store import RecipeStore

    store = RecipeStore(station.recipes_dir)
    users: dict[str, list[str]] = {}
    for product in store.products():
        if store.active_pointer(product) is not None:
            users.setdefault(store.active(product).bundle.digest, []).append(product)
    return users


def _row(entry: InstalledBundle, users: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "name": entry.name,
        "version": entry.version,
        "digest": entry.digest,
        "signed_by": entry.signed_by,
        "used_by": users.get(entry.digest, []),
        "size_bytes": entry.size_bytes,
        "refused": entry.refused,
        "directory": str(entry.directory),
    }


def _print_applied(applied: Applied, bundle: Bundle, engine: str, *, as_json: bool) -> None:
    when = "the running station uses it now" if applied.live else "takes effect at the next start"
    print_result(
        {**applied.as_dict(), "bundle": bundle.identity, "engine": engine},
        f"{applied.product} revision {applied.revision}: {bundle.card.title}, {when}.",
        "Its thresholds are not yet proven on this line. Run a challenge before you rely on them.",
        as_json=as_json,
    )
