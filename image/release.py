"""What is published of an image: signed updates of the system, and checksums."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from image.steps import run


@dataclass(frozen=True, slots=True)
class UpdateKeys:
    """Who may sign an update of the system."""

    certificate: Path
    key: Path


def update_keys(folder: Path) -> UpdateKeys:
    """The key pair of this build, made if there is none: keep it, and keep it secret."""
    keys = UpdateKeys(folder / "update-certificate.pem", folder / "update.key")
    if not keys.key.exists():
        folder.mkdir(parents=True, exist_ok=True)
        run(
            "openssl", "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-days", "7300",
            "-subj", "/O=edgeinspect/CN=system updates", "-keyout", str(keys.key),
            "-out", str(keys.certificate),
        )  # fmt: skip
        keys.key.chmod(0o600)
    return keys


def write_bundle(
    out: Path, images: Mapping[str, Path], keys: UpdateKeys, *, compatible: str, version: str
) -> None:
    """A signed update for RAUC.

    Args:
        images: for each class of slots of RAUC's ``system.conf`` what is written to it.
        compatible: of that file; no other machine takes the update.
    """
    out.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".update.") as folder:
        manifest = f"[update]\ncompatible={compatible}\nversion={version}\n\n"
        manifest += "[bundle]\nformat=verity\n"
        for kind, image in images.items():
            os.link(image, Path(folder) / f"{kind}.img")
            manifest += f"\n[image.{kind}]\nfilename={kind}.img\n"
        (Path(folder) / "manifest.raucm").write_text(manifest)
        run(
            "rauc", "bundle", f"--cert={keys.certificate}", f"--key={keys.key}",
            "--mksquashfs-args=-comp gzip -Xcompression-level 1", folder, str(out),
        )  # fmt: skip


def write_sums(folder: Path, endings: tuple[str, ...] = ("",)) -> None:
    """SHA-256 of everything that is published: files whose name ends in one of these."""
    lines = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != "SHA256SUMS" and path.name.endswith(endings):
            with path.open("rb") as file:
                lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    (folder / "SHA256SUMS").write_text("".join(lines))
