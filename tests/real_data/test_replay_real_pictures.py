"""The main job on real pictures: whole folders through the whole station, on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgeinspect.bundle.directory import Bundle
from tests.helpers.real_models import bare_outputs, picture, wrap

VERDICTS = {"PASS", "REJECT", "REVIEW", "CANNOT_INSPECT"}


@pytest.fixture(scope="module")
def bundle(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    model = shared / "models" / "coral" / "mobilenet_v1_0.25_128_quant.tflite"
    return wrap(model, tmp_path_factory.mktemp("wrapped") / "bundle", 1001)


def replay(folder: Path, bundle: Bundle, pattern: str) -> tuple[list[dict[str, Any]], Any]:
    program = [sys.executable, "-m", "edgeinspect", "replay", str(folder), "--json"]
    done = subprocess.run(
        [*program, "--bundle", str(bundle.directory), "--pattern", pattern],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines[:-1], lines[-1]


@pytest.mark.parametrize(("kind", "count"), [("MT_Free", 952), ("MT_Crack", 57)])
def test_every_picture_of_a_folder_gets_a_verdict(
    shared: Path, bundle: Bundle, kind: str, count: int
) -> None:
    folder = shared / "data" / "magnetic_tile" / kind / "Imgs"
    results, summary = replay(folder, bundle, "*.jpg")
    assert [result["file"] for result in results] == sorted(p.name for p in folder.glob("*.jpg"))
    assert summary["pictures"] == len(results) == count
    assert summary["verdicts"]["CANNOT_INSPECT"] == 0
    assert sum(summary["verdicts"].values()) == count
    for result in results:
        assert result["verdict"] in VERDICTS
        assert result["class"]
        assert 0 <= result["score"] <= 1


def test_replay_names_the_class_that_the_bare_interpreter_finds(
    shared: Path, bundle: Bundle
) -> None:
    results, _ = replay(shared / "models" / "coral", bundle, "*.bmp")
    size = bundle.card.input.width
    assert [result["file"] for result in results] == ["cat.bmp", "dragonfly.bmp"]
    for result in results:
        pixels = picture(shared / "models" / "coral" / result["file"])
        resized = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR_EXACT)
        outputs = bare_outputs(bundle.model, resized)
        assert result["top_class"] == str(int(outputs.argmax()))
        assert result["top_score"] == pytest.approx(float(outputs.max()) / 256)
