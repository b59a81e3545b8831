"""A bundle as a directory: loaded with every digest verified, written all or nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeinspect.bundle.card import (
    CARD_FILE,
    CERTIFICATE_FILE,
    GOLDEN_FILE,
    Card,
    load_card,
    save_card,
)
from edgeinspect.bundle.certificate import (
    MAX_CERTIFICATE_BYTES,
    Certificate,
    certificate_bytes,
    parse_certificate,
)
from edgeinspect.errors import ModelRefused, StorageFault
from edgeinspect.files.atomic_file import fsync_folder, open_regular, replace_file

EDGETPU_MODEL_FILE = "model_edgetpu.tflite"
"""An optional file of a bundle: its model, compiled for the Edge TPU."""
MAX_MODEL_BYTES = 256 << 20
MAX_GOLDEN_BYTES = 64 << 20
FETCH_AGAIN = "Fetch or make the bundle again; do not inspect with this copy."


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files are what its card says they are.

    Attributes:
        directory: where it was loaded from.
        card: validated.
        certificate: validated.
        digest: SHA-256 over the card's bytes, which hold the digests of all other files.
        model: the verified bytes of the model, so that nothing can change them after the check.
        golden: the verified bytes of ``golden.npz``.
        edgetpu_model: the verified bytes of ``EDGETPU_MODEL_FILE``; empty if there is none.
    """

    directory: Path
    card: Card
    certificate: Certificate
    digest: str
    model: bytes
    golden: bytes
    edgetpu_model: bytes = b""

    @property
    def identity(self) -> dict[str, str]:
        """Name, version and digest, as records and answers hold them."""
        return {"name": self.card.name, "version": self.card.version, "digest": self.digest}

    def __repr__(self) -> str:
        return f"Bundle({self.card.title}, {self.digest[:12]})"


def load_bundle(directory: Path) -> Bundle:
    """Load a bundle and verify every file that its card lists.

    Raises:
        ConfigError: the card cannot be read or breaks a rule.
        ModelRefused: a file is missing, too large, or not the one that the card was written for.
    """
    directory = Path(directory)
    refused = _why_not_a_folder(directory)
    if refused:
        raise ModelRefused(
            f"The bundle {directory} {refused}.",
            next_action="Give the directory that contains card.yaml.",
        )
    digest = bundle_digest(directory)
    card = load_card(directory / CARD_FILE)
    files = {name: _verified(directory / name, card, limit) for name, limit in _limits(card)}
    if bundle_digest(directory) != digest:
        raise ModelRefused(f"{directory / CARD_FILE} changed while it was being read.")
    return Bundle(
        directory=directory,
        card=card,
        certificate=parse_certificate(files[CERTIFICATE_FILE], directory / CERTIFICATE_FILE),
        digest=digest,
        model=files[card.model],
        golden=files[GOLDEN_FILE],
        edgetpu_model=files.get(EDGETPU_MODEL_FILE, b""),
    )


def _why_not_a_folder(directory: Path) -> str:
    try:
        return "" if stat.S_ISDIR(directory.stat().st_mode) else "is not a directory"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def bundle_digest(directory: Path) -> str:
    """SHA-256 over the card's bytes. Raises ModelRefused if there is no readable card."""
    return sha256_of(read_bounded(Path(directory) / CARD_FILE, 1 << 20))


def write_bundle(
    directory: Path,
    *,
    card: Card,
    model: bytes,
    golden: bytes,
    certificate: Certificate,
    others: Mapping[str, bytes] | None = None,
    replace: bool = False,
) -> Bundle:
    """Write a bundle to a temporary directory, then rename it, so that it is complete or absent.

    Args:
        directory: where the bundle goes.
        card: its ``digests`` are filled in here.
        model: the content of ``model.tflite``.
        golden: the content of ``golden.npz``.
        certificate: what was proven about the model.
        others: further files, e.g. a licence text.
        replace: allow an existing bundle; it is removed after the rename.

    Raises:
        ModelRefused: the directory exists and ``replace`` is False, or it is not a bundle.
        StorageFault: the directory cannot be written.
    """
    directory = Path(directory)
    if directory.exists() and not (replace and (directory / CARD_FILE).is_file()):
        raise ModelRefused(
            f"{directory} already exists.",
            next_action="Choose another name, or allow it to be replaced.",
        )
    files = {
        **(others or {}),
        card.model: model,
        GOLDEN_FILE: golden,
        CERTIFICATE_FILE: certificate_bytes(certificate),
    }
    digests = {name: sha256_of(data) for name, data in sorted(files.items())}
    card = Card.model_validate({**card.model_dump(), "digests": digests})
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
        try:
            for name, data in files.items():
                replace_file(staging / name, data)
            save_card(card, staging / CARD_FILE)
            staging.chmod(0o755)
            _move_into_place(staging, directory)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise StorageFault(
            f"Cannot write the bundle {directory}: {error.strerror or error}.",
            next_action="Check free space and permissions.",
        ) from error
    return load_bundle(directory)


def _move_into_place(staging: Path, directory: Path) -> None:
    if directory.exists():
        old = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}.old."))
        directory.rename(old)
        staging.rename(directory)
        fsync_folder(directory.parent)
        shutil.rmtree(old, ignore_errors=True)
        return
    staging.rename(directory)
    fsync_folder(directory.parent)


def _limits(card: Card) -> list[tuple[str, int]]:
    """Every file to verify, with the most bytes it may have."""
    limits = dict.fromkeys(card.digests, MAX_GOLDEN_BYTES)
    limits |= {
        card.model: MAX_MODEL_BYTES,
        GOLDEN_FILE: MAX_GOLDEN_BYTES,
        CERTIFICATE_FILE: MAX_CERTIFICATE_BYTES,
    }
    return list(limits.items())


def _verified(path: Path, card: Card, limit: int) -> bytes:
    expected = card.digests.get(path.name)
    if expected is None:
        raise ModelRefused(
            f"{path.parent / CARD_FILE} has no digest for {path.name}.", next_action=FETCH_AGAIN
        )
    data = read_bounded(path, limit)
    if sha256_of(data) != expected:
        raise ModelRefused(
            f"{path} is not the file that the card was written for: its SHA-256 is "
            f"{sha256_of(data)[:12]}…, but the card states {expected[:12]}….",
            next_action=FETCH_AGAIN,
        )
    return data


def read_bounded(path: Path, limit: int) -> bytes:
    """All bytes of a regular file. Raises ModelRefused if missing, unreadable or too large."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError as error:
        raise ModelRefused(f"{path} is missing.", next_action=FETCH_AGAIN) from error
    except OSError as error:
        raise ModelRefused(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(data) > limit:
        raise ModelRefused(f"{path} is larger than {limit >> 20} MiB.")
    return data


def sha256_of(data: bytes) -> str:
    """Lower-case hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()
