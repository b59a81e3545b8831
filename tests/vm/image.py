"""Builds the guest: kernel, initrd and disk, from Debian packages, kept in a cache outside git.

The guest is a Debian trixie with its stock kernel. That kernel lacks ``gpio-sim`` and ``vimc``, so
both are built out of tree from the matching kernel source package. None of it is committed.

Needs root (mmdebstrap makes a chroot) and the host packages of ``HOST_PACKAGES``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
HOST_PACKAGES = (
    *("qemu-system-x86", "mmdebstrap", "debian-archive-keyring", "e2fsprogs", "openssh-client"),
)
HOST_PROGRAMS = ("qemu-system-x86_64", "mmdebstrap", "mke2fs", "ssh", "ssh-keygen")
SUITE = "trixie"
KERNEL_SOURCE = "linux-source-6.12"
BUILD_PACKAGES = (
    *("gcc", "make", "xz-utils", "linux-headers-amd64", KERNEL_SOURCE),
    *("swig", "python3-dev", "python3-pip", "python3-setuptools", "python3-wheel"),
)
LGPIO = "lgpio==0.2.2.0"
"""Debian lacks it, and the index has no wheel of it for the guest's Python."""
GUEST_PACKAGES = (
    "linux-image-amd64",
    "initramfs-tools",
    "zstd",
    "systemd-sysv",
    "systemd-resolved",
    "udev",
    "dbus",
    "kmod",
    "iproute2",
    "openssh-server",
    "util-linux",
    "strace",
    "gpiod",
    "python3",
    "python3-libgpiod",
    "v4l-utils",
    # of picamera2; what else it imports comes as wheels or from tests/camera_bench/stubs
    "python3-libcamera",
    "libcamera-ipa",
    "python3-prctl",
)
WHEELS_WITHOUT_DEPENDENCIES = (
    "rpi-lgpio==0.6",
    "picamera2==0.3.38",
    *("av>=14", "piexif>=1.1.3,<2", "pillow>=11", "simplejpeg>=1.8,<2", "videodev2>=0.0.4,<0.1"),
)
TEST_WHEELS = ("pytest>=8.2", "pytest-timeout>=2.3", "hypothesis>=6.100,<7")
GUEST_PYTHON = "3.13"
GUEST_PLATFORM = "x86_64-manylinux_2_40"
GUEST_GLIBC_MINOR = 41
LOCK = REPOSITORY / "requirements.lock"
UV_INSTALL = (sys.executable, "-m", "uv", "pip", "install", "--quiet")
DISK_BYTES = 4_000_000_000


@dataclass(frozen=True, slots=True)
class Image:
    """What the machine boots from; ``disk`` is never written to."""

    kernel: Path
    initrd: Path
    disk: Path
    ssh_key: Path


def cache_dir() -> Path:
    """``EDGEINSPECT_VM_CACHE``, else ``~/.cache/edgeinspect-vm``."""
    named = os.environ.get("EDGEINSPECT_VM_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "edgeinspect-vm"


def missing_host_programs() -> list[str]:
    return [name for name in HOST_PROGRAMS if shutil.which(name, path=_path()) is None]


def ensure_image() -> Image:
    """The guest as this file describes it, built if the cache does not have it (minutes)."""
    missing = missing_host_programs()
    if missing:
        sys.exit(
            f"The virtual machine needs {', '.join(missing)}. Run: sudo apt-get install "
            f"--no-install-recommends {' '.join(HOST_PACKAGES)}"
        )
    folder = _made("image", _build_guest)
    return Image(folder / "vmlinuz", folder / "initrd", folder / "disk.ext4", folder / "key")


def _made(name: str, make: Callable[[Path, Path], None]) -> Path:
    """What ``make(scratch, folder)`` leaves in its folder of the cache, made if it is not there."""
    folder = cache_dir() / f"{name}-{_digest(name)}"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="scratch-") as scratch:
            make(Path(scratch), folder)
        (folder / "done").touch()
    return folder


def _digest(name: str) -> str:
    """Names what is cached by everything that shapes it, but for the day's Debian packages."""
    parts = [(HERE / "files/build-native.sh").read_bytes(), repr((BUILD_PACKAGES, LGPIO)).encode()]
    if name != "native":
        parts += [Path(__file__).read_bytes(), repr(_station_wheels()).encode()]
        files = sorted(file for file in (HERE / "files").rglob("*") if file.is_file())
        parts += [file.read_bytes() for file in files]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _build_native(scratch: Path, folder: Path) -> None:
    """gpio-sim and vimc for the kernel whose headers are newest, and lgpio's Python module."""
    _print("kernel modules")
    root = scratch / "builder"
    _debootstrap(root, BUILD_PACKAGES)
    wheels = root / "root/sources"
    wheels.mkdir()
    _pip("download", "--no-deps", "--no-binary=:all:", "--dest", str(wheels), LGPIO)
    script = root / "root/build-native.sh"
    shutil.copy(HERE / "files/build-native.sh", script)
    _run("chroot", str(root), "sh", "/root/build-native.sh", KERNEL_SOURCE)
    shutil.copytree(root / "root/built", folder, dirs_exist_ok=True)


def _build_guest(scratch: Path, folder: Path) -> None:
    root = scratch / "guest"
    with ThreadPoolExecutor() as pool:
        modules = pool.submit(_made, "native", _build_native)
        _print("guest")
        _debootstrap(root, GUEST_PACKAGES)
        _install_wheels(root / "opt/edgeinspect/site")
        native = modules.result()
    version = next((root / "lib/modules").iterdir()).name
    if version != (native / "version").read_text().strip():
        shutil.rmtree(native)  # Debian has a newer kernel than when it was cached
        native = _made("native", _build_native)
    with zipfile.ZipFile(next(native.glob("lgpio-*.whl"))) as lgpio:
        lgpio.extractall(root / "opt/edgeinspect/site")
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key"))
    public_key = (folder / "key.pub").read_text()
    _configure(root, version, sorted(native.glob("*.ko")), public_key=public_key)
    _print("disk")
    shutil.copy(root / f"boot/vmlinuz-{version}", folder / "vmlinuz")
    shutil.copy(root / f"boot/initrd.img-{version}", folder / "initrd")
    options = ("-q", "-t", "ext4", "-b", "4096", "-O", "^has_journal", "-d", str(root))
    _run("mke2fs", *options, str(folder / "disk.ext4"), str(DISK_BYTES // 4096))


def _debootstrap(root: Path, packages: tuple[str, ...]) -> None:
    _run(
        "mmdebstrap",
        "--mode=root",
        "--variant=apt",
        '--aptopt=Apt::Install-Recommends "false"',
        '--aptopt=Acquire::Retries "5"',
        "--dpkgopt=force-unsafe-io",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        f"--include={','.join(packages)}",
        # Before the kernel's package makes the initrd: only what finds the disk.
        f"--essential-hook=mkdir -p $1/etc/initramfs-tools && "
        f"cp -r {HERE}/files/initramfs-tools/. $1/etc/initramfs-tools/",
        SUITE,
        str(root),
    )


def _install_wheels(site: Path) -> None:
    platforms = [
        f"--platform=manylinux_2_{minor}_x86_64" for minor in range(GUEST_GLIBC_MINOR, 11, -1)
    ]
    into = (
        *("install", "--target", str(site), "--upgrade", "--only-binary=:all:", "--no-compile"),
        *(f"--python-version={GUEST_PYTHON}", "--implementation=cp", *platforms),
        *("--platform=manylinux2014_x86_64", "--platform=linux_x86_64"),
    )
    locked = (
        *("--target", str(site), "--only-binary", ":all:", "--python-version", GUEST_PYTHON),
        *("--python-platform", GUEST_PLATFORM, "--constraints", str(LOCK)),
    )
    _run(*UV_INSTALL, *locked, *_station_wheels(), *TEST_WHEELS)
    _pip(*into, "--no-deps", *WHEELS_WITHOUT_DEPENDENCIES)


def _station_wheels() -> list[str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return list(project["dependencies"])


def _pip(command: str, *arguments: str) -> None:
    options = ["--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    if command == "install":
        options += ["--no-warn-conflicts", "--root-user-action=ignore"]
    _run(sys.executable, "-m", "pip", command, *options, *arguments)


def _configure(root: Path, version: str, modules: list[Path], *, public_key: str) -> None:
    extra = root / "lib/modules" / version / "updates"
    extra.mkdir(exist_ok=True)
    for module in modules:
        shutil.copy(module, extra)
    authorized = root / "root/.ssh/authorized_keys"
    authorized.parent.mkdir(mode=0o700, exist_ok=True)
    authorized.write_text(public_key)
    shutil.copytree(HERE / "files/guest", root, dirs_exist_ok=True)
    for command in (
        ("depmod", version),
        ("python3", "-m", "compileall", "-q", "-j2", "/opt/edgeinspect/site"),
        ("systemctl", "enable", "systemd-networkd", "systemd-resolved", "ssh"),
        ("useradd", "--create-home", "--groups", "video", "station"),
        ("passwd", "--quiet", "--delete", "root"),
    ):
        _run("chroot", str(root), *command)


def _run(*command: str) -> None:
    done = subprocess.run(
        command, env={**os.environ, "PATH": _path()}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        sys.exit(f"{' '.join(command[:6])} … ended with {done.returncode}:\n{said}")


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _print(what: str) -> None:
    sys.stderr.write(f"vm: building {what}\n")
    sys.stderr.flush()
