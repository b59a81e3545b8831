"""One sentence on whether a model may be used, from its figures on pictures it never saw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeinspect.intervals import clopper_pearson

ENOUGH_PICTURES = 5
"""Of each kind. With four, the exact 95 % interval of no error at all reaches up to 60 %."""

_MOST_PICTURES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The largest shares that a maker accepts.

    Attributes:
        false_rejects: of the good parts, (0, 1].
        escapes: of the defective parts, (0, 1].
    """

    false_rejects: float = 0.05
    escapes: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Whether a model may be used.

    Attributes:
        fit_for_use: the model keeps what was asked, on enough pictures to tell.
        sentence: the verdict with its figures.
        advice: what would help most; "" if the model is fit for use.
    """

    fit_for_use: bool
    sentence: str
    advice: str = ""


def judge(figures: Mapping[str, Any], asked: Asked) -> Judgement:
    """Judge a model by the figures of ``Verification.figures``.

    A share of exactly 1 asks for nothing, so that kind is not judged.
    """
    good, defective, drawn = (int(figures[f"n_{kind}"]) for kind in ("good", "defective", "drawn"))
    parts = "drawn defects" if drawn else "defective parts"
    kinds = (
        ("good parts", "rejected", good, "false_reject", asked.false_rejects),
        (parts, "passed", defective, "escape", asked.escapes),
    )
    judged = [kind for kind in kinds if kind[-1] < 1]
    counts = [f"of 100 {name} {_about(figures, key, done)}" for name, done, n, key, _ in kinds if n]
    rates = ", ".join(counts)
    short = [(name, n) for name, _, n, _, _ in judged if n < ENOUGH_PICTURES]
    if short:
        there = " and ".join(f"{n} {name}" for name, n in short)
        return Judgement(
            fit_for_use=False,
            sentence=f"Do not use: it was tested on only {there}, too few to tell ({rates}).",
            advice=f"Add pictures until at least {ENOUGH_PICTURES} of each kind are tested.",
        )
    missed = [(name, limit) for name, _, _, key, limit in judged if figures[f"{key}_rate"] > limit]
    if missed:
        limits = " and ".join(f"{_hundred(limit)} of 100 {name}" for name, limit in missed)
        return Judgement(
            fit_for_use=False,
            sentence=f"Do not use: {rates}; at most {limits} were requested.",
            advice="Add pictures of these parts, draw masks for the defects, or improve the light."
            if not drawn
            else "Add good pictures, and pictures of real defects as soon as there are some.",
        )
    more = [
        f" To show at most {_hundred(limit)} of 100 {name}, test {needed} more of them."
        for name, _, n, key, limit in judged
        if (needed := pictures_needed(int(figures[f"{key}s"]), limit) - n) > 0
    ]
    warning = " No real defect was tested." if drawn else ""
    return Judgement(fit_for_use=True, sentence=f"Fit for use: {rates}.{''.join(more)}{warning}")


def pictures_needed(errors: int, limit: float) -> int:
    """How many pictures with that many errors show that the true share is at most ``limit``.

    By the upper end of the exact two-sided 95 % interval; at most 100,000.
    """
    low, high = errors, _MOST_PICTURES
    while low < high:
        middle = (low + high) // 2
        if clopper_pearson(errors, middle)[1] <= limit:
            high = middle
        else:
            low = middle + 1
    return low


def _about(figures: Mapping[str, Any], key: str, done: str) -> str:
    rate, most = figures[f"{key}_rate"], figures[f"{key}_upper95"]
    return f"about {_hundred(rate)} {done} (at most {math.ceil(100 * most)})"


def _hundred(share: float) -> str:
    """A share of 100 parts, as a whole number where it is one, else with one decimal."""
    return f"{100 * share:.1f}".removesuffix(".0")
