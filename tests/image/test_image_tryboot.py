"""A Raspberry Pi's slots: the real script, a fake boot partition, and the firmware's rules."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

OVERLAY = Path(__file__).parents[2] / "image" / "rpi" / "overlay"
COMMON = Path(__file__).parents[2] / "image" / "common" / "bin"
PARTITIONS = {"A": 2, "B": 3}
CHANGES_SOMETHING = ("mount", "dd", "mv", "rm", "sync", "mkdir")


class Pi:
    """A card with two slots, and the firmware that chooses one.

    Attributes:
        running: the slot that was booted.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.boot_folder = root / "bootfs"
        self._firmware = root / "firmware"
        self._scripts = root / "scripts"
        self._programs = root / "programs"
        for folder in (self.boot_folder, self._firmware, self._scripts, self._programs):
            folder.mkdir()
        (root / "data/system").mkdir(parents=True)
        for source in (OVERLAY / "usr/lib/edgeinspect/rauc-slots", COMMON / "places"):
            shutil.copy(source, self._scripts)
        (root / "places.conf").write_text(f"BOOT={self.boot_folder}\nDATA={root}/data\n")
        self.autoboot = self.boot_folder / "autoboot.txt"
        # as rpi-image-gen's image-rota writes it
        self.autoboot.write_text(
            "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n"
        )
        self._programs_that_count()
        self.running = ""
        self.start()

    def start(self, *, tryboot: bool = False) -> str:
        """What the firmware does: [tryboot] wins over [all], for this start only."""
        section, partition = "", 0
        for line in self.autoboot.read_text().splitlines():
            if line.startswith("["):
                section = line
            elif line.startswith("boot_partition=") and (
                section == "[all]" or (tryboot and section == "[tryboot]")
            ):
                partition = int(line.partition("=")[2])
        (self._firmware / "partition").write_bytes(partition.to_bytes(4, "big"))
        self.running = {number: slot for slot, number in PARTITIONS.items()}[partition]
        return self.running

    def ask(self, *words: str) -> str:
        result = self.call(*words)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def call(self, *words: str, cut_before: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the script; its power is cut before the n-th program that changes something."""
        (self.root / "count").write_text("0")
        environment = {
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "EDGEINSPECT_PLACES": str(self.root / "places.conf"),
            "FIRMWARE": str(self._firmware),
            "CUT_BEFORE": str(cut_before),
        }
        script = self._scripts / "rauc-slots"
        return subprocess.run(
            ["sh", str(script), *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def install_update(self) -> str:
        """What RAUC asks for while it writes the slot that does not run."""
        target = "B" if self.running == "A" else "A"
        self.ask("set-state", target, "bad")
        self.ask("set-state", target, "good")
        self.ask("set-primary", target)
        return target

    def _programs_that_count(self) -> None:
        for name in CHANGES_SOMETHING:
            real = "true" if name == "mount" else shutil.which(name)
            path = self._programs / name
            path.write_text(
                "#!/bin/sh\n"
                f'count=$(($(cat "{self.root}/count") + 1)); echo $count > "{self.root}/count"\n'
                '[ "$count" != "$CUT_BEFORE" ] || { kill -9 $PPID; exit 1; }\n'
                f'exec {real} "$@"\n'
            )
            path.chmod(0o755)


@pytest.fixture
def pi(tmp_path: Path) -> Pi:
    return Pi(tmp_path)


def test_a_new_card_starts_its_first_slot(pi: Pi) -> None:
    assert pi.running == "A"
    assert (pi.ask("get-current"), pi.ask("get-primary")) == ("A", "A")
    assert (pi.ask("get-state", "A"), pi.ask("get-state", "B")) == ("good", "good")


def test_an_update_that_proves_healthy_stays(pi: Pi) -> None:
    length = pi.autoboot.stat().st_size
    assert pi.install_update() == "B"
    assert pi.ask("get-primary") == "B"
    assert pi.start(tryboot=True) == "B"
    pi.ask("set-state", "B", "good")
    assert [pi.start(), pi.start()] == ["B", "B"]
    assert pi.ask("get-primary") == "B"
    assert pi.autoboot.stat().st_size == length
    # and back to A with the next one
    assert pi.install_update() == "A"
    assert pi.start(tryboot=True) == "A"
    pi.ask("set-state", "A", "good")
    assert pi.start() == "A"


def test_an_update_that_never_proves_healthy_is_gone_with_the_next_start(pi: Pi) -> None:
    pi.install_update()
    assert pi.start(tryboot=True) == "B"
    assert pi.start() == "A"  # whatever restarted it: watchdog, power cut, its own self-test
    pi.ask("set-state", "A", "good")
    assert (pi.ask("get-primary"), pi.start()) == ("A", "A")


def test_a_slot_that_does_not_run_is_not_kept_by_calling_it_good(pi: Pi) -> None:
    before = pi.autoboot.read_bytes()
    pi.ask("set-state", "B", "good")
    assert pi.autoboot.read_bytes() == before


def test_an_update_is_called_off_by_choosing_the_running_slot_again(pi: Pi) -> None:
    pi.install_update()
    pi.ask("set-primary", "A")
    assert pi.ask("get-primary") == "A"


def test_a_bad_slot_is_remembered_until_it_is_good_again(pi: Pi) -> None:
    pi.ask("set-state", "B", "bad")
    assert pi.ask("get-state", "B") == "bad"
    pi.ask("set-state", "B", "good")
    assert pi.ask("get-state", "B") == "good"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[all]\nboot_partition=2\n",
        "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=2\n",
        "[all]\r\ntryboot_a_b=1\r\nboot_partition=2\r\n[tryboot]\r\nboot_partition=3\r\n",
    ],
)
def test_a_file_that_somebody_else_wrote_is_left_alone(pi: Pi, content: str) -> None:
    pi.start(tryboot=True)
    pi.autoboot.write_bytes(content.encode())
    for words in (("get-primary",), ("set-state", "B", "good"), ("set-primary", "B")):
        result = pi.call(*words)
        assert result.returncode == 1
        assert "is not what this system writes; nothing is changed" in result.stderr
    assert pi.autoboot.read_bytes() == content.encode()


@pytest.mark.parametrize(
    "words",
    [(), ("no-such",), ("get-state", "C"), ("set-primary", "2"), ("set-state", "A", "fine")],
)
def test_what_is_no_question_is_refused(pi: Pi, words: tuple[str, ...]) -> None:
    before = pi.autoboot.read_bytes()
    result = pi.call(*words)
    assert result.returncode == 1
    assert result.stderr.startswith("rauc-slots: ")
    assert pi.autoboot.read_bytes() == before


@pytest.mark.parametrize("cut_before", range(1, 7))
@pytest.mark.parametrize("words", [("set-primary", "B"), ("set-state", "B", "good")])
def test_a_power_cut_anywhere_leaves_a_slot_that_was_good_before(
    pi: Pi, words: tuple[str, ...], cut_before: int
) -> None:
    if words[0] == "set-state":
        pi.install_update()
        pi.start(tryboot=True)
    whole = pi.call(*words, cut_before=cut_before).returncode == 0
    started = pi.start()
    # B is good from the moment on at which it was to be marked so
    assert started in (("A",) if words[0] == "set-primary" else ("A", "B"))
    if whole:
        assert started == ("A" if words[0] == "set-primary" else "B")
    # and what was begun can be done again
    pi.ask("set-state", started, "good")
    assert pi.ask("get-primary") == started
    pi.ask(*words)


def test_the_last_of_the_cuts_came_after_the_last_change(pi: Pi) -> None:
    pi.install_update()
    pi.start(tryboot=True)
    pi.call("set-state", "B", "good")
    assert 3 < int((pi.root / "count").read_text()) < 7


def test_rauc_knows_the_partitions_that_the_firmware_knows() -> None:
    text = (OVERLAY / "etc/rauc/system.conf").read_text()
    for slot, letter in (("0", "a"), ("1", "b")):
        assert f"[slot.rootfs.{slot}]\ndevice=/dev/disk/by-partlabel/system_{letter}\n" in text
        assert f"[slot.bootfs.{slot}]\ndevice=/dev/disk/by-partlabel/boot_{letter}\n" in text
    assert "bootloader-custom-backend=/usr/lib/edgeinspect/rauc-slots\n" in text
    assert "bundle-formats=verity\n" in text
