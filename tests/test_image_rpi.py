"""The Raspberry Pi image's definition: our own check always, rpi-image-gen's where it is given.

``EDGEINSPECT_RPI_IMAGE_GEN`` names a checkout of rpi-image-gen (with python-debian installed for
``EDGEINSPECT_RPI_PYTHON``, or for this Python).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

RPI = Path(__file__).parents[1] / "image" / "rpi"
LAYER = RPI / "layer" / "edgeinspect.yaml"
BOARDS = {
    "pi3": ("rpi3", "image-rpios"),
    "zero2w": ("rpizero2w", "image-rpios"),
    "pi4": ("rpi4", "image-rota"),
    "pi5": ("rpi5", "image-rota"),
    "cm4": ("rpi-cm4", "image-rota"),
    "cm5": ("rpi-cm5", "image-rota"),
}


def merged(board: str) -> dict[str, Any]:
    """The board's configuration with what it includes, as rpi-image-gen merges sections."""
    own = yaml.safe_load((RPI / "config" / f"edgeinspect-{board}.yaml").read_text())
    base = yaml.safe_load((RPI / "config" / own.pop("include")["file"]).read_text())
    return {key: {**base.get(key, {}), **own.get(key, {})} for key in base.keys() | own.keys()}


@pytest.mark.parametrize("board", sorted(BOARDS))
def test_each_board_gets_the_layout_that_it_can_boot(board: str) -> None:
    config = merged(board)
    assert (config["device"]["layer"], config["image"]["layer"]) == BOARDS[board]
    assert config["layer"] == {"app": "edgeinspect"}
    assert config["image"]["name"] == f"edgeinspect-{board}"
    two_slots = config["image"]["layer"] == "image-rota"
    assert config["edgeinspect"]["settings_mount"] == ("/bootfs" if two_slots else "/boot/firmware")


@pytest.mark.parametrize("board", sorted(BOARDS))
def test_no_board_gets_a_password(board: str) -> None:
    device = merged(board)["device"]
    assert not {key for key in device if "pass" in key}
    assert merged(board)["ssh"] == {"pubkey_only": "y"}


def test_the_layer_says_what_its_hooks_use() -> None:
    text = LAYER.read_text()
    head, _, body = text.partition("# METAEND\n---\n")
    declared = set(re.findall(r"^# X-Env-Var-([a-z_]+):", head, re.MULTILINE))
    used = set(re.findall(r"IGconf_edgeinspect_([a-z_]+)", body))
    assert declared == used == {"wheels", "common", "settings_mount"}
    for name in declared:
        for field in ("Desc", "Required", "Valid", "Set"):
            assert f"# X-Env-Var-{name}-{field}:" in head
    steps = yaml.safe_load(body)["mmdebstrap"]
    assert set(steps) <= {"packages", "customize-hooks", "cleanup-hooks"}
    assert len(set(steps["packages"])) == len(steps["packages"])
    assert any("ssh_host_" in hook for hook in steps["cleanup-hooks"])


def test_the_files_that_the_layer_copies_are_there() -> None:
    assert (RPI.parent / "common" / "install-overlay.sh").stat().st_mode & 0o111
    shared = (RPI / "slot-shared.d" / "edgeinspect.conf").read_text()
    assert "Version=1\nPath=/data\n" in shared


CHECKOUT = os.environ.get("EDGEINSPECT_RPI_IMAGE_GEN", "")
with_checkout = pytest.mark.skipif(
    not CHECKOUT, reason="EDGEINSPECT_RPI_IMAGE_GEN names no checkout of rpi-image-gen"
)


def ig(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    python = os.environ.get("EDGEINSPECT_RPI_PYTHON", sys.executable)
    command = [python, str(Path(CHECKOUT) / "bin" / "ig"), *map(str, arguments)]
    environment = {**os.environ, "IGROOT": CHECKOUT, "IGTOP": CHECKOUT, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@with_checkout
def test_its_own_linter_accepts_the_layer() -> None:
    result = ig("metadata", "--lint", LAYER)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.strip().endswith("OK")


@with_checkout
@pytest.mark.parametrize("board", sorted(BOARDS))
def test_it_resolves_every_layer_of_the_board(board: str, tmp_path: Path) -> None:
    environment = tmp_path / "config.env"
    config = RPI / "config" / f"edgeinspect-{board}.yaml"
    loaded = ig("config", config, "--path", RPI / "config", "--write-to", environment,
                "--no-expand", "-S", RPI)  # fmt: skip
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    dynamic = tmp_path / "dynamic"
    dynamic.mkdir()
    roots = {"src": RPI / "layer", "DYNlayer": dynamic}
    roots |= {name: Path(CHECKOUT, name) for name in ("layer", "device", "image")}
    plan = tmp_path / "plan"
    ig("pipeline", "--env-in", environment, "--layers", *BOARDS[board], "edgeinspect",
       "--path", ":".join(f"{tag}={path}" for tag, path in roots.items()),
       "--env-out", tmp_path / "out.env", "--plan-out", plan,
       SRCROOT=str(RPI), IGconf_edgeinspect_wheels=str(tmp_path))  # fmt: skip
    layers = [line.split(":")[0] for line in plan.read_text().splitlines()]
    assert layers[-1] == "edgeinspect"
    assert set(BOARDS[board]) < set(layers)
    assert "openssh-server" in layers
