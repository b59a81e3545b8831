"""A station that came up from its card: what it does, and what it lets nobody do."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable

from image.qemu.machine import NO_ANSWER, Machine
from image.tests import guest
from tests.helpers.terminal import Terminal

SUID = {
    "/usr/bin/chfn", "/usr/bin/chsh", "/usr/bin/gpasswd", "/usr/bin/mount", "/usr/bin/newgrp",
    "/usr/bin/passwd", "/usr/bin/su", "/usr/bin/sudo", "/usr/bin/umount",
    "/usr/lib/dbus-1.0/dbus-daemon-launch-helper", "/usr/lib/openssh/ssh-keysign",
    "/usr/lib/polkit-1/polkit-agent-helper-1", "/usr/sbin/unix_chkpwd",
}  # fmt: skip
"""What Debian itself ships so; nothing of ours."""


def test_it_inspects_with_the_shipped_model(
    shared_machine: Machine, note: Callable[[str], None]
) -> None:
    def judged() -> bool:
        return bool(guest.records(shared_machine)["verdicts"].get("PASS", 0) >= 1)

    guest.wait_until("a part passed", judged, limit_s=900)
    answer = guest.wait_until_passing(shared_machine)
    assert answer["engine"].startswith("litert "), answer["engine"]
    assert answer["records_acknowledged"] >= 1
    found = guest.records(shared_machine)
    assert found["integrity"] == "ok"
    latency = answer["stage_latency_us"]["frame_to_verdict"]
    note(f"verdicts so far: {found['verdicts']}; frame to verdict {latency['p50'] / 1e6:.1f} s")


def test_the_golden_pictures_agree_on_arm(shared_machine: Machine) -> None:
    done = shared_machine.run(f"edgeinspect check {guest.STATION} --json", limit_s=900)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = json.loads(done.stdout.splitlines()[-1])["checks"]
    details = {check["name"]: check for check in checks}
    assert details["model"]["state"] == "ok", details
    assert details["model"]["detail"].startswith("golden pictures agree on litert ")
    _, machine = shared_machine.root("uname -m")
    assert machine.strip() == "aarch64"


def test_the_tuning_screen_opens_over_ssh(shared_machine: Machine) -> None:
    command = shared_machine.ssh("technician", "RequestTTY=force")
    terminal = Terminal(
        [*command, f"edgeinspect tune --config {guest.STATION}"],
        environment={**os.environ, "TERM": "xterm-256color"},
        deadline_s=900,
    )
    try:
        terminal.wait_for("sim-surface")
        terminal.press("q")
        assert terminal.wait() == 0, terminal.text
    finally:
        terminal.close()


def test_only_the_technicians_key_opens_it(shared_machine: Machine) -> None:
    for login in ("root", "edgeinspect", "nobody"):
        done = shared_machine.run("true", login=login)
        assert done.returncode == NO_ANSWER, login
        assert "Permission denied (publickey)." in done.stderr, done.stderr
    done = shared_machine.run("true", options=("PubkeyAuthentication=no",))
    assert done.returncode == NO_ANSWER
    # what the server would have taken instead, were there a password: nothing
    assert "Permission denied (publickey)." in done.stderr, done.stderr
    shared_machine.wait_for_login()  # sshd lets nobody in for a while after so many failures


def test_nothing_but_sshd_listens(shared_machine: Machine) -> None:
    _, text = shared_machine.root("ss -Hltnp")
    listening = [line for line in text.splitlines() if "LISTEN" in line]
    assert listening, text
    for line in listening:
        assert '"sshd"' in line, text
        assert re.search(r":22\s", line), text
    _, text = shared_machine.root("ss -Hlunp")
    for line in filter(None, text.splitlines()):
        assert '"systemd-network"' in line, text  # asks for an address
        assert ":68" in line, text


def test_nothing_has_failed_and_the_service_is_confined(
    shared_machine: Machine, note: Callable[[str], None]
) -> None:
    _, failed = shared_machine.root("systemctl --failed --no-legend")
    assert failed.strip() == ""
    _, text = shared_machine.root(
        "SYSTEMD_COLORS=0 SYSTEMD_URLIFY=0 systemd-analyze security --no-pager edgeinspect.service"
    )
    level = re.search(r"Overall exposure level for edgeinspect\.service: ([0-9.]+)", text)
    assert level is not None, text
    assert float(level[1]) <= 3.0
    note(f"systemd-analyze security edgeinspect.service: {level[1]}")
    code, text = shared_machine.root(
        "systemd-analyze verify --man=no /usr/lib/systemd/system/edgeinspect*.service"
    )
    assert [line for line in text.splitlines() if "edgeinspect" in line] == []
    assert code == 0, text


def test_nobody_has_a_password_or_a_key_that_was_not_given(shared_machine: Machine) -> None:
    _, shadow = shared_machine.root("cat /etc/shadow")
    entries = [line.split(":") for line in shadow.splitlines() if line.count(":") == 8]
    assert {"root", "technician", "edgeinspect"} <= {entry[0] for entry in entries}
    for entry in entries:
        assert entry[1][:1] in ("*", "!"), entry[0]
    _, keys = shared_machine.root("find / -xdev -name 'authorized_keys*' -type f 2>/dev/null")
    assert keys.split() == []  # the folder below has another name
    _, keys = shared_machine.root("ls /etc/ssh/authorized_keys.d")
    assert keys.split() == ["technician"]
    _, sudo = shared_machine.root(
        "cat /etc/sudoers.d/* /etc/sudoers | grep -v '^#' | grep NOPASSWD"
    )
    assert sudo.split() == ["technician", "ALL=(root)", "NOPASSWD:", "EDGEINSPECT"]


def test_no_program_or_file_gives_more_than_debian_does(shared_machine: Machine) -> None:
    _, text = shared_machine.root(
        "find / -xdev -type f -perm /6000 -user root -perm -4000 2>/dev/null", limit_s=900
    )
    assert set(text.split()) <= SUID
    _, text = shared_machine.root(
        "find / /data -xdev -perm -0002 ! -type l ! -type s ! -type c ! -perm -1000 2>/dev/null",
        limit_s=900,
    )
    assert text.split() == []


def test_the_journal_survives_and_the_root_is_read_only(shared_machine: Machine) -> None:
    _, mounts = shared_machine.root("findmnt -rno TARGET,FSTYPE,OPTIONS")
    by_place = {line.split()[0]: line.split()[1:] for line in mounts.splitlines() if line.strip()}
    assert by_place["/"][0] == "overlay"
    assert "nodev" in by_place["/data"][1]
    assert by_place["/boot/firmware"][1].startswith("ro,")
    _, kept = shared_machine.root("ls /data/log/journal/*/system.journal /data/ssh /data/system")
    assert "ssh_host_ed25519_key" in kept
    assert "system.journal" in kept
    assert "machine-id" in kept
