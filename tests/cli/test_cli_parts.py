"""``edgeinspect parts`` over a real data directory."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeinspect.cli.application import run_command_line
from edgeinspect.cli.main import application
from edgeinspect.drawing.part_drawing import part_recipe
from edgeinspect.errors import UsageError
from edgeinspect.line.verdict import cannot_inspect
from edgeinspect.part import Doubt
from edgeinspect.records import RecordEntry
from edgeinspect.records.reader import RecordReader
from edgeinspect.records.writer import RecordWriter
from tests.helpers.records_samples import CLASSES, StepClock, sample_entry, sample_record


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    with RecordWriter(place, clock=StepClock()) as writer:
        writer.register_recipe("d1" * 32, classes=CLASSES, document="no JSON")
        writer.write([sample_entry(part_id, picture=True) for part_id in range(1, 41)])
    return place


def run(*arguments: object, expect: int = 0) -> None:
    words = [str(word) for word in arguments]
    assert run_command_line(application, program="edgeinspect", arguments=words) == expect


def last_json(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    printed: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return printed


def test_list_shows_the_newest_first(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("parts", "list", "--data-dir", data_dir, "--limit", 3)
    shown = capsys.readouterr().out
    rows = [line.split()[0] for line in shown.splitlines() if line.split()[:1]]
    assert [word for word in rows if word.isdigit()][:3] == ["40", "39", "38"]
    assert "3 of 40 matching parts" in shown
    assert "CANNOT INSPECT" in shown
    assert "late" in shown


@pytest.mark.parametrize(
    ("filters", "matching", "first"),
    [
        ((), 40, 40),
        (("--verdict", "reject"), 10, 37),
        (("--reason", "late"), 10, 39),
        (("--class", "scratch"), 10, 38),
        (("--from", "5", "--to", "9"), 5, 9),
        (("--from", "5", "--to", "9", "--oldest-first"), 5, 5),
        (("--gate-outcome", "reject_confirmed", "--limit", "1"), 10, 37),
        (("--since", "2026-03-01"), 40, 40),
        (("--until", "2026-03-01"), 0, None),
    ],
)
def test_filters_choose(
    data_dir: Path,
    filters: tuple[str, ...],
    matching: int,
    first: int | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run("parts", "list", "--data-dir", data_dir, *filters, "--json")
    printed = last_json(capsys)
    parts = printed["parts"]
    assert isinstance(parts, list)
    assert printed["matching"] == matching
    assert (parts[0]["part_id"] if parts else None) == first


def test_no_match_is_no_error(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("parts", "list", "--data-dir", data_dir, "--from", 99)
    run("parts", "stats", "--data-dir", data_dir, "--from", 99)
    assert capsys.readouterr().out == "No part matches.\n" * 2


def test_stats_count_what_was_recorded(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("parts", "stats", "--data-dir", data_dir, "--json")
    printed = last_json(capsys)
    assert printed["by_verdict"] == {"CANNOT_INSPECT": 10, "PASS": 10, "REJECT": 10, "REVIEW": 10}
    run("parts", "stats", "--data-dir", data_dir)
    shown = capsys.readouterr().out
    assert "40 parts, 1 to 40, 25.00% passed the gate" in shown
    assert "frame to verdict" in shown


@pytest.mark.parametrize(
    ("detail", "advice"),
    [
        ("frame: came 20.0 ms after the deadline, 875.0 ms after the trigger", "stream-check"),
        ("inference: came 12.3 ms after the deadline", "The model did not finish in time"),
        ("release: 2.0 ms after the part's window at the gate had started", "decision_margin_ms"),
    ],
)
def test_show_says_what_was_late_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], detail: str, advice: str
) -> None:
    record = replace(sample_record(7), verdict=cannot_inspect(Doubt.LATE, detail))
    with RecordWriter(tmp_path, clock=StepClock()) as writer:
        writer.write([RecordEntry(record)])
    run("parts", "show", 7, "--data-dir", tmp_path)
    shown = " ".join(capsys.readouterr().out.split())
    assert detail.partition(",")[0] in shown
    assert advice in shown


def test_show_tells_of_one_part(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("parts", "show", 5, "--data-dir", data_dir)
    shown = capsys.readouterr().out
    assert "REJECT" in shown
    assert "reject_confirmed" in shown
    run("parts", "show", 99, "--data-dir", data_dir, "--json", expect=1)
    error = last_json(capsys)["error"]
    assert isinstance(error, dict)
    assert error["message"].startswith("Part 99 was not found in the records")


def test_show_draws_without_the_bundle(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "part.png"
    run("parts", "show", 5, "--data-dir", data_dir, "--image", image, "--json")
    printed = last_json(capsys)
    assert image.read_bytes().startswith(b"\x89PNG")
    assert printed["drawing_has_score_map"] is False
    assert printed["drawing_remark"] == "no score map: the part's bundle was not found"


def test_show_refuses_a_bundle_that_is_none(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "part.png"
    arguments = ("--data-dir", data_dir, "--image", image, "--bundle", tmp_path / "none")
    run("parts", "show", 5, *arguments, expect=5)
    assert "is missing" in capsys.readouterr().err
    assert not image.exists()


def test_show_into_a_missing_folder_is_a_storage_fault(data_dir: Path, tmp_path: Path) -> None:
    image = tmp_path / "nowhere" / "part.png"
    run("parts", "show", 5, "--data-dir", data_dir, "--image", image, expect=6)


def test_export_writes_the_format_of_the_name(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "out.csv"
    run("parts", "export", table, "--data-dir", data_dir, "--verdict", "REJECT", "--json")
    assert last_json(capsys) == {"parts": 10, "file": str(table), "format": "csv", "missing": ""}
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["part_id"] for row in rows] == [str(n) for n in range(1, 41, 4)]
    run("parts", "export", tmp_path / "out.xyz", "--data-dir", data_dir, expect=2)
    assert "--format" in capsys.readouterr().err


def test_export_to_stdout_is_only_the_parts(data_dir: Path) -> None:
    words = ["parts", "export", "-", "--format", "jsonl", "--data-dir", str(data_dir)]
    done = CliRunner().invoke(application, words)
    lines = done.stdout.splitlines()
    assert [json.loads(line)["part_id"] for line in lines] == list(range(1, 41))


def test_without_records_there_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("parts", "list", "--data-dir", tmp_path, expect=6)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "No records were found" in printed


def test_an_unknown_gate_outcome_lists_the_known_ones(data_dir: Path) -> None:
    from edgeinspect.cli.options import part_filter

    names = ("verdict", "defect_class", "reason", "from_part_id", "to_part_id", "since", "until")
    with pytest.raises(UsageError, match="reject_confirmed"):
        part_filter({**dict.fromkeys(names), "gate_outcome": "gone"})


def test_a_recipe_document_that_cannot_be_read_leaves_the_drawing_plain(data_dir: Path) -> None:
    with RecordReader(data_dir) as reader:
        recipe = part_recipe(reader, sample_record(1).recipe_digest)
        assert recipe == part_recipe(reader, "not recorded")
    assert recipe.bundle_digest == ""
