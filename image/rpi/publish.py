"""What goes beside a Raspberry Pi image: bill of materials, signed update, checksums.

    python -m image.rpi.publish FOLDER --root ROOT --version 1.2.0 [--keys KEYS]

FOLDER has what rpi-image-gen made (``edgeinspect-pi5.img``; for two slots also ``boot.vfat`` and
``system.erofs``), ROOT is the root file system that it was made from. KEYS holds the key pair for
updates, made there if missing; its certificate must have been given to the image's build.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from image import release, sbom
from image.steps import say

SITE = "opt/edgeinspect/lib/python3*/site-packages"
RAUC_SETTINGS = "etc/rauc/system.conf"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m image.rpi.publish")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--keys", type=Path)
    options = parser.parse_args(arguments)
    publish(options.folder, options.root, version=options.version, keys=options.keys)
    return 0


def publish(folder: Path, root: Path, *, version: str, keys: Path | None) -> None:
    """Write everything beside the image; what is missing ends the program with one sentence."""
    images = sorted(folder.glob("edgeinspect-*.img"))
    sites = sorted(root.glob(SITE))
    if len(images) != 1 or len(sites) != 1:
        sys.exit(
            f"image: {folder} must hold one edgeinspect-BOARD.img (there are {len(images)}), and "
            f"{root} one {SITE} (there are {len(sites)})."
        )
    name = images[0].stem
    sbom.write(root, sites[0], folder / f"{name}.cdx.json", version=version)
    if keys is not None:
        parts = {"rootfs": folder / "system.erofs", "bootfs": folder / "boot.vfat"}
        missing = [path.name for path in parts.values() if not path.is_file()]
        if missing or not (root / RAUC_SETTINGS).is_file():
            sys.exit(
                f"image: {name} has no two slots to update: {RAUC_SETTINGS} or "
                f"{', '.join(missing)} is missing. Leave --keys out."
            )
        release.write_bundle(
            folder / f"{name}.raucb",
            parts,
            release.update_keys(keys),
            compatible=compatible(root / RAUC_SETTINGS),
            version=version,
        )
    release.write_sums(folder, (".img", ".img.xz", ".img.zst", ".raucb", ".cdx.json"))
    say(f"{name}: see {folder / 'SHA256SUMS'}")


def compatible(settings: Path) -> str:
    """For which machines the image's RAUC takes an update."""
    for line in settings.read_text().splitlines():
        if line.startswith("compatible="):
            return line.partition("=")[2]
    sys.exit(f"image: {settings} names no compatible.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
