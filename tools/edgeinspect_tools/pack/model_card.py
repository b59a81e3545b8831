"""The model card as a page that a quality manager can read."""

from __future__ import annotations

from typing import Any

from edgeinspect.bundle.card import Card, Fit, Task
from edgeinspect.files.html_report import render
from edgeinspect_tools.verify.measure import Verification
from edgeinspect_tools.verify.score_histogram import score_histogram


def model_card_html(card: Card, found: Verification) -> bytes:
    """Make the page: purpose, figures, thresholds, data, limits and licence."""
    figures = found.figures()
    data, training = card.provenance.get("data", {}), card.provenance.get("training", {})
    return render(
        "edgeinspect_tools/pack/model_card.html",
        card=card,
        purpose=_purpose(card),
        is_gap_accepted=figures["within_bound"] is False,
        sentences=figure_sentences(figures),
        histogram=score_histogram(card, found),
        pictures=data.get("pictures", {}),
        facts=[
            ("data set", f"{data.get('name', '')} ({data.get('layout', '')})"),
            ("digest", data.get("sha256", "")),
            ("seed", training.get("seed", "")),
            ("training", f"{training.get('steps', '?')} steps, {training.get('minutes', '?')} min"),
            *_candidates(training.get("chosen_among", {})),
            ("made by", card.provenance.get("made_by", "")),
        ],
    )


def figure_sentences(figures: dict[str, Any]) -> list[str]:
    """State the figures as sentences, with their exact 95 % intervals."""
    sentences = []
    if figures["n_defective"]:
        kind = "defective parts"
        if figures["n_drawn"]:
            kind = "defects that this program drew onto good parts, not real ones, and"
        sentences.append(
            f"Escapes: of {figures['n_defective']} {kind} that it had never seen, "
            f"{figures['escapes']} passed, {_percent(figures['escape_rate'])} "
            f"(95 % interval {_interval(figures, 'escape')})."
        )
    if figures["n_good"]:
        sentences.append(
            f"False rejects: of {figures['n_good']} good parts that it had never seen, "
            f"{figures['false_rejects']} were stopped, {_percent(figures['false_reject_rate'])} "
            f"(95 % interval {_interval(figures, 'false_reject')})."
        )
    if figures["n_good"] and figures["n_defective"]:
        sentences.append(
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
        sentences.append(f"Fitting it to small hardware (8-bit numbers): {ranking}{changed}")
        if figures["auroc_loss_in_doubt"]:
            sentences.append("So few pictures cannot show whether that ranking was lost by chance.")
    return sentences


def _purpose(card: Card) -> str:
    how = "marks where they are" if card.task is Task.SEGMENTATION else "names the defect"
    tile = card.input
    look = "scaled to" if tile.fit is Fit.RESIZE else "looked at in tiles of"
    return (
        f"Finds {', '.join(card.defect_classes)}; {how}. Pictures are {look} "
        f"{tile.width} x {tile.height} px, {tile.color.value}"
        f"{', compared with a faultless part' if tile.reference else ''}."
    )


def _candidates(scores: dict[str, float]) -> list[tuple[str, str]]:
    if not scores:
        return []
    names = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
    return [("chosen among", f"{names} (AUROC of int8 on validation pictures)")]


def _percent(share: float) -> str:
    return f"{share:.2%}"


def _interval(figures: dict[str, Any], name: str) -> str:
    return f"{figures[f'{name}_lower95']:.2%} to {figures[f'{name}_upper95']:.2%}"
