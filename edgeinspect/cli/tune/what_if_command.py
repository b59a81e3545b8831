"""``edgeinspect tune what-if``: replay parts with other thresholds, reducers or models."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.options import FOLDER, FiniteRange
from edgeinspect.cli.tune.part_selection import (
    Selection,
    comparable_scores,
    complete,
    parse_limits,
    place_of,
    read_labels,
    select,
    selection_options,
    with_limits,
)
from edgeinspect.errors import ModelRefused, UsageError
from edgeinspect.terminal.output import examples, json_option, print_result, progress, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from edgeinspect.bundle.directory import Bundle
    from edgeinspect.line.scores import ReducerKind
    from edgeinspect.records.reader import RecordReader
    from edgeinspect.records.score_table import ScoreColumns
    from edgeinspect.settings.recipe import Recipe, Reducer
    from edgeinspect.settings.station_file import StationFile
    from edgeinspect.tune.rescore import Rescored
    from edgeinspect.tune.whatif import Outcome, WhatIf


@click.command(
    epilog=examples(
        """
        edgeinspect tune what-if --config station.yaml --since 8h --review 0.5 --reject 0.7
        edgeinspect tune what-if --data-dir data --reject scratch=0.62 --review scratch=0.5 --json
        edgeinspect tune what-if --config station.yaml --revision 4
        edgeinspect tune what-if --config station.yaml --min-area 64      smaller spots pass
        edgeinspect tune what-if --config station.yaml --pictures --roi 10,20,400,300
        """
    )
)
@selection_options
@click.option(
    "--revision", type=click.IntRange(1), metavar="N", help="Use the settings of this revision."
)
@click.option("--review", multiple=True, metavar="[CLASS=]SCORE", help="Review threshold.")
@click.option("--reject", multiple=True, metavar="[CLASS=]SCORE", help="Reject threshold.")
@click.option("--reducer", metavar="KIND[:K]", help="max, kth_largest:K or mean_top_k:K.")
@click.option(
    "--min-area",
    type=FiniteRange(0),
    metavar="PX2",
    help="Smallest defect area that counts, in square pixels.",
)
@click.option("--pictures", is_flag=True, help="Score the stored pictures again.")
@click.option("--roi", metavar="X,Y,W,H", help="Another region of interest; needs --pictures.")
@click.option("--bundle", type=FOLDER, help="Another bundle; needs --pictures.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help="Only the newest N pictures; needs --pictures.",
)
@click.option(
    "--list",
    "listed",
    type=click.IntRange(0),
    default=20,
    help="How many parts with a changed verdict to list.",
)
@json_option
def what_if(
    *,
    revision: int | None,
    review: tuple[str, ...],
    reject: tuple[str, ...],
    reducer: str | None,
    min_area: float | None,
    pictures: bool,
    roi: str | None,
    bundle: Path | None,
    limit: int | None,
    listed: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Replay recorded parts with other settings and show which verdicts would change.

    By default, the newest part's recipe is replayed on all selected parts. Recorded scores are
    enough to try other thresholds and reducers. Another region, tile layout or model needs
    --pictures. If parts are labelled (edgeinspect label), the result shows escapes and false
    rejects with exact 95 % intervals.
    """
    from edgeinspect.records.reader import RecordReader
    from edgeinspect.tune.comparable import thresholds_of
    from edgeinspect.tune.whatif import what_if as replay

    began = time.perf_counter()
    if (roi or bundle or limit) and not pictures:
        raise UsageError(
            "--roi, --bundle and --limit need --pictures.", next_action="Add --pictures."
        )
    data_dir, station = place_of(options)
    with RecordReader(data_dir) as reader:
        selection = select(reader, data_dir, options)
        gone = ""
        if not pictures:
            selection, gone = complete(reader, selection)
        recipe = _recipe(selection, revision, station)
        recipe = with_limits(
            recipe, parse_limits(review, "--review"), parse_limits(reject, "--reject")
        )
        asked = _reducer(reducer, min_area, recipe, selection)
        if asked is not None:
            recipe = recipe.model_copy(update={"reducer": asked})
        rescored = None
        again = None
        if pictures:
            recipe, rescored = _rescored(
                reader, selection, recipe, roi=roi, bundle=bundle, limit=limit
            )
            columns = rescored.columns
        else:
            columns, again = _replayed(reader, selection, recipe)
    found = replay(
        columns,
        thresholds_of(recipe),
        reducer=again,
        labels=read_labels(data_dir),
        review_passes=selection.base.review_passes,
    )
    fields = _fields(recipe, columns, rescored, seconds=time.perf_counter() - began)
    print_result(
        {**fields, "missing": gone, **found.as_dict(most_flips=listed)},
        *_words(found, fields, listed),
        *filter(None, [gone]),
        as_json=as_json,
    )


def _recipe(selection: Selection, revision: int | None, station: StationFile | None) -> Recipe:
    """Return a stored revision, or by default the recipe of the newest part."""
    if revision is None:
        return selection.recipe
    from edgeinspect.cli.recipe.recipe_place import RecipePlace

    place = RecipePlace.of(station, selection.data_dir)
    product = place.running or selection.recipe.product
    place.check_there(product, revision)
    return place.store.load(product, revision)


def _reducer(
    given: str | None, min_area: float | None, recipe: Recipe, selection: Selection
) -> Reducer | None:
    from edgeinspect.line.scores import ReducerKind
    from edgeinspect.settings.recipe import Reducer

    if given is not None and min_area is not None:
        raise UsageError(
            "--min-area sets the reducer, so it cannot be combined with --reducer.",
            next_action="Give only one of them.",
        )
    if min_area is not None:
        from edgeinspect.tune.whatif import cells_for_area

        stride_px = _bundle(recipe, selection).card.output.stride_px
        if stride_px is None:
            raise UsageError(
                "--min-area needs a model with a score map; this model gives one score per tile.",
                next_action="Leave out --min-area.",
            )
        return Reducer(kind="kth_largest", k=cells_for_area(min_area, stride_px))
    if given is None:
        return None
    kind, _, k = given.partition(":")
    known = [each.value for each in ReducerKind]
    if kind not in known or not (k or "1").isdecimal() or not 1 <= int(k or 1) <= 65536:
        raise UsageError(
            f"--reducer: {given!r} is not a reducer.",
            next_action=f"Write KIND or KIND:K; KIND is one of {', '.join(known)}, "
            "K is 1 to 65536.",
        )
    if kind == "max" and int(k or 1) != 1:
        raise UsageError("--reducer: max takes no K.", next_action="Write --reducer max.")
    return Reducer(kind=kind, k=int(k or 1))  # type: ignore[arg-type]


def _replayed(
    reader: RecordReader, selection: Selection, recipe: Recipe
) -> tuple[ScoreColumns, tuple[ReducerKind, int] | None]:
    """Return the scores, and the reducer to apply again to their order statistics, if any."""
    from edgeinspect.line.scores import ReducerKind
    from edgeinspect.tune.comparable import Scoring, comparable_ids

    if comparable_ids(selection.recipes, Scoring.of(recipe)):
        return comparable_scores(reader, selection, recipe=recipe), None
    again = recipe.reducer
    if again is None:
        card = _bundle(recipe, selection).card.reducer
        kind, k = ReducerKind(card.kind), card.k
    else:
        kind, k = ReducerKind(again.kind), again.k
    columns = comparable_scores(reader, selection, recipe=recipe, any_reducer=True)
    return columns, (kind, k)


def _bundle(recipe: Recipe, selection: Selection) -> Bundle:
    """Load a recipe's bundle from the station that recorded the parts."""
    from edgeinspect.bundle.directory import load_bundle
    from edgeinspect.runtime.plan import find_bundle_directory

    folders = [] if selection.base.bundles_dir is None else [selection.base.bundles_dir]
    found = find_bundle_directory(recipe.bundle.digest, *folders, selection.data_dir / "bundles")
    if found is None:
        raise ModelRefused(
            f"The bundle {recipe.bundle.name} ({recipe.bundle.digest[:12]}…) is not installed.",
            next_action="Name the bundle directory with --bundle.",
        )
    return load_bundle(found)


def _rescored(
    reader: RecordReader,
    selection: Selection,
    recipe: Recipe,
    *,
    roi: str | None,
    bundle: Path | None,
    limit: int | None,
) -> tuple[Recipe, Rescored]:
    from edgeinspect.bundle.directory import load_bundle
    from edgeinspect.cli.replay_command import parse_roi
    from edgeinspect.runtime.models import open_inspectors
    from edgeinspect.runtime.plan import bundle_recipe
    from edgeinspect.settings.compile import frame_checks
    from edgeinspect.settings.recipe import RoiBox
    from edgeinspect.settings.station_file import EngineSettings
    from edgeinspect.tune.rescore import rescore

    loaded = load_bundle(bundle) if bundle is not None else _bundle(recipe, selection)
    if loaded.digest != recipe.bundle.digest:
        known = {entry.name: entry for entry in recipe.thresholds}
        other = bundle_recipe(loaded, product=recipe.product)
        limits = tuple(known.get(entry.name, entry) for entry in other.thresholds)
        recipe = recipe.model_copy(update={"bundle": other.bundle, "thresholds": limits})
    region = parse_roi(roi)
    if region is not None:
        x, y, width, height = region
        box = RoiBox(x=x, y=y, width=width, height=height)
        recipe = recipe.model_copy(update={"roi": box})
    classes = tuple(entry.name for entry in recipe.thresholds)
    opened = open_inspectors(
        loaded,
        engine=EngineSettings(threads=1),
        roi=None if recipe.roi is None else recipe.roi.region,
        reducer=recipe.reducer,
    )
    try:
        with progress("Scoring", reader.count(selection.wanted)) as report:
            found = rescore(
                reader,
                selection.wanted,
                opened.inspectors[0].inspect,
                classes=classes,
                checks=frame_checks(recipe),
                limit=limit,
                progress=report,
            )
    finally:
        opened.close()
    return recipe, found


def _fields(
    recipe: Recipe, columns: ScoreColumns, rescored: Rescored | None, *, seconds: float
) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "parts": columns.parts,
        "product": recipe.product,
        "thresholds": {entry.name: [entry.review, entry.reject] for entry in recipe.thresholds},
        "seconds": seconds,
    }
    if rescored is not None:
        fields["without_picture"] = rescored.without_picture
        fields["not_inspected"] = len(rescored.not_inspected)
    return fields


def _words(found: WhatIf, fields: dict[str, Any], listed: int) -> Iterator[RenderableType]:
    rows = [
        ("passed", found.before.passed, found.after.passed),
        ("review", found.before.reviews, found.after.reviews),
        ("rejected", found.before.rejects, found.after.rejects),
        ("could not be inspected", found.before.cannot_inspect, found.after.cannot_inspect),
    ]
    shown = [(name, f"{was:,}", f"{now:,}", f"{now - was:+,}") for name, was, now in rows]
    shown.append(("delivered", _rate(found.before.yield_share), _rate(found.after.yield_share), ""))
    for name, key in (
        ("escapes of labelled", "escapes"),
        ("false rejects of labelled", "false_rejects"),
    ):
        shown.append((name, _share(found.before, key), _share(found.after, key), ""))
    columns = ("", "recorded", "predicted", "change")
    yield table(columns, shown, right=columns[1:])
    if found.uncertain:
        yield (
            f"{found.uncertain:,} verdicts depend on data that was not kept; "
            "the worse outcome is assumed."
        )
    if found.other_classes:
        yield (
            f"{found.other_classes:,} parts were scored by another model, region or reducer and "
            "are left out."
        )
    if fields.get("without_picture"):
        yield (
            f"{fields['without_picture']:,} parts have no picture. Stored pictures are not a fair "
            "sample: rejects, reviews and near misses are kept first."
        )
    if fields.get("not_inspected"):
        yield f"{fields['not_inspected']:,} pictures could not be inspected with these settings."
    flips = found.as_dict(most_flips=listed)["flipped_parts"]
    if flips:
        parts = [(flip["part_id"], flip["from"], flip["to"]) for flip in flips]
        total = len(found.flipped_part_ids)
        title = f"{total:,} parts change their verdict" + (
            f", the first {len(flips)}:" if total > len(flips) else ":"
        )
        yield table(("part", "recorded", "predicted"), parts, title=title, right=("part",))


def _rate(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def _share(outcome: Outcome, key: str) -> str:
    share = getattr(outcome, key)
    if not share.of:
        return "no labels"
    low, high = share.interval95
    return f"{share.count} of {share.of} ({low:.1%} to {high:.1%})"
