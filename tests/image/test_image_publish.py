"""What goes beside a Raspberry Pi image, from the files that rpi-image-gen leaves."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from image.rpi.publish import publish

RPI = Path(__file__).parents[2] / "image" / "rpi"
PACKAGE = "Package: rauc\nStatus: install ok installed\nArchitecture: arm64\nVersion: 1.13-1\n"
needs_rauc = pytest.mark.skipif(
    shutil.which("rauc") is None or shutil.which("openssl") is None,
    reason="rauc or openssl is not installed",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    made.mkdir()
    for name in ("edgeinspect-pi5.img", "boot.vfat", "system.erofs"):
        (made / name).write_bytes(random.Random(name).randbytes(50_000))
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text(PACKAGE)
    info = root / "opt/edgeinspect/lib/python3.13/site-packages/edgeinspect-1.2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edgeinspect\nVersion: 1.2.0\n")
    settings = (RPI / "overlay/etc/rauc/system.conf").read_text()
    (root / "etc/rauc").mkdir(parents=True)
    (root / "etc/rauc/system.conf").write_text(settings.replace("@CLASS@", "pi5"))
    return root


def test_materials_and_checksums_come_with_an_image(folder: Path, root: Path) -> None:
    publish(folder, root, version="1.2.0", keys=None)
    bill = (folder / "edgeinspect-pi5.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    names = [entry["name"] for entry in json.loads(bill)["components"]]
    assert names == ["rauc", "edgeinspect"]
    lines = (line.split("  ") for line in (folder / "SHA256SUMS").read_text().splitlines())
    sums = {name: digest for digest, name in lines}
    assert sums.keys() == {"edgeinspect-pi5.img", "edgeinspect-pi5.cdx.json"}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


@needs_rauc
def test_the_update_is_for_this_board_and_signed(folder: Path, root: Path, tmp_path: Path) -> None:
    publish(folder, root, version="1.2.0", keys=tmp_path / "keys")
    update = folder / "edgeinspect-pi5.raucb"
    certificate = tmp_path / "keys/update-certificate.pem"
    asked = ["rauc", "info", "--output-format=json", f"--keyring={certificate}", str(update)]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    printed = json.loads(done.stdout)
    assert (printed["compatible"], printed["version"]) == ("edgeinspect-pi5", "1.2.0")
    assert {kind for image in printed["images"] for kind in image} == {"rootfs", "bootfs"}
    assert "edgeinspect-pi5.raucb" in (folder / "SHA256SUMS").read_text()
    assert (tmp_path / "keys/update.key").stat().st_mode & 0o077 == 0


@needs_rauc
def test_a_strangers_certificate_does_not_fit(folder: Path, root: Path, tmp_path: Path) -> None:
    for keys in ("ours", "theirs"):
        publish(folder, root, version="1.2.0", keys=tmp_path / keys)
    certificate = tmp_path / "ours/update-certificate.pem"
    update = folder / "edgeinspect-pi5.raucb"  # the last one is theirs
    done = subprocess.run(
        ["rauc", "info", f"--keyring={certificate}", str(update)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "signature" in done.stderr


@pytest.mark.parametrize("missing", ["boot.vfat", "edgeinspect-pi5.img"])
def test_what_is_missing_is_reported(
    folder: Path, root: Path, tmp_path: Path, missing: str
) -> None:
    (folder / missing).unlink()
    with pytest.raises(SystemExit, match=r"^image: "):
        publish(folder, root, version="1.2.0", keys=tmp_path / "keys")
    assert not (folder / "SHA256SUMS").exists()
