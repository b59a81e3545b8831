"""What lynis would look for in the image's root: accounts, default credentials, rights, SSH.

The overlay is always looked at; Debian's root below it where a build has left one in its cache
(``python -m image.qemu.build``). The running machine is asked the same by image/tests/test_boot.py.
"""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from image.qemu.build import cache_dir

COMMON = Path(__file__).parents[2] / "image" / "common"
MAY_CHANGE_USER = {
    "usr/bin/sudo",
    "usr/sbin/unix_chkpwd",
    "usr/lib/dbus-1.0/dbus-daemon-launch-helper",
}
"""sudo, for the commands of sudoers.d; PAM's own helper; a helper that only dbus may start."""


def overlay_on(root: Path) -> Path:
    for folder in ("etc/ssh", "usr/bin", "usr/lib", "var"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    subprocess.run([str(COMMON / "install-overlay.sh"), str(root)], check=True, umask=0o022)
    return root


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return overlay_on(tmp_path_factory.mktemp("overlay"))


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cached root with the overlay on it: its settings, and every file with special rights."""
    cached = sorted(cache_dir().glob("root-*.tar"), key=lambda path: path.stat().st_mtime)
    if not cached:
        pytest.skip("no root file system is cached; it is made by: make image-qemu")
    root = tmp_path_factory.mktemp("debian")
    with tarfile.open(cached[-1]) as archive:
        chosen = [
            member
            for member in archive
            if (member.isfile() or member.isdir())
            and (member.name.startswith("./etc/") or member.mode & 0o6002)
        ]
        archive.extractall(root, chosen, filter="fully_trusted")
    return overlay_on(root)


def files_with(root: Path, mode: int) -> set[str]:
    return {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if not path.is_symlink() and path.stat().st_mode & mode
    }


def shadow_of(root: Path) -> dict[str, str]:
    lines = (root / "etc/shadow").read_text().splitlines()
    return {name: field for name, field, *_ in (line.split(":") for line in lines)}


def make_accounts(root: Path) -> None:
    """As systemd-sysusers makes them in the image."""
    rules = COMMON / "sysusers.d" / "edgeinspect.conf"
    made = root / "sysusers.conf"
    made.write_text("g video - -\ng systemd-journal - -\n" + rules.read_text())
    subprocess.run(["systemd-sysusers", f"--root={root}", str(made)], check=True)


needs_sysusers = pytest.mark.skipif(
    shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed"
)


def test_the_overlay_gives_nobody_a_right_to_write_or_to_change_user(overlay: Path) -> None:
    assert files_with(overlay, 0o002) == set()
    assert files_with(overlay, 0o020) == set()
    assert files_with(overlay, stat.S_ISUID | stat.S_ISGID) == set()


def test_the_overlay_brings_no_key(overlay: Path) -> None:
    for path in overlay.rglob("*"):
        if path.is_file():
            assert "PRIVATE KEY" not in path.read_text(), path
            assert not re.search(r"^(ssh-|ecdsa-)\S+ AAAA", path.read_text(), re.MULTILINE), path
    assert list(overlay.rglob("authorized_keys*")) == []
    assert list(overlay.rglob("ssh_host_*")) == []


@needs_sysusers
def test_its_accounts_have_no_password_and_only_the_technician_a_shell(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    make_accounts(tmp_path)
    shadow = shadow_of(tmp_path)
    assert {"edgeinspect", "technician"} <= shadow.keys()
    assert {name for name, field in shadow.items() if field[:1] not in ("!", "*")} == set()
    passwd = (tmp_path / "etc/passwd").read_text().splitlines()
    shells = {line.split(":")[0]: line.split(":")[6] for line in passwd}
    assert shells["technician"] == "/bin/bash"
    assert shells["edgeinspect"].endswith("nologin")


def test_nobody_is_asked_to_log_in_at_a_console(overlay: Path) -> None:
    units = overlay / "etc/systemd/system"
    for unit in ("getty@.service", "serial-getty@.service", "console-getty.service"):
        assert (units / unit).readlink() == Path("/dev/null")
    for unit in ("emergency.target", "rescue.target"):
        assert (units / unit).readlink() == Path("/dev/null")


def test_nothing_of_debian_has_a_password(debian: Path) -> None:
    shadow = shadow_of(debian)
    assert "root" in shadow
    assert {name for name, field in shadow.items() if field[:1] not in ("!", "*")} == set()
    passwd = (debian / "etc/passwd").read_text().splitlines()
    assert [line.split(":")[0] for line in passwd if line.split(":")[2] == "0"] == ["root"]
    fields = {line.split(":")[1] for line in passwd}
    assert fields == {"x"}


def test_only_known_programs_of_debian_change_their_user(debian: Path) -> None:
    special = {
        name
        for name in files_with(debian, stat.S_ISUID | stat.S_ISGID)
        if (debian / name).is_file()
    }
    assert "usr/bin/sudo" in special
    assert special <= MAY_CHANGE_USER


def test_everybody_may_write_only_where_all_may_and_none_may_remove(debian: Path) -> None:
    open_to_all = files_with(debian, 0o002)
    assert open_to_all == {"run/lock", "tmp", "var/tmp"}
    assert all((debian / name).stat().st_mode & stat.S_ISVTX for name in open_to_all)


@pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="sshd is not installed")
@pytest.mark.parametrize("user", ["root", "technician", "edgeinspect"])
def test_the_whole_of_sshds_settings_refuses_passwords_and_root(
    debian: Path, tmp_path: Path, user: str
) -> None:
    """Debian's file with the overlay's included, as the image's sshd reads them."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    own = (debian / "etc/ssh/sshd_config.d/10-edgeinspect.conf").read_text()
    included = tmp_path / "included.conf"
    included.write_text(own.replace("/data/ssh/ssh_host_ed25519_key", str(key)))
    whole = (debian / "etc/ssh/sshd_config").read_text()
    assert "Include /etc/ssh/sshd_config.d/*.conf" in whole
    whole = whole.replace("/etc/ssh/sshd_config.d/*.conf", str(included))
    file = tmp_path / "sshd_config"
    file.write_text(whole)
    Path("/run/sshd").mkdir(exist_ok=True)
    about = f"user={user},host=press-1,addr=192.0.2.1"
    done = subprocess.run(
        ["/usr/sbin/sshd", "-T", "-C", about, "-f", str(file)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    settings = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert settings["permitrootlogin"] == "no"
    assert settings["passwordauthentication"] == "no"
    assert settings["kbdinteractiveauthentication"] == "no"
    assert settings["authenticationmethods"] == "publickey"
    assert settings["allowusers"] == "technician"
    assert settings["hostbasedauthentication"] == "no"
    assert settings["x11forwarding"] == settings["allowtcpforwarding"] == "no"
    assert settings["permitemptypasswords"] == settings["permituserenvironment"] == "no"
