"""The agreement study: kappa against published examples and brute force, the figures, the files."""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeinspect.cli.application import run_command_line
from edgeinspect.cli.main import application
from edgeinspect.errors import ConfigError, UsageError
from edgeinspect.part import GateOutcome
from edgeinspect.records.part_ids import no_gap
from edgeinspect.records.reader import RecordReader
from edgeinspect.records.writer import RecordWriter
from edgeinspect.study.kappa import cohen_kappa, fleiss_kappa
from edgeinspect.study.study import BAD, GOOD, Grade, Study, analyse
from edgeinspect.study.study_file import plan_rows, read_parts, read_rows, read_study, write_rows
from edgeinspect.study.study_report import report_html
from tests.helpers.records_samples import StepClock, sample_entry

# Fleiss (1971), table 1: psychiatric diagnoses of 30 patients by 6 psychiatrists each.
FLEISS_1971 = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006
10050 11040 03300 10050 02031 00501 30012 51000 02040 10203
00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""
# AIAG, Measurement Systems Analysis, 4th edition, chapter III section C: the cross tables
# (first bad: second bad, good; first good: second bad, good) of 50 parts in 3 trials.
AIAG_TABLES = {
    "A with B": (((44, 6), (3, 97)), 0.863),
    "B with C": (((42, 5), (9, 94)), 0.788),
    "A with C": (((43, 7), (8, 92)), 0.776),
    "A with reference": (((45, 5), (3, 97)), 0.879),
    "B with reference": (((45, 2), (3, 100)), 0.923),
    "C with reference": (((42, 9), (6, 93)), 0.774),
}
# Its other figures: miss rate and false alarm rate in percent.
AIAG_RATES = {
    "A with reference": (6.3, 4.9),
    "B with reference": (6.3, 2.0),
    "C with reference": (12.5, 8.8),
}


def spread_out(table: tuple[tuple[int, int], tuple[int, int]]) -> np.ndarray:
    """A cross table as one table a decision: every decision on a part of its own."""
    single = []
    for first in (0, 1):
        for second in (0, 1):
            for _ in range(table[first][second]):
                one = np.zeros((2, 2), np.int64)
                one[first, second] = 1
                single.append(one)
    return np.array(single)


def study_of_tables(table: tuple[tuple[int, int], tuple[int, int]]) -> Study:
    """An appraiser against the reference, as in ``table`` (appraiser, reference)."""
    pairs = [(a, r) for a in (0, 1) for r in (0, 1) for _ in range(table[a][r])]
    decisions = np.array([[[a] for a, _ in pairs]], np.int8)
    return Study(
        parts=tuple(str(n) for n in range(len(pairs))),
        appraisers=("A",),
        reference=np.array([r for _, r in pairs], np.int8),
        decisions=decisions,
    )


# --- kappa --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AIAG_TABLES)
def test_cohens_kappa_of_the_aiag_example(name: str) -> None:
    table, kappa = AIAG_TABLES[name]
    assert round(cohen_kappa(spread_out(table)).value, 3) == kappa


def test_fleiss_kappa_of_the_1971_example() -> None:
    counts = np.array([[int(digit) for digit in row] for row in FLEISS_1971.split()])
    assert round(fleiss_kappa(counts).value, 3) == 0.430
    by_category = [
        round(fleiss_kappa(np.stack([counts[:, c], 6 - counts[:, c]], axis=1)).value, 3)
        for c in range(5)
    ]
    assert by_category == [0.245, 0.245, 0.520, 0.471, 0.566]


def plain_cohen(first: list[int], second: list[int]) -> float:
    """By counting, from the definition."""
    total = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / total
    said_first, said_second = Counter(first), Counter(second)
    expected = sum(said_first[k] * said_second[k] for k in (0, 1)) / total**2
    return math.nan if expected == 1 else (observed - expected) / (1 - expected)


def plain_fleiss(decisions: list[list[int]]) -> float:
    """By going through every pair of decisions on each part."""
    agreeing = pairs = 0
    for row in decisions:
        for a, b in combinations(row, 2):
            pairs += 1
            agreeing += a == b
    said = Counter(decision for row in decisions for decision in row)
    total = sum(said.values())
    expected = sum((count / total) ** 2 for count in said.values())
    observed = agreeing / pairs
    return math.nan if expected == 1 else (observed - expected) / (1 - expected)


def plain_jackknife(values: list[float], value: float, quantile: float) -> tuple[float, float]:
    n = len(values)
    mean = sum(values) / n
    error = math.sqrt((n - 1) / n * sum((v - mean) ** 2 for v in values))
    return max(-1.0, value - quantile * error), min(1.0, value + quantile * error)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 1), min_size=6, max_size=6), min_size=3, max_size=12))
def test_kappas_agree_with_plain_counting(rows: list[list[int]]) -> None:
    first = np.array([row[:3] for row in rows])
    second = np.array([row[3:] for row in rows])
    tables = np.zeros((len(rows), 2, 2), np.int64)
    for part, row in enumerate(rows):
        for a, b in zip(row[:3], row[3:], strict=True):
            tables[part, a, b] += 1
    found = cohen_kappa(tables)
    plain = plain_cohen([*first.flat], [*second.flat])
    assert found.value == pytest.approx(plain, nan_ok=True)
    counts = np.array([[row.count(0), row.count(1)] for row in rows])
    assert fleiss_kappa(counts).value == pytest.approx(plain_fleiss(rows), nan_ok=True)
    left_out = [
        plain_cohen([*np.delete(first, part, axis=0).flat], [*np.delete(second, part, axis=0).flat])
        for part in range(len(rows))
    ]
    if not any(map(math.isnan, [plain, *left_out])) and (first != second).any():
        from scipy.stats import t

        quantile = float(t.ppf(0.975, len(rows) - 1))
        low, high = plain_jackknife(left_out, plain, quantile)
        assert (found.low, found.high) == pytest.approx((low, high))


def test_perfect_agreement_still_has_an_interval() -> None:
    tables = spread_out(((25, 0), (0, 25)))
    kappa = cohen_kappa(tables)
    share = 0.025 ** (1 / 50)  # the exact lower end of 50 of 50
    assert (kappa.value, kappa.high) == (1.0, 1.0)
    assert kappa.low == pytest.approx((share - 0.5) / 0.5)


def test_one_kind_of_decision_gives_no_kappa() -> None:
    kappa = cohen_kappa(spread_out(((0, 0), (0, 9))))
    assert math.isnan(kappa.value) and math.isnan(kappa.low)
    only_one_bad = cohen_kappa(spread_out(((1, 0), (0, 9))))
    assert only_one_bad.value == 1.0 and math.isnan(only_one_bad.low)


def test_kappa_refuses_what_is_no_table() -> None:
    with pytest.raises(ValueError, match="cross tables"):
        cohen_kappa(np.zeros((2, 2), np.int64))
    with pytest.raises(ValueError, match="same number of decisions"):
        fleiss_kappa(np.array([[1, 1], [1, 2]]))


# --- the figures ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", AIAG_RATES)
def test_miss_and_false_alarm_rates_of_the_aiag_example(name: str) -> None:
    table, kappa = AIAG_TABLES[name]
    result = analyse(study_of_tables(table)).appraisers[0]
    miss, alarm = AIAG_RATES[name]
    assert 100 * result.miss_rate.value == pytest.approx(miss, abs=0.0501)
    assert 100 * result.false_alarm_rate.value == pytest.approx(alarm, abs=0.0501)
    assert (result.miss_rate.of, result.false_alarm_rate.of) == (48, 102)
    assert round(result.kappa.value, 3) == kappa
    assert result.grades["kappa"] is (Grade.ACCEPTABLE if kappa >= 0.9 else Grade.MARGINAL)


def test_aiag_effectiveness_and_its_exact_interval() -> None:
    """42, 45 and 40 of 50 parts: 84, 90 and 80 %, as the manual has them."""
    for right, percent, low, high in ((42, 84, 71, 93), (45, 90, 78, 97), (40, 80, 66, 90)):
        reference = np.array([BAD] * 16 + [GOOD] * 34, np.int8)
        decisions = np.tile(reference[:, None], (1, 3))
        decisions[-(50 - right) :, 1] = BAD
        study = Study(
            parts=tuple(str(n) for n in range(50)),
            appraisers=("A",),
            reference=reference,
            decisions=decisions[None],
        )
        share = analyse(study).appraisers[0].effectiveness
        assert round(100 * share.value) == percent
        assert (round(100 * share.low), round(100 * share.high)) == (low, high)


def sample_study() -> Study:
    """Four parts, two appraisers, two trials; B misses part 1 once and doubts part 3 always."""
    reference = np.array([BAD, BAD, GOOD, GOOD], np.int8)
    a = np.tile(reference[:, None], (1, 2))
    b = a.copy()
    b[1, 1] = GOOD
    b[3] = BAD
    return Study(
        parts=("p0", "p1", "p2", "p3"),
        appraisers=("A", "B"),
        reference=reference,
        decisions=np.stack([a, b]),
    )


def test_figures_of_a_small_study() -> None:
    result = analyse(sample_study())
    a, b = result.appraisers
    assert (a.effectiveness.value, a.kappa.value, a.grade) == (1.0, 1.0, Grade.ACCEPTABLE)
    assert (b.effectiveness.count, b.right_decisions.count) == (2, 5)
    assert (b.miss_rate.count, b.miss_rate.of) == (1, 4)
    assert (b.false_alarm_rate.count, b.false_alarm_rate.of) == (2, 4)
    assert (b.bad_parts_missed.count, b.bad_parts_missed.of) == (1, 2)
    assert (b.repeatability.count, b.grade) == (3, Grade.UNACCEPTABLE)
    assert result.grade is Grade.UNACCEPTABLE
    assert (result.all_agree.count, result.all_right.count) == (2, 2)
    assert result.pairs[0].kappa.value == b.kappa.value  # A is always right
    assert not any(a.shown.values())  # four parts show nothing
    assert any("149" in remark or "183" in remark for remark in result.remarks)


def test_a_study_needs_both_kinds() -> None:
    study = sample_study()
    for kind, word in ((BAD, "good"), (GOOD, "bad")):
        only = Study(
            parts=study.parts,
            appraisers=study.appraisers,
            reference=np.full(4, kind, np.int8),
            decisions=study.decisions,
        )
        with pytest.raises(UsageError, match=f"no {word} parts"):
            analyse(only)


def test_report_shows_and_escapes_everything() -> None:
    study = sample_study()
    nasty = Study(
        parts=("<b>", *study.parts[1:]),
        appraisers=("A&<script>", "B"),
        reference=study.reference,
        decisions=study.decisions,
    )
    text = report_html(nasty, analyse(nasty), title="T<i>", remark="r<u>").decode()
    assert "A&amp;&lt;script&gt;" in text and "T&lt;i&gt;" in text and "r&lt;u&gt;" in text
    assert "<script>" not in text and "<b>" not in text
    assert text.count("<svg") == 5
    assert "part p1, trial 2: missed" in text and "part p3, trial 1: false alarm" in text


# --- files ----------------------------------------------------------------------------------


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


HEADER = "part,reference,appraiser,trial,decision"


def test_reading_back_what_was_planned(tmp_path: Path) -> None:
    parts = read_parts(write(tmp_path / "parts.csv", "part,reference", "1,ok", "2,NOK", "3,1"))
    assert parts == [("1", GOOD), ("2", BAD), ("3", GOOD)]
    rows = plan_rows(parts, ["A", "B"], trials=2, seed=3)
    assert rows == plan_rows(parts, ["A", "B"], trials=2, seed=3)
    assert len({(row.part, row.appraiser, row.trial) for row in rows}) == 12
    sheet = tmp_path / "sheet.csv"
    sheet.write_bytes(write_rows(rows))
    again = read_rows(sheet, allow_open=True)
    assert [(r.part, r.appraiser, r.trial) for r in again] == [
        (r.part, r.appraiser, r.trial) for r in rows
    ]
    with pytest.raises(ConfigError, match=r"sheet\.csv:2: decision is missing"):
        read_rows(sheet)


def test_blind_sheets_get_their_references_from_the_list(tmp_path: Path) -> None:
    parts = {"1": GOOD, "2": BAD}
    rows = plan_rows(list(parts.items()), ["A"], trials=1, seed=1)
    sheet = tmp_path / "blind.csv"
    sheet.write_bytes(write_rows(rows, blind=True))
    assert "good" not in sheet.read_text() and "reference" not in sheet.read_text()
    assert [row.reference for row in read_rows(sheet, allow_open=True, references=parts)] == [
        row.reference for row in rows
    ]
    with pytest.raises(ConfigError, match="column reference is missing"):
        read_rows(sheet, allow_open=True)
    with pytest.raises(ConfigError, match=r"part is '2'; expected a part from the list"):
        read_rows(sheet, allow_open=True, references={"1": GOOD})
    open_sheet = tmp_path / "open.csv"
    open_sheet.write_bytes(write_rows(rows))
    assert read_rows(open_sheet, allow_open=True, references=parts)
    with pytest.raises(ConfigError, match=r"reference of 2 is 'bad'; expected good, as in the"):
        read_rows(open_sheet, allow_open=True, references={"1": GOOD, "2": GOOD})


def test_semicolons_and_columns_in_any_order(tmp_path: Path) -> None:
    file = write(
        tmp_path / "s.csv",
        "\ufeffDecision; Trial;Appraiser;Reference;Part;remark",
        "pass;1;A;good;7;",
        "reject;1;A;bad;8;scratch, deep",
    )
    study = read_study([file])
    assert study.parts == ("7", "8")
    assert study.decisions.tolist() == [[[GOOD], [BAD]]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["part,reference,appraiser,trial"], r":1: the column decision is missing"),
        ([HEADER + ",part", "1,good,A,1,good,1"], r":1: the column part is given twice"),
        ([HEADER, "1,good,A,1,perhaps"], r":2: decision is 'perhaps'; expected good or bad"),
        ([HEADER, "1,good,A,one,good"], r":2: trial is 'one'"),
        ([HEADER, "1,good,A,0,good"], r":2: trial is '0'"),
        ([HEADER, ",good,A,1,good"], r":2: part is missing"),
        ([HEADER, "1,good,A,1"], r":2: the line is of 4 cells; expected 5 cells"),
        ([HEADER, "1,good,A,1,good", "1,bad,B,1,good"], r":3: reference of 1 is 'bad'"),
        ([HEADER, "1,good,A,1,good", "1,good,A,1,good"], r":3: the decision is given twice"),
        ([HEADER, '1,"good,A,1,good'], r"the line is broken"),
        ([HEADER], r"the file is without decisions"),
        ([""], r"the column part is missing"),
    ],
)
def test_wrong_files_are_named_with_their_line(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_study([write(tmp_path / "s.csv", *lines)])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing"):
        read_study([tmp_path / "none.csv"])
    with pytest.raises(ConfigError, match="a folder"):
        read_study([tmp_path])
    (tmp_path / "latin.csv").write_bytes(HEADER.encode() + b"\n1,good,J\xf6rg,1,good\n")
    with pytest.raises(ConfigError, match=r"latin\.csv:2: the encoding is not UTF-8"):
        read_study([tmp_path / "latin.csv"])
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(ConfigError, match="empty"):
        read_study([tmp_path / "empty.csv"])


def test_an_incomplete_study_names_what_is_missing(tmp_path: Path) -> None:
    lines = [HEADER, "1,good,A,1,good", "2,bad,A,1,bad", "1,good,B,1,good"]
    with pytest.raises(UsageError, match="B has no decision for part 2 in trial 1"):
        read_study([write(tmp_path / "s.csv", *lines)])


# --- commands -------------------------------------------------------------------------------


def run(*arguments: object, expect: int = 0) -> None:
    words = [str(word) for word in arguments]
    assert run_command_line(application, program="edgeinspect", arguments=words) == expect


@pytest.fixture
def recorded_parts(tmp_path: Path) -> Path:
    """A data directory with eight parts, two of which the gate let pass."""
    folder = tmp_path / "data"
    with RecordWriter(folder, clock=StepClock(), draw=no_gap) as writer:
        ids = writer.reserve_part_ids()
        writer.write([sample_entry(part_id) for part_id in ids[:8]])
    return folder


def last_json(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    line = capsys.readouterr().out.splitlines()[-1]
    found: dict[str, object] = json.loads(line)
    return found


def test_the_whole_way_of_a_study(
    tmp_path: Path, recorded_parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plan, the station's decisions from its records, a person's by hand, the report."""
    with RecordReader(recorded_parts) as reader:
        outcomes = [part.record.gate_outcome for part in reader.parts()]
    passed = [outcome is GateOutcome.PASSED for outcome in outcomes]
    assert 0 < sum(passed) < len(passed)
    parts = write(
        tmp_path / "parts.csv",
        "part,reference",
        *(f"{n},good" for n in range(len(passed) - 1)),
        "last,bad",
    )
    sheet = tmp_path / "sheet.csv"
    run("study", "plan", parts, "--appraiser", "station", "--trials", 1, "-o", sheet, "--json")
    assert last_json(capsys)["decisions"] == len(passed)
    run("study", "plan", parts, "--appraiser", "station", "-o", sheet, expect=2)
    run("study", "station", sheet, "--data-dir", recorded_parts, "--from", 2, expect=2)
    assert "are missing, but" in capsys.readouterr().err
    run("study", "station", sheet, "--data-dir", recorded_parts, "--from", 1, "--json")
    assert last_json(capsys) == {"file": str(sheet), "filled": len(passed), "still_open": 0}
    decided = [row.decision for row in read_rows(sheet)]
    assert decided == [GOOD if was else BAD for was in passed]
    html = tmp_path / "study.html"
    run("study", "report", sheet, "--html", html, "--json", expect=1)
    printed = last_json(capsys)
    assert printed["grade"] == "unacceptable" and html.read_bytes().startswith(b"<!doctype html>")
    blind = tmp_path / "blind.csv"
    run("study", "plan", parts, "--appraiser", "x", "--trials", 1, "--blind", "-o", blind)
    from_records = ("--data-dir", recorded_parts, "--from", 1, "--appraiser", "x")
    run("study", "station", blind, *from_records, "--parts", parts)
    assert "reference" not in blind.read_text()
    run("study", "report", sheet, blind, "--parts", parts, "--json", expect=1)
    assert len(last_json(capsys)["appraisers"]) == 2  # type: ignore[arg-type]
    run("study", "report", sheet, expect=1)
    assert "station" in capsys.readouterr().out


def test_a_good_study_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{n},{'bad' if n % 2 else 'good'},A,1,{'bad' if n % 2 else 'good'}" for n in range(8)]
    run("study", "report", write(tmp_path / "s.csv", HEADER, *lines), "--json")
    printed = last_json(capsys)
    assert printed["grade"] == "acceptable" and printed["kappa_between"] is None
