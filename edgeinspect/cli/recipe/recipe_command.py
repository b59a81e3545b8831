"""``edgeinspect recipe``: show, change, apply and audit recipes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.application import LazyGroup
from edgeinspect.cli.recipe.change_commands import apply, edit, new, rollback
from edgeinspect.cli.recipe.recipe_place import RecipePlace, place_options, product_option
from edgeinspect.errors import NotGood
from edgeinspect.terminal.output import (
    examples,
    json_option,
    print_json,
    print_result,
    print_text,
    table,
)

if TYPE_CHECKING:
    from edgeinspect.settings.recipe import Recipe


@click.group(
    cls=LazyGroup,
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
def command() -> None:
    """Manage recipes: each product's settings, in revisions that never change."""


@command.command("list", epilog=examples("edgeinspect recipe list --config station.yaml --json"))
@place_options
@json_option
def list_recipes(*, place: RecipePlace, as_json: bool) -> None:
    """List all products and revisions; the running product and active revisions are marked."""
    products = [_product_as_dict(place, product) for product in place.store.products()]
    if as_json:
        print_json({"products": products})
        return
    if not products:
        print_text("No recipe is stored. Create one with: edgeinspect recipe new")
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
    print_text(table(("product", "revision", "stored (UTC)", "by", "why"), rows))


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


@command.command(
    "show",
    epilog=examples(
        "edgeinspect recipe show --config station.yaml",
        "edgeinspect recipe show 3 --config station.yaml --product bracket-18",
    ),
)
@click.argument("revision", type=click.IntRange(1), required=False)
@place_options
@product_option
@json_option
def show(
    *,
    revision: int | None,
    place: RecipePlace,
    product: str | None,
    as_json: bool,
) -> None:
    """Show REVISION as it is stored; the active one by default."""
    from edgeinspect.settings.recipe import recipe_yaml

    recipe = place.load(product, revision)
    if as_json:
        print_json(recipe.model_dump(mode="json"))
    else:
        click.echo(recipe_yaml(recipe), nl=False)


@command.command(
    "diff",
    epilog=examples(
        "edgeinspect recipe diff 3 --config station.yaml       against the active one",
        "edgeinspect recipe diff 2 3 --config station.yaml",
    ),
)
@click.argument("old", type=click.IntRange(1))
@click.argument("new", type=click.IntRange(1), required=False)
@place_options
@product_option
@json_option
def diff(
    *,
    old: int,
    new: int | None,
    place: RecipePlace,
    product: str | None,
    as_json: bool,
) -> None:
    """Show what changed from revision OLD to revision NEW; NEW is the active one by default."""
    from edgeinspect.settings.recipe_edit import differences

    before, after = place.load(product, old), place.load(product, new)
    found = differences(before, after)
    changes = [{"key": key, "old": was, "new": now} for key, was, now in found]
    fields = {"product": after.product, "old": before.revision, "new": after.revision}
    columns = ("key", f"revision {before.revision}", f"revision {after.revision}")
    print_result(
        {**fields, "changes": changes},
        table(columns, [(key, _shown(was), _shown(now)) for key, was, now in found])
        if found
        else f"Revisions {before.revision} and {after.revision} have the same settings.",
        as_json=as_json,
    )


def _shown(value: object) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


for changing in (new, edit, apply, rollback):
    command.add_command(changing)


@command.command(
    "history", epilog=examples("edgeinspect recipe history --config station.yaml --json")
)
@place_options
@product_option
@json_option
def history(*, place: RecipePlace, product: str | None, as_json: bool) -> None:
    """Show who stored, applied and rolled back a product's revisions and why, oldest first."""
    chosen = place.product(product)
    entries = [
        entry
        for entry in place.store.audit.entries()
        if entry.action.startswith("recipe.") and entry.details.get("product") == chosen
    ]
    pointer = place.store.active_pointer(chosen)
    active = None if pointer is None else pointer.revision
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
    stored = [entry.as_dict() for entry in entries]
    print_result(
        {"product": chosen, "active": active, "history": stored},
        table(("time (UTC)", "what", "revision", "", "by", "why"), rows, right=("revision",)),
        f"Active: {'none' if active is None else f'revision {active}'}",
        as_json=as_json,
    )


@command.command(
    "audit",
    epilog=examples(
        "edgeinspect recipe audit --config station.yaml --limit 50",
        "edgeinspect recipe audit --config station.yaml --verify --json",
    ),
)
@place_options
@click.option("--verify", is_flag=True, help="Check for changed, removed or reordered entries.")
@click.option("--limit", type=click.IntRange(1), default=20, help="Entries to show.")
@json_option
def audit(*, place: RecipePlace, verify: bool, limit: int, as_json: bool) -> int:
    """Show the latest entries of the audit trail; with --verify, check the whole trail.

    --verify compares the trail with the digests stored in the recipes and in the parts database.
    The exit code is 1 if anything does not match.
    """
    if not place.data_dir.is_dir():
        raise NotGood(f"The data directory {place.data_dir} does not exist.")
    if verify:
        return _verify(place, as_json=as_json)
    entries = place.store.audit.entries()
    rows = [
        (e.sequence, e.time.strftime("%Y-%m-%d %H:%M"), e.action, e.author, e.reason, e.digest[:12])
        for e in reversed(entries[-limit:])
    ]
    print_result(
        {"entries": len(entries), "latest": [entry.as_dict() for entry in entries[-limit:]]},
        table(("entry", "time (UTC)", "what", "by", "why", "digest"), rows, right=("entry",)),
        as_json=as_json,
    )
    return 0


def _verify(place: RecipePlace, *, as_json: bool) -> int:
    from rich.text import Text

    from edgeinspect.settings.recipe_audit import verify_recipes

    report = verify_recipes(place.store, place.recorded_anchors())
    verdict = "is intact" if report.is_good else "is NOT intact"
    print_result(
        report.as_dict(),
        *(Text(f"! {finding}", "red") for finding in report.findings),
        *(Text(note, "dim") for note in report.notes),
        f"The audit trail {verdict}: {report.trail.entries} entries, "
        f"{report.trail.anchors} digests kept elsewhere, head {report.trail.head[:12]}.",
        as_json=as_json,
    )
    return 0 if report.is_good else NotGood.exit_code
