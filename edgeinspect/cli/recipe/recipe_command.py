"""``edgeinspect recipe``: show, change, apply and audit recipes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.application import LazyCommand, LazyGroup
from edgeinspect.cli.options import data_dir_options
from edgeinspect.cli.recipe.recipe_place import RecipePlace, product_option
from edgeinspect.errors import NotGood
from edgeinspect.terminal.output import examples, json_option, print_json, say, table

if TYPE_CHECKING:
    from edgeinspect.settings.recipe import Recipe
    from edgeinspect.settings.station_file import StationFile

NOT_VERIFIED = 1

command = LazyGroup(
    name="recipe",
    commands={
        "list": LazyCommand(
            "edgeinspect.cli.recipe.recipe_command:list_recipes", "List products and revisions."
        ),
        "show": LazyCommand("edgeinspect.cli.recipe.recipe_command:show", "Show a revision."),
        "diff": LazyCommand("edgeinspect.cli.recipe.recipe_command:diff", "Compare two revisions."),
        "new": LazyCommand(
            "edgeinspect.cli.recipe.change_commands:new", "Create a new product's first revision."
        ),
        "edit": LazyCommand(
            "edgeinspect.cli.recipe.change_commands:edit", "Store a new revision with changes."
        ),
        "apply": LazyCommand(
            "edgeinspect.cli.recipe.change_commands:apply", "Activate a revision."
        ),
        "rollback": LazyCommand(
            "edgeinspect.cli.recipe.change_commands:rollback", "Go back to the previous revision."
        ),
        "history": LazyCommand(
            "edgeinspect.cli.recipe.recipe_command:history", "Show who changed what, and why."
        ),
        "audit": LazyCommand(
            "edgeinspect.cli.recipe.recipe_command:audit", "Read and verify the audit trail."
        ),
    },
    help="Manage recipes: each product's settings, in revisions that never change.",
    epilog=examples(
        """
        edgeinspect recipe list --config station.yaml
        edgeinspect recipe edit --config station.yaml --set thresholds.scratch.reject=0.62 --reason "drill marks"
        edgeinspect recipe apply --config station.yaml --reason "fewer false rejects"
        edgeinspect recipe rollback --config station.yaml --reason "too many escapes"
        edgeinspect recipe audit --config station.yaml --verify
        """  # noqa: E501
    ),
)


@click.command(epilog=examples("edgeinspect recipe list --config station.yaml --json"))
@data_dir_options
@json_option
def list_recipes(*, data_dir: Path | None, station: StationFile | None, as_json: bool) -> None:
    """List all products and revisions; the running product and active revisions are marked."""
    place = RecipePlace.of(station, data_dir)
    products = [_product_as_dict(place, product) for product in place.store.products()]
    if as_json:
        print_json({"products": products})
        return
    if not products:
        say("No recipe is stored. Create one with: edgeinspect recipe new")
        return
    rows = [
        (
            f"{entry['product']}{' (runs)' if entry['runs'] else ''}" if not index else "",
            f"{revision['revision']}{' active' if revision['active'] else ''}",
            str(revision["created"])[:16].replace("T", " "),
            revision["author"],
            revision["reason"],
        )
        for entry in products
        for index, revision in enumerate(reversed(entry["revisions"]))
    ]
    say(table(("product", "revision", "stored (UTC)", "by", "why"), rows))


def _product_as_dict(place: RecipePlace, product: str) -> dict[str, Any]:
    pointer = place.store.active_pointer(product)
    active = None if pointer is None else pointer.revision
    revisions = [place.store.load(product, number) for number in place.store.revisions(product)]
    return {
        "product": product,
        "runs": product == place.running,
        "active": active,
        "latest": revisions[-1].revision,
        "revisions": [
            _stamps(recipe) | {"active": recipe.revision == active} for recipe in revisions
        ],
    }


def _stamps(recipe: Recipe) -> dict[str, Any]:
    return {
        "revision": recipe.revision,
        "parent": recipe.parent,
        "author": recipe.author,
        "reason": recipe.reason,
        "created": recipe.created.isoformat(),
        "bundle": recipe.bundle.name,
    }


@click.command(
    epilog=examples(
        """
        edgeinspect recipe show --config station.yaml
        edgeinspect recipe show 3 --config station.yaml --product bracket-18
        """
    )
)
@click.argument("revision", type=click.IntRange(1), required=False)
@data_dir_options
@product_option
@json_option
def show(
    *,
    revision: int | None,
    data_dir: Path | None,
    station: StationFile | None,
    product: str | None,
    as_json: bool,
) -> None:
    """Show REVISION as it is stored; the active one by default."""
    from edgeinspect.settings.recipe import recipe_yaml

    place = RecipePlace.of(station, data_dir)
    recipe = place.load(product, revision)
    if as_json:
        print_json(recipe.model_dump(mode="json"))
    else:
        click.echo(recipe_yaml(recipe), nl=False)


@click.command(
    epilog=examples(
        """
        edgeinspect recipe diff 3 --config station.yaml       against the active one
        edgeinspect recipe diff 2 3 --config station.yaml
        """
    )
)
@click.argument("old", type=click.IntRange(1))
@click.argument("new", type=click.IntRange(1), required=False)
@data_dir_options
@product_option
@json_option
def diff(
    *,
    old: int,
    new: int | None,
    data_dir: Path | None,
    station: StationFile | None,
    product: str | None,
    as_json: bool,
) -> None:
    """Show what changed from revision OLD to revision NEW; NEW is the active one by default."""
    from edgeinspect.settings.recipe_edit import differences

    place = RecipePlace.of(station, data_dir)
    before, after = place.load(product, old), place.load(product, new)
    found = differences(before, after)
    if as_json:
        changes = [{"key": key, "old": was, "new": now} for key, was, now in found]
        told = {"product": after.product, "old": before.revision, "new": after.revision}
        print_json({**told, "changes": changes})
    elif not found:
        say(f"Revisions {before.revision} and {after.revision} have the same settings.")
    else:
        columns = ("key", f"revision {before.revision}", f"revision {after.revision}")
        say(table(columns, [(key, _shown(was), _shown(now)) for key, was, now in found]))


def _shown(value: object) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


@click.command(epilog=examples("edgeinspect recipe history --config station.yaml --json"))
@data_dir_options
@product_option
@json_option
def history(
    *, data_dir: Path | None, station: StationFile | None, product: str | None, as_json: bool
) -> None:
    """Show who stored, applied and rolled back a product's revisions and why, oldest first."""
    place = RecipePlace.of(station, data_dir)
    chosen = place.product(product)
    entries = [
        entry
        for entry in place.store.audit.entries()
        if entry.action.startswith("recipe.") and entry.details.get("product") == chosen
    ]
    pointer = place.store.active_pointer(chosen)
    active = None if pointer is None else pointer.revision
    if as_json:
        told = [entry.as_dict() for entry in entries]
        print_json({"product": chosen, "active": active, "history": told})
        return
    rows = [
        (
            entry.time.strftime("%Y-%m-%d %H:%M"),
            entry.action.removeprefix("recipe."),
            entry.details.get("revision", ""),
            {True: "at once", False: "next start"}.get(entry.details.get("live"), ""),  # type: ignore[arg-type]
            entry.author,
            entry.reason,
        )
        for entry in entries
    ]
    say(table(("time (UTC)", "what", "revision", "", "by", "why"), rows, right=("revision",)))
    say(f"Active: {'none' if active is None else f'revision {active}'}")


@click.command(
    epilog=examples(
        """
        edgeinspect recipe audit --config station.yaml --limit 50
        edgeinspect recipe audit --config station.yaml --verify --json
        """
    )
)
@data_dir_options
@click.option("--verify", is_flag=True, help="Check for changed, removed or reordered entries.")
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="Entries to show."
)
@json_option
@click.pass_context
def audit(
    ctx: click.Context,
    *,
    data_dir: Path | None,
    station: StationFile | None,
    verify: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Show the latest entries of the audit trail; with --verify, check the whole trail.

    --verify compares the trail with the digests stored in the recipes and in the parts database.
    The exit code is 1 if anything does not match.
    """
    place = RecipePlace.of(station, data_dir)
    if not place.data_dir.is_dir():
        raise NotGood(f"There is no data directory {place.data_dir}.")
    if verify:
        _verify(ctx, place, as_json=as_json)
        return
    entries = place.store.audit.entries()
    if as_json:
        told = [entry.as_dict() for entry in entries[-limit:]]
        print_json({"entries": len(entries), "latest": told})
        return
    rows = [
        (e.sequence, e.time.strftime("%Y-%m-%d %H:%M"), e.action, e.author, e.reason, e.digest[:12])
        for e in reversed(entries[-limit:])
    ]
    say(table(("entry", "time (UTC)", "what", "by", "why", "digest"), rows, right=("entry",)))


def _verify(ctx: click.Context, place: RecipePlace, *, as_json: bool) -> None:
    from rich.text import Text

    from edgeinspect.settings.recipe_audit import verify_recipes

    report = verify_recipes(place.store, place.recorded_anchors())
    if as_json:
        print_json(report.as_dict())
    else:
        for finding in report.findings:
            say(Text(f"! {finding}", "red"))
        for note in report.notes:
            say(Text(note, "dim"))
        verdict = "is intact" if report.is_good else "is NOT intact"
        say(
            f"The audit trail {verdict}: {report.trail.entries} entries, "
            f"{report.trail.anchors} digests kept elsewhere, head {report.trail.head[:12]}."
        )
    if not report.is_good:
        ctx.exit(NOT_VERIFIED)
