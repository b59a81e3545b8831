"""Debian's arm64 kernel and a small initrd; unpacking and packing them needs no emulation."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from image.steps import run

HERE = Path(__file__).parent
INITRD_MODULES = (
    "virtio_pci", "virtio_mmio", "virtio_blk", "crc32c_generic", "crc32c_cryptoapi", "libcrc32c",
    "ext4", "squashfs", "overlay",
)  # fmt: skip
KEPT = ("virtio", "ext4", "jbd2", "mbcache", "squashfs", "overlayfs", "fat", "nls", "gpio-pl061",
        "gpio_keys", "i6300esb", "rtc", "crypto", "crc", "lib", "net/core", "failover", "hw_random",
        "zram", "dm-", "md/", "loop", "fuse", "nbd")  # fmt: skip
"""Parts of the paths of modules that the emulated machine, its file systems and RAUC use."""


def install(root: Path, scratch: Path, suite: str) -> str:
    """Put kernel, modules and initrd into the root's /boot and /usr/lib; return the version."""
    packages = _download(root, scratch, suite)
    kernel = scratch / "kernel"
    for package in packages:
        run("dpkg-deb", "-x", str(package), str(kernel))
    image = next((kernel / "boot").glob("vmlinuz-*"))
    version = image.name.removeprefix("vmlinuz-")
    modules = next(path for path in kernel.rglob(f"modules/{version}"))
    target = root / "usr/lib/modules" / version
    _copy_modules(modules, target)
    run("depmod", "-b", str(root / "usr"), version)
    (root / "boot").mkdir(exist_ok=True)
    # EDK2's GRUB loads the kernel as it is; Debian's is an EFI program already
    shutil.copy(image, root / "boot/vmlinuz")
    _make_initrd(kernel, target, scratch, root / "boot/initrd.img")
    return version


def _download(root: Path, scratch: Path, suite: str) -> list[Path]:
    """The kernel's and busybox's packages for arm64, through apt with a state of its own."""
    state = scratch / "apt"
    for name in ("lists/partial", "cache/archives/partial", "etc"):
        (state / name).mkdir(parents=True)
    shutil.copy(root / "etc/apt/sources.list", state / "etc/sources.list")
    (state / "status").touch()
    config = state / "apt.conf"
    config.write_text(
        f'Dir::State "{state}";\nDir::State::status "{state}/status";\n'
        f'Dir::Cache "{state}/cache";\n'
        f'Dir::Etc "{state}/etc";\nDir::Etc::trusted "/etc/apt/trusted.gpg";\n'
        'Dir::Etc::trustedparts "/etc/apt/trusted.gpg.d";\nAPT::Architecture "arm64";\n'
        'APT::Architectures "arm64";\nAcquire::Retries "5";\n'
    )
    environment = {"APT_CONFIG": str(config)}
    what = "the kernel's packages"
    run("apt-get", "update", "-qq", "--error-on=any", env=environment, fetches=what)
    shown = run("apt-cache", "depends", "linux-image-arm64", env=environment)
    names = [line.split()[-1] for line in shown.splitlines() if "Depends: linux-" in line]
    folder = scratch / "packages"
    folder.mkdir()
    wanted = (names[0], "busybox-static", "grub-efi-arm64-bin")
    run("apt-get", "download", *wanted, env=environment, cwd=folder, fetches=what)
    for package in folder.glob("grub-efi-arm64-bin*"):
        run("dpkg-deb", "-x", str(package), str(scratch / "grub"))
        package.unlink()
    return sorted(folder.glob("*.deb"))


def _copy_modules(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        relative = path.relative_to(source)
        if not path.is_file() or relative.parts[0] in ("build", "source"):
            continue
        is_module = ".ko" in path.name
        if not is_module or any(part in str(relative) for part in KEPT):
            (target / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target / relative)


def _make_initrd(kernel: Path, modules: Path, scratch: Path, out: Path) -> None:
    tree = scratch / "initrd"
    (tree / "bin").mkdir(parents=True)
    (tree / "modules").mkdir()
    shutil.copy(next(kernel.rglob("bin/busybox")), tree / "bin/busybox")
    shutil.copy(HERE / "init.sh", tree / "init")
    (tree / "init").chmod(0o755)
    order = []
    for path in load_order(modules):
        name = path.name.removesuffix(".xz").removesuffix(".zst")
        _unpack(path, tree / "modules" / name)
        order.append(name)
    (tree / "modules/order").write_text("".join(f"{name}\n" for name in order))
    listed = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    packed = subprocess.run(
        ["cpio", "--quiet", "--create", "--format=newc", "--owner=0:0"],
        input=listed.encode(), capture_output=True, check=True, cwd=tree,
    )  # fmt: skip
    out.write_bytes(gzip.compress(packed.stdout, 6, mtime=0))


def load_order(modules: Path) -> Iterator[Path]:
    """The modules of ``INITRD_MODULES`` and what they need, each after what it needs."""
    needs: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        module, _, others = line.partition(":")
        needs[module] = others.split()
    by_name = {_name(module): module for module in needs}
    done: set[str] = set()

    def load(module: str) -> Iterator[str]:
        for needed in needs[module]:
            yield from load(needed)
        if module not in done:
            done.add(module)
            yield module

    for name in INITRD_MODULES:
        if name in by_name:  # else it is built into the kernel
            for module in load(by_name[name]):
                yield modules / module


def _name(module: str) -> str:
    return Path(module).name.partition(".ko")[0].replace("-", "_")


def _unpack(source: Path, target: Path) -> None:
    programs = {".xz": "xz", ".zst": "zstd"}
    program = programs.get(source.suffix)
    if program is None:
        shutil.copy(source, target)
        return
    with target.open("wb") as file:
        subprocess.run([program, "-dc", str(source)], stdout=file, check=True)
