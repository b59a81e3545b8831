"""Who vouches for a bundle: a minisign signature beside the card, made with a key we trust.

The signature covers ``card.yaml``, whose digests cover every other file. It is an ordinary
``card.yaml.minisig`` (https://jedisct1.github.io/minisign), so that the ``minisign`` program and
``edgeinspect-tools sign`` make the same file.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeinspect.bundle.card import CARD_FILE
from edgeinspect.bundle.directory import Bundle, read_bounded, sha256_of
from edgeinspect.bundle.order import Build
from edgeinspect.errors import ConfigError, ModelRefused

if TYPE_CHECKING:
    from minisign import PublicKey

SIGNATURE_FILE = f"{CARD_FILE}.minisig"
KEY_SUFFIX = ".pub"
_MAX_CARD_BYTES = 1 << 20
_MAX_SIGNATURE_BYTES = 16 << 10
_DATED = re.compile(r"(?:^|\s)timestamp:([0-9]{1,12})(?:\s|$)")
"""In the trusted comment, as the minisign program writes it."""


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Public keys whose holders may vouch for a bundle.

    Attributes:
        folder: the folder with the keys.
        by_name: each key by its file's name without ``.pub``.
    """

    folder: Path
    by_name: Mapping[str, PublicKey]

    def names(self) -> str:
        """The keys' names, for an error."""
        return ", ".join(sorted(self.by_name))


def load_minisign() -> None:
    """Load the library now, in a process that will soon lose the permission to read it."""
    import minisign  # noqa: F401


def load_trusted_keys(folder: Path) -> TrustedKeys:
    """Read every ``*.pub`` of a folder.

    Raises:
        ConfigError: there is no such folder, no key in it, or one that is not minisign's. One bad
            file spoils all, so that a key that somebody means to trust is never silently left out.
    """
    if not folder.is_dir():
        raise ConfigError(
            file=folder, key="trusted_keys", value=str(folder), expected="a folder that exists"
        )
    keys = {path.stem: _load_key(path) for path in sorted(folder.glob(f"*{KEY_SUFFIX}"))}
    if not keys:
        raise ConfigError(
            file=folder,
            key="trusted_keys",
            value=f"no *{KEY_SUFFIX} file",
            expected="at least one minisign public key",
            next_action=f"Copy the maker's {KEY_SUFFIX} file there.",
        )
    return TrustedKeys(folder, keys)


def _load_key(path: Path) -> PublicKey:
    from minisign import ParseError, PublicKey

    try:
        return PublicKey.from_bytes(read_bounded(path, _MAX_SIGNATURE_BYTES))
    except (ParseError, ModelRefused) as error:
        raise ConfigError(
            file=path,
            key="public key",
            value=str(error),
            expected="a minisign public key: a comment line and a base64 line",
            next_action="Replace the file, or remove it if the key should not be trusted.",
        ) from error


def signer_of(bundle: Bundle, keys: TrustedKeys) -> str:
    """The name of the trusted key that signed this bundle's card.

    Raises:
        ModelRefused: no signature, one of somebody else's, or one of another card.
    """
    return _verified(bundle, keys)[0]


def build_of(bundle: Bundle, keys: TrustedKeys | None) -> Build:
    """What orders this bundle among those of its name; undated without a trusted signature."""
    signed_s = 0
    if keys is not None:
        with contextlib.suppress(ModelRefused):
            dated = _DATED.search(_verified(bundle, keys)[1])
            signed_s = int(dated[1]) if dated is not None else 0
    card = bundle.card
    return Build(name=card.name, version=card.version, digest=bundle.digest, signed_s=signed_s)


def _verified(bundle: Bundle, keys: TrustedKeys) -> tuple[str, str]:
    """The trusted key's name, and the comment that its signature covers. Raises ModelRefused."""
    from minisign import ParseError, Signature, VerifyError

    card = read_bounded(bundle.directory / CARD_FILE, _MAX_CARD_BYTES)
    if sha256_of(card) != bundle.digest:
        raise ModelRefused(f"{bundle.directory / CARD_FILE} changed while it was being read.")
    path = bundle.directory / SIGNATURE_FILE
    if not path.exists():
        raise ModelRefused(
            f"{bundle.directory} is not signed, but this station accepts only bundles signed with "
            f"one of: {keys.names()}.",
            next_action="Sign it on the PC with: edgeinspect-tools sign BUNDLE --key FILE",
        )
    try:
        signature = Signature.from_bytes(read_bounded(path, _MAX_SIGNATURE_BYTES))
    except ParseError as error:
        raise ModelRefused(
            f"{path} is not a minisign signature ({error}).", next_action="Sign the bundle again."
        ) from error
    for name, key in keys.by_name.items():
        try:
            key.verify(card, signature)
        except VerifyError:
            continue
        return name, signature.trusted_comment
    raise ModelRefused(
        f"{path} was not made with a trusted key ({keys.names()}) for this card.",
        next_action="Do not use this bundle; ask its maker for a signed one.",
    )
