"""The circuit board figures through a bundle that compares with each board's own template."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeinspect.bundle.certificate import Certificate
from edgeinspect.bundle.directory import write_bundle
from edgeinspect.bundle.golden import make_golden
from edgeinspect.cli.application import run_command_line
from edgeinspect.hw.litert import Kernels, open_model
from edgeinspect_tools.cli import application
from edgeinspect_tools.quantize.draft_bundle import LOOSE, card_of
from edgeinspect_tools.quantize.int8 import quantize_int8
from edgeinspect_tools.shipped.deeppcb.boards import CLASSES
from tests.helpers.chain_samples import conv_model

SIDE_PX = 64


def board_bundle(out: Path) -> Path:
    """Class ``copper`` (tested brighter than its template) and nothing else is ever seen."""
    weights = np.full((6, 4, 4, 2), 0.01 / 16, np.float32)
    copper = CLASSES.index("copper")
    weights[copper, ..., 0], weights[copper, ..., 1] = 8 / 16, -8 / 16
    bias = np.full(6, -6.0, np.float32)
    model = conv_model(weights, bias, side_px=SIDE_PX, stride=4)
    rng = np.random.default_rng(1)
    samples = [rng.choice([-1.0, 1.0], (1, SIDE_PX, SIDE_PX, 2)).astype(np.float32)] * 2
    int8 = quantize_int8(model, samples, output_range=(-8.0, 7.9))
    described = {
        "task": "segmentation",
        "classes": [{"name": name, "role": "defect"} for name in CLASSES],
        "input": {"color": "gray", "mean": [127.5], "std": [127.5], "reference": True},
        "output": {"activation": "sigmoid", "stride_px": 4},
        "thresholds": {"default": {"review": 0.5, "reject": 0.5}},
    }
    card = card_of(described, int8, name="boards")
    engine = open_model(int8, source="boards", kernels=Kernels.REFERENCE, probe=False)
    golden = make_golden(card, [np.zeros((SIDE_PX, SIDE_PX, 2), np.uint8)], engine)
    engine.close()
    certificate = Certificate(tolerance=LOOSE)
    write_bundle(out, card=card, model=int8, golden=golden, certificate=certificate)
    return out


def write_boards(root: Path) -> Path:
    """Two pairs as DeepPCB lays them out: a copper spot that is there, and a pin-hole."""
    (root / "group").mkdir(parents=True)
    (root / "labels").mkdir()
    lines = []
    for name, before, after, kind in (("01", 0, 255, 5), ("02", 255, 0, 6)):
        template = np.full((SIDE_PX, SIDE_PX), before, np.uint8)
        tested = template.copy()
        tested[16:32, 24:40] = after
        cv2.imwrite(str(root / "group" / f"{name}_temp.jpg"), template)
        cv2.imwrite(str(root / "group" / f"{name}_test.jpg"), tested)
        (root / "labels" / f"{name}.txt").write_text(f"24 16 40 32 {kind}\n")
        lines.append(f"group/{name}.jpg labels/{name}.txt")
    (root / "test.txt").write_text("\n".join(lines) + "\n")
    return root


def test_boards_are_judged_by_map_and_f_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = board_bundle(tmp_path / "boards")
    root = write_boards(tmp_path / "pcb")
    assert run("verify", str(bundle), "--data", f"deeppcb:{root}", "--json") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["map"] == 0.5  # copper found, pin-hole never
    assert found["average_precision"]["copper"] == 1.0
    assert found["f_score"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["n_pictures"] == 2
    assert found["model_bytes"] == (bundle / "model.tflite").stat().st_size


def test_a_folder_without_the_official_split_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = board_bundle(tmp_path / "boards")
    assert run("verify", str(bundle), "--data", f"deeppcb:{tmp_path}") == 2
    assert "test.txt cannot be read" in capsys.readouterr().err


def run(*arguments: str) -> int:
    return run_command_line(application, program="edgeinspect-tools", arguments=arguments)
