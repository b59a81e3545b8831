"""The commands end to end, on a model made on the spot."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeinspect.assembly.simulated_station import SimulatedLine, gate_name
from edgeinspect.bundle.card import ClassCard, Fit, Role, Task, ThresholdCard
from edgeinspect.cli.application import run_command_line
from edgeinspect.cli.demo import live_demo
from edgeinspect.cli.main import application
from edgeinspect.errors import ConfigError, ModelRefused
from edgeinspect.hw import clock as hw_clock
from edgeinspect.records.reader import RecordReader
from edgeinspect.runtime.plan import find_bundle_directory, plan_station
from edgeinspect.settings.station_file import example_station
from edgeinspect.sim import shards
from edgeinspect_tools.pack.wrap_model import wrap_model
from tests.helpers.station_clock import StationClock
from tests.helpers.tiny_model import max_pool_model

CONTRACT = ("parts", "defective", "escapes", "false_rejects", "lost", "late", "cannot_inspect")
SIM_CONTRACT = (*CONTRACT, "swapped", "duplicated", "unaccounted", "wrongly_passed", "faults")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finds bright spots: every map cell is the highest value below it."""
    folder = tmp_path_factory.mktemp("bundle")
    model = folder / "pool.tflite"
    model.write_bytes(max_pool_model(height=96, width=96, stride=4))
    made = wrap_model(
        model,
        folder / "bright",
        classes=[ClassCard(name="bright", role=Role.DEFECT)],
        name="bright",
        task=Task.SEGMENTATION,
        fit=Fit.TILES,
        stride_px=4,
        tile_overlap_px=16,
        mean=[0.0],
        std=[255.0],
        thresholds={"default": ThresholdCard(review=0.97, reject=0.98)},
    )
    return made.directory


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for name, spot in (("a-good", False), ("b-bad", True), ("c-good", False)):
        picture = rng.integers(60, 160, (120, 200), np.uint8)
        if spot:
            picture[50:53, 120:123] = 255
        cv2.imwrite(str(folder / f"{name}.png"), picture)
    (folder / "d-empty.png").write_bytes(b"")
    (folder / "e-words.jpg").write_text("no picture at all")
    cut = (folder / "a-good.png").read_bytes()
    (folder / "f-cut.png").write_bytes(cut[: len(cut) // 2])
    return folder


def run(*arguments: object, expect: int = 0) -> None:
    words = [str(word) for word in arguments]
    assert run_command_line(application, program="edgeinspect", arguments=words) == expect


def json_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# --- sim ----------------------------------------------------------------------------------


def test_sim_ends_with_the_account(capsys: pytest.CaptureFixture[str]) -> None:
    run("sim", "--parts", 300, "--seed", 3, "--faults", "all", "--json")
    (account,) = json_lines(capsys)
    assert account["parts"] == 300
    assert account["seed"] == 3
    assert all(name in account for name in SIM_CONTRACT)
    run("sim", "--parts", 300, "--seed", 3)
    assert "escapes" in capsys.readouterr().out


def test_sim_fails_when_the_station_broke_its_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = shards.run_simulation

    def broken(**options: object) -> object:
        account = honest(parts=20, seed=1)
        return replace(account, wrongly_passed=1, failing_shards=((7, 20),))

    monkeypatch.setattr(shards, "run_simulation", broken)
    run("sim", "--parts", 20, expect=1)
    assert "edgeinspect sim --parts 20 --seed 7" in capsys.readouterr().out
    run("sim", "--parts", 20, "--json", expect=1)
    assert json_lines(capsys)[-1]["good"] is False


def test_sim_lists_its_faults(capsys: pytest.CaptureFixture[str]) -> None:
    run("sim", "--list-faults", "--json")
    (listed,) = json_lines(capsys)
    faults = listed["faults"]
    assert isinstance(faults, list)
    names = {fault["name"] for fault in faults}
    assert {"bounce", "crash_restart", "stuck_gate_passing"} <= names
    run("sim", "--list-faults")
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)


@pytest.mark.parametrize(
    "faults", ["gravity", "bounce=2", "bounce=x", "gravity=0.1", "guard_missed"]
)
def test_sim_refuses_faults_that_cannot_be(faults: str, capsys: pytest.CaptureFixture[str]) -> None:
    run("sim", "--parts", 5, "--faults", faults, expect=2)
    assert capsys.readouterr().err.count("\n") == 1


def test_sim_takes_rates(capsys: pytest.CaptureFixture[str]) -> None:
    run("sim", "--parts", 50, "--faults", "bounce=1,clock_step", "--json")
    faults = json_lines(capsys)[-1]["faults"]
    assert isinstance(faults, dict)
    assert faults["bounce"] == 50


# --- replay -------------------------------------------------------------------------------


def test_replay_tells_one_line_a_picture_and_sums_up(
    bundle: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("replay", pictures, "--bundle", bundle, "--json")
    *lines, summary = json_lines(capsys)
    assert [line["file"] for line in lines] == sorted(path.name for path in pictures.iterdir())
    verdicts = [line["verdict"] for line in lines]
    assert verdicts == ["PASS", "REJECT", "PASS", *["CANNOT_INSPECT"] * 3]
    assert lines[1]["class"] == "bright"
    assert lines[1]["score"] == pytest.approx(1.0, abs=0.01)
    assert "is empty" in str(lines[3]["detail"])
    assert summary["pictures"] == 6
    assert summary["verdicts"] == {"PASS": 2, "REJECT": 1, "REVIEW": 0, "CANNOT_INSPECT": 3}


def test_replay_for_people(
    bundle: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("replay", pictures, "--bundle", bundle, "--jobs", 1, "--roi", "100,30,60,40")
    shown = capsys.readouterr().out
    assert "REJECT  b-bad.png  bright 1.000" in shown
    assert "6 pictures in" in shown


def test_replay_takes_pictures_larger_than_the_simulated_lines(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    rng = np.random.default_rng(1)
    cv2.imwrite(str(folder / "a.png"), rng.integers(60, 90, (700, 900), np.uint8))
    run("replay", folder, "--bundle", bundle, "--jobs", 1, "--roi", "700,600,60,40")
    assert "1 picture" in capsys.readouterr().out


def test_replay_keeps_records_from_which_parts_are_drawn(
    bundle: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    run("replay", pictures, "--bundle", bundle, "--data-dir", data)
    run("replay", pictures, "--bundle", bundle, "--data-dir", data)
    capsys.readouterr()
    run("parts", "list", "--data-dir", data, "--verdict", "REJECT", "--json")
    (listed,) = json_lines(capsys)
    parts = listed["parts"]
    assert isinstance(parts, list)
    assert [part["part_id"] for part in parts] == [8, 2]
    image = tmp_path / "part.png"
    run("parts", "show", 8, "--data-dir", data, "--bundle", bundle, "--image", image, "--json")
    (printed,) = json_lines(capsys)
    assert (printed["drawing_has_score_map"], printed["drawing_remark"]) == (True, "")
    with_map = image.read_bytes()
    run("parts", "show", 8, "--data-dir", data, "--image", image)
    assert "bundle was not found" in " ".join(capsys.readouterr().out.split())
    assert image.read_bytes() != with_map


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--roi", "1,2,3"), 2),
        (("--roi", "-1,0,5,5"), 2),
        (("--pattern", "*.gif"), 2),
        (("--recipe", "missing.yaml"), 3),
    ],
)
def test_replay_refuses_what_it_cannot_do(
    bundle: Path, pictures: Path, options: tuple[str, str], code: int
) -> None:
    run("replay", pictures, "--bundle", bundle, *options, expect=code)


def test_replay_of_no_folder_is_wrong_usage(bundle: Path, tmp_path: Path) -> None:
    run("replay", tmp_path / "none", "--bundle", bundle, expect=2)


# --- check --------------------------------------------------------------------------------


def test_check_says_what_it_verified(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("check", bundle, "--json")
    (printed,) = json_lines(capsys)
    assert printed["good"] is True
    checks = printed["checks"]
    assert isinstance(checks, list)
    assert [check["name"] for check in checks] == ["bundle", "thresholds", "model"]
    run("check", bundle)
    assert "Good; 3 checks, 0 warnings." in capsys.readouterr().out


def test_check_refuses_a_changed_model(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(bundle, changed)
    model = changed / "model.tflite"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    run("check", changed, "--json", expect=5)
    (printed,) = json_lines(capsys)
    checks = printed["checks"]
    assert isinstance(checks, list)
    assert (printed["good"], printed["exit_code"], checks[0]["state"]) == (False, 5, "fail")
    assert "SHA-256" in checks[0]["detail"]


def station_file(folder: Path, gate: str = "normally-passing", **changes: str) -> Path:
    from importlib import resources

    text = (resources.files("edgeinspect.settings") / "examples" / f"{gate}.yaml").read_text()
    for key, value in changes.items():
        text, count = re.subn(rf"(?m)^(\s*){key}: .*$", rf"\g<1>{key}: {value}", text, count=1)
        assert count == 1
    path = folder / "station.yaml"
    path.write_text(text)
    return path


def test_check_of_a_station_warns_of_what_its_wiring_cannot_stop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("check", station_file(tmp_path), "--json")
    (printed,) = json_lines(capsys)
    checks = printed["checks"]
    assert isinstance(checks, list)
    warnings = [check["detail"] for check in checks if check["state"] == "warn"]
    assert any("the trigger did not detect passes" in warning for warning in warnings)
    names = {check["name"]: check["detail"] for check in checks}
    assert {"recipe", "bundle", "model", "data directory"} <= set(names)
    assert "repeated pictures are rejected" in names["camera frames"]
    assert not (tmp_path / "data").exists()


def test_check_names_line_and_key_of_a_wrong_station_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("check", station_file(tmp_path, lease_ms="-3"), expect=3)
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(r"station\.yaml:\d+: gate\.lease_ms is -3", shown)
    assert "1 failed" in shown


def test_check_names_drivers_that_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = station_file(tmp_path)
    half.write_text(half.read_text().replace("driver: sim", "driver: picamera2", 1))
    run("check", half, expect=3)
    assert "sim together with" in " ".join(capsys.readouterr().out.split())


# --- plan ---------------------------------------------------------------------------------


def test_a_bundle_is_found_by_its_digest_only(bundle: Path, tmp_path: Path) -> None:
    from edgeinspect.bundle.directory import bundle_digest

    shutil.copytree(bundle, tmp_path / "any-name")
    found = find_bundle_directory(bundle_digest(bundle), tmp_path, tmp_path / "not there")
    assert found == tmp_path / "any-name"
    assert find_bundle_directory("0" * 64, tmp_path) is None


def test_a_simulated_line_gets_its_first_recipe_once(tmp_path: Path) -> None:
    station = example_station("normally-rejecting", data_dir=tmp_path)
    looked = plan_station(station, store_first=False)
    assert not station.recipes_dir.exists()
    first = plan_station(station)
    assert plan_station(station).digest == first.digest == looked.digest
    assert json.loads(first.document)["bundle"]["digest"] == first.bundle.digest


def test_a_station_without_recipe_or_bundle_says_so(tmp_path: Path) -> None:
    station = example_station("normally-rejecting", data_dir=tmp_path)
    with pytest.raises(ConfigError, match="active"):
        plan_station(station.model_copy(update={"product": "unknown"}))
    plan = plan_station(station)
    other = plan.recipe.bundle.model_copy(update={"digest": "0" * 64})
    recipe = tmp_path / "recipe.yaml"
    from edgeinspect.settings.recipe import recipe_yaml

    recipe.write_text(recipe_yaml(plan.recipe.model_copy(update={"bundle": other})))
    with pytest.raises(ModelRefused, match="not installed"):
        plan_station(station, recipe_file=recipe)


@pytest.mark.parametrize(
    "gate", ["normally-rejecting", "normally-passing", "normally-passing-guarded"]
)
def test_the_simulated_line_is_as_long_as_the_station_file_says(gate: str, tmp_path: Path) -> None:
    station = example_station(gate, data_dir=tmp_path)
    assert gate_name(station) == gate
    line = SimulatedLine(station, parts=1, seed=1)
    assert line.line.geometry.to_gate_ns == 900_000_000
    assert (line.drivers.guard is not None) == gate.endswith("guarded")
    line.drivers.trigger.close()


# --- demo, run, status ----------------------------------------------------------------------


def test_demo_on_virtual_time(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--bundle", bundle, "--parts", 12, "--seed", 5, "--defect-rate", 0)
    run("demo", "--fast", *options, "--json")
    (printed,) = json_lines(capsys)
    assert all(name in printed for name in (*CONTRACT, "review", "seed", "verdicts"))
    assert (printed["parts"], printed["fast"], printed["seed"]) == (12, True, 5)
    run("demo", "--fast", *options)
    assert "Truth account: normally-rejecting gate, seed 5" in capsys.readouterr().out
    run("demo", "--fast", "--seconds", 3, "--bundle", bundle, expect=2)


def test_demo_on_the_live_line_accounts_for_every_part(
    clock: StationClock, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, picture = tmp_path / "data", tmp_path / "demo.svg"
    with clock.in_charge(live_demo.__name__, hw_clock.__name__):
        run(
            "demo", "--plain", "--bundle", bundle, "--parts", 10,
            "--gate", "normally-passing-guarded", "--data-dir", data, "--picture", picture,
        )  # fmt: skip
    shown = capsys.readouterr().out
    parts = [line for line in shown.splitlines() if line.startswith("part ")]
    with RecordReader(data) as reader:
        recorded = [part.record.part_id for part in reader.parts()]
    assert sorted(int(line.split()[1]) for line in parts) == recorded
    assert "Truth account" in shown
    svg = picture.read_text()
    assert svg.startswith("<svg")
    assert "@font-face" not in svg


def edgeinspect(*arguments: object) -> list[str]:
    return [
        sys.executable,
        "-c",
        "from edgeinspect.cli.main import main; main()",
        *map(str, arguments),
    ]


def test_run_answers_status_and_stops_on_sigterm(tmp_path: Path) -> None:
    config = station_file(tmp_path, gate="normally-rejecting")
    process = subprocess.Popen(
        edgeinspect("run", "--config", config, "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        status = _wait_for_records(config, process)
        assert status["state"] == "inspecting"
        second = subprocess.run(
            edgeinspect("run", "--config", config),
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert second.returncode == 6
        assert str(process.pid) in second.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    printed = json.loads(out.splitlines()[-1])
    with RecordReader(tmp_path / "data") as reader:
        assert reader.count() == printed["records_acknowledged"] > 0
    assert "Not covered: io.driver is sim" in err
    gone = subprocess.run(
        edgeinspect("status", "--config", config, "--json"),
        check=False,
        capture_output=True,
        timeout=120,
    )
    assert gone.returncode == 4


def _wait_for_records(config: Path, process: subprocess.Popen[str]) -> dict[str, object]:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        asked = subprocess.run(
            edgeinspect("status", "--config", config, "--json"),
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "EDGEINSPECT_DEBUG": ""},
        )
        if asked.returncode == 0:
            status: dict[str, object] = json.loads(asked.stdout.splitlines()[-1])
            if status["records_acknowledged"] and status["state"] == "inspecting":
                return status
        time.sleep(0.2)
    pytest.fail(f"the station did not come up, exit code {process.poll()}")
