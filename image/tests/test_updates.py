"""System updates: a good one, one that cannot inspect, and those that must not be taken.

What the station was set up with and what it recorded must be there after each.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from image import release
from image.qemu import disk
from image.qemu.machine import Machine
from image.tests import guest

UPDATE = "sudo /usr/lib/edgeinspect/update"
UPLOADED = "/data/home/technician/new.raucb"
INSTALL_LIMIT_S = 3600.0
UNTRUSTED = {
    "signed by somebody else": "signature verification failed",
    "not signed": "Invalid bundle format",
    "changed": "Error reading from file",
}
"""What an update is, and RAUC's words for it: that it refused, and did not merely fail to start."""


def slot(machine: Machine) -> str:
    """A or B, as the boot loader chose."""
    _, text = machine.root("cat /proc/cmdline")
    return next(word[-1] for word in text.split() if word.startswith("rauc.slot="))


def version(machine: Machine) -> str:
    _, text = machine.root("cat /etc/edgeinspect-release")
    return text.strip().removeprefix("VERSION=")


def kept(machine: Machine) -> str:
    """Digests of what an update must not touch."""
    _, text = machine.root(
        "cd /data && find edgeinspect/station.yaml edgeinspect/data/recipes system/etc ssh "
        "-type f -exec sha256sum {} + | sort"
    )
    return text


def update_stick(folder: Path, bundle: Path) -> Path:
    stick = folder / "stick.fat"
    with stick.open("wb") as file:
        file.truncate(bundle.stat().st_size + (32 << 20))
    subprocess.run(["/usr/sbin/mkfs.vfat", "-n", "EDGEINSPECT", stick], check=True, stdout=-3)
    subprocess.run(["mcopy", "-i", stick, bundle, "::/update.raucb"], check=True)
    return stick


def wait_for_restart(machine: Machine) -> None:
    """Until the machine is reset, and then answers again."""
    machine.monitor.wait_for_event("RESET", limit_s=INSTALL_LIMIT_S)
    machine.forget_shell()
    guest.wait_until_shell(machine)


def small_update(folder: Path, keys: release.UpdateKeys, *, version: str = "9.0.0") -> Path:
    """A signed update with a file for a system, which is quick to carry over SSH."""
    system = folder / "system.squashfs"
    system.write_bytes(random.Random(1).randbytes(1 << 20))
    disk.write_update(folder / "small.raucb", system, keys, version)
    return folder / "small.raucb"


@pytest.mark.parametrize("how", UNTRUSTED)
def test_an_update_that_cannot_be_trusted_is_refused(
    shared_machine: Machine, image: Path, tmp_path: Path, how: str
) -> None:
    before = guest.unit(shared_machine, "edgeinspect")
    ours = release.UpdateKeys(image / "keys/update-certificate.pem", image / "keys/update.key")
    keys = release.update_keys(tmp_path / "keys") if how == "signed by somebody else" else ours
    update = small_update(tmp_path, keys)
    content = bytearray(update.read_bytes())
    if how == "not signed":
        content = bytearray((tmp_path / "system.squashfs").read_bytes())
    elif how == "changed":
        content[len(content) // 2] ^= 1
    update.write_bytes(content)
    shared_machine.copy_in(update, UPLOADED)
    done = shared_machine.run(f"{UPDATE} {UPLOADED}", limit_s=900)
    assert done.returncode != 0, done.stdout + done.stderr
    assert UNTRUSTED[how] in done.stdout + done.stderr
    assert slot(shared_machine) == "A"
    _, marks = shared_machine.root("grub-editenv /boot/grub/grub/grubenv list")
    assert "ORDER=A B" in marks, marks
    shared_machine.run(f"rm {UPLOADED}")
    _, kept_copy = shared_machine.root("ls /data/system/update.raucb 2>&1")
    assert "No such file" in kept_copy
    assert guest.unit(shared_machine, "edgeinspect")["MainPID"] == before["MainPID"]
    guest.wait_until_passing(shared_machine)


def test_an_older_system_is_refused_without_the_word(
    shared_machine: Machine, image: Path, tmp_path: Path
) -> None:
    keys = release.UpdateKeys(image / "keys/update-certificate.pem", image / "keys/update.key")
    update = small_update(tmp_path, keys, version="0.0.0-rc1")
    shared_machine.copy_in(update, UPLOADED)
    done = shared_machine.run(f"{UPDATE} {UPLOADED}", limit_s=900)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "is older than" in done.stderr
    shared_machine.run(f"rm {UPLOADED}")


def test_nobody_but_root_speaks_to_the_updater(shared_machine: Machine) -> None:
    """Debian's own policy lets everybody install a signed update, older ones too."""
    call = (
        "busctl --timeout=60 get-property de.pengutronix.rauc / "
        "de.pengutronix.rauc.Installer Operation"
    )
    done = shared_machine.run(call, limit_s=600)
    assert done.returncode != 0
    assert "Access denied" in done.stderr, done.stderr
    code, text = shared_machine.root(call, limit_s=600)
    assert code == 0, text


@pytest.mark.slow
def test_a_good_update_is_kept_and_a_bad_one_is_gone_back_from(
    fresh: Machine, samples: Path, tmp_path: Path, note: Callable[[str], None]
) -> None:
    before, recorded = kept(fresh), set(guest.records(fresh)["parts"])
    assert "station.yaml" in before
    began = time.monotonic()
    fresh.plug_in(update_stick(tmp_path, samples / "good.raucb"))
    wait_for_restart(fresh)
    installed_s = time.monotonic() - began
    guest.wait_until_inspecting(fresh)
    assert (slot(fresh), version(fresh)) == ("B", "1.0.0")
    guest.wait_until_settled(fresh)
    assert kept(fresh) == before
    assert recorded <= set(guest.records(fresh)["parts"])
    fresh.pull_out()
    note(f"an update from a stick: installed and restarted in {installed_s:.0f} s, then inspecting")

    began = time.monotonic()
    fresh.plug_in(update_stick(tmp_path, samples / "broken.raucb"))
    wait_for_restart(fresh)
    assert (slot(fresh), version(fresh)) == ("A", "2.0.0")
    wait_for_restart(fresh)  # by itself, once its self-test has failed
    assert (slot(fresh), version(fresh)) == ("B", "1.0.0")
    guest.wait_until_inspecting(fresh)
    guest.wait_until_settled(fresh)
    assert kept(fresh) == before
    found = guest.records(fresh)
    assert recorded <= set(found["parts"])
    assert found["integrity"] == "ok"
    note(f"a bad update: gone back from by itself after {time.monotonic() - began:.0f} s in all")


@pytest.mark.slow
def test_a_power_cut_during_an_update_leaves_the_system_that_ran(
    fresh: Machine, samples: Path, tmp_path: Path
) -> None:
    before, recorded = kept(fresh), set(guest.records(fresh)["parts"])
    fresh.plug_in(update_stick(tmp_path, samples / "good.raucb"))

    def writing() -> bool:
        _, marks = fresh.root("grub-editenv /boot/grub/grub/grubenv list")
        return "B_OK=0" in marks

    guest.wait_until("writing the other slot", writing, limit_s=900)
    time.sleep(random.uniform(1, 10))
    fresh.cut_power()
    fresh.start()
    guest.wait_until_shell(fresh)
    assert (slot(fresh), version(fresh)) != ("B", "1.0.0")
    guest.wait_until_inspecting(fresh)
    assert slot(fresh) == "A"
    assert kept(fresh) == before
    assert recorded <= set(guest.records(fresh)["parts"])
