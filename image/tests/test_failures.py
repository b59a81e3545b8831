"""What a station does about a hung program, a dead kernel, a full and a broken data partition."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable

import pytest

from image.qemu import disk
from image.qemu.machine import Machine
from image.tests import guest

pytestmark = pytest.mark.slow
WATCHDOG_S = 60.0
"""``WatchdogSec`` of edgeinspect.service on the emulated machine (overlay/…/emulated.conf)."""
RESET_S = 120.0
"""``RuntimeWatchdogSec`` is 15 s of the machine's own time, which runs slowly here."""


def test_a_stopped_program_is_started_again(fresh: Machine, note: Callable[[str], None]) -> None:
    before = guest.unit(fresh, "edgeinspect")
    _, began = fresh.root("cut -d' ' -f1 /proc/uptime; systemctl kill --signal=STOP edgeinspect")

    def killed() -> bool:
        return int(guest.unit(fresh, "edgeinspect")["NRestarts"]) > int(before["NRestarts"])

    guest.wait_until("restarted", killed, limit_s=300)
    _, journal = fresh.root(
        "journalctl -b -u edgeinspect -o short-monotonic --no-pager | tail -n 60"
    )
    noticed = re.search(r"\[\s*([0-9.]+)\].*Watchdog timeout", journal)
    assert noticed is not None, journal
    waited_s = float(noticed[1]) - float(began.split()[0])
    note(f"kill -STOP was noticed after {waited_s:.1f} s (WatchdogSec={WATCHDOG_S:.0f})")
    assert waited_s <= WATCHDOG_S + 2
    guest.wait_until_inspecting(fresh)
    assert guest.unit(fresh, "edgeinspect")["MainPID"] != before["MainPID"]


def test_a_dead_kernel_is_reset_by_the_hardware_watchdog(
    fresh: Machine, note: Callable[[str], None]
) -> None:
    last = max(guest.records(fresh)["parts"])
    # without this it would restart by itself after five seconds
    fresh.root("echo 0 > /proc/sys/kernel/panic")
    began = time.monotonic()
    fresh.root_send("echo c > /proc/sysrq-trigger")
    reset = fresh.monitor.wait_for_event("RESET", "WATCHDOG", limit_s=RESET_S)
    note(f"a dead kernel was reset after {time.monotonic() - began:.0f} s ({reset})")
    assert "Kernel panic" in fresh.console.read_text(errors="replace")
    fresh.forget_shell()
    guest.wait_until_shell(fresh)
    guest.wait_until_inspecting(fresh)
    found = guest.records(fresh)
    assert found["integrity"] == "ok"
    assert last in found["parts"]


def test_a_full_data_partition_is_told_and_passes_nothing_unrecorded(fresh: Machine) -> None:
    before = guest.records(fresh)
    fresh.root("fallocate -l $(($(stat -f -c '%f*%S' /data))) /data/filler; "
               "dd if=/dev/zero of=/data/filler2 bs=64k 2>/dev/null; df /data")  # fmt: skip

    def told() -> bool:
        faults = guest.status(fresh)["faults"]
        return "records_not_written" in faults or "pictures_not_written" in faults

    guest.wait_until("told of the full disk", told, limit_s=900)
    answer = guest.status(fresh)
    details = " ".join(fault["detail"] for fault in answer["faults"].values())
    assert "space" in details or "full" in details, answer["faults"]
    _, journal = fresh.root("journalctl -b -u edgeinspect --no-pager | grep 'not written'")
    assert "Fault" in journal
    fresh.root("rm /data/filler /data/filler2")

    def written_again() -> bool:
        found = guest.records(fresh)
        return bool(max(found["parts"]) > max(before["parts"]))

    guest.wait_until("writing records again", written_again, limit_s=900)
    found = guest.records(fresh)
    assert set(before["parts"]) <= set(found["parts"])
    assert found["integrity"] == "ok"


def test_a_broken_data_partition_rejects_and_says_why(fresh: Machine) -> None:
    fresh.cut_power()
    start = disk.offset("data")
    subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", f"write -q -P 0x5a {start} 64M", str(fresh.disk)],
        check=True,
    )
    fresh.start()
    fresh.wait_for_login()
    done = fresh.run("cat /boot/firmware/station.log")
    assert "THE DATA PARTITION CANNOT BE READ" in done.stdout, done.stdout + done.stderr
    assert guest.unit(fresh, "edgeinspect")["ActiveState"] == "inactive"
    assert guest.unit(fresh, "edgeinspect")["ConditionResult"] == "no"
    done = fresh.run(f"edgeinspect status --config {guest.STATION}")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
