"""The bundles that are installed on a station, each in a folder named after its digest.

A bundle is copied from verified memory into a folder of its own and renamed into place, so that it
is there whole or not at all; an installed one is never changed. Which one inspects is the recipe's
business: a revision names its bundle by digest.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeinspect.bundle.card import CARD_FILE
from edgeinspect.bundle.directory import (
    MAX_GOLDEN_BYTES,
    MAX_MODEL_BYTES,
    Bundle,
    load_bundle,
    read_bounded,
    sha256_of,
)
from edgeinspect.bundle.signature import SIGNATURE_FILE, TrustedKeys, signer_of
from edgeinspect.errors import DiskFull, EdgeInspectError, ModelRefused, StorageFault, UsageError
from edgeinspect.files.atomic_file import fsync_folder, make_folder, replace_file
from edgeinspect.files.file_lock import try_lock

_SPARE_BYTES = 1 << 20
_STAGING = ".install."


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledBundle:
    """One entry of the store.

    Attributes:
        signed_by: the trusted key's name; "" if no keys are trusted here.
        refused: why the station would not use it; "" if it would.
        size_bytes: of all its files.
    """

    directory: Path
    name: str
    version: str
    digest: str
    signed_by: str
    refused: str
    size_bytes: int


class BundleStore:
    """The bundles below one folder.

    Args:
        root: created by the first ``install``.
        keys: only bundles signed with one of them are taken; None takes any that is whole.
    """

    def __init__(self, root: Path, *, keys: TrustedKeys | None = None) -> None:
        self._root = root
        self._keys = keys

    @property
    def keys(self) -> TrustedKeys | None:
        """The keys that bundles must be signed with; None if signatures are not required."""
        return self._keys

    def load(self, directory: Path) -> Bundle:
        """The bundle, whole and vouched for. Raises ModelRefused, ConfigError."""
        bundle = load_bundle(directory)
        if self._keys is not None:
            signer_of(bundle, self._keys)
        return bundle

    def install(self, source: Path) -> Bundle:
        """Copy a bundle into the store; one that is there already, and sound, is returned.

        One that was damaged on the card is replaced. The caller checks the golden pictures
        before it activates the bundle.

        Raises:
            ModelRefused, ConfigError: it is not whole, or not signed as this station asks.
            StorageFault: it cannot be written; nothing of it is left then.
        """
        bundle = self.load(source)
        target = self._root / folder_name(bundle)
        present = self._sound(target)
        if present is not None:
            return present
        make_folder(self._root)
        files = _verified_files(bundle)
        self._need_room(sum(map(len, files.values())))
        with _staging(self._root) as staging:
            for name, data in files.items():
                replace_file(staging / name, data, mode=0o444)
            self.load(staging)
            with _staging(self._root) as damaged:
                if target.exists():
                    # of no use to anybody; a power cut here leaves none
                    _rename(target, damaged)
                _rename(staging, target)
        return self.load(target)

    def _sound(self, directory: Path) -> Bundle | None:
        try:
            return self.load(directory)
        except EdgeInspectError:
            return None

    def installed(self) -> list[InstalledBundle]:
        """Every folder that looks like a bundle, also those that would be refused."""
        if not self._root.is_dir():
            return []
        entries = sorted(entry for entry in self._root.iterdir() if entry.name[:1] != ".")
        return [self._describe(entry) for entry in entries if (entry / CARD_FILE).is_file()]

    def find(self, name: str) -> InstalledBundle:
        """The one bundle that a person means by its name, ``name-version``, or digest's start.

        Raises:
            UsageError: none, or several; lists what there is.
        """
        found = self.installed()
        meant = [entry for entry in found if _means(name, entry)]
        if len(meant) == 1:
            return meant[0]
        known = ", ".join(map(_identity, meant or found))
        if meant:
            raise UsageError(
                f"{len(meant)} installed bundles match {name!r}: {known}.",
                next_action="Select one by the start of its digest.",
            )
        raise UsageError(
            f"The bundle {name!r} is not installed; installed: {known or 'none'}.",
            next_action="Install it with: edgeinspect model install DIRECTORY",
        )

    def _describe(self, directory: Path) -> InstalledBundle:
        size = sum(path.stat().st_size for path in directory.iterdir() if path.is_file())
        try:
            bundle = load_bundle(directory)
            signer = signer_of(bundle, self._keys) if self._keys is not None else ""
        except EdgeInspectError as error:
            return InstalledBundle(
                directory=directory,
                name=directory.name,
                version="",
                digest="",
                signed_by="",
                refused=str(error),
                size_bytes=size,
            )
        return InstalledBundle(
            directory=directory,
            name=bundle.card.name,
            version=bundle.card.version,
            digest=bundle.digest,
            signed_by=signer,
            refused="",
            size_bytes=size,
        )

    def _need_room(self, needed_bytes: int) -> None:
        free = shutil.disk_usage(self._root).free
        if free < needed_bytes + _SPARE_BYTES:
            raise DiskFull(
                f"{self._root} has {free >> 20} MiB free; the bundle needs "
                f"{(needed_bytes >> 20) + 1} MiB.",
                next_action="Free disk space, then install the bundle again.",
            )


def folder_name(bundle: Bundle) -> str:
    """``name-version-digest``, where the digest's start keeps two builds of a version apart."""
    return f"{bundle.card.name}-{bundle.card.version}-{bundle.digest[:12]}"


def _verified_files(bundle: Bundle) -> dict[str, bytes]:
    """Return the card, the files that it lists, and the signature, as verified bytes."""
    limit = max(MAX_MODEL_BYTES, MAX_GOLDEN_BYTES)
    files = {name: read_bounded(bundle.directory / name, limit) for name in bundle.card.digests}
    files[CARD_FILE] = read_bounded(bundle.directory / CARD_FILE, limit)
    changed = [name for name in bundle.card.digests if not _is_verified(bundle, name, files[name])]
    if changed or sha256_of(files[CARD_FILE]) != bundle.digest:
        raise ModelRefused(f"{bundle.directory} changed while it was being read.")
    if (bundle.directory / SIGNATURE_FILE).exists():
        files[SIGNATURE_FILE] = read_bounded(bundle.directory / SIGNATURE_FILE, limit)
    return files


def _is_verified(bundle: Bundle, name: str, data: bytes) -> bool:
    return sha256_of(data) == bundle.card.digests[name]


def _identity(entry: InstalledBundle) -> str:
    if entry.refused:
        return f"{entry.name} (refused)"
    return f"{entry.name}-{entry.version} ({entry.digest[:12]})"


def _means(name: str, entry: InstalledBundle) -> bool:
    names = (entry.name, f"{entry.name}-{entry.version}", entry.directory.name)
    return name in names or (len(name) >= 6 and entry.digest.startswith(name))


@contextlib.contextmanager
def _staging(root: Path) -> Iterator[Path]:
    """A temporary folder, removed afterwards, as are those that killed processes left."""
    for left in root.glob(f"{_STAGING}*"):
        with contextlib.suppress(OSError), _locked(left) as is_ours:
            if is_ours:
                shutil.rmtree(left)
    try:
        folder = Path(tempfile.mkdtemp(dir=root, prefix=_STAGING))
    except OSError as error:
        raise StorageFault(
            f"{root} cannot be written ({error.strerror}).",
            next_action="Check its permissions, or run the command as the station's user.",
        ) from error
    try:
        with _locked(folder):  # it is new: only somebody who tidies up could hold it
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether the folder could be locked, until the kernel drops the lock with its process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield try_lock(descriptor, folder)
    finally:
        os.close(descriptor)


def _rename(staging: Path, target: Path) -> None:
    try:
        staging.chmod(0o755)
        fsync_folder(staging)
        staging.rename(target)
        fsync_folder(target.parent)
    except OSError as error:
        raise StorageFault(f"{target} could not be replaced ({error.strerror}).") from error
