"""The agreement study as one HTML page."""

from __future__ import annotations

import math

from edgeinspect.files.html_report import heading, page, paragraph, rows
from edgeinspect.study.kappa import Kappa
from edgeinspect.study.study import (
    BOUNDS,
    AppraiserResult,
    Grade,
    PairResult,
    Proportion,
    Study,
    StudyResult,
)
from edgeinspect.study.study_plots import Mark, decisions, intervals

_MARKS = {Grade.ACCEPTABLE: "g", Grade.MARGINAL: "w", Grade.UNACCEPTABLE: "b"}
_KINDS = {Grade.ACCEPTABLE: "good", Grade.MARGINAL: "warn", Grade.UNACCEPTABLE: "bad"}


def report_html(study: Study, result: StudyResult, *, title: str, remark: str = "") -> bytes:
    """Put the page together; every name from outside is escaped."""
    size = (
        f"{result.parts} parts ({result.bad_parts} bad, {result.good_parts} good) × "
        f"{len(result.appraisers)} appraisers × {result.trials} trials; "
        f"intervals at {result.confidence:.0%}"
    )
    parts = [
        paragraph(" · ".join(text for text in (size, remark) if text), kind="quiet"),
        *(_sentence(appraiser) for appraiser in result.appraisers),
        heading("Appraisers"),
        _appraisers(result),
        paragraph(_BOUNDS_WORDS, kind="quiet"),
        heading("Effectiveness"),
        intervals(
            [_mark(a.name, a.effectiveness) for a in result.appraisers],
            bound=BOUNDS["effectiveness"],
            span=(0.5, 1.0),
            what="effectiveness",
        ),
        heading("Miss rate"),
        intervals(
            [_mark(a.name, a.miss_rate) for a in result.appraisers],
            bound=BOUNDS["miss_rate"],
            span=(0.0, 0.25),
            what="miss rate",
        ),
        heading("False alarm rate"),
        intervals(
            [_mark(a.name, a.false_alarm_rate) for a in result.appraisers],
            bound=BOUNDS["false_alarm_rate"],
            span=(0.0, 0.25),
            what="false alarm rate",
        ),
        heading("Kappa"),
        intervals(
            [
                *(Mark(f"{a.name} – reference", *_ends(a.kappa)) for a in result.appraisers),
                *(Mark(f"{p.first} – {p.second}", *_ends(p.kappa)) for p in result.pairs),
            ],
            bound=BOUNDS["kappa"],
            span=(0.0, 1.0),
            what="kappa",
        ),
        _kappas(result),
        heading("Every decision"),
        decisions(study),
        paragraph("Red: a bad part passed. Amber: a good part was rejected.", kind="quiet"),
        _disagreements(study),
        heading("How to read this"),
        *(paragraph(remark, kind="warn") for remark in result.remarks),
        paragraph(_METHOD, kind="quiet"),
    ]
    return page(title, parts)


_BOUNDS_WORDS = (
    "Bounds (acceptable; marginal): effectiveness at least 90 %; 80 %. Miss rate at most 2 %; 5 %. "
    "False alarm rate at most 5 %; 10 %. Kappa at least 0.9; 0.7."
)
_METHOD = (
    "Effectiveness counts parts that were decided rightly in every trial; miss and false alarm "
    "rate count decisions. Their intervals are exact (Clopper and Pearson) for independent "
    "decisions; decisions on one part are alike, so read them as the best case. Kappa is the "
    "agreement beyond chance (Cohen; over more than two, Fleiss); its interval is a jackknife over "
    "parts."
)


def _sentence(appraiser: AppraiserResult) -> str:
    grade = appraiser.grade
    text = f"{appraiser.name}: {grade.value}."
    worst = [name for name, found in appraiser.grades.items() if found is grade]
    if grade is not Grade.ACCEPTABLE:
        text += f" Decided by: {', '.join(name.replace('_', ' ') for name in worst)}."
    elif not all(appraiser.shown.values()):
        open_ = [name.replace("_", " ") for name, shown in appraiser.shown.items() if not shown]
        text += f" The interval reaches beyond the bound for: {', '.join(open_)}."
    return paragraph(text, kind=_KINDS[grade])


def _appraisers(result: StudyResult) -> str:
    lines, marks = [], []
    for a in result.appraisers:
        lines.append(
            (
                a.name,
                _share(a.effectiveness),
                _share(a.miss_rate),
                _share(a.false_alarm_rate),
                _kappa(a.kappa),
                _share(a.repeatability),
            )
        )
        names = ("effectiveness", "miss_rate", "false_alarm_rate", "kappa")
        marks.append(["", *(_MARKS[a.grades[name]] for name in names), ""])
    head = ("appraiser", "effectiveness", "miss rate", "false alarm rate", "kappa", "repeatability")
    return rows(lines, head=head, marks=marks)


def _kappas(result: StudyResult) -> str:
    lines: list[tuple[str, str]] = [
        (f"{a.name}, own trials (Fleiss)", _kappa(a.kappa_within))
        for a in result.appraisers
        if a.kappa_within is not None
    ]
    lines += [_pair(pair) for pair in result.pairs]
    if result.kappa_between is not None:
        lines.append(("all trials of all appraisers (Fleiss)", _kappa(result.kappa_between)))
    lines.append(("parts on which all agree", _share(result.all_agree)))
    lines.append(("parts on which all are right", _share(result.all_right)))
    return rows(lines)


def _pair(pair: PairResult) -> tuple[str, str]:
    return f"{pair.first} with {pair.second}", _kappa(pair.kappa)


def _disagreements(study: Study) -> str:
    """The parts that somebody decided wrongly, worst first."""
    wrong = (study.decisions != study.reference[None, :, None]).sum(axis=2)
    order = sorted(range(len(study.parts)), key=lambda part: -int(wrong[:, part].sum()))
    lines = [
        (study.parts[p], ("bad", "good")[study.reference[p]], *(int(n) for n in wrong[:, p]))
        for p in order[:20]
        if wrong[:, p].any()
    ]
    if not lines:
        return paragraph("Every decision was right.", kind="good")
    head = ("part", "reference", *(f"wrong: {name}" for name in study.appraisers))
    return rows(lines, head=head, numbers=range(2, 2 + len(study.appraisers)))


def _mark(name: str, share: Proportion) -> Mark:
    return Mark(name, share.value, share.low, share.high)


def _ends(kappa: Kappa) -> tuple[float, float, float]:
    return kappa.value, kappa.low, kappa.high


def _share(share: Proportion) -> str:
    if not share.of:
        return "–"
    return f"{share.value:.1%} ({share.count} of {share.of}; {share.low:.1%} to {share.high:.1%})"


def _kappa(kappa: Kappa | None) -> str:
    if kappa is None or math.isnan(kappa.value):
        return "–"
    if math.isnan(kappa.low):
        return f"{kappa.value:.3f}"
    return f"{kappa.value:.3f} ({kappa.low:.3f} to {kappa.high:.3f})"
