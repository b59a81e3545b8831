"""``edgeinspect recipe new``, ``edit``, ``apply`` and ``rollback``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.options import ANY_PATH, option_group
from edgeinspect.cli.recipe.recipe_place import (
    RecipePlace,
    change_options,
    older_option,
)
from edgeinspect.errors import EdgeInspectError, UsageError
from edgeinspect.terminal.output import examples, print_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeinspect.bundle.directory import Bundle
    from edgeinspect.settings.recipe import Recipe
    from edgeinspect.settings.station_file import StationFile
    from edgeinspect.tune.apply import Applied

_HEADER = """\
# {product}, based on revision {revision} by {author}: {reason}
# Make your changes, save and close the editor. Without changes nothing is stored.
"""


value_options = option_group(
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set a key, e.g. thresholds.scratch.reject=0.62; repeat for more keys.",
    ),
    click.option(
        "--file",
        type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
        help="YAML file with the keys to replace; - reads standard input.",
    ),
)
expect_active_option = click.option(
    "--expect-active",
    type=click.IntRange(1),
    metavar="N",
    help="Change nothing unless N is the active revision.",
)


@click.command(
    epilog=examples(
        """
        edgeinspect recipe new bracket-18 --bundle sim-surface --config station.yaml --reason "new part"
        edgeinspect recipe new bracket-18 --bundle bundles/b --set roi.x=10 --set roi.y=20 --set roi.width=400 --set roi.height=300 --config station.yaml --reason "new part"
        """  # noqa: E501
    )
)
@click.argument("name", metavar="PRODUCT")
@click.option("--bundle", required=True, type=ANY_PATH, help="Bundle directory or name.")
@value_options
@change_options
def new(
    *,
    name: str,
    bundle: Path,
    settings: Sequence[str],
    file: Path | None,
    station: StationFile,
    product: str | None,
    author: str,
    reason: str,
    as_json: bool,
) -> None:
    """Store the first revision of PRODUCT, with the bundle's own thresholds.

    The station does not use it until you run: edgeinspect recipe apply --product PRODUCT
    """
    from edgeinspect.runtime.plan import bundle_recipe
    from edgeinspect.settings.recipe_edit import draft_of, editable
    from edgeinspect.tune.apply import store_revision

    if product not in (None, name):
        raise UsageError("The product is given twice.", next_action="Leave out --product.")
    place = RecipePlace.of_station(station)
    if place.store.revisions(name):
        raise UsageError(
            f"{name} already has recipes.",
            next_action=f"Change them with: edgeinspect recipe edit --product {name}",
        )
    base = bundle_recipe(_bundle(station, bundle), product=name)
    values = _changed(editable(base), settings, file)
    draft = draft_of(values, base, author=author, reason=reason, first=True)
    _print_stored(store_revision(station, draft, expected_latest=0), as_json=as_json)


@click.command(
    epilog=examples(
        """
        edgeinspect recipe edit --config station.yaml --reason "drill marks"       in $EDITOR
        edgeinspect recipe edit --config station.yaml --set checks.focus_min=40 --reason "new lens"
        edgeinspect recipe edit 3 --config station.yaml --set roi=null --apply --reason "whole frame"
        """  # noqa: E501
    )
)
@click.argument("revision", type=click.IntRange(1), required=False)
@value_options
@click.option(
    "--expect-latest",
    type=click.IntRange(1),
    metavar="N",
    help="Store nothing if there is a revision later than N.",
)
@click.option("--apply", "apply_now", is_flag=True, help="Apply the new revision, too.")
@older_option
@change_options
def edit(
    *,
    revision: int | None,
    settings: Sequence[str],
    file: Path | None,
    expect_latest: int | None,
    apply_now: bool,
    older: bool,
    station: StationFile,
    product: str | None,
    author: str,
    reason: str,
    as_json: bool,
) -> None:
    """Store a new revision based on REVISION; on the active one by default.

    Without --set or --file, this opens an editor ($VISUAL or $EDITOR). If somebody else stores a
    revision in the meantime, nothing is stored; the message names their revision and the file
    that keeps your text.
    """
    from edgeinspect.settings.recipe_edit import draft_of, editable
    from edgeinspect.tune.apply import store_revision

    place = RecipePlace.of_station(station)
    chosen = place.product(product)
    latest = expect_latest or max(place.store.revisions(chosen), default=0)
    pointer = place.store.active_pointer(chosen)
    if revision is None and pointer is None and latest:
        revision = latest
    base = place.load(chosen, revision)
    typed = None
    if settings or file is not None:
        values = _changed(editable(base), settings, file)
    else:
        typed = _typed(base)
        values = _read_values(editable(base), typed.encode(), "the edited recipe")
    try:
        draft = draft_of(values, base, author=author, reason=reason)
        if editable(draft) == editable(base):
            raise UsageError("Nothing was changed, so nothing was stored.")
        stored = store_revision(station, draft, expected_latest=latest)
    except EdgeInspectError as error:
        if typed is not None:
            error.next_action = f"{error.next_action} {_kept(typed)}".strip()
        raise
    if not apply_now:
        _print_stored(stored, as_json=as_json)
        return
    from edgeinspect.tune.apply import apply_revision

    applied = apply_revision(
        station,
        stored.revision,
        product=product,
        author=stored.author,
        reason=reason,
        expected_active=None if pointer is None else pointer.revision,
        older=older,
    )
    _print_applied(applied, as_json=as_json)


@click.command(
    epilog=examples(
        """
        edgeinspect recipe apply --config station.yaml --reason "fewer false rejects"
        edgeinspect recipe apply 3 --config station.yaml --reason "light repaired"
        edgeinspect recipe apply --product bracket-18 --config station.yaml --reason "order 4711"
        """
    )
)
@click.argument("revision", type=click.IntRange(1), required=False)
@expect_active_option
@older_option
@change_options
def apply(
    *,
    revision: int | None,
    expect_active: int | None,
    older: bool,
    station: StationFile,
    product: str | None,
    author: str,
    reason: str,
    as_json: bool,
) -> None:
    """Activate REVISION; the latest one by default.

    A running station switches between two parts and confirms with the recipe digest. A stopped
    station uses the revision from its next start. To change to another product, name it with
    --product: its active revision is used, or its latest if none was ever active. A revision whose
    bundle is older than the active one needs --older; recipe rollback does not.
    """
    from edgeinspect.tune.apply import apply_revision

    place = RecipePlace.of_station(station)
    chosen = place.product(product)
    stored = place.store.revisions(chosen)
    if not stored:
        raise UsageError(
            f"{chosen} has no recipe.",
            next_action=f"Create one with: edgeinspect recipe new {chosen} --bundle BUNDLE",
        )
    changes_job = chosen != place.running
    if revision is not None:
        place.check_there(chosen, revision)
    elif not (changes_job and place.store.active_pointer(chosen) is not None):
        revision = stored[-1]
    applied = apply_revision(
        station,
        revision,
        product=chosen if changes_job else None,
        author=author,
        reason=reason,
        expected_active=expect_active,
        older=older,
    )
    _print_applied(applied, as_json=as_json)


@click.command(
    epilog=examples('edgeinspect recipe rollback --config station.yaml --reason "worse after all"')
)
@expect_active_option
@change_options
def rollback(
    *,
    expect_active: int | None,
    station: StationFile,
    product: str | None,
    author: str,
    reason: str,
    as_json: bool,
) -> None:
    """Go back to the previously active revision; repeat to go back further."""
    from edgeinspect.tune.apply import roll_back

    place = RecipePlace.of_station(station)
    chosen = place.product(product)
    applied = roll_back(
        station,
        product=None if chosen == place.running else chosen,
        author=author,
        reason=reason,
        expected_active=expect_active,
    )
    _print_applied(applied, as_json=as_json)


def _bundle(station: StationFile, given: Path) -> Bundle:
    """Load the bundle in this directory, or the installed or shipped one with this name."""
    from edgeinspect.bundle.directory import load_bundle
    from edgeinspect.bundle.shipped import shipped_bundles

    places = [given, station.bundles_path / given]
    places += [shipped for shipped in shipped_bundles() if shipped.name == str(given)]
    for place in places:
        if (place / "card.yaml").is_file():
            return load_bundle(place)
    raise UsageError(
        f"The bundle {given} was not found.",
        next_action="Give a bundle directory or an installed bundle; to list them: edgeinspect "
        "model list",
    )


def _changed(values: dict[str, Any], settings: Sequence[str], file: Path | None) -> dict[str, Any]:
    from edgeinspect.settings.recipe_edit import with_settings

    if file is not None:
        with click.open_file(str(file), "rb") as stream:
            values = _read_values(values, stream.read(), str(file))
    return with_settings(values, settings)


def _read_values(values: dict[str, Any], content: bytes, path: str) -> dict[str, Any]:
    from edgeinspect.settings.recipe_edit import with_file

    return with_file(values, content, path=path)


def _typed(base: Recipe) -> str:
    from edgeinspect.settings.recipe_edit import editable_text

    header = _HEADER.format(
        product=base.product, revision=base.revision, author=base.author, reason=base.reason
    )
    typed = click.edit(header + editable_text(base), extension=".yaml", require_save=True)
    if typed is None:
        raise UsageError("Nothing was changed, so nothing was stored.")
    return typed


def _kept(typed: str) -> str:
    """Save the typed text and return a sentence that names the file."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="edgeinspect-recipe-", suffix=".yaml", delete=False, encoding="utf-8"
        ) as file:
            file.write(typed)
    except OSError:
        return ""
    return f"What you typed is in {file.name}; use it with --file."


def _print_stored(stored: Recipe, *, as_json: bool) -> None:
    fields = {"product": stored.product, "revision": stored.revision, "parent": stored.parent}
    print_result(
        {**fields, "applied": False},
        f"Stored revision {stored.revision} of {stored.product}. To use it: "
        f"edgeinspect recipe apply {stored.revision}",
        as_json=as_json,
    )


def _print_applied(applied: Applied, *, as_json: bool) -> None:
    words = f"Revision {applied.revision} of {applied.product} is "
    if applied.live:
        words += f"in force; the station confirmed it after {applied.seconds:.2f} s with "
        words += f"digest {applied.recipe_digest[:12]}."
    else:
        words += "active. No station is running; it takes effect at the next start."
    print_result({**applied.as_dict(), "applied": True}, words, as_json=as_json)
