"""The overlay's scripts, run in a folder of their own with a few programs put in their way."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(__file__).parents[2] / "image" / "common" / "bin"
RECORDS = "data/edgeinspect/data/records.sqlite3"


class Station:
    """A root folder with programs that note how they were called.

    Attributes:
        root: ``data``, ``run`` and ``var`` are below it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._programs = root / "programs"
        self._programs.mkdir()
        for folder in ("data", "run", "var/log", "var/lib"):
            (root / folder).mkdir(parents=True)
        (root / "places.conf").write_text(
            f"DATA={root}/data\nDATA_MOUNT={root}/data\nRUN={root}/run\nBOOT={root}/boot\n"
            f"PROGRAMS={self._programs}\n"
        )
        for name in ("mount", "chgrp", "modprobe", "mkswap", "swapon"):
            self.program(name, "exit 0")
        # the station's user may be unknown here: what is run as him is noted, and run
        self.program("setpriv", 'while [ "${1#-}" != "$1" ]; do shift; done; exec "$@"')
        self.program("mountpoint", f'[ "$2" = {root}/data ]')

    def program(self, name: str, body: str) -> None:
        """Put a program first in the path; its calls are in ``calls``."""
        path = self._programs / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> "{self.root}/calls"\n{body}\n')
        path.chmod(0o755)

    def calls(self, name: str) -> list[str]:
        file = self.root / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line.removeprefix(f"{name} ") for line in lines if line.split()[0] == name]

    def run(
        self, script: str, *arguments: str, **variables: object
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self._programs}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "EDGEINSPECT_PLACES": str(self.root / "places.conf"),
            "VAR": str(self.root / "var"),
            **{name: str(value) for name, value in variables.items()},
        }
        return subprocess.run(
            ["sh", str(BIN / script), *arguments],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def record(self, at_wall_s: int, name: str = RECORDS) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (at_wall_s, at_wall_s))


@pytest.fixture
def station(tmp_path: Path) -> Station:
    return Station(tmp_path)


def with_clock(station: Station, now_wall_s: int) -> None:
    station.program("date", f'[ "$1" = +%s ] && echo {now_wall_s}; exit 0')


def test_a_clock_behind_the_last_record_goes_on_from_there(station: Station) -> None:
    station.record(2_000_000_000)
    station.record(2_000_000_100, f"{RECORDS}-wal")
    station.record(3_000_000_000, "data/edgeinspect/data/images/records.sqlite3")  # no record
    with_clock(station, 1_000_000_000)
    result = station.run("keep")
    assert (result.returncode, result.stderr) == (0, "")
    assert station.calls("date") == ["+%s", "--utc --set @2000000100"]


def test_a_clock_ahead_of_the_last_record_is_left_alone(station: Station) -> None:
    station.record(2_000_000_000)
    with_clock(station, 2_000_000_001)
    station.run("keep")
    assert station.calls("date") == ["+%s"]


def test_a_new_station_has_nothing_to_go_on_from(station: Station) -> None:
    with_clock(station, 1_000_000_000)
    result = station.run("keep")
    assert (result.returncode, station.calls("date")) == (0, [])


def test_a_file_of_a_technicians_does_not_set_the_clock(station: Station) -> None:
    """He may name a file like the records and give it any time; but it is his own."""
    station.record(2_000_000_000)
    station.record(3_000_000_000, "data/edgeinspect/data/mine/records.sqlite3")
    his = station.root / "data/edgeinspect/data/mine/records.sqlite3"
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    os.chown(his, 60002, 60002)
    with_clock(station, 1_000_000_000)
    station.run("keep")
    assert station.calls("date") == ["+%s", "--utc --set @2000000000"]


CHIPS = """\
gpiochip0 [pinctrl-bcm2711] (58 lines)
gpiochip1 [raspberrypi-exp-gpio] (8 lines)
gpiochip2 [a b] c] (4 lines)
"""


def hold(station: Station, *lines: str) -> subprocess.CompletedProcess[str]:
    """Run hold-reject on these three lines, with chips that a real gpiodetect would list."""
    (station.root / "chips").write_text(CHIPS)
    (station.root / "hold").write_text("".join(f"{line}\n" for line in lines))
    station.program("gpiodetect", f'cat "{station.root}/chips"')
    station.program("gpioset", "exit 0")
    return station.run("hold-reject", str(station.root / "hold"))


@pytest.mark.parametrize(
    ("chip", "device"), [("pinctrl-bcm2711", "gpiochip0"), ("a b] c", "gpiochip2")]
)
def test_the_reject_line_of_the_chip_with_exactly_this_label_is_held(
    station: Station, chip: str, device: str
) -> None:
    assert hold(station, chip, "17", "low").returncode == 0
    assert station.calls("gpioset") == [f"--chip {device} --consumer edgeinspect-hold -- 17=0"]


@pytest.mark.parametrize(
    "chip",
    [
        ".*",
        "pinctrl-bcm271.",
        "x\\] .*//;e touch $R/pwned;s/",
        "$(touch $R/pwned)",
        "`touch $R/pwned`",
        "x'; touch $R/pwned; '",
        "--help",
        "",
    ],
)
def test_a_chips_name_is_text_and_no_program(station: Station, chip: str) -> None:
    result = hold(station, chip.replace("$R", str(station.root)), "17", "high")
    assert result.returncode == 1
    assert "No GPIO chip is labelled" in result.stderr
    assert station.calls("gpioset") == []
    assert not (station.root / "pwned").exists()


def test_a_lines_name_is_no_option(station: Station) -> None:
    assert hold(station, "pinctrl-bcm2711", "--help", "high").returncode == 0
    assert station.calls("gpioset")[0].endswith(" -- --help=1")


def test_journal_and_clock_are_bound_to_the_data_partition_once(station: Station) -> None:
    root = station.root
    station.run("keep")
    assert station.calls("mount") == [
        f"--bind {root}/data/log/journal {root}/var/log/journal",
        f"--bind {root}/data/state/timesync {root}/var/lib/systemd/timesync",
    ]
    assert stat.S_IMODE((root / "var/log/journal").stat().st_mode) == 0o2755
    station.program("mountpoint", "exit 0")
    station.run("keep")
    assert len(station.calls("mount")) == 2


@pytest.mark.parametrize("why", ["not mounted", "a substitute in memory"])
def test_without_a_data_partition_nothing_is_kept_and_nothing_fails(
    station: Station, why: str
) -> None:
    if why == "not mounted":
        station.program("mountpoint", "exit 1")
    else:
        (station.root / "run/no-data").touch()
    station.record(2_000_000_000)
    with_clock(station, 1_000_000_000)
    assert station.run("keep").returncode == 0
    assert (station.calls("mount"), station.calls("date")) == ([], [])
    assert not (station.root / "var/log/journal").exists()


def test_data_that_are_a_folder_of_the_system_are_kept_too(station: Station) -> None:
    with (station.root / "places.conf").open("a") as places:
        places.write("DATA_MOUNT=\n")
    station.program("mountpoint", "exit 1")
    station.run("keep")
    assert len(station.calls("mount")) == 2


@pytest.mark.parametrize(("memory_kib", "swap_kib"), [(430_000, 215_000), (8_000_000, 524_288)])
def test_half_of_a_small_memory_becomes_compressed_swap(
    station: Station, memory_kib: int, swap_kib: int
) -> None:
    (station.root / "swaps").write_text("Filename Type Size Used Priority\n")
    (station.root / "meminfo").write_text(f"MemTotal:  {memory_kib} kB\nMemFree: 5 kB\n")
    station.program("zramctl", "echo /dev/zram7")
    variables = {"SWAPS": station.root / "swaps", "MEMINFO": station.root / "meminfo"}
    assert station.run("zram", **variables).returncode == 0
    assert station.calls("zramctl") == [f"--find --size {swap_kib}KiB"]
    assert station.calls("swapon") == ["--priority 100 --discard /dev/zram7"]
    (station.root / "swaps").write_text("Filename Type\n/dev/zram7 partition\n")
    station.run("zram", **variables)
    assert len(station.calls("zramctl")) == 1


def test_a_kernel_without_zram_goes_without(station: Station) -> None:
    (station.root / "swaps").touch()
    station.program("modprobe", "exit 1")
    result = station.run("zram", SWAPS=station.root / "swaps")
    assert (result.returncode, station.calls("swapon")) == (0, [])


def test_the_host_key_is_made_once_and_kept(station: Station) -> None:
    assert station.run("make-host-key").returncode == 0
    key = station.root / "data/ssh/ssh_host_ed25519_key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    made = key.read_bytes()
    station.run("make-host-key")
    assert key.read_bytes() == made


def test_a_host_key_that_a_power_cut_left_half_made_is_made_again(station: Station) -> None:
    half = station.root / "data/ssh/new"
    half.mkdir(parents=True)
    (half / "ssh_host_ed25519_key").write_text("half")
    assert station.run("make-host-key").returncode == 0
    assert (station.root / "data/ssh/ssh_host_ed25519_key").read_text().startswith("-----BEGIN")
    assert not half.exists()


def test_without_a_data_partition_the_host_key_is_of_this_start_only(station: Station) -> None:
    station.program("mountpoint", "exit 1")
    station.run("make-host-key")
    assert (station.root / "run/ssh_host_ed25519_key").is_file()
    assert not (station.root / "data/ssh").exists()


def with_slots(station: Station, *, healthy: bool) -> None:
    """The other slot is there; the units of a machine are as healthy as said."""
    other = "RAUC_SLOT_STATE_1='booted'\nRAUC_SLOT_STATE_2='inactive'"
    station.program("rauc", f'case $2 in mark-*) ;; *) echo "{other}" ;; esac')
    station.program("systemctl", f'[ "$1" != is-active ] || exit {0 if healthy else 3}; echo 0')
    (station.root / "data/system").mkdir()


def test_a_healthy_system_is_kept(station: Station) -> None:
    with_slots(station, healthy=True)
    (station.root / "data/system/failed-starts").write_text("1\n")
    assert station.run("health", HEALTH_ATTEMPTS=1).returncode == 0
    assert station.calls("rauc") == ["status mark-good"]
    assert not (station.root / "data/system/failed-starts").exists()


def test_a_slot_that_cannot_be_marked_good_is_reported(station: Station) -> None:
    with_slots(station, healthy=True)
    station.program("rauc", '[ "$2" != mark-good ] || exit 1')
    result = station.run("health", HEALTH_ATTEMPTS=1)
    assert result.returncode == 1
    assert "could not be marked good" in result.stdout


def test_a_system_that_fails_restarts_twice_and_then_stays_and_rejects(station: Station) -> None:
    with_slots(station, healthy=False)
    for restarts in (1, 2, 2):
        result = station.run("health", HEALTH_ATTEMPTS=1)
        assert result.returncode == 1
        assert "edgeinspect-setup.service is not active" in result.stdout
        reboots = [call for call in station.calls("systemctl") if call.endswith("reboot")]
        assert len(reboots) == restarts
        assert station.calls("rauc").count("status mark-bad") == restarts
    assert "staying up and rejecting" in result.stdout
    assert "status mark-good" not in station.calls("rauc")


def with_updater(station: Station, *, running: str = "1.2.0", offered: str = "1.3.0") -> Path:
    """A system of one version, and an update of another; returns the update."""
    root = station.root
    (root / "etc").mkdir()
    (root / "etc/edgeinspect-release").write_text(f"VERSION={running}\n")
    with (root / "places.conf").open("a") as places:
        places.write(f"ETC={root}/etc\n")
    manifest = f"RAUC_MF_COMPATIBLE='x'\nRAUC_MF_VERSION='{offered}'\n"
    station.program("rauc", f'[ "$1" != info ] || echo "{manifest}"')
    station.program("edgeinspect", f'exec {sys.executable} -m edgeinspect "$@"')
    for name in ("systemctl", "sync"):
        station.program(name, "exit 0")
    update = root / "new.raucb"
    update.write_bytes(b"an update")
    return update


def installed(station: Station) -> list[str]:
    return [call for call in station.calls("rauc") if call.startswith("install")]


@pytest.mark.parametrize(
    ("argument", "restart"),
    [("", "--no-block reboot"), ("0 tryboot", "--no-block reboot --reboot-argument=0 tryboot")],
)
def test_an_update_is_installed_and_then_tried(
    station: Station, argument: str, restart: str
) -> None:
    update = with_updater(station)
    with (station.root / "places.conf").open("a") as places:
        places.write(f"TRY_OTHER_SLOT='{argument}'\n")
    result = station.run("update", str(update))
    assert result.returncode == 0, result.stderr
    assert installed(station) == [f"install {update}"]
    assert station.calls("systemctl") == [restart]


def test_an_update_that_is_refused_restarts_nothing(station: Station) -> None:
    update = with_updater(station)
    station.program("rauc", 'echo "signature verification failed" >&2; exit 1')
    result = station.run("update", str(update))
    assert result.returncode != 0
    assert "signature verification failed" in result.stderr
    assert (installed(station), station.calls("systemctl")) == ([], [])


@pytest.mark.parametrize(
    ("running", "offered"),
    [("1.2.0", "1.1.9"), ("1.10.0", "1.9.0"), ("1.2.0", "1.2.0-rc1"), ("1.2.0", "")],
)
def test_an_older_system_is_refused_without_the_word(
    station: Station, running: str, offered: str
) -> None:
    update = with_updater(station, running=running, offered=offered)
    result = station.run("update", str(update))
    assert result.returncode == 1
    assert f"is older than {running}, which runs" in result.stderr
    assert "--older" in result.stderr
    assert (installed(station), station.calls("systemctl")) == ([], [])
    assert station.run("update", "--stay", str(update)).returncode == 1  # as a stick's is


@pytest.mark.parametrize("offered", ["1.2.0", "1.2.1", "1.10.0", "2026-11-28"])
def test_the_same_or_a_newer_system_needs_no_word(station: Station, offered: str) -> None:
    update = with_updater(station, offered=offered)
    assert station.run("update", "--stay", str(update)).returncode == 0
    assert installed(station) == [f"install {update}"]
    assert station.calls("systemctl") == []


def test_an_older_system_with_the_word_stands_in_the_audit_trail(station: Station) -> None:
    from edgeinspect.settings.audit import AuditTrail
    from tests.helpers.setup_card import STATION

    update = with_updater(station, offered="1.0.0")
    folder = station.root / "data/edgeinspect"
    folder.mkdir()
    (folder / "station.yaml").write_text(STATION)
    result = station.run("update", "--older", str(update), SUDO_USER="technician")
    assert result.returncode == 0, result.stderr
    assert installed(station) == [f"install {update}"]
    assert len(station.calls("setpriv")) == 1  # the trail is written as the station's user
    (entry,) = AuditTrail(folder / "data/audit.jsonl").entries()
    assert (entry.action, entry.author) == ("system.update", "technician")
    assert entry.details == {"version": "1.0.0", "older_than": {"version": "1.2.0"}}


def test_an_older_system_that_cannot_be_noted_is_not_installed(station: Station) -> None:
    update = with_updater(station, offered="1.0.0")
    (station.root / "data/edgeinspect").mkdir()
    (station.root / "data/edgeinspect/station.yaml").write_text("no station file")
    assert station.run("update", "--older", str(update)).returncode != 0
    assert installed(station) == []


def test_a_technicians_update_is_judged_and_installed_from_a_copy_of_roots(
    station: Station,
) -> None:
    update = with_updater(station)
    station.program("df", "echo Avail; echo 999999999999")
    # what he would do between the check and the installation
    station.program(
        "rauc",
        f"""case $1 in
info) echo "RAUC_MF_VERSION='1.3.0'"; echo older > {update} ;;
install) cat "$2" > {station.root}/written ;;
esac""",
    )
    result = station.run("update", str(update), SUDO_UID=1000, SUDO_GID=1000)
    assert result.returncode == 0, result.stderr
    (read,) = station.calls("setpriv")
    assert read.startswith("--reuid=1000 --regid=1000 --init-groups --no-new-privs cat -- ")
    copy = station.root / "data/system/update.raucb"
    assert installed(station) == [f"install {copy}"]
    assert (station.root / "written").read_text() == "an update"
    assert not copy.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="a stick is mounted below /run, by root")
@pytest.mark.parametrize(("offered", "taken"), [("1.1.9", False), ("1.3.0", True)])
def test_a_stick_brings_no_older_system_and_says_so(
    station: Station, offered: str, taken: bool
) -> None:
    update = with_updater(station, offered=offered)
    stick = station.root / "stick"
    stick.mkdir()
    update.rename(stick / "new.raucb")
    (station.root / "data/system").mkdir()
    # what a stick holds appears where it is mounted, and what is written there is on it
    station.program("mount", f'for place; do :; done; cp {stick}/* "$place"')
    station.program("umount", f'cp "$1"/*.log {stick}; rm -rf "$1"')
    station.program("rmdir", "exit 0")
    result = station.run("take-stick", "/dev/sda1")
    (mounted,) = station.calls("mount")
    assert mounted.startswith("-t vfat -o nosuid,nodev,noexec /dev/sda1 /run/edgeinspect-stick.")
    printed = (stick / "update.log").read_text()
    assert (len(installed(station)) == 1) is taken
    if taken:
        assert "Installed; the station restarts into it" in printed
    else:
        assert result.returncode == 1
        assert "version 1.1.9 is older than 1.2.0, which runs" in printed
        assert "NOT INSTALLED" in printed


def test_a_copy_of_an_update_leaves_room_for_the_records(station: Station) -> None:
    update = with_updater(station)
    station.program("df", f"echo Avail; echo $((268435456 + {len('an update') - 1}))")
    result = station.run("update", str(update), SUDO_UID=1000, SUDO_GID=1000)
    assert result.returncode == 1
    assert "too little room" in result.stderr
    assert (installed(station), station.calls("setpriv")) == ([], [])


@pytest.mark.parametrize(
    ("state", "kept"),
    [("inspecting", True), ("locked", True), ("paused", True), ("faulted", False), (None, False)],
)
def test_a_station_that_waits_for_somebody_is_healthy_and_one_that_cannot_is_not(
    station: Station, state: str | None, kept: bool
) -> None:
    """A challenge may be due after every start: that must not undo an update."""
    with_slots(station, healthy=True)
    station.record(2_000_000_000, "data/edgeinspect/station.yaml")
    answer = "" if state is None else json.dumps({"faults": {"x": {"state": "y"}}, "state": state})
    # as the command does, 1 for every state but inspecting
    station.program("edgeinspect", f"echo words; echo '{answer}'; exit 1")
    station.program("python", f'exec {sys.executable} "$@"')
    result = station.run("health", HEALTH_ATTEMPTS=1)
    asked = [call for call in station.calls("setpriv") if " status --config " in call]
    assert asked[0].startswith("--reuid=edgeinspect --regid=edgeinspect --init-groups ")
    assert ("status mark-good" in station.calls("rauc")) is kept, result.stdout
    assert (result.returncode == 0) is kept
