"""``edgeinspect tune suggest``: the reject threshold that the recorded parts support."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from edgeinspect.cli.options import FiniteRange
from edgeinspect.cli.tune.part_selection import (
    comparable_scores,
    doubts,
    place_of,
    read_labels,
    select,
    selection_options,
)
from edgeinspect.errors import NotGood, UsageError
from edgeinspect.terminal.output import examples, json_option, print_result, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from edgeinspect.labels.label_store import Label
    from edgeinspect.records.score_table import ScoreColumns
    from edgeinspect.settings.recipe import Recipe
    from edgeinspect.tune.suggest import Evidence, Suggestion

SHARE = FiniteRange(0, 1, min_open=True, max_open=True)
COST = FiniteRange(0, min_open=True)
ALL_CLASSES = "*"


@click.command(
    epilog=examples(
        """
        edgeinspect tune suggest --config station.yaml --max-false-rejects 0.005 --confidence 0.95
        edgeinspect tune suggest --config station.yaml --all-good --from 1000 --to 4000 --max-false-rejects 0.005
        edgeinspect tune suggest --data-dir data --max-escapes 0.02 --json
        edgeinspect tune suggest --data-dir data --escape-cost 500 --false-reject-cost 2 --defect-rate 0.01
        """  # noqa: E501
    )
)
@selection_options
@click.option(
    "--max-false-rejects",
    type=SHARE,
    metavar="P",
    help="Highest acceptable share of good parts rejected; needs good parts only.",
)
@click.option(
    "--max-escapes",
    type=SHARE,
    metavar="P",
    help="Highest acceptable share of defective parts passed.",
)
@click.option("--escape-cost", type=COST, metavar="COST", help="Cost of one escape.")
@click.option("--false-reject-cost", type=COST, metavar="COST", help="Cost of one false reject.")
@click.option("--defect-rate", type=SHARE, metavar="P", help="Share of parts with a defect.")
@click.option("--confidence", type=SHARE, default=0.95, help="Confidence level of the bounds.")
@click.option(
    "--for",
    "chosen",
    multiple=True,
    metavar="CLASS",
    help="Suggest a separate threshold for this class; repeat for more classes.",
)
@click.option(
    "--all-good", is_flag=True, help="Treat every unlabelled part in the selection as good."
)
@json_option
def suggest(
    *,
    max_false_rejects: float | None,
    max_escapes: float | None,
    escape_cost: float | None,
    false_reject_cost: float | None,
    defect_rate: float | None,
    confidence: float,
    chosen: tuple[str, ...],
    all_good: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Suggest a reject threshold from the selected parts, with the evidence for it.

    Choose one goal. --max-false-rejects uses the order statistics of good parts alone.
    --max-escapes finds the threshold with the fewest false rejects that keeps escapes below the
    limit; it needs labelled defects. --escape-cost, --false-reject-cost and --defect-rate together
    minimise the expected cost.

    The default is one threshold for all classes, exact for the whole part. --for gives a class its
    own; with several classes, the limit holds for all of them together. If the parts are too few
    to support a threshold, the command says how many more are needed, and the exit code is 1.
    """
    from edgeinspect.records.reader import RecordReader

    costs = (escape_cost, false_reject_cost, defect_rate)
    asked = [
        max_false_rejects is not None,
        max_escapes is not None,
        any(c is not None for c in costs),
    ]
    if sum(asked) != 1 or (asked[2] and None in costs):
        raise UsageError(
            "Exactly one goal for the threshold is needed.",
            next_action="Give --max-false-rejects, or --max-escapes, or all of --escape-cost, "
            "--false-reject-cost and --defect-rate.",
        )
    data_dir, _ = place_of(options)
    with RecordReader(data_dir) as reader:
        selection = select(reader, data_dir, options)
        columns = comparable_scores(reader, selection)
        left_out = doubts(reader, selection.wanted)
    labels = read_labels(data_dir)
    recipe = selection.recipe
    names = _classes(recipe, chosen)
    rule = _rule(
        max_false_rejects, max_escapes, escape_cost, false_reject_cost, defect_rate,
        confidence=confidence, together=len(names),
    )  # fmt: skip
    good, defective = _labelled(columns, labels, all_good=all_good)
    if not good.any() and not defective.any():
        raise NotGood(
            f"None of the {len(columns)} parts is labelled. {left_out}".rstrip(),
            next_action="Label some with: edgeinspect label queue. If all of them are good, give "
            "--all-good.",
        )
    try:
        found = {name: rule(*_scores(columns, labels, name, good, defective)) for name in names}
    except NotGood as error:
        words = f"{error.message} {left_out}".rstrip()
        raise NotGood(words, next_action=error.next_action) from error
    settings = _settings(recipe, found)
    shared = None if max_false_rejects is None else max_false_rejects / len(names)
    fields = {
        "parts": len(columns),
        "good": int(good.sum()),
        "defective": int(defective.sum()),
        "suggestions": {name: suggestion.as_dict() for name, suggestion in found.items()},
        "settings": settings,
        "needed": _needed(shared or max_escapes, 1 - (1 - confidence) / len(names)),
    }
    print_result(fields, *_words(found, settings), as_json=as_json)


def _needed(rate: float | None, confidence: float) -> dict[str, int] | None:
    """Return how many parts the requested bound needs at least; None without a bound."""
    from edgeinspect.intervals import parts_needed, rule_of_three

    if rate is None:
        return None
    exact = parts_needed(rate=rate, confidence=confidence)
    return {"without_a_failure": exact, "rule_of_three": rule_of_three(rate)}


def _classes(recipe: Recipe, chosen: Sequence[str]) -> list[str]:
    known = [entry.name for entry in recipe.thresholds]
    for name in chosen:
        if name not in known:
            raise UsageError(
                f"--for: there is no class {name!r}.",
                next_action=f"Choose from: {', '.join(known)}.",
            )
    return list(dict.fromkeys(chosen)) or [ALL_CLASSES]


def _rule(
    max_false_rejects: float | None,
    max_escapes: float | None,
    escape_cost: float | None,
    false_reject_cost: float | None,
    defect_rate: float | None,
    *,
    confidence: float,
    together: int,
) -> Callable[[NDArray[np.float64], NDArray[np.float64]], Suggestion]:
    """Return the method for each of ``together`` thresholds so that they hold together.

    Rate and confidence are divided evenly (union bound).
    """
    from edgeinspect.tune.suggest import (
        suggest_from_good,
        suggest_least_cost,
        suggest_under_escape_bound,
    )

    confidence = 1 - (1 - confidence) / together
    if max_false_rejects is not None:
        rate = max_false_rejects / together
        return lambda good, bad: suggest_from_good(
            good, false_reject_rate=rate, confidence=confidence
        )
    if max_escapes is not None:
        # A class's own escapes are a share of its own defects: each keeps the whole bound.
        bound = max_escapes
        return lambda good, bad: suggest_under_escape_bound(
            good, bad, escape_rate=bound, confidence=confidence
        )
    if together > 1:
        raise UsageError("Costs are weighed for one threshold at a time; give --for once.")
    assert escape_cost is not None and false_reject_cost is not None and defect_rate is not None
    escape, reject, defects = escape_cost, false_reject_cost, defect_rate
    return lambda good, bad: suggest_least_cost(
        good,
        bad,
        escape_cost=escape,
        false_reject_cost=reject,
        defect_rate=defects,
        confidence=confidence,
    )


def _labelled(
    columns: ScoreColumns, labels: Mapping[int, Label], *, all_good: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Good and defective parts among those with sound scores, by label."""
    from edgeinspect.labels.label_store import label_codes

    with np.errstate(invalid="ignore"):
        sound = ((columns.scores >= 0) & (columns.scores <= 1)).all(axis=1)
    good, defective = label_codes(columns.part_ids, labels)
    if all_good:
        good = ~np.isin(columns.part_ids, list(labels)) | good
    return good & sound, defective & sound


def _scores(
    columns: ScoreColumns,
    labels: Mapping[int, Label],
    name: str,
    good: NDArray[np.bool_],
    defective: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores to compare with the threshold: a class's score, or each part's highest."""
    if name == ALL_CLASSES:
        highest = columns.scores.max(axis=1)
        return highest[good], highest[defective]
    column = columns.scores[:, columns.classes.index(name)]
    mine = [n for n, label in labels.items() if label.defect_class == name]
    return column[good], column[defective & np.isin(columns.part_ids, mine)]


def _settings(recipe: Recipe, found: Mapping[str, Suggestion]) -> list[str]:
    """Return ``--set`` values that store the suggestions; they lower review limits if needed."""
    settings = []
    for name, suggestion in found.items():
        value = f"{suggestion.threshold:.17g}"
        short = repr(suggestion.threshold) if float(value) == suggestion.threshold else value
        settings.append(f"thresholds.{name}.reject={short}")
        for entry in recipe.thresholds:
            if name in (ALL_CLASSES, entry.name) and entry.review > suggestion.threshold:
                settings.append(f"thresholds.{entry.name}.review={short}")
    return settings


def _words(found: Mapping[str, Suggestion], settings: Sequence[str]) -> Iterator[RenderableType]:
    rows = [
        (
            "all" if name == ALL_CLASSES else name,
            f"{each.threshold:.6g}",
            _evidence(each.false_rejects),
            "-" if each.escapes is None else _evidence(each.escapes),
            "" if each.expected_cost is None else f"{each.expected_cost:.4g}",
        )
        for name, each in found.items()
    ]
    yield table(("class", "reject at", "false rejects", "escapes", "cost per part"), rows)
    yield from dict.fromkeys(note for each in found.values() for note in each.notes)
    words = " ".join(f"--set '{setting}'" for setting in settings)
    yield f"To store it: edgeinspect recipe edit {words} --reason TEXT"


def _evidence(evidence: Evidence) -> str:
    shown = f"at most {evidence.upper_bound:.3%}"
    return f"{evidence.failures} of {evidence.parts}, {shown} ({evidence.confidence:.4g})"
