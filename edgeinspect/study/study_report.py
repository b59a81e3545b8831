"""The agreement study as one HTML page."""

from __future__ import annotations

import math
from collections.abc import Callable

from edgeinspect.files.html_report import render
from edgeinspect.study.kappa import Kappa
from edgeinspect.study.study import (
    BOUNDS,
    AppraiserResult,
    Grade,
    Proportion,
    Study,
    StudyResult,
)
from edgeinspect.study.study_plots import KINDS, IntervalPlot, Mark, decision_plot, interval_plot

_MAX_WRONG_PARTS = 20


def report_html(study: Study, result: StudyResult, *, title: str, remark: str = "") -> bytes:
    """Make the page."""
    return render(
        "edgeinspect/study/study_report.html",
        title=title,
        remark=remark,
        result=result,
        appraisers=study.appraisers,
        plots=_plots(result),
        decisions=decision_plot(study),
        wrong_parts=_wrong_parts(study),
        kinds=KINDS,
        sentence=_sentence,
        share=_share,
        kappa=_kappa,
    )


def _plots(result: StudyResult) -> list[tuple[str, IntervalPlot]]:
    def shares(
        name: str, of: Callable[[AppraiserResult], Proportion], span: tuple[float, float]
    ) -> tuple[str, IntervalPlot]:
        marks = [Mark(a.name, of(a).value, of(a).low, of(a).high) for a in result.appraisers]
        bound = BOUNDS[name.replace(" ", "_")]
        return name.capitalize(), interval_plot(marks, bound=bound, span=span, what=name)

    kappas = [(f"{a.name} – reference", a.kappa) for a in result.appraisers]
    kappas += [(f"{p.first} – {p.second}", p.kappa) for p in result.pairs]
    marks = [Mark(name, kappa.value, kappa.low, kappa.high) for name, kappa in kappas]
    return [
        shares("effectiveness", lambda a: a.effectiveness, (0.5, 1.0)),
        shares("miss rate", lambda a: a.miss_rate, (0.0, 0.25)),
        shares("false alarm rate", lambda a: a.false_alarm_rate, (0.0, 0.25)),
        ("Kappa", interval_plot(marks, bound=BOUNDS["kappa"], span=(0.0, 1.0), what="kappa")),
    ]


def _sentence(appraiser: AppraiserResult) -> str:
    grade = appraiser.grade
    text = f"{appraiser.name}: {grade.value}."
    worst = [name for name, found in appraiser.grades.items() if found is grade]
    if grade is not Grade.ACCEPTABLE:
        text += f" Limiting factor: {', '.join(name.replace('_', ' ') for name in worst)}."
    elif not all(appraiser.shown.values()):
        open_ = [name.replace("_", " ") for name, shown in appraiser.shown.items() if not shown]
        text += f" The confidence interval exceeds the limit for: {', '.join(open_)}."
    return text


def _wrong_parts(study: Study) -> list[tuple[str, str, list[int]]]:
    """The parts that somebody decided wrongly, worst first: name, reference, wrong decisions."""
    wrong = (study.decisions != study.reference[None, :, None]).sum(axis=2)
    order = sorted(range(len(study.parts)), key=lambda part: -int(wrong[:, part].sum()))
    return [
        (study.parts[p], ("bad", "good")[study.reference[p]], wrong[:, p].tolist())
        for p in order[:_MAX_WRONG_PARTS]
        if wrong[:, p].any()
    ]


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
