"""What ``bench model`` says of a model, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeinspect.cli.application import run_command_line
from edgeinspect_tools.bench.estimate import BOARDS
from edgeinspect_tools.bench.model_bench import describe, estimates
from edgeinspect_tools.cli import application
from edgeinspect_tools.flatbuffer import parse_tflite, read_tflite
from tests.helpers.bundle_samples import spot_bundle
from tests.helpers.chain_samples import spot_model


def run(*arguments: str) -> int:
    return run_command_line(application, program="edgeinspect-tools", arguments=arguments)


def test_macs_of_a_convolution_are_cells_times_weights() -> None:
    figures = describe(parse_tflite(spot_model(), Path("spot.tflite")))
    assert figures["macs"] == 8 * 8 * 2 * 4 * 4
    assert figures["operators"] == {"CONV_2D": 1}
    assert figures["parameter_bytes"] == 4 * (2 * 4 * 4 + 2)


def test_published_networks_have_their_published_macs(shared: Path) -> None:
    """300 M for MobileNet v2 1.0 224 (Sandler et al. 2018, table 4)."""
    model = read_tflite(shared / "models/coral/tf2_mobilenet_v2_1.0_224_ptq.tflite")
    assert describe(model)["macs"] == pytest.approx(300e6, rel=0.01)
    assert describe(model)["operators"]["DEPTHWISE_CONV_2D"] == 17


def test_estimates_give_the_published_times_back() -> None:
    board = BOARDS[1]
    assert board.range_ms(569_000_000)[0] == pytest.approx(min(24.0, 17.0 * 569 / 300))
    assert board.range_ms(300_000_000)[1] == pytest.approx(max(17.0, 24.0 * 300 / 569))
    rows = estimates(300_000_000, 2)
    assert [row["board"] for row in rows] == [board.name for board in BOARDS]
    assert all(row["source"] and row["ms_from"] <= row["ms_to"] for row in rows)
    assert rows[0]["ms_to"] > rows[1]["ms_to"] > rows[2]["ms_to"]


def test_a_bundle_is_timed_in_every_arrangement_beside_the_bare_interpreter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = spot_bundle(tmp_path)
    assert run("bench", "model", str(bundle.directory), "--runs", "5", "--json") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    names = [one["name"] for one in found["arrangements"]]
    assert names[0] == "bare interpreter"
    assert len(names) > 1
    assert all(0 < one["p50_us"] <= one["p99_us"] for one in found["arrangements"])
    assert found["arrangements"][0]["ratio_p50"] == 1.0
    assert "not measurements" in found["estimate_note"]


def test_a_float_model_is_timed_bare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "spot.tflite"
    path.write_bytes(spot_model())
    assert run("bench", "model", str(path), "--runs", "5", "--json") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [one["name"] for one in found["arrangements"]] == ["bare interpreter"]
    assert "float model" in found["refused"]


def test_what_does_not_run_is_refused_in_one_sentence(
    tmp_path: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut.tflite").write_bytes(spot_model()[:200])
    coral = shared / "models" / "coral"
    for path, said in (
        (tmp_path / "cut.tflite", "truncated or damaged"),
        (tmp_path / "none.tflite", "is missing"),
        (coral / "cat.bmp", "not a TFLite model"),
        (coral / "mobilenet_v1_0.25_128_quant_edgetpu.tflite", "compiled for the Edge TPU"),
        (coral / "model_invoking_error.tflite", "does not run here"),
    ):
        assert run("bench", "model", str(path)) == 5
        assert said in capsys.readouterr().err
