"""Builds the arm64 image for the emulated machine from Debian packages, without a loop device.

    python -m image.qemu.build OUT [--version 1.2.0] [--samples]

OUT gets ``edgeinspect.img`` (the disk), ``system.squashfs`` (one slot), ``edgeinspect.raucb`` (the
same as a signed update), ``sbom.cdx.json`` and ``SHA256SUMS``; with ``--samples`` also
``samples/``: updates for image/tests. Needs root, and the Debian packages that ``--packages``
prints. What it fetches is kept in ``EDGEINSPECT_IMAGE_CACHE``, else in
``~/.cache/edgeinspect-image``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from image import release, sbom
from image.qemu import disk, kernel
from image.steps import run, say

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
COMMON = REPOSITORY / "image" / "common"
HOST_PACKAGES = (
    "mmdebstrap", "arch-test", "debian-archive-keyring", "qemu-user-static", "binfmt-support",
    "qemu-system-arm", "qemu-efi-aarch64", "qemu-utils", "squashfs-tools", "mtools", "dosfstools",
    "e2fsprogs", "fdisk", "cpio", "kmod", "xz-utils", "rauc", "grub-common", "openssl",
    "openssh-client",
)  # fmt: skip
SAMPLES = {"1.0.0": "good", "2.0.0": "broken"}
"""The updates that image/tests installs, one after the other, by version."""
SUITE = "trixie"
PYTHON = "3.13"
PLATFORM = "aarch64-manylinux_2_40"  # at most the suite's glibc
UV = (sys.executable, "-m", "uv")
LOCK = REPOSITORY / "requirements.lock"
PACKAGES = (
    "systemd-sysv", "systemd-timesyncd", "udev", "dbus", "kmod", "iproute2", "openssh-server",
    "sudo", "python3", "gpiod", "rauc", "rauc-service", "fdisk", "e2fsprogs", "dosfstools",
    "util-linux", "tzdata", "procps", "grub-common",
)  # fmt: skip
SITE = f"opt/edgeinspect/lib/python{PYTHON}/site-packages"
BINFMT = Path("/proc/sys/fs/binfmt_misc")
AARCH64 = (
    r":qemu-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:"
    r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:"
    "/usr/bin/qemu-aarch64-static:F"
)
"""See the kernel's admin-guide/binfmt-misc.rst; F opens the interpreter now, outside any chroot."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m image.qemu.build")
    parser.add_argument(
        "out", type=Path, nargs="?", help="where to; must be given but for --packages"
    )
    parser.add_argument(
        "--packages", action="store_true", help="print the Debian packages that this needs"
    )
    parser.add_argument("--version", default="0.0.0+test")
    parser.add_argument("--samples", action="store_true", help="updates for image/tests, too")
    options = parser.parse_args(arguments)
    if options.packages:
        sys.stdout.write(" ".join(HOST_PACKAGES) + "\n")
        return 0
    if options.out is None:
        parser.error("name the folder to write to")
    build(options.out, version=options.version, samples=options.samples)
    return 0


def build(out: Path, *, version: str, samples: bool = False) -> None:
    """Build everything into ``out``. Ends the program with one sentence if a step fails."""
    if os.geteuid() != 0:
        sys.exit("image: building a root file system needs root. Run it with sudo.")
    out.mkdir(parents=True, exist_ok=True)
    out = out.resolve()  # apt takes a relative name for one below /
    register_aarch64()
    with tempfile.TemporaryDirectory(dir=out, prefix=".build.") as scratch:
        root = Path(scratch) / "root"
        say("Debian root")
        debian_root(root)
        say("kernel and initrd")
        kernel.install(root, Path(scratch), SUITE)
        say("station")
        install_station(root, version)
        sbom.write(root, root / SITE, out / "sbom.cdx.json", version=version)
        keys = release.update_keys(out / "keys")
        shutil.copy(keys.certificate, root / "etc/rauc/keyring.pem")
        say("system")
        disk.squash(root, out / "system.squashfs")
        say("disk")
        disk.write_disk(out / "edgeinspect.img", out / "system.squashfs", Path(scratch))
        disk.write_update(out / "edgeinspect.raucb", out / "system.squashfs", keys, version)
        if samples:
            say("sample updates")
            write_samples(root, out / "samples", keys)
    release.write_sums(out)


def write_samples(root: Path, out: Path, keys: release.UpdateKeys) -> None:
    """Updates that the tests install: a good one, and one on which the station cannot inspect."""
    out.mkdir(exist_ok=True)
    system = out / "system.squashfs"
    # Versions that rise, for an older one would be refused.
    for version, name in SAMPLES.items():
        (root / "etc/edgeinspect-release").write_text(f"VERSION={version}\n")
        if name == "broken":
            shutil.rmtree(root / SITE / "ai_edge_litert")
        disk.squash(root, system)
        disk.write_update(out / f"{name}.raucb", system, keys, version)
    system.unlink()


def register_aarch64() -> None:
    """Let the kernel run aarch64 programs; a new machine does not have that."""
    if not (BINFMT / "register").exists():
        run("mount", "-t", "binfmt_misc", "none", str(BINFMT))
    if not (BINFMT / "qemu-aarch64").exists():
        (BINFMT / "register").write_text(AARCH64)
    # qemu's default model is 25 times slower, and computes int8 models wrongly
    os.environ["QEMU_CPU"] = "cortex-a53"


def debian_root(root: Path) -> None:
    """The day's Debian, unpacked from the cache if it was made before (``cache_dir``)."""
    cached = cache_dir() / f"root-{_digest(PACKAGES)}.tar"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        made = cached.with_name(f"unfinished-{cached.name}")
        run(
            "mmdebstrap",
            "--mode=root",
            "--arch=arm64",
            "--variant=minbase",
            '--aptopt=Apt::Install-Recommends "false"',
            '--aptopt=Acquire::Retries "5"',
            "--dpkgopt=force-unsafe-io",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-include=/usr/share/doc/*/copyright",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            f"--include={','.join(PACKAGES)}",
            SUITE,
            str(made),
            fetches=f"Debian {SUITE}",
        )
        made.rename(cached)
    root.mkdir()
    run("tar", "-xpf", str(cached), "--numeric-owner", "--xattrs", "-C", str(root))


def cache_dir() -> Path:
    """``EDGEINSPECT_IMAGE_CACHE``, else ``~/.cache/edgeinspect-image``; safe to delete."""
    named = os.environ.get("EDGEINSPECT_IMAGE_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "edgeinspect-image"


def _digest(packages: Sequence[str]) -> str:
    words = " ".join((SUITE, PYTHON, *packages))
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def install_station(root: Path, version: str) -> None:
    """The overlay, the station in an environment of its own, and who may do what."""
    run(str(COMMON / "install-overlay.sh"), str(root))
    shutil.copytree(HERE / "overlay", root, dirs_exist_ok=True)
    install_python(root)
    (root / "etc/edgeinspect-release").write_text(f"VERSION={version}\n")
    (root / "boot/firmware").mkdir(parents=True, exist_ok=True)
    (root / "boot/grub").mkdir(exist_ok=True)
    # empty, not "uninitialized": else each first start would look at the presets of all units
    (root / "etc/machine-id").write_text("")
    (root / "etc/hostname").write_text("edgeinspect\n")
    for command in (
        ("systemd-sysusers",),
        ("usermod", "--pass=*", "root"),
        ("systemctl", "enable", "systemd-networkd", "systemd-timesyncd", "ssh"),
        ("systemctl", "enable", "edgeinspect-grow", "edgeinspect-machine-id"),
        ("systemctl", "enable", "edgeinspect-health"),
        # keys are made once, on the data partition; and sshd itself listens, nobody for it
        ("systemctl", "mask", "sshd-keygen.service", "ssh.socket"),
        ("systemctl", "mask", "getty@tty1", "apt-daily.timer", "apt-daily-upgrade.timer"),
    ):
        run("chroot", str(root), *command)
    for path in (root / "etc/ssh").glob("ssh_host_*"):
        path.unlink()
    mark_up_to_date(root)


def mark_up_to_date(root: Path) -> None:
    """What systemd does after an update, such as ldconfig, the image has: not at each start again.

    ConditionNeedsUpdate= of systemd.unit(5) compares these times.
    """
    (root / "etc/.updated").touch()
    (root / "var/.updated").touch()
    now_s = int(time.time())
    for folder in ("usr", "etc/.updated", "var/.updated"):
        os.utime(root / folder, (now_s, now_s))


def install_python(root: Path) -> None:
    """The station in an environment of its own, its libraries and itself compiled."""
    site = root / SITE
    site.parent.mkdir(parents=True)
    install_libraries(root)
    with tempfile.TemporaryDirectory() as wheels:
        run(
            *UV, "build", "--wheel", "--quiet", "--build-constraints", str(LOCK),
            "--out-dir", wheels, str(REPOSITORY), fetches="what builds a wheel",
        )  # fmt: skip
        wheel = next(Path(wheels).glob("edgeinspect-*.whl"))
        run(*UV, "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel))
    prefix = root / "opt/edgeinspect"
    if (site / "share").exists():  # what the wheel ships as data lands beside the modules
        shutil.copytree(site / "share", prefix / "share", dirs_exist_ok=True)
        shutil.rmtree(site / "share")
    shutil.rmtree(site / "bin", ignore_errors=True)
    (site / ".lock").unlink(missing_ok=True)  # uv's own, while it installed
    compile_python(root, f"/{SITE}/edgeinspect")
    (prefix / "bin").mkdir()
    (prefix / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {PYTHON}\n")
    (prefix / "bin/python").symlink_to("/usr/bin/python3")
    program = prefix / "bin/edgeinspect"
    program.write_text(
        "#!/opt/edgeinspect/bin/python\nfrom edgeinspect.cli.main import main\n\nmain()\n"
    )
    program.chmod(0o755)
    link = root / "usr/local/bin/edgeinspect"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to("/opt/edgeinspect/bin/edgeinspect")


def install_libraries(root: Path) -> None:
    """The aarch64 wheels that the station needs, from the cache if they were fetched before.

    Compiled by the image's own Python: the system forgets what is compiled later, so each start
    would pay for it again.
    """
    wanted = requirements()
    cached = cache_dir() / f"libraries-{_digest([*wanted, LOCK.read_text()])}.tar"
    if not cached.exists():
        run(
            *UV, "pip", "install", "--quiet", "--target", str(root / SITE),
            "--python-version", PYTHON, "--python-platform", PLATFORM, "--only-binary", ":all:",
            "--constraints", str(LOCK), *wanted, fetches="the station's libraries",
        )  # fmt: skip
        for folder in ("bin", "include"):
            shutil.rmtree(root / SITE / folder, ignore_errors=True)
        compile_python(root, f"/{SITE}")
        made = cached.with_name(f"unfinished-{cached.name}")
        run("tar", "-cf", str(made), "-C", str((root / SITE).parent), (root / SITE).name)
        made.rename(cached)
        return
    run("tar", "-xpf", str(cached), "-C", str((root / SITE).parent))


def compile_python(root: Path, folder: str) -> None:
    """Byte code that stays valid whatever the files' times are."""
    run("chroot", str(root), "/usr/bin/python3", "-m", "compileall", "-q", "-j", "0",
        "--invalidation-mode=unchecked-hash", "-x", "/tests/", folder)  # fmt: skip


def requirements() -> list[str]:
    """What the bare station needs, from pyproject.toml."""
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["gpiod"]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
