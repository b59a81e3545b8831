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

RPI = Path(__file__).parents[2] / "image" / "rpi"
LAYERS = {path.stem: path for path in (RPI / "layer").glob("*.yaml")}
VARIABLES = {
    "edgeinspect": {"wheels", "common", "settings_mount", "version"},
    "edgeinspect-slots": {"overlay", "certificate"},
}
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
    two_slots = config["image"]["layer"] == "image-rota"
    assert config["layer"] == {"app": "edgeinspect-slots" if two_slots else "edgeinspect"}
    assert config["image"]["name"] == f"edgeinspect-{board}"
    assert config["edgeinspect"]["settings_mount"] == ("/bootfs" if two_slots else "/boot/firmware")


@pytest.mark.parametrize("board", sorted(BOARDS))
def test_no_board_gets_a_password(board: str) -> None:
    device = merged(board)["device"]
    assert not {key for key in device if "pass" in key}
    assert merged(board)["ssh"] == {"pubkey_only": "y"}


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_the_layer_says_what_its_hooks_use(name: str) -> None:
    assert LAYERS.keys() == VARIABLES.keys()
    head, _, body = LAYERS[name].read_text().partition("# METAEND\n---\n")
    prefix = name.replace("-", "_")
    assert f"# X-Env-Layer-Name: {name}\n" in head
    assert f"# X-Env-VarPrefix: {prefix}\n" in head
    declared = set(re.findall(r"^# X-Env-Var-([a-z_]+):", head, re.MULTILINE))
    used = set(re.findall(rf"IGconf_{prefix}_([a-z_]+)", body))
    assert declared == used == VARIABLES[name]
    for variable in declared:
        for field in ("Desc", "Required", "Valid", "Set"):
            assert f"# X-Env-Var-{variable}-{field}:" in head
    steps = yaml.safe_load(body)["mmdebstrap"]
    assert set(steps) <= {"packages", "customize-hooks", "cleanup-hooks"}
    assert len(set(steps["packages"])) == len(steps["packages"])


def hooks(name: str, kind: str = "customize-hooks") -> list[str]:
    body = LAYERS[name].read_text().partition("# METAEND\n---\n")[2]
    found: list[str] = yaml.safe_load(body)["mmdebstrap"][kind]
    return found


def test_no_host_key_and_no_other_sudo_leave_the_builder() -> None:
    cleanup = hooks("edgeinspect", "cleanup-hooks")
    assert "rm -f $1/etc/ssh/ssh_host_*" in cleanup
    assert "rm -f $1/etc/sudoers.d/010_rpi-*" in cleanup


def run_hook(hook: str, root: Path, **variables: object) -> None:
    environment = {"PATH": os.environ["PATH"], **{k: str(v) for k, v in variables.items()}}
    done = subprocess.run(["bash", "-c", hook, "hook", str(root)], env=environment, check=False)
    assert done.returncode == 0


def places(root: Path) -> dict[str, str]:
    """What the scripts of this root read."""
    scripts = root / "usr/lib/edgeinspect"
    names = ("BOOT", "DATA_DEVICE", "DATA_MOUNT", "TRY_OTHER_SLOT")
    words = " ".join(f'"{name}=${name}"' for name in names)
    done = subprocess.run(
        ["sh", "-c", f". {scripts}/places; printf '%s\\n' {words}"],
        env={"EDGEINSPECT_PLACES": str(scripts / "places.conf")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_scripts_find_their_places_on_both_layouts(tmp_path: Path) -> None:
    common = RPI.parent / "common"
    overlay_hook, places_hook = hooks("edgeinspect")[:2]
    run_hook(overlay_hook, tmp_path, IGconf_edgeinspect_common=common)
    places_settings = {"settings_mount": "/boot/firmware", "version": "1.2.0"}
    run_hook(
        places_hook, tmp_path, **{f"IGconf_edgeinspect_{k}": v for k, v in places_settings.items()}
    )
    assert (tmp_path / "etc/edgeinspect-release").read_text() == "VERSION=1.2.0\n"
    assert (tmp_path / "boot/firmware/station.conf.example").is_file()
    assert places(tmp_path) == {
        "BOOT": "/boot/firmware",
        "DATA_DEVICE": "/dev/disk/by-slot/system",
        "DATA_MOUNT": "",
        "TRY_OTHER_SLOT": "",
    }
    variables = {
        "IGconf_edgeinspect_slots_overlay": RPI / "overlay",
        "IGconf_edgeinspect_slots_certificate": common / "conf/station.conf.example",
        "IGconf_device_class": "pi5",
    }
    for hook in hooks("edgeinspect-slots")[:2]:
        run_hook(hook, tmp_path, **variables)
    assert places(tmp_path) == {
        "BOOT": "/bootfs",
        "DATA_DEVICE": "/dev/disk/by-slot/persistent",
        "DATA_MOUNT": "/data",
        "TRY_OTHER_SLOT": "0 tryboot",
    }
    assert "compatible=edgeinspect-pi5\n" in (tmp_path / "etc/rauc/system.conf").read_text()
    assert (tmp_path / "usr/lib/edgeinspect/rauc-slots").stat().st_mode & 0o111
    assert (tmp_path / "etc/rauc/keyring.pem").is_file()
    shared = tmp_path / "etc/rpi-image-gen/slot-shared.d/edgeinspect.conf"
    assert "Version=1\nPath=/data\n" in shared.read_text()
    mount = tmp_path / "etc/systemd/system/persistent.mount.d/edgeinspect.conf"
    assert mount_options(mount.read_text())[-1] == "x-systemd.device-bound=no"


def mount_options(text: str) -> list[str]:
    found = re.search(r"^Options=(.+)$", text, re.MULTILINE)
    assert found is not None
    return found[1].split(",")


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
@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_its_own_linter_accepts_the_layer(name: str) -> None:
    result = ig("metadata", "--lint", LAYERS[name])
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
    app = merged(board)["layer"]["app"]
    ig("pipeline", "--env-in", environment, "--layers", *BOARDS[board], app,
       "--path", ":".join(f"{tag}={path}" for tag, path in roots.items()),
       "--env-out", tmp_path / "out.env", "--plan-out", plan,
       SRCROOT=str(RPI), IGconf_edgeinspect_wheels=str(tmp_path))  # fmt: skip
    layers = [line.split(":")[0] for line in plan.read_text().splitlines()]
    assert layers[-1] == app
    assert "edgeinspect" in layers
    assert set(BOARDS[board]) < set(layers)
    assert "openssh-server" in layers


@with_checkout
def test_the_data_are_mounted_with_its_own_options_and_stay_mounted() -> None:
    (generator,) = Path(CHECKOUT, "image/gpt").rglob("slot-perst-generator")
    own = RPI / "overlay/etc/systemd/system/persistent.mount.d/edgeinspect.conf"
    assert mount_options(own.read_text()) == [
        *mount_options(generator.read_text()),
        "x-systemd.device-bound=no",
    ]
