"""The overlay that every image shares, checked by the programs that will read it."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from edgeinspect.errors import ConfigError
from edgeinspect.files.yaml_file import parse_yaml, read_yaml
from edgeinspect.setup.station_conf import parse_station_conf

REPOSITORY = Path(__file__).parents[2]
COMMON = REPOSITORY / "image" / "common"
UNITS = sorted((COMMON / "systemd").glob("*.service"))
SCRIPTS = [
    *sorted((COMMON / "bin").iterdir()),
    *sorted((REPOSITORY / "image" / "rpi" / "overlay").rglob("usr/lib/edgeinspect/*")),
    COMMON / "install-overlay.sh",
    REPOSITORY / "image" / "install.sh",
]


def needs(program: str) -> pytest.MarkDecorator:
    found = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
    return pytest.mark.skipif(found is None, reason=f"{program} is not installed")


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=120
    )


@needs("systemd-analyze")
def test_the_service_is_exposed_no_more_than_it_must_be() -> None:
    unit = COMMON / "systemd" / "edgeinspect.service"
    result = run("systemd-analyze", "security", "--offline=yes", "--no-pager", unit)
    level = re.search(r"Overall exposure level for edgeinspect\.service: ([0-9.]+)", result.stdout)
    assert level is not None, result.stderr
    assert float(level[1]) <= 3.0, result.stdout


@needs("systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    units = tmp_path / "etc" / "systemd" / "system"
    shutil.copytree(COMMON / "systemd", units)
    programs = tmp_path / "usr" / "lib" / "edgeinspect"
    shutil.copytree(COMMON / "bin", programs)
    (tmp_path / "usr" / "bin").mkdir()
    station = tmp_path / "opt" / "edgeinspect" / "bin" / "edgeinspect"
    station.parent.mkdir(parents=True)
    shutil.copy(SCRIPTS[0], station)
    shutil.copy("/usr/bin/test", tmp_path / "usr" / "bin")
    for name in ("sysinit", "basic", "multi-user", "shutdown", "network-pre", "local-fs"):
        (units / f"{name}.target").write_text("[Unit]\nDescription=target\n")
    result = run("systemd-analyze", "verify", "--man=no", f"--root={tmp_path}", *UNITS)
    lines = [line for line in result.stderr.splitlines() if "edgeinspect" in line]
    assert lines == []


def test_the_watchdog_is_fed_by_the_station_itself() -> None:
    unit = (COMMON / "systemd" / "edgeinspect.service").read_text()
    assert "Type=notify\n" in unit
    assert "NotifyAccess=main\n" in unit
    assert re.search(r"^WatchdogSec=\d+$", unit, re.MULTILINE)
    assert "Restart=always\n" in unit
    assert "StartLimitIntervalSec=0\n" in unit


@needs("sshd")
def test_ssh_takes_keys_of_the_technician_and_nothing_else(tmp_path: Path) -> None:
    key = tmp_path / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    config = (COMMON / "ssh" / "10-edgeinspect.conf").read_text()
    file = tmp_path / "sshd_config"
    file.write_text(config.replace("/data/ssh/ssh_host_ed25519_key", str(key)))
    Path("/run/sshd").mkdir(exist_ok=True)
    result = run("/usr/sbin/sshd", "-T", "-f", file)
    settings = dict(line.split(" ", 1) for line in result.stdout.splitlines() if " " in line)
    assert settings["permitrootlogin"] == "no", result.stderr
    assert settings["passwordauthentication"] == "no"
    assert settings["kbdinteractiveauthentication"] == "no"
    assert settings["authenticationmethods"] == "publickey"
    assert settings["allowusers"] == "technician"
    assert settings["permitemptypasswords"] == "no"


@needs("visudo")
def test_sudo_understands_what_the_technician_may_do(tmp_path: Path) -> None:
    file = tmp_path / "edgeinspect"
    shutil.copy(COMMON / "sudoers.d" / "edgeinspect", file)
    file.chmod(0o440)
    result = run("/usr/sbin/visudo", "-c", "-O", "-P", "-f", file)
    assert result.returncode == 0, result.stdout + result.stderr


def test_sudo_gives_no_shell_pager_or_wildcard() -> None:
    text = (COMMON / "sudoers.d" / "edgeinspect").read_text()
    commands = [line.strip(" \\,") for line in text.splitlines() if line.startswith("  /")]
    assert len(commands) == 7
    for command in commands:
        assert "*" not in command.replace("]+", "")
        assert not re.search(r"/(ba)?sh\b|\b(less|more|vi|vim|editor|journalctl|status)\b", command)


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ("/home/technician/new.raucb", True),
        ("--older /home/technician/new.raucb", True),
        ("--stay /home/technician/new.raucb", False),
        ("--older --older /x.raucb", False),
        ("/etc/shadow", False),
        ("/x.raucb /y.raucb", False),
        ("/x;y.raucb", False),
        ("x.raucb", False),
    ],
)
def test_sudo_installs_updates_and_nothing_else(arguments: str, allowed: bool) -> None:
    text = (COMMON / "sudoers.d" / "edgeinspect").read_text()
    (pattern,) = re.findall(r"^  /usr/lib/edgeinspect/update (\^.*\$), ", text, re.MULTILINE)
    assert (re.search(pattern, arguments) is not None) is allowed


BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={folder}/bus</listen>
  <servicedir>{folder}</servicedir>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow send_type="method_call" send_destination="org.freedesktop.DBus"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
  </policy>
  <policy context="default"><allow send_destination="de.pengutronix.rauc"/></policy>
  <include>{ours}</include>
</busconfig>
"""
"""A system bus as Debian has it, with RAUC's own policy: everybody may control it."""


@needs("dbus-daemon")
@needs("dbus-send")
def test_only_root_speaks_to_the_service_that_installs_updates() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can try it as other users")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "rauc.service").write_text(
            "[D-BUS Service]\nName=de.pengutronix.rauc\nExec=/bin/false\n"
        )
        ours = COMMON / "dbus-1" / "edgeinspect-rauc.conf"
        (folder / "bus.conf").write_text(BUS.format(folder=folder, ours=ours))
        daemon = subprocess.Popen(
            ["dbus-daemon", f"--config-file={folder}/bus.conf", "--nofork", "--print-address"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert daemon.stdout is not None
            daemon.stdout.readline()  # it listens
            users = (0, pwd.getpwnam("daemon").pw_uid, pwd.getpwnam("nobody").pw_uid)
            said = [_install_by_bus(folder / "bus", uid) for uid in users]
        finally:
            daemon.kill()
            daemon.wait()
            if daemon.stdout is not None:
                daemon.stdout.close()
    assert "Spawn.ChildExited" in said[0]  # let through to what stands here for RAUC
    assert "AccessDenied" in said[1]
    assert "AccessDenied" in said[2]


def _install_by_bus(socket: Path, uid: int) -> str:
    done = subprocess.run(
        ["dbus-send", f"--bus=unix:path={socket}", "--print-reply", "--dest=de.pengutronix.rauc",
         "/", "de.pengutronix.rauc.Installer.Install", "string:/tmp/old.raucb"],
        user=uid, group=uid, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_shell_can_read_each_script(script: Path) -> None:
    assert script.stat().st_mode & 0o111
    assert script.read_text().startswith("#!/bin/sh\n")
    assert run("sh", "-n", script).returncode == 0
    if shutil.which("shellcheck") is not None:
        result = run("shellcheck", "-x", "--source-path", REPOSITORY, script)
        assert result.returncode == 0, result.stdout


def test_nothing_in_the_overlay_sets_a_password() -> None:
    for path in COMMON.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert not re.search(r"chpasswd|\bpasswd\s+-|\$[156y]\$", text), path


def test_the_example_is_good_but_for_the_key_that_only_its_reader_has(tmp_path: Path) -> None:
    example = COMMON / "conf" / "station.conf.example"
    with pytest.raises(ConfigError, match=r"ssh_keys\[0\] is 'PUT THE LINE") as refused:
        parse_station_conf(read_yaml(example))
    assert refused.value.next_action.startswith("Correct the file")
    blob = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
    text = example.read_text().replace("PUT THE LINE OF YOUR .pub FILE HERE", f"ssh-ed25519 {blob}")
    whole = re.sub(
        r"^# (?=(network|time_servers|station_file|recipe|bundle|trusted_keys|reject_))",
        "",
        text,
        flags=re.MULTILINE,
    )
    whole = re.sub(r"^#  ( (ethernet|wifi):)", r" \1", whole, flags=re.MULTILINE)
    conf = parse_station_conf(parse_yaml(whole.encode(), path="station.conf"))
    assert conf.network.wifi is not None
    assert conf.reject_until_set_up is not None
    assert conf.bundle == "my-bundle"


def settings_of(file: Path) -> dict[str, str]:
    """The ``name=value`` lines of a file."""
    lines = (line.partition("=") for line in file.read_text().splitlines())
    return {name.strip(): value.strip() for name, sign, value in lines if sign and name[0] != "#"}


def test_the_kernel_is_set_to_restart_and_to_keep_quiet() -> None:
    kernel = settings_of(COMMON / "sysctl.d" / "60-edgeinspect.conf")
    assert int(kernel["kernel.panic"]) > 0
    assert kernel["kernel.panic_on_oops"] == "1"
    assert kernel["kernel.sysrq"] == "0"
    assert kernel["fs.suid_dumpable"] == "0"


def test_the_hardware_watchdog_is_shorter_than_any_board_s_limit() -> None:
    watchdog = settings_of(COMMON / "system.conf.d" / "edgeinspect.conf")["RuntimeWatchdogSec"]
    # bcm2835_wdt takes at most 0xfffff ticks of 1/65536 s
    assert 0 < int(watchdog.removesuffix("s")) < 0xFFFFF / 65536


def test_the_journal_is_bounded_and_stays_in_memory_without_a_data_partition() -> None:
    journal = settings_of(COMMON / "journald.conf.d" / "zz-edgeinspect.conf")
    assert journal["Storage"] == "auto"
    assert journal["SystemMaxUse"] == "64M"
    assert journal["RuntimeMaxUse"] == "16M"


def test_a_sticks_label_is_known_before_it_is_asked_for() -> None:
    """Rules run in the order of their names; udev's own finds the labels."""
    (rules,) = (COMMON / "udev").glob("*.rules")
    assert "ID_FS_LABEL" in rules.read_text()
    assert rules.name > "60-persistent-storage.rules"


@pytest.mark.parametrize(
    "data", ["/srv/a|b", "/srv/a&b", "/srv/$(id)", "/srv/a b", "/srv/../etc", "/srv/a\nUser=root"]
)
def test_a_data_folder_that_would_change_the_unit_file_is_refused(data: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("the installer runs as root")
    result = run(REPOSITORY / "image" / "install.sh", "--uninstall", "--data", data)
    assert result.returncode == 2
    assert "may hold only letters" in result.stderr
