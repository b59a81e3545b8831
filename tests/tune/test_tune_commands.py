"""``edgeinspect tune`` and ``edgeinspect label`` end to end, on recorded parts."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeinspect.bundle.directory import load_bundle
from edgeinspect.bundle.shipped import SIM_BUNDLE, shipped_bundle
from edgeinspect.cli.application import run_command_line
from edgeinspect.cli.main import application
from edgeinspect.labels.label_queue import DISAGREES, NEAR, RARE, label_queue
from edgeinspect.labels.label_store import LabelKind, LabelStore
from edgeinspect.line.config import ClassThresholds, FrameChecks
from edgeinspect.line.verdict import judge_scores
from edgeinspect.part import (
    Doubt,
    Frame,
    FrameMeta,
    Inspection,
    PartRecord,
    Verdict,
    VerdictKind,
)
from edgeinspect.records import PartFilter, RecordReader
from edgeinspect.records.score_table import VERDICTS, read_scores
from edgeinspect.runtime.plan import StationPlan, bundle_recipe, make_plan
from edgeinspect.settings.station_file import example_station
from edgeinspect.tune.comparable import (
    Scoring,
    comparable_ids,
    only,
    recorded_recipes,
    thresholds_of,
)
from edgeinspect.tune.rescore import rescore
from tests.helpers.json_command import json_of
from tests.helpers.records_samples import sample_inspection
from tests.helpers.score_samples import random_scores, scored_record, write_parts

BUNDLE = load_bundle(shipped_bundle(SIM_BUNDLE))
CLASSES = BUNDLE.card.defect_classes


def plan_of(**changes: Any) -> StationPlan:
    recipe = bundle_recipe(BUNDLE, product="bolt").model_copy(update=changes)
    return make_plan(example_station("normally-rejecting", data_dir=Path("/none")), recipe, BUNDLE)


PLAN = plan_of()
LIMITS = PLAN.config.thresholds


def recorded(rows: Sequence[Sequence[float]], *, plan: StationPlan = PLAN) -> list[PartRecord]:
    limits = plan.config.thresholds
    return [
        scored_record(n, row, thresholds=limits, digest=plan.digest)
        for n, row in enumerate(rows, 1)
    ]


def write(
    folder: Path, records: list[PartRecord], *, plan: StationPlan = PLAN, pictures: bool = False
) -> None:
    write_parts(
        folder,
        records,
        classes=CLASSES,
        document=plan.document,
        digest=plan.digest,
        pictures=pictures,
    )


@pytest.fixture
def run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs a command on the records in ``tmp_path`` and gives its JSON object."""

    def call(*words: object, expect: int = 0) -> dict[str, Any]:
        return json_of(capfd, *words, "--data-dir", tmp_path, expect=expect)

    return call


# --- what-if ----------------------------------------------------------------------------------


def test_predictions_equal_the_lines_verdicts_for_ten_thousand_parts(
    tmp_path: Path, run: Any
) -> None:
    rows = random_scores(10_000, seed=5, classes=len(CLASSES))
    write(tmp_path, recorded(rows))
    same = run("tune", "what-if")
    assert (same["flips"], same["parts"]) == (0, 10_000)
    new = ("--reject", 0.99, "--review", 0.9, "--reject", "pit=0.5", "--review", "pit=0.25")
    printed = run("tune", "what-if", *new, "--list", 20_000)
    limits = [
        ClassThresholds(name=name, review=0.25, reject=0.5)
        if name == "pit"
        else ClassThresholds(name=name, review=0.9, reject=0.99)
        for name in CLASSES
    ]
    was = {n: judge_scores(row, LIMITS).kind for n, row in enumerate(rows, 1)}
    now = {n: judge_scores(row, limits).kind for n, row in enumerate(rows, 1)}
    flips = {part["part_id"]: (part["from"], part["to"]) for part in printed["flipped_parts"]}
    assert flips == {n: (was[n], now[n]) for n in was if was[n] != now[n]}
    assert printed["after"]["rejects"] == sum(kind == "REJECT" for kind in now.values())
    assert printed["after"]["yield"] == sum(kind == "PASS" for kind in now.values()) / 10_000


def test_wrong_what_ifs(tmp_path: Path, run: Any) -> None:
    assert run("tune", "what-if", expect=6)["error"]["type"] == "StorageFault"
    write(tmp_path, [])
    assert (
        "None of the selected parts was scored."
        in run("tune", "what-if", expect=1)["error"]["message"]
    )
    write(tmp_path, recorded([[0.1] * len(CLASSES)]))
    for words, code, found in (
        (("--review", 0.99, "--reject", 0.5), 2, "review 0.99 and reject 0.5"),
        (("--reject", "high"), 2, "is not a threshold"),
        (("--reject", "crak=0.5"), 2, "Unknown class 'crak'"),
        (("--reducer", "median"), 2, "is not a reducer"),
        (("--reducer", "kth_largest:300"), 2, "recorded only up to rank 256"),
        (("--reducer", "max", "--min-area", 3), 2, "--min-area sets the reducer"),
        (("--min-area", -1), 2, "not in the range x>=0"),
        (("--roi", "1,2,3,4"), 2, "need --pictures"),
        (("--revision", 7), 2, "no revision 7"),
        (("--since", "2h", "--until", "3h"), 1, "None of the selected parts was scored."),
    ):
        message = run("tune", "what-if", *words, expect=code)["error"]["message"]
        assert found in message, words


def test_reducer_and_least_area(tmp_path: Path, run: Any) -> None:
    """The shipped model's map has a cell every few pixels; one hot cell is a small spot."""
    records = recorded([[0.99] + [0.0] * (len(CLASSES) - 1)] * 2)
    rest = [[0.0] * 9] * (len(CLASSES) - 1)
    for index, order in enumerate(([0.99] + [0.1] * 8, [0.99] * 9)):
        row = [0.99, *[0.0] * (len(CLASSES) - 1)]
        records[index] = scored_record(
            index + 1, row, thresholds=LIMITS, digest=PLAN.digest, order_statistics=[order, *rest]
        )
    write(tmp_path, records)
    stride = BUNDLE.card.output.stride_px
    assert stride is not None
    printed = run("tune", "what-if", "--min-area", 4 * stride**2)
    assert [part["part_id"] for part in printed["flipped_parts"]] == [1]
    mean = run("tune", "what-if", "--reducer", "mean_top_k:2")
    assert [part["part_id"] for part in mean["flipped_parts"]] == [1]
    assert mean["uncertain"] == 0


def test_parts_of_another_model_or_region_are_left_out(tmp_path: Path, run: Any) -> None:
    from edgeinspect.settings.recipe import RoiBox

    other = plan_of(roi=RoiBox(x=0, y=0, width=64, height=64))
    assert other.digest != PLAN.digest
    write(tmp_path, recorded([[0.1] * len(CLASSES)] * 3, plan=other), plan=other)
    later = [
        scored_record(n, [0.2] * len(CLASSES), thresholds=LIMITS, digest=PLAN.digest)
        for n in range(4, 6)
    ]
    write(tmp_path, later)
    printed = run("tune", "what-if")
    assert (printed["parts"], printed["other_classes"], printed["after"]["parts"]) == (5, 3, 2)
    with RecordReader(tmp_path) as reader:
        recipes = recorded_recipes(reader)
        columns = read_scores(reader)
    ids = comparable_ids(recipes, Scoring.of(PLAN.recipe))
    assert len(ids) == 1
    assert only(columns, ids).part_ids.tolist() == [4, 5]
    assert comparable_ids(recipes, Scoring("5a" * 32, None, None)) == set()
    reduced = Scoring(PLAN.bundle.digest, None, ("kth_largest", 4))
    assert comparable_ids(recipes, reduced) == set()
    assert comparable_ids(recipes, reduced, any_reducer=True) == ids


def test_pictures_are_scored_again(tmp_path: Path) -> None:
    """With an inspector that scores by the part's own id, which the test can know."""
    records = recorded([[0.1] * len(CLASSES)] * 6)
    write(tmp_path, records[:4], pictures=True)
    write(tmp_path, records[4:])
    calls: list[tuple[int, ...]] = []

    def inspect(frame: Frame) -> Inspection:
        calls.append(frame.pixels.shape)
        return sample_inspection(0.875)

    with RecordReader(tmp_path) as reader:
        found = rescore(
            reader, PartFilter(), inspect, classes=("scratch", "pit"), checks=FrameChecks()
        )
        dark = rescore(
            reader,
            PartFilter(),
            inspect,
            classes=("scratch", "pit"),
            checks=FrameChecks(limits={"mean_min": 200.0}),
            limit=2,
        )
    assert calls[0] == (24, 24)
    assert found.columns.part_ids.tolist() == [1, 2, 3, 4]
    assert found.columns.scores.tolist() == [[0.4375, 0.875]] * 4
    assert found.without_picture == 2
    assert dark.columns.part_ids.tolist() == [3, 4]
    assert np.isnan(dark.columns.scores).all()
    assert "too_dark" in dark.not_inspected[4]


def test_the_shipped_model_scores_pictures_as_the_station_did(tmp_path: Path, run: Any) -> None:
    from dataclasses import replace

    from edgeinspect.records import ImageKind, ImagePolicy, RecordEntry, RecordWriter
    from edgeinspect.runtime.models import open_inspectors
    from edgeinspect.settings.recipe import RoiBox
    from edgeinspect.sim.product import PART_ROI
    from edgeinspect.sim.renderer import render_part
    from tests.helpers.records_samples import StepClock

    x, y, width, height = PART_ROI
    plan = plan_of(roi=RoiBox(x=x, y=y, width=width, height=height))
    opened = open_inspectors(plan.bundle, engine=plan.station.engine, roi=plan.roi)
    entries = []
    for number in (1, 2):
        pixels = render_part(seed=3, part_number=number, defects=()).pixels
        inspection = opened.inspectors[0].inspect(Frame(FrameMeta(0, 0, 0), pixels))
        made = scored_record(number, inspection.scores, thresholds=LIMITS, digest=plan.digest)
        entries.append(
            RecordEntry(replace(made, inspection=inspection), ImageKind.PASS_SAMPLE, pixels)
        )
    opened.close()
    policy = ImagePolicy(min_free_bytes=0)
    with RecordWriter(tmp_path, clock=StepClock(), policy=policy, reserve_bytes=0) as writer:
        writer.register_recipe(plan.digest, classes=CLASSES, document=plan.document)
        writer.write(entries)
    same = run("tune", "what-if", "--pictures")
    assert (same["flips"], same["without_picture"], same["not_inspected"]) == (0, 0, 0)
    outside = run("tune", "what-if", "--pictures", "--roi", "9000,0,64,64")
    assert (outside["not_inspected"], outside["after"]["cannot_inspect"]) == (2, 2)


# --- suggest ----------------------------------------------------------------------------------


def labelled_parts(folder: Path, *, good: int, defective: int) -> None:
    """Good parts score up to 0.3, defective ones in the first class from 0.5 on."""
    random = np.random.default_rng(8)
    rows = [[float(s) for s in random.uniform(0, 0.3, len(CLASSES))] for _ in range(good)]
    rows += [
        [float(random.uniform(0.5, 1)), *random.uniform(0, 0.3, len(CLASSES) - 1)]
        for _ in range(defective)
    ]
    write(folder, recorded(rows))
    with LabelStore(folder) as store:
        for n in range(1, good + 1):
            store.add(n, LabelKind.GOOD, author="a")
        for n in range(good + 1, good + defective + 1):
            store.add(n, LabelKind.DEFECTIVE, author="a", defect_class=CLASSES[0])


def test_suggestions_for_the_whole_part_and_for_a_class(tmp_path: Path, run: Any) -> None:
    labelled_parts(tmp_path, good=120, defective=80)
    printed = run("tune", "suggest", "--max-false-rejects", 0.05)
    assert (printed["good"], printed["defective"]) == (120, 80)
    found = printed["suggestions"]["*"]
    assert found["method"] == "good-only"
    assert printed["needed"] == {"without_a_failure": 59, "rule_of_three": 60}
    assert found["false_rejects"]["upper_bound"] <= 0.05
    assert printed["settings"][0] == f"thresholds.*.reject={found['threshold']!r}"
    assert any("review" in setting for setting in printed["settings"])
    bound = run("tune", "suggest", "--max-escapes", 0.05, "--for", CLASSES[0])
    escape = bound["suggestions"][CLASSES[0]]
    assert escape["escapes"]["upper_bound"] <= 0.05
    assert escape["false_rejects"]["failures"] == 0
    costs = ("--escape-cost", 100, "--false-reject-cost", 1, "--defect-rate", 0.01)
    least = run("tune", "suggest", *costs)["suggestions"]["*"]
    assert least["expected_cost"] == 0.0
    assert 0.3 < least["threshold"] <= 0.51


def test_several_classes_hold_together(tmp_path: Path, run: Any) -> None:
    labelled_parts(tmp_path, good=200, defective=0)
    words = ("--max-false-rejects", 0.1, "--confidence", 0.9)
    both = run("tune", "suggest", *words, "--for", CLASSES[0], "--for", CLASSES[1])
    for name in CLASSES[:2]:
        evidence = both["suggestions"][name]["false_rejects"]
        assert evidence["confidence"] == pytest.approx(0.95)
        assert evidence["upper_bound"] <= 0.05


def test_what_the_data_cannot_show_is_refused(tmp_path: Path, run: Any) -> None:
    labelled_parts(tmp_path, good=58, defective=0)
    few = run("tune", "suggest", "--max-false-rejects", 0.05, expect=1)["error"]
    assert "59 parts without a failure are needed" in few["message"]
    assert "1 more" in few["message"]
    none = run("tune", "suggest", "--max-escapes", 0.05, expect=1)["error"]
    assert "no defective part" in none["message"]
    assert run("tune", "suggest", expect=2)["error"]["message"].startswith("Exactly one goal")
    assert run("tune", "suggest", "--escape-cost", 5, expect=2)
    assert run("tune", "suggest", "--max-escapes", 0.1, "--max-false-rejects", 0.1, expect=2)
    assert run("tune", "suggest", "--max-escapes", 0.1, "--for", "crak", expect=2)


def test_all_unlabelled(tmp_path: Path, run: Any) -> None:
    write(tmp_path, recorded([[0.1] * len(CLASSES), [0.2] * len(CLASSES)] * 40))
    printed = run("tune", "suggest", "--max-false-rejects", 0.05, expect=1)
    assert "None of the 80 parts is labelled" in printed["error"]["message"]
    assert "--all-good" in printed["error"]["next_action"]
    good = run("tune", "suggest", "--max-false-rejects", 0.05, "--all-good")
    assert good["good"] == 80
    assert 0.2 < good["suggestions"]["*"]["threshold"] < 0.3


def test_parts_that_count_for_nothing_are_named(tmp_path: Path, run: Any) -> None:
    records = recorded([[0.1] * len(CLASSES)] * 30)
    locked = Verdict(VerdictKind.CANNOT_INSPECT, doubt=Doubt.LOCKED)
    records[10:] = [
        dataclasses.replace(record, verdict=locked, inspection=None) for record in records[10:]
    ]
    write(tmp_path, records)
    printed = run("tune", "suggest", "--max-false-rejects", 0.05, "--all-good", expect=1)["error"]
    assert (
        "20 of the parts could not be inspected and are not counted: 20 locked."
        in (printed["message"])
    )
    chosen = ("--from", 11, "--max-false-rejects", 0.05)
    printed = run("tune", "suggest", *chosen, expect=1)["error"]
    assert printed["message"].startswith("None of the selected parts was scored. 20 of the parts")


def test_a_suggestion_can_be_stored_as_it_is(tmp_path: Path, run: Any) -> None:
    from edgeinspect.settings.recipe_edit import draft_of, editable, with_settings

    labelled_parts(tmp_path, good=120, defective=80)
    printed = run("tune", "suggest", "--max-false-rejects", 0.05)
    values = with_settings(editable(PLAN.recipe), printed["settings"])
    draft = draft_of(values, PLAN.recipe, author="a", reason="b")
    threshold = printed["suggestions"]["*"]["threshold"]
    assert {limit.reject for limit in thresholds_of(draft)} == {threshold}


# --- labels -----------------------------------------------------------------------------------


def test_labels_from_the_command_line(tmp_path: Path, run: Any) -> None:
    write(tmp_path, recorded([[0.1] * len(CLASSES)] * 4), pictures=True)
    run("label", "set", 1, 2, "good", "--author", "operator")
    run("label", "set", 3, "defective", "--class", "pit", "--note", "edge", "--author", "operator")
    run("label", "set", 4, "unsure")
    run("label", "set", 2, "defective", "--author", "technician")
    assert run("label", "list")["counts"] == {"good": 1, "defective": 2, "unsure": 1}
    said = [(entry["label"], entry["author"]) for entry in run("label", "history", 2)["history"]]
    assert said == [("good", "operator"), ("defective", "technician")]
    missing = run("label", "set", 1, 99, "good", expect=1)["error"]["message"]
    assert "no record of part 99" in missing
    assert "nothing was labelled" in missing
    assert len(run("label", "history", 1)["history"]) == 1
    assert run("label", "set", 1, "good", "--class", "pit", expect=2)
    assert run("label", "history", 77)["history"] == []


def test_labels_reach_the_tools(tmp_path: Path, run: Any) -> None:
    from edgeinspect_tools.data.dataset_formats import read_source

    data, folder = tmp_path, tmp_path / "export"
    write(data, recorded([[0.1] * len(CLASSES)] * 4), pictures=True)
    assert "No labelled part" in run("label", "export", folder, expect=1)["error"]["message"]
    run("label", "set", 1, "good")
    run("label", "set", 2, "defective", "--class", "pit")
    run("label", "set", 3, "defective")
    run("label", "set", 4, "unsure")
    printed = run("label", "export", folder)
    assert (printed["pictures"], printed["unsure"], printed["without_picture"]) == (3, 1, 0)
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["label"], row["group"]) for row in rows] == [
        ("good", "part 1"),
        ("pit", "part 2"),
        ("defective", "part 3"),
    ]
    for source in (f"station-export:{folder}", str(folder / "labels.csv")):
        read = read_source(source, good="good")
        assert sorted(str(picture.label) for picture in read.pictures) == [
            "defective",
            "good",
            "pit",
        ]
    assert run("label", "export", folder, expect=2)["error"]["message"].endswith("is not empty.")


def test_the_queue_asks_for_the_most_useful_parts(tmp_path: Path, run: Any) -> None:
    limit = LIMITS[0]
    nothing = [0.0] * (len(CLASSES) - 1)
    rows = [[0.1, *nothing] for _ in range(10)]
    rows[2] = [limit.reject + 1e-4, *nothing]  # nearest
    rows[4] = [1.0, *nothing]  # labelled good below
    rows[5] = [0.0, 1.0, *nothing[1:]]  # the only reject of its class
    rows[6] = rows[7] = [0.99, *nothing]
    write(tmp_path, recorded(rows), pictures=True)
    run("label", "set", 5, "good")
    run("label", "set", 1, "good")
    printed = run("label", "queue", "--limit", 3)
    assert printed["labelled"] == 2
    assert [(part["part_id"], part["reason"]) for part in printed["queue"]] == [
        (3, NEAR),
        (5, DISAGREES),
        (6, RARE),
    ]
    assert printed["queue"][2]["defect_class"] == CLASSES[1]
    run("label", "set", 5, "unsure")
    again = run("label", "queue", "--limit", 10)["queue"]
    assert 5 not in [part["part_id"] for part in again]
    assert 1 not in [part["part_id"] for part in again]
    assert len({part["part_id"] for part in again}) == len(again) == 8


class Typed(io.StringIO):
    """A terminal at which somebody has typed this."""

    def isatty(self) -> bool:
        return True


def test_the_queue_asks_part_by_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every answer is kept at once: what was typed before the line broke is there."""
    rows = [[0.5 + number / 100, *[0.0] * (len(CLASSES) - 1)] for number in range(6)]
    write(tmp_path, recorded(rows), pictures=True)
    monkeypatch.setattr("sys.stdin", Typed("g\nd\npit\nd\n\ns\nu\n"))
    words = ["label", "queue", "--data-dir", str(tmp_path), "--author", "operator"]
    code = run_command_line(application, program="edgeinspect", arguments=words)
    assert code != 0  # the input ended in the middle of the queue
    shown = capfd.readouterr().out
    assert "1 of 6: part 6" in shown
    assert "▀" in shown
    with LabelStore(tmp_path) as store:
        said = {n: (label.kind.value, label.defect_class) for n, label in store.current().items()}
    assert said == {
        6: ("good", ""),
        5: ("defective", "pit"),
        4: ("defective", CLASSES[0]),
        2: ("unsure", ""),
    }


def test_a_queue_without_pictures_is_empty(tmp_path: Path) -> None:
    write(tmp_path, recorded([[0.1] * len(CLASSES)] * 3))
    with RecordReader(tmp_path) as reader:
        columns = read_scores(reader)
    assert label_queue(columns, LIMITS, {}, pictured=set(), limit=5) == []
    assert [VERDICTS[code] for code in columns.verdicts] == ["PASS"] * 3


def test_tune_alone_wants_a_station_and_a_terminal(run: Any, tmp_path: Path) -> None:
    code = run_command_line(application, program="edgeinspect", arguments=["tune"])
    assert code == 2
