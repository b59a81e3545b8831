"""Replaying recorded scores: exactly the line's verdicts, for any thresholds."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from edgeinspect.errors import StorageFault, UsageError
from edgeinspect.labels.label_store import Label, LabelKind, LabelStore
from edgeinspect.line.config import ClassThresholds
from edgeinspect.line.scores import ORDER_STATISTIC_RANKS, ReducerKind
from edgeinspect.line.verdict import judge_scores
from edgeinspect.part import Doubt, Verdict, VerdictKind
from edgeinspect.records import PartFilter, RecordReader
from edgeinspect.records.judge_many import judge_many, reduce_again
from edgeinspect.records.score_table import VERDICTS, ScoreColumns, latest_classes, read_scores
from edgeinspect.tune.whatif import WhatIf, cells_for_area, what_if, with_thresholds
from tests.helpers.records_samples import START_WALL, StepClock
from tests.helpers.score_samples import (
    CLASSES,
    THRESHOLDS,
    random_scores,
    scored_record,
    write_parts,
)

SCORES = st.one_of(
    st.sampled_from([0.0, 0.25, 0.3, 0.4, 0.5, 0.6, 1.0, -0.1, 1.1, math.nan, math.inf]),
    st.floats(0, 1),
)
LIMITS = st.tuples(st.sampled_from([0, 0.25, 0.5, 1]), st.floats(0, 1)).map(sorted)


@given(st.data())
def test_many_are_judged_as_one_is(data: st.DataObject) -> None:
    classes = data.draw(st.integers(1, 4))
    thresholds = [
        ClassThresholds(name=f"c{n}", review=low, reject=high)
        for n, (low, high) in enumerate(
            data.draw(st.lists(LIMITS, min_size=classes, max_size=classes))
        )
    ]
    rows = data.draw(
        st.lists(st.lists(SCORES, min_size=classes, max_size=classes), min_size=1, max_size=6)
    )
    codes, deciding = judge_many(np.array(rows), thresholds)
    for row, code, column in zip(rows, codes, deciding, strict=True):
        verdict = judge_scores(row, thresholds)
        assert VERDICTS[code] is verdict.kind
        assert (thresholds[column].name if column >= 0 else "") == verdict.defect_class


def columns_of(data_dir: Path, wanted: PartFilter | None = None, **options: Any) -> ScoreColumns:
    with RecordReader(data_dir) as reader:
        return read_scores(reader, wanted or PartFilter(), **options)


def test_columns_are_what_was_recorded(tmp_path: Path) -> None:
    scores = random_scores(1200, seed=1)
    records = [scored_record(n, row) for n, row in enumerate(scores, 1)]
    late = replace(records[5], verdict=Verdict(VerdictKind.CANNOT_INSPECT, doubt=Doubt.LATE))
    unseen = replace(records[6], verdict=late.verdict, inspection=None)
    records[5:7] = [late, unseen]
    write_parts(tmp_path, records)
    columns = columns_of(tmp_path, with_order_statistics=True)
    judged = [record for record in records if record.verdict.doubt is None]
    assert columns.part_ids.tolist() == [record.part_id for record in judged]
    assert columns.scores.tolist() == [list(r.inspection.scores) for r in judged if r.inspection]
    assert [VERDICTS[code] for code in columns.verdicts] == [r.verdict.kind for r in judged]
    assert (columns.parts, columns.cannot_inspect) == (1200, {"late": 2})
    assert columns.order_statistics is not None
    assert columns.order_statistics.shape == (1198, 2, len(ORDER_STATISTIC_RANKS))
    assert np.allclose(columns.order_statistics[:, :, 0], columns.scores)
    only = columns_of(tmp_path, PartFilter(from_part_id=11, to_part_id=20))
    assert only.part_ids.tolist() == list(range(11, 21))
    since = columns_of(tmp_path, PartFilter(since_wall=START_WALL.replace(year=2030)))
    assert (len(since), since.parts) == (0, 0)


def test_recipes_with_other_or_reordered_classes(tmp_path: Path) -> None:
    write_parts(tmp_path, [scored_record(n, [0.1, 0.2]) for n in range(1, 4)])
    turned = [scored_record(n, [0.3, 0.4], digest="d2" * 32) for n in range(4, 6)]
    write_parts(tmp_path, turned, classes=("pit", "scratch"), digest="d2" * 32)
    one = (ClassThresholds(name="chip", review=0.5, reject=0.6),)
    other = [scored_record(6, [0.9], thresholds=one, digest="d3" * 32)]
    write_parts(tmp_path, other, classes=("chip",), digest="d3" * 32)
    with RecordReader(tmp_path) as reader:
        assert latest_classes(reader) == ("chip",)
        columns = read_scores(reader, classes=CLASSES, with_order_statistics=True)
    assert columns.part_ids.tolist() == [1, 2, 3, 4, 5]
    assert columns.scores.tolist() == [[0.1, 0.2]] * 3 + [[0.4, 0.3]] * 2
    assert columns.order_statistics is not None
    assert columns.order_statistics[:, 0, 0] == pytest.approx([0.1, 0.1, 0.1, 0.4, 0.4])
    assert columns.other_classes == 1


def test_an_empty_database_gives_empty_columns(tmp_path: Path) -> None:
    write_parts(tmp_path, [])
    columns = columns_of(tmp_path, with_order_statistics=True)
    assert (columns.classes, len(columns), columns.parts) == ((), 0, 0)


def test_scores_that_are_no_numbers_stay_cannot_inspect(tmp_path: Path) -> None:
    records = [scored_record(1, [0.1, 0.2]), scored_record(2, [math.nan, 0.2])]
    assert records[1].verdict.doubt is Doubt.ENGINE_FAILED
    write_parts(tmp_path, records)
    found = what_if(columns_of(tmp_path), THRESHOLDS)
    assert (found.after.cannot_inspect, found.after.passed, found.flips) == (1, 1, {})


def test_a_damaged_row_is_one_clear_error(tmp_path: Path) -> None:
    import sqlite3

    write_parts(tmp_path, [scored_record(1, [0.1, 0.2])])
    with sqlite3.connect(tmp_path / "records.sqlite3") as connection:
        connection.execute("UPDATE parts SET scores = '[0.1]'")
    connection.close()
    with pytest.raises(StorageFault, match="scores of a part between 1 and 1"):
        columns_of(tmp_path)


@settings(max_examples=20, deadline=None)
@given(limits=st.lists(LIMITS, min_size=2, max_size=2), seed=st.integers(0, 99))
def test_prediction_is_the_lines_own_verdict(
    limits: list[list[float]], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    scores = random_scores(60, seed=seed)
    write_parts(folder, [scored_record(n, row) for n, row in enumerate(scores, 1)])
    new = [
        ClassThresholds(name=name, review=low, reject=high)
        for name, (low, high) in zip(CLASSES, limits, strict=True)
    ]
    found = what_if(columns_of(folder), new[::-1])
    assert [VERDICTS[c] for c in found.verdicts] == [judge_scores(r, new).kind for r in scores]


def labelled(part_id: int, kind: LabelKind) -> Label:
    return Label(
        label_id=part_id,
        part_id=part_id,
        kind=kind,
        defect_class="",
        author="a",
        labelled_wall=START_WALL,
        note="",
    )


def eight_parts(folder: Path) -> ScoreColumns:
    """Scores of scratch 0.1 to 0.8; pit is 0. Rejected from part 6 on, review from part 4."""
    write_parts(folder, [scored_record(n, [n / 10, 0.0]) for n in range(1, 9)])
    return columns_of(folder)


def predicted(columns: ScoreColumns, review: float, reject: float, **options: object) -> WhatIf:
    limits = with_thresholds(THRESHOLDS, {"scratch": (review, reject)})
    return what_if(columns, limits, **options)  # type: ignore[arg-type]


def test_counts_flips_and_labels(tmp_path: Path) -> None:
    columns = eight_parts(tmp_path)
    labels = {n: labelled(n, LabelKind.GOOD) for n in (1, 2, 3, 6)}
    labels |= {n: labelled(n, LabelKind.DEFECTIVE) for n in (5, 7, 8, 99)}
    labels[4] = labelled(4, LabelKind.UNSURE)
    found = predicted(columns, 0.65, 0.75, labels=labels)
    before, after = found.before, found.after
    assert (before.passed, before.reviews, before.rejects) == (3, 2, 3)
    assert (after.passed, after.reviews, after.rejects) == (6, 1, 1)
    assert (before.rejects_by_class, after.rejects_by_class) == ({"scratch": 3}, {"scratch": 1})
    assert found.flips == {("REVIEW", "PASS"): 2, ("REJECT", "PASS"): 1, ("REJECT", "REVIEW"): 1}
    assert found.flipped_part_ids.tolist() == [4, 5, 6, 7]
    assert (before.escapes.count, before.escapes.of) == (0, 3)
    assert (after.escapes.count, after.escapes.of) == (1, 3)
    assert (before.false_rejects.count, after.false_rejects.count) == (1, 0)
    exact = stats.binomtest(1, 3).proportion_ci(method="exact")
    assert after.escapes.interval95 == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert after.yield_share == 6 / 8
    reported = found.as_dict()
    assert reported["flipped_parts"][0] == {"part_id": 4, "from": "REVIEW", "to": "PASS"}
    assert reported["after"]["yield"] == 0.75


def test_reviews_that_the_gate_lets_through(tmp_path: Path) -> None:
    columns = eight_parts(tmp_path)
    labels = {4: labelled(4, LabelKind.GOOD), 5: labelled(5, LabelKind.DEFECTIVE)}
    diverted = predicted(columns, 0.4, 0.6, labels=labels)
    through = predicted(columns, 0.4, 0.6, labels=labels, review_passes=True)
    assert (diverted.after.delivered, through.after.delivered) == (3, 5)
    assert (diverted.after.escapes.count, through.after.escapes.count) == (0, 1)
    assert (diverted.after.false_rejects.count, through.after.false_rejects.count) == (1, 0)


def test_all_unlabelled_says_nothing_of_escapes(tmp_path: Path) -> None:
    after = predicted(eight_parts(tmp_path), 0.4, 0.6).after
    assert (after.escapes.of, after.escapes.rate) == (0, None)
    assert after.escapes.interval95 == (0.0, 1.0)


def test_wrong_thresholds_are_refused(tmp_path: Path) -> None:
    columns = eight_parts(tmp_path)
    with pytest.raises(UsageError, match=r"review 0\.7 and reject 0\.6"):
        predicted(columns, 0.7, 0.6)
    with pytest.raises(UsageError, match="Unknown class 'crack'; known classes: scratch, pit"):
        with_thresholds(THRESHOLDS, {"crack": (None, 0.5)})
    with pytest.raises(UsageError, match="the recorded scores are for pit, scratch"):
        what_if(columns, THRESHOLDS[:1])


# --- reducers from order statistics ---------------------------------------------------------


def order_statistics(values: NDArray[np.float32]) -> list[float]:
    ordered = np.sort(values)[::-1]
    return [float(ordered[min(rank, len(ordered)) - 1]) for rank in ORDER_STATISTIC_RANKS]


@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, 256),
    kind=st.sampled_from([ReducerKind.KTH_LARGEST, ReducerKind.MEAN_TOP_K]),
)
def test_bounds_hold_the_true_reduced_score(seed: int, k: int, kind: ReducerKind) -> None:
    random = np.random.default_rng(seed)
    values = random.beta(0.5, 3, 400)
    kept = np.array([[order_statistics(values.astype(np.float32))]], np.float32)
    low, high = reduce_again(kept, kind, k)
    ordered = np.sort(values)[::-1]
    true = ordered[k - 1] if kind is ReducerKind.KTH_LARGEST else ordered[:k].mean()
    assert low[0, 0] <= true <= high[0, 0]
    if kind is ReducerKind.KTH_LARGEST and k in ORDER_STATISTIC_RANKS:
        assert high[0, 0] - low[0, 0] < 1e-6


def test_a_reducer_that_was_not_kept_is_refused() -> None:
    with pytest.raises(UsageError, match="without order statistics"):
        reduce_again(np.empty((3, 2, 0), np.float32), ReducerKind.MAX, 1)
    with pytest.raises(UsageError, match="recorded only up to rank 256"):
        reduce_again(np.zeros((1, 1, 9), np.float32), ReducerKind.KTH_LARGEST, 257)


def test_a_minimum_defect_size_lets_small_spots_pass(tmp_path: Path) -> None:
    """One hot cell is no defect of 4 cells; what lies between two ranks is uncertain."""
    spot = [[0.9, *[0.1] * 8], [0.0] * 9]
    blob = [[0.9, 0.9, 0.9, 0.9, *[0.1] * 5], [0.0] * 9]
    between = [[0.9, 0.9, *[0.1] * 7], [0.0] * 9]
    records = [
        scored_record(n, [0.9, 0.0], order_statistics=order)
        for n, order in enumerate((spot, blob, between), 1)
    ]
    write_parts(tmp_path, records)
    columns = columns_of(tmp_path, with_order_statistics=True)
    four = what_if(columns, THRESHOLDS, reducer=(ReducerKind.KTH_LARGEST, 4))
    assert (four.after.rejects, four.uncertain) == (1, 0)
    assert four.flipped_part_ids.tolist() == [1, 3]
    three = what_if(columns, THRESHOLDS, reducer=(ReducerKind.KTH_LARGEST, 3))
    assert (three.after.rejects, three.uncertain) == (2, 1)  # in doubt taken for the worse


def test_cells_of_an_area() -> None:
    assert [cells_for_area(area, 4.0) for area in (0.1, 16, 16.1, 64)] == [1, 1, 2, 4]
    with pytest.raises(UsageError):
        cells_for_area(0, 4.0)


# --- labels ---------------------------------------------------------------------------------


def test_labels_keep_their_history(tmp_path: Path) -> None:
    clock = StepClock()
    with LabelStore(tmp_path, now_wall=clock.now_wall) as store:
        assert store.current() == {}
        assert not (tmp_path / "labels.sqlite3").exists()
        store.add(7, LabelKind.DEFECTIVE, author="a", defect_class="pit", note="edge")
        store.add(8, LabelKind.UNSURE, author="a")
        last = store.add(7, LabelKind.GOOD, author="b")
    with LabelStore(tmp_path) as store:
        assert store.current()[7] == last
        said = [(label.kind, label.author, label.defect_class) for label in store.history(7)]
        assert said == [(LabelKind.DEFECTIVE, "a", "pit"), (LabelKind.GOOD, "b", "")]
        assert last.as_dict()["label"] == "good"


def test_a_labelled_picture_outlives_the_ring(tmp_path: Path) -> None:
    picture = tmp_path / "images" / "0" / "7.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"png")
    with LabelStore(tmp_path) as store:
        store.add(7, LabelKind.GOOD, author="a", picture=picture)
        picture.unlink()
        store.add(7, LabelKind.DEFECTIVE, author="a", picture=picture)
        kept = store.picture(7)
        assert kept is not None
        assert kept.read_bytes() == b"png"
        assert store.picture(8) is None


@pytest.mark.parametrize(
    "author, kind, defect_class, note",
    [
        ("", LabelKind.GOOD, "", ""),
        ("a", LabelKind.GOOD, "pit", ""),
        ("a", LabelKind.DEFECTIVE, "two\nlines", ""),
        ("a", LabelKind.DEFECTIVE, "", "x" * 201),
    ],
)
def test_labels_that_cannot_be_kept(
    tmp_path: Path, author: str, kind: LabelKind, defect_class: str, note: str
) -> None:
    with LabelStore(tmp_path) as store, pytest.raises(UsageError):
        store.add(1, kind, author=author, defect_class=defect_class, note=note)
    with LabelStore(tmp_path) as store:
        assert store.current() == {}


def test_labels_without_a_data_directory(tmp_path: Path) -> None:
    with LabelStore(tmp_path / "none") as store, pytest.raises(StorageFault):
        store.add(1, LabelKind.GOOD, author="a")
