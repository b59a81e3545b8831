"""Parts of the image builder that need no emulation: materials, module order, choice of slot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from image import sbom, steps
from image.qemu import build, kernel

QEMU = Path(__file__).parents[2] / "image" / "qemu"
STATUS = """\
Package: bash
Status: install ok installed
Architecture: arm64
Version: 5.2.37-2+b5
Description: a shell
 whose text has a colon: here

Package: gone
Status: deinstall ok config-files
Architecture: arm64
Version: 1
"""


def test_the_bill_of_materials_lists_what_is_installed(tmp_path: Path) -> None:
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(STATUS)
    site = tmp_path / "site"
    metadata = site / "Some_Thing-1.5.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: Some_Thing\nVersion: 1.5\n")
    sbom.write(tmp_path, site, tmp_path / "sbom.json", version="1.2.0")
    document = json.loads((tmp_path / "sbom.json").read_text())
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str((tmp_path / "sbom.json").read_text()) is None
    assert document["metadata"]["component"]["version"] == "1.2.0"
    assert [entry["purl"] for entry in document["components"]] == [
        "pkg:deb/debian/bash@5.2.37-2%2Bb5?arch=arm64&distro=debian-13",
        "pkg:pypi/some-thing@1.5",
    ]


def test_the_same_root_gives_the_same_bill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(STATUS)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    texts = []
    for version in ("1.2.0", "1.2.0", "1.2.1"):
        sbom.write(tmp_path, tmp_path / "site", tmp_path / "sbom.json", version=version)
        texts.append(json.loads((tmp_path / "sbom.json").read_text()))
    assert texts[0] == texts[1]
    assert texts[0]["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert texts[0]["serialNumber"] != texts[2]["serialNumber"]


def test_modules_are_loaded_after_what_they_need(tmp_path: Path) -> None:
    (tmp_path / "modules.dep").write_text(
        "kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz kernel/fs/jbd2/jbd2.ko.xz\n"
        "kernel/fs/jbd2/jbd2.ko.xz: kernel/lib/crc16.ko.xz\n"
        "kernel/lib/crc16.ko.xz:\n"
        "kernel/fs/overlayfs/overlay.ko.xz:\n"
        "kernel/drivers/block/virtio_blk.ko.xz:\n"
    )
    names = [path.name.partition(".")[0] for path in kernel.load_order(tmp_path)]
    assert names == ["virtio_blk", "crc16", "jbd2", "ext4", "overlay"]


class Slots:
    """grub.cfg's choice, run by a shell that has been given GRUB's commands."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self._folder = folder
        self.kept = {"ORDER": "A B", "A_OK": "1", "A_TRY": "0", "B_OK": "1", "B_TRY": "0"}
        self.kept |= variables

    def boot(self) -> str:
        """The slot that is booted; what GRUB saves is kept."""
        program = [
            "load_env() { :; }",
            'save_env() { shift 2; for name; do eval "echo SAVE $name \\$$name"; done; }',
            "regexp() { disk=hd0; }",
            "linux() { for word; do case $word in rauc.slot=*) tell $word;; esac; done; }",
            'tell() { echo "BOOT ${1#*=}"; }',
            "initrd() { :; }; boot() { :; }",
            "root=hd0,gpt1",
            *(f"{name}='{value}'" for name, value in self.kept.items()),
            (QEMU / "grub.cfg").read_text().replace("($root)", "").replace("($disk,$part)", ""),
        ]
        done = subprocess.run(
            ["bash", "-c", "\n".join(program)], capture_output=True, text=True, check=True
        )
        booted = ""
        for line in done.stdout.splitlines():
            word, *rest = line.split()
            if word == "SAVE":
                self.kept[rest[0]] = rest[1]
            elif word == "BOOT":
                booted = rest[0]
        return booted

    def mark_good(self, slot: str) -> None:
        self.kept |= {f"{slot}_OK": "1", f"{slot}_TRY": "0"}


def test_a_healthy_system_boots_again_and_again(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    for _ in range(3):
        assert slots.boot() == "A"
        slots.mark_good("A")


def test_a_system_that_never_proves_healthy_gives_way_to_the_other(tmp_path: Path) -> None:
    slots = Slots(tmp_path, ORDER="B A")
    assert [slots.boot() for _ in range(4)] == ["B", "B", "B", "A"]
    slots.mark_good("A")
    assert slots.boot() == "A"


def test_a_power_cut_or_two_before_it_has_proved_healthy_do_not_bring_back_the_older_system(
    tmp_path: Path,
) -> None:
    slots = Slots(tmp_path, ORDER="B A")
    for _ in range(3):
        assert [slots.boot(), slots.boot()] == ["B", "B"]
        slots.mark_good("B")


def test_a_system_whose_self_test_failed_is_not_booted_again(tmp_path: Path) -> None:
    slots = Slots(tmp_path, ORDER="B A")
    assert slots.boot() == "B"
    slots.kept |= {"B_OK": "0", "B_TRY": "0"}  # as RAUC marks it bad
    assert [slots.boot() for _ in range(3)] == ["A", "A", "A"]
    assert slots.boot() == "A"  # never marked good either, but the only one that may be booted


def test_a_slot_that_is_being_written_is_not_booted(tmp_path: Path) -> None:
    assert Slots(tmp_path, ORDER="B A", B_OK="0").boot() == "A"


def test_two_systems_that_both_failed_are_tried_again_in_order(tmp_path: Path) -> None:
    slots = Slots(tmp_path, A_TRY="3", B_TRY="3")
    assert "".join(slots.boot() for _ in range(7)) == "AAABBBA"
    assert Slots(tmp_path, A_OK="0", B_OK="0").boot() == "A"


def test_a_lost_environment_of_the_boot_loader_still_starts_a_system(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    slots.kept = {}
    assert slots.boot() == "A"


@pytest.mark.parametrize("file", ["build.py", "kernel.py", "disk.py", "machine.py"])
def test_no_part_of_the_builder_reaches_for_a_loop_device(file: str) -> None:
    text = (QEMU / file).read_text()
    assert "losetup" not in text
    assert "-o loop" not in text


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "Err:1 http://x trixie InRelease\nE: Failed to fetch http://x  Temporary failure\n"
            "I: removing tempdir\nE: mmdebstrap failed to run\n",
            "Failed to fetch http://x  Temporary failure",
        ),
        (
            "WARNING: Retrying (Retry(total=0)) connection broken by 'NameResolutionError(x)'\n"
            "ERROR: No matching distribution found for numpy>=2\n",
            "'NameResolutionError(x)'",
        ),
        ("ERROR: No matching distribution found for numpy>=9\n",
         "No matching distribution found for numpy>=9"),
        ("one\nlast words\n\n", "last words"),
        ("", "no reason was given"),
    ],
)  # fmt: skip
def test_what_cannot_be_fetched_is_reported_in_one_line(said: str, reason: str) -> None:
    with pytest.raises(SystemExit) as ended:
        steps.run("sh", "-c", 'printf %s "$1"; exit 7', "-", said, fetches="Debian trixie")
    text = str(ended.value.code)
    assert text.startswith(f"image: Debian trixie could not be fetched ({reason}). Look at ")
    assert "\n" not in text


def test_a_missing_program_is_reported_with_the_command_that_installs_it() -> None:
    with pytest.raises(SystemExit, match=r"squash-it is not installed. Run: sudo apt-get install"):
        steps.run("squash-it")


def test_what_installs_updates_has_the_service_that_it_asks() -> None:
    """Debian ships ``rauc``'s service, without which it installs and marks nothing, by itself."""
    layer = (QEMU.parent / "rpi/layer/edgeinspect-slots.yaml").read_text()
    for packages in (build.PACKAGES, layer.split()):
        assert {"rauc", "rauc-service"} <= set(packages)


def test_the_packages_that_a_build_needs_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["--packages"]) == 0
    assert capsys.readouterr().out.split() == list(build.HOST_PACKAGES)
    with pytest.raises(SystemExit) as ended:
        build.main([])
    assert ended.value.code == 2


def test_a_folder_may_be_named_relatively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Makefile does so; programs that it runs stand elsewhere, or take it for one below /."""
    made: list[Path] = []

    def stop_here(root: Path) -> None:
        made.append(root)
        sys.exit("far enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "debian_root", stop_here)
    monkeypatch.setattr(build, "register_aarch64", lambda: None)
    monkeypatch.setattr("image.qemu.build.os.geteuid", lambda: 0)
    with pytest.raises(SystemExit, match="far enough"):
        build.build(Path("build/image"), version="1")
    assert made[0].is_absolute()
    assert made[0].is_relative_to(tmp_path / "build" / "image")
