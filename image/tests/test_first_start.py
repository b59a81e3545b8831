"""The first start with no station.conf, with wrong ones, and with one corrected on a PC."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from image.qemu import disk
from image.qemu.machine import NO_ANSWER, Machine
from image.tests import guest

WRONG = {
    "unknown key": ("{good}colour: red\n", "station.conf:7: colour"),
    "no host name": ("format: 1\nssh_keys:\n  - {key}\n", "hostname"),
    "key cut off": (
        "format: 1\nhostname: press-8\nssh_keys:\n  - ssh-ed25519 AAAA\n",
        "station.conf:4: ssh_keys[0]",
    ),
    "no YAML": ("format: 1\nhostname: [press-8\n", "station.conf:"),
    "file not there": ("{good}recipe: other.yaml\n", "station.conf:7: recipe"),
    "wrong station file": ("{good}", "station.yaml:3: "),
}
"""What is wrong; the file; how the log begins to tell it."""
ALWAYS = ("wrong station file",)
"""Tested even where there is little time; each takes a minute or two."""


@pytest.mark.parametrize(
    "what",
    [pytest.param(what, marks=() if what in ALWAYS else pytest.mark.slow) for what in WRONG],
)
def test_a_stick_with_a_mistake_is_told_so_on_the_stick(
    shared_machine: Machine, conf: Path, key: Path, tmp_path: Path, what: str
) -> None:
    text, told = WRONG[what]
    public = key.with_suffix(".pub").read_text().strip()
    good = conf.read_text().replace("press-7", "press-8")
    wrong = tmp_path / "station.conf"
    wrong.write_text(text.format(good=good, key=public))
    station = (Path(__file__).parent / "station.yaml").read_text()
    if what == "wrong station file":
        station = station.replace("format: 1\n", "format: 1\n\n", 1).replace(
            "format: 1", "format: 9"
        )
    (tmp_path / "station.yaml").write_text(station)
    stick = make_stick(tmp_path, wrong, tmp_path / "station.yaml")
    before = guest.unit(shared_machine, "edgeinspect")["MainPID"]
    shared_machine.plug_in(stick)
    guest.wait_until("taken", lambda: b"station.log" in listing(stick), limit_s=600)
    guest.wait_until("done with it", lambda: is_done(shared_machine), limit_s=900)
    shared_machine.pull_out()
    log = read(stick, "station.log")
    assert told in log, log
    assert log.splitlines()[2].startswith(("NOTHING CHANGED.", "PARTLY SET UP.")), log
    # what it inspected with before stays in force, without a pause
    assert guest.unit(shared_machine, "edgeinspect")["MainPID"] == before


def is_done(machine: Machine) -> bool:
    return guest.unit(machine, "edgeinspect-usb@vdb")["ActiveState"] in ("inactive", "failed")


def make_stick(folder: Path, *files: Path) -> Path:
    """A USB stick as a PC makes it, with the label that the station looks for."""
    stick = folder / "stick.fat"
    with stick.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["/usr/sbin/mkfs.vfat", "-n", "EDGEINSPECT", stick], check=True, stdout=-3)
    subprocess.run(["mcopy", "-i", stick, *files, "::/"], check=True)
    return stick


def listing(stick: Path) -> bytes:
    return subprocess.run(["mdir", "-b", "-i", stick], capture_output=True, check=True).stdout


def read(stick: Path, name: str) -> str:
    done = subprocess.run(["mtype", "-i", stick, f"::/{name}"], capture_output=True, check=True)
    return done.stdout.decode()


@pytest.mark.slow
def test_without_and_with_a_wrong_station_conf_it_waits_and_says_so_until_it_is_corrected(
    new_card: Callable[..., Path], key: Path, conf: Path, tmp_path: Path
) -> None:
    card = new_card(tmp_path)
    with Machine(card, key) as machine:
        start_and_set_up(machine)
        assert guest.unit(machine, "edgeinspect")["ConditionResult"] == "no"
        assert machine.run("true").returncode == NO_ANSWER
        machine.cut_power()
        log = disk.get_setting(card, "station.log").decode()
        assert "station.conf" in log
        assert "station.conf.example" in log, log

        wrong = tmp_path / "station.conf"
        wrong.write_text(conf.read_text() + "time_zone: Europe/Berlin\n")
        disk.put_settings(card, {"station.conf": wrong})
        start_and_set_up(machine)
        machine.cut_power()
        log = disk.get_setting(card, "station.log").decode()
        assert "station.conf:7: " in log, log

        disk.put_settings(card, {"station.conf": conf})
        disk.put_settings(card, {"station.yaml": Path(__file__).parent / "station.yaml"})
        start_and_set_up(machine)
        machine.wait_for_login()
        assert machine.run("hostname").stdout.strip() == "press-7"
        machine.cut_power()
        assert "SET UP" in disk.get_setting(card, "station.log").decode()


def start_and_set_up(machine: Machine) -> None:
    machine.start()
    guest.wait_until_shell(machine)
    guest.wait_until(
        "set up", lambda: guest.unit(machine, "edgeinspect-setup")["ActiveState"] == "active"
    )
    # the partition is read-only again, so the log is whole
    _, mounts = machine.root("findmnt -rno OPTIONS /boot/firmware")
    assert mounts.strip().startswith("ro,"), mounts
