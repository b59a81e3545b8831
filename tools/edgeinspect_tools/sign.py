"""``edgeinspect-tools sign`` and ``key``: sign a bundle with a minisign key.

Keys and signatures are minisign's own files, so that the ``minisign`` program can make, check and
keep them too.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeinspect.cli.options import FILE, FOLDER
from edgeinspect.terminal.output import examples, json_option, print_json, print_text

if TYPE_CHECKING:
    from minisign import SecretKey

SECRET_SUFFIX = ".key"
PASSWORD_VARIABLE = "EDGEINSPECT_KEY_PASSWORD"


@click.command(
    epilog=examples(
        """
        edgeinspect-tools key press-shop
        edgeinspect-tools key press-shop --no-password
        """
    )
)
@click.argument("name", type=FILE)
@click.option("--no-password", is_flag=True, help="Leave the secret key unencrypted.")
@json_option
def key_command(name: Path, *, no_password: bool, as_json: bool) -> None:
    """Make a key pair for signing bundles: keep NAME.key secret, give NAME.pub to the stations.

    A password encrypts the secret key. The command asks for it, or takes it from the environment
    variable EDGEINSPECT_KEY_PASSWORD.
    """
    from minisign import KeyPair

    from edgeinspect.bundle.signature import KEY_SUFFIX
    from edgeinspect.errors import UsageError
    from edgeinspect.files.atomic_file import create_file

    secret_file = name.with_name(name.name + SECRET_SUFFIX)
    public_file = name.with_name(name.name + KEY_SUFFIX)
    for path in (secret_file, public_file):
        if path.exists():
            raise UsageError(f"{path} already exists.", next_action="Choose another name.")
    password = "" if no_password else _ask_password(confirm=True)
    pair = KeyPair.generate()
    public = bytes(pair.public_key)
    if password:
        pair.secret_key.encrypt(password)
    create_file(secret_file, bytes(pair.secret_key) + b"\n", mode=0o600)
    create_file(public_file, public + b"\n", mode=0o644)
    if as_json:
        print_json({"secret_key": str(secret_file), "public_key": str(public_file)})
        return
    print_text(
        f"{secret_file}: keep it secret and keep a copy. Whoever has it can sign bundles for you."
    )
    print_text(f"{public_file}: copy it into the stations' folder of trusted keys.")


@click.command(
    epilog=examples(
        """
        edgeinspect-tools sign brackets --key press-shop.key
        minisign -S -s press-shop.key -m brackets/card.yaml     the same, with minisign
        """
    )
)
@click.argument("bundle", type=FOLDER)
@click.option("--key", "key_file", type=FILE, required=True, help="The secret key, NAME.key.")
@json_option
def sign_command(bundle: Path, *, key_file: Path, as_json: bool) -> None:
    """Sign BUNDLE for the stations that trust your key.

    Every file of the bundle is verified first. The command asks for the key's password, or takes it
    from the environment variable EDGEINSPECT_KEY_PASSWORD.
    """
    from edgeinspect.bundle.card import CARD_FILE
    from edgeinspect.bundle.directory import load_bundle, read_bounded
    from edgeinspect.bundle.signature import SIGNATURE_FILE
    from edgeinspect.files.atomic_file import replace_file

    loaded = load_bundle(bundle)
    with _secret_key(key_file) as secret:
        card = read_bounded(bundle / CARD_FILE, 1 << 20)
        # As the minisign program dates it: which of two builds of one version is the older one.
        comment = f"timestamp:{int(time.time())}\tedgeinspect bundle {loaded.card.name} "
        comment += loaded.card.version
        signature = secret.sign(card, trusted_comment=comment)
    path = bundle / SIGNATURE_FILE
    replace_file(path, bytes(signature) + b"\n")
    if as_json:
        print_json({"bundle": str(bundle), "digest": loaded.digest, "signature": str(path)})
        return
    print_text(f"{path}: {loaded.card.name} {loaded.card.version} is signed.")


def _secret_key(path: Path) -> SecretKey:
    """The key, ready to sign. Raises UsageError."""
    from minisign import Error, SecretKey

    from edgeinspect.bundle.directory import read_bounded
    from edgeinspect.errors import ModelRefused, UsageError

    try:
        key = SecretKey.from_bytes(read_bounded(path, 16 << 10))
    except (Error, ModelRefused) as error:
        raise UsageError(
            f"{path} is not a minisign secret key ({error}).",
            next_action="Make a key with: edgeinspect-tools key NAME",
        ) from error
    if key.is_encrypted():
        try:
            key.decrypt(_ask_password(confirm=False))
        except Error as error:
            raise UsageError(f"{path}: {error}.", next_action="Try again.") from error
    return key


def _ask_password(*, confirm: bool) -> str:
    import os

    given = os.environ.get(PASSWORD_VARIABLE)
    if given is not None:
        return given
    return str(click.prompt("Password of the key", hide_input=True, confirmation_prompt=confirm))
