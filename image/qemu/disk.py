"""The disk: boot loader, settings, two system slots, data; written without a loop device."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from image.release import UpdateKeys, write_bundle
from image.steps import run

HERE = Path(__file__).parent
COMMON = HERE.parent / "common"
MIB = 1 << 20
SLOT_MIB = 640
DISK_MIB = 2400
"""What is written; a larger card is filled by the first start."""
GRUB_MODULES = (
    "part_gpt", "fat", "squash4", "normal", "linux", "test", "loadenv", "echo", "regexp", "reboot",
    "sleep", "search", "search_label", "zstd",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Partition:
    """Attributes:
    size_mib: 0 takes what is left.
    """

    label: str
    size_mib: int
    kind: str


LINUX = "L"
PARTITIONS = (
    Partition("esp", 32, "U"),
    Partition("settings", 64, "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"),
    Partition("system_a", SLOT_MIB, LINUX),
    Partition("system_b", SLOT_MIB, LINUX),
    Partition("data", 0, LINUX),
)
"""The settings partition is of the kind that every PC shows; the boot loader's is not."""


def squash(root: Path, out: Path) -> None:
    """The root as one read-only file system. What GRUB must read is not compressed by zstd."""
    out.unlink(missing_ok=True)
    run(
        "mksquashfs", str(root), str(out), "-noappend", "-quiet", "-no-progress", "-comp", "gzip",
        "-Xcompression-level", "1", "-e", "data/*", "-wildcards",
    )  # fmt: skip
    if out.stat().st_size > SLOT_MIB * MIB:
        raise SystemExit(
            f"image: the system has {out.stat().st_size // MIB} MiB, a slot {SLOT_MIB}"
        )


def write_disk(out: Path, system: Path, scratch: Path) -> None:
    """Both slots hold the same system; slot A is healthy and first."""
    temporary = out.with_suffix(".new")
    with temporary.open("wb") as file:
        file.truncate(DISK_MIB * MIB)
    starts = _partition(temporary)
    contents = {
        "esp": _esp(scratch),
        "settings": _settings(scratch),
        "system_a": system,
        "system_b": system,
        "data": _data(scratch),
    }
    for label, content in contents.items():
        _write_at(temporary, starts[label], content)
    temporary.rename(out)


def write_update(out: Path, system: Path, keys: UpdateKeys, version: str) -> None:
    """The same system as a signed update that RAUC installs."""
    write_bundle(
        out, {"rootfs": system}, keys, compatible="edgeinspect-qemu-arm64", version=version
    )


def _partition(disk: Path) -> dict[str, int]:
    """Write the partition table; the first byte of each partition by its label."""
    script = "label: gpt\n"
    starts = {partition.label: offset(partition.label) for partition in PARTITIONS}
    for partition in PARTITIONS:
        size = f"size={partition.size_mib}MiB, " if partition.size_mib else ""
        script += (
            f"start={starts[partition.label] // MIB}MiB, {size}type={partition.kind}, "
            f'name="{partition.label}"\n'
        )
    run("sfdisk", "--quiet", str(disk), stdin=script)
    return starts


def _esp(scratch: Path) -> Path:
    program = scratch / "BOOTAA64.EFI"
    early = scratch / "early.cfg"
    early.write_text("search --file --set=root /grub/grubenv\nconfigfile ($root)/grub/grub.cfg\n")
    modules = scratch / "grub/usr/lib/grub/arm64-efi"
    run(
        "grub-mkimage", "-O", "arm64-efi", "-d", str(modules), "-p", "/grub", "-c", str(early),
        "-o", str(program), *GRUB_MODULES, "configfile", "search_fs_file",
    )  # fmt: skip
    environment = scratch / "grubenv"
    run("grub-editenv", str(environment), "create")
    run(
        "grub-editenv",
        str(environment),
        "set",
        "ORDER=A B",
        "A_OK=1",
        "A_TRY=0",
        "B_OK=1",
        "B_TRY=0",
    )
    image = _fat(scratch / "esp.fat", 32, "EI-BOOT")
    run("mmd", "-i", str(image), "::/EFI", "::/EFI/BOOT", "::/grub")
    run("mcopy", "-i", str(image), str(program), "::/EFI/BOOT/BOOTAA64.EFI")
    run("mcopy", "-i", str(image), str(HERE / "grub.cfg"), "::/grub/grub.cfg")
    run("mcopy", "-i", str(image), str(environment), "::/grub/grubenv")
    return image


def _settings(scratch: Path) -> Path:
    image = _fat(scratch / "settings.fat", 64, "STATION")
    run("mcopy", "-i", str(image), str(COMMON / "conf/station.conf.example"), "::/")
    return image


def _fat(path: Path, size_mib: int, label: str) -> Path:
    with path.open("wb") as file:
        file.truncate(size_mib * MIB)
    run("mkfs.vfat", "-n", label, str(path))
    return path


def _data(scratch: Path) -> Path:
    path = scratch / "data.ext4"
    run("mke2fs", "-q", "-t", "ext4", "-L", "data", "-O", "metadata_csum", str(path), "256M")
    return path


def _write_at(disk: Path, offset: int, content: Path) -> None:
    run(
        "dd", f"if={content}", f"of={disk}", "bs=1M", f"seek={offset // MIB}", "conv=notrunc,sparse"
    )


def copy_for_test(disk: Path, target: Path, *, size_mib: int) -> Path:
    """A sparse copy on a larger card, for one test to break."""
    run("cp", "--sparse=always", "--reflink=auto", str(disk), str(target))
    os.truncate(target, size_mib * MIB)
    return target


def with_states(card: Path) -> Path:
    """A card on top of a raw one, which must not change any more; it can keep a machine's state."""
    target = card.with_suffix(".qcow2")
    run(
        "qemu-img", "create", "-q", "-f", "qcow2", "-b", str(card.resolve()), "-F", "raw",
        str(target),
    )  # fmt: skip
    return target


def put_settings(disk: Path, files: dict[str, Path]) -> None:
    """Copy files and folders onto the settings partition, as a person does on a PC."""
    for name, source in files.items():
        run("mcopy", "-s", "-o", "-i", f"{disk}@@{offset('settings')}", str(source), f"::/{name}")


def get_setting(disk: Path, name: str) -> bytes:
    """A file of the settings partition; the machine must be off."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "file"
        run("mcopy", "-i", f"{disk}@@{offset('settings')}", f"::/{name}", str(target))
        return target.read_bytes()


def allow_root_shell(disk: Path, scratch: Path) -> None:
    """Root's shell on a line of its own, for tests: somebody with the card in hand may do all."""
    text = (HERE / "grub.cfg").read_text()
    changed = scratch / "grub.cfg"
    changed.write_text(text.replace(" rauc.slot=", " systemd.debug_shell=hvc0 rauc.slot="))
    run("mcopy", "-o", "-i", f"{disk}@@{offset('esp')}", str(changed), "::/grub/grub.cfg")


def offset(label: str) -> int:
    """The first byte of a partition."""
    start = MIB
    for partition in PARTITIONS:
        if partition.label == label:
            return start
        start += partition.size_mib * MIB
    raise ValueError(f"no partition is labelled {label}")
