"""The benchmarks of tuning measure the real command on real rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeinspect.cli.application import run_command_line
from edgeinspect.records import RecordReader
from edgeinspect.records.score_table import read_scores
from edgeinspect_tools.bench.what_if_bench import fill, measure
from edgeinspect_tools.cli import application


def test_the_made_up_rows_are_what_a_station_writes(tmp_path: Path) -> None:
    fill(tmp_path, 5000)
    with RecordReader(tmp_path) as reader:
        assert reader.count() == 5000
        part = reader.part(4999)
        columns = read_scores(reader, with_order_statistics=True)
    assert part is not None
    assert part.record.inspection is not None
    assert len(columns) == 5000
    assert columns.order_statistics is not None
    assert (columns.order_statistics[:, :, 0].astype(float) - columns.scores).max() < 1e-6


def test_the_whole_command_is_timed() -> None:
    found = measure(2000)
    assert found["parts"] == 2000
    assert 0 < found["replay_seconds"] < found["seconds"]
    assert found["rss_mib"] > 20
    assert found["flips"] > 0


def test_the_promise_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "guarantee", "--draws", "100", "--parts", "300", "--max-false-rejects",
             "0.02", "--json"]  # fmt: skip
    assert run_command_line(application, program="edgeinspect-tools", arguments=words) == 0
    printed = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert printed["draws"] == 100
    assert printed["share"] == printed["exceeded"] / 100
    assert printed["interval95"][0] <= printed["share"] <= printed["interval95"][1]
