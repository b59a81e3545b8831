"""The model card as a page that a quality manager can read."""

from __future__ import annotations

from typing import Any

from edgeinspect.bundle.card import Card, Fit, Task
from edgeinspect_tools.page import heading, histogram, page, paragraph, rows
from edgeinspect_tools.verify.measure import Verification


def model_card_html(card: Card, found: Verification) -> bytes:
    """What it is for, how well it does it, what it was made from, what it must not be used for."""
    figures = found.figures()
    bad, good = found.scored.bad_and_good(found.scored.int8)
    limits = card.threshold(card.defect_classes[0])
    named = [("review", limits.review), ("reject", limits.reject)]
    return page(
        f"{card.name} {card.version}",
        [
            paragraph(_purpose(card), kind="quiet"),
            *_gap_note(figures),
            heading("How well it works"),
            *(paragraph(sentence) for sentence in told(figures)),
            histogram(good, bad, limits=named),
            heading("When a part is stopped"),
            rows(
                [
                    (name, f"{t.review:.4g}", f"{t.reject:.4g}")
                    for name in card.defect_classes
                    for t in [card.threshold(name)]
                ],
                head=("defect", "review from", "reject from"),
                numbers=(1, 2),
            ),
            paragraph(
                "Scores go from 0 to 1. A part whose scores all lie below the review thresholds "
                "passes; everything else is stopped. The station's recipe may set other "
                "thresholds; the figures above then no longer hold."
            ),
            heading("What it was made from"),
            _data(card),
            heading("What it does not know"),
            paragraph(
                "It was measured on pictures like those it was made from: the same product, "
                "camera, lens and light. It has not seen other defects than those named here, and "
                "nothing is claimed about them. Check the station with master parts before it "
                "works alone, and again whenever something before the lens changes."
            ),
            heading("Licence"),
            paragraph(f"{card.licence}. {card.attribution}".strip()),
        ],
    )


def told(figures: dict[str, Any]) -> list[str]:
    """The figures as sentences with their exact 95 % intervals."""
    said = []
    if figures["n_defective"]:
        said.append(
            f"Escapes: of {figures['n_defective']} defective parts that it had never seen, "
            f"{figures['escapes']} passed, {_percent(figures['escape_rate'])} "
            f"(95 % interval {_interval(figures, 'escape')})."
        )
    if figures["n_good"]:
        said.append(
            f"False rejects: of {figures['n_good']} good parts that it had never seen, "
            f"{figures['false_rejects']} were stopped, {_percent(figures['false_reject_rate'])} "
            f"(95 % interval {_interval(figures, 'false_reject')})."
        )
    if figures["n_good"] and figures["n_defective"]:
        said.append(
            "Ranking: a defective part scores above a good one in "
            f"{figures['auroc_int8']:.2%} of pairs (AUROC {figures['auroc_int8']:.4f}; average "
            f"precision {figures['average_precision_int8']:.4f})."
        )
    if figures["flips"] is not None:
        before, after = figures["auroc_float"], figures["auroc_int8"]
        ranking = f"AUROC {before:.4f} before, {after:.4f} after; " if before is not None else ""
        changed = "no verdict changed."
        if figures["flips"]:
            changed = (
                f"{figures['flips']} verdicts changed, {figures['flips_outside_band']} of them "
                f"farther than {figures['flip_band']:g} from a threshold."
            )
        said.append(f"Fitting it to small hardware (8-bit numbers): {ranking}{changed}")
        if figures["auroc_loss_in_doubt"]:
            said.append("So few pictures cannot show whether that ranking was lost by chance.")
    return said


def _purpose(card: Card) -> str:
    how = "marks where they are" if card.task is Task.SEGMENTATION else "names what it sees"
    tile = card.input
    look = "scaled to" if tile.fit is Fit.RESIZE else "looked at in tiles of"
    return (
        f"Finds {', '.join(card.defect_classes)}; {how}. Pictures are {look} "
        f"{tile.width} x {tile.height} px, {tile.color.value}"
        f"{', compared with a faultless part' if tile.reference else ''}."
    )


def _gap_note(figures: dict[str, Any]) -> list[str]:
    if figures["within_bound"] is not False:
        return []
    return [
        paragraph(
            "Attention: the 8-bit model strays further from the original than the tools allow. "
            "Whoever made this bundle accepted that.",
            kind="bad",
        )
    ]


def _data(card: Card) -> str:
    data, training = card.provenance.get("data", {}), card.provenance.get("training", {})
    lines = [
        (split, counts["good"], counts["defective"])
        for split, counts in data.get("pictures", {}).items()
    ]
    facts = [
        ("data set", f"{data.get('name', '')} ({data.get('layout', '')})"),
        ("digest", data.get("sha256", "")),
        ("seed", training.get("seed", "")),
        ("training", f"{training.get('steps', '?')} steps, {training.get('minutes', '?')} min"),
        *_chosen(training.get("chosen_among", {})),
        ("made by", card.provenance.get("made_by", "")),
    ]
    table = rows(lines, head=("pictures for", "good", "defective"), numbers=(1, 2))
    return table + rows(facts)


def _chosen(among: dict[str, float]) -> list[tuple[str, str]]:
    if not among:
        return []
    told = ", ".join(f"{name} {value:.3f}" for name, value in among.items())
    return [("chosen among", f"{told} (AUROC of int8 on validation pictures)")]


def _percent(share: float) -> str:
    return f"{share:.2%}"


def _interval(figures: dict[str, Any], name: str) -> str:
    return f"{figures[f'{name}_lower95']:.2%} to {figures[f'{name}_upper95']:.2%}"
