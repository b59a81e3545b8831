"""Installing bundles: whole, signed, unchanged, or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edgeinspect.bundle.card import CARD_FILE
from edgeinspect.bundle.model_store import BundleStore, folder_name
from edgeinspect.bundle.signature import SIGNATURE_FILE, TrustedKeys, load_trusted_keys, signer_of
from edgeinspect.cli.application import run_command_line
from edgeinspect.errors import ConfigError, DiskFull, EdgeInspectError, ModelRefused, UsageError
from edgeinspect_tools.cli import application
from tests.helpers.bundle_samples import spot_bundle


def tools(*arguments: str) -> int:
    return run_command_line(application, program="edgeinspect-tools", arguments=arguments)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundle ``spots``, signed by ``shop``, and two key pairs."""
    folder = tmp_path_factory.mktemp("made")
    spot_bundle(folder)
    (folder / "trusted").mkdir()
    for name in ("shop", "stranger"):
        assert tools("key", str(folder / name), "--no-password") == 0
    shutil.copy(folder / "shop.pub", folder / "trusted")
    assert tools("sign", str(folder / "spots"), "--key", str(folder / "shop.key")) == 0
    return folder


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "spots", tmp_path / "spots"))


@pytest.fixture
def keys(made: Path) -> TrustedKeys:
    return load_trusted_keys(made / "trusted")


def test_an_installed_bundle_is_the_one_that_was_given(
    bundle: Path, keys: TrustedKeys, tmp_path: Path
) -> None:
    store = BundleStore(tmp_path / "store", keys=keys)
    installed = store.install(bundle)
    assert installed.directory == tmp_path / "store" / folder_name(installed)
    for path in bundle.iterdir():
        assert (installed.directory / path.name).read_bytes() == path.read_bytes()
    [listed] = store.installed()
    assert (listed.name, listed.signed_by, listed.refused) == ("spots", "shop", "")
    assert listed.digest == installed.digest
    assert store.install(bundle).directory == installed.directory


def test_an_unsigned_bundle_is_refused_where_keys_are_trusted(
    bundle: Path, keys: TrustedKeys, tmp_path: Path
) -> None:
    (bundle / SIGNATURE_FILE).unlink()
    with pytest.raises(ModelRefused, match=r"is not signed.*shop.*edgeinspect-tools sign"):
        BundleStore(tmp_path / "store", keys=keys).install(bundle)
    assert not (tmp_path / "store").exists()
    assert BundleStore(tmp_path / "store").install(bundle).card.name == "spots"


def test_a_strangers_signature_is_refused(
    bundle: Path, keys: TrustedKeys, made: Path, tmp_path: Path
) -> None:
    assert tools("sign", str(bundle), "--key", str(made / "stranger.key")) == 0
    with pytest.raises(ModelRefused, match="not made with a trusted key"):
        BundleStore(tmp_path / "store", keys=keys).install(bundle)


def test_a_signature_does_not_fit_another_card(bundle: Path, keys: TrustedKeys) -> None:
    card = bundle / CARD_FILE
    card.write_text(card.read_text().replace("Apache-2.0", "Apache-2.1"))
    with pytest.raises(ModelRefused, match="not made with a trusted key"):
        BundleStore(bundle.parent / "store", keys=keys).install(bundle)


@pytest.mark.parametrize("content", [b"", b"untrusted comment: x\nAAAA\n", b"\xff" * 400])
def test_a_broken_signature_file_is_refused_in_one_sentence(
    bundle: Path, keys: TrustedKeys, content: bytes
) -> None:
    (bundle / SIGNATURE_FILE).write_bytes(content)
    with pytest.raises(ModelRefused, match="not a minisign signature"):
        BundleStore(bundle.parent / "store", keys=keys).install(bundle)


def test_a_tampered_file_is_refused_and_listed_with_its_reason(
    bundle: Path, keys: TrustedKeys, tmp_path: Path
) -> None:
    store = BundleStore(tmp_path / "store", keys=keys)
    model = store.install(bundle).directory / "model.tflite"
    model.chmod(0o644)
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    [listed] = store.installed()
    assert "not the file that the card was written for" in listed.refused
    assert listed.digest == ""
    with pytest.raises(UsageError, match=rf"installed: {listed.name} \(refused\)"):
        store.find("spots")


def test_a_bundle_that_was_damaged_on_the_card_is_replaced(bundle: Path, tmp_path: Path) -> None:
    store = BundleStore(tmp_path / "store")
    directory = store.install(bundle).directory
    (directory / "model.tflite").chmod(0o644)
    (directory / "model.tflite").write_bytes(b"x")
    assert store.install(bundle).directory == directory
    [listed] = store.installed()
    assert (listed.refused, [path.name for path in (tmp_path / "store").iterdir()]) == (
        "",
        [directory.name],
    )


def test_what_a_killed_installation_left_is_cleared_by_the_next_and_a_living_ones_is_not(
    bundle: Path, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    left, alive = root / ".install.dead", root / ".install.alive"
    for folder in (left, alive):
        folder.mkdir(parents=True)
        (folder / "model.tflite").write_bytes(b"half")
    descriptor = os.open(alive, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        BundleStore(root).install(bundle)
        assert not left.exists()
        assert alive.exists()
    finally:
        os.close(descriptor)
    BundleStore(root).install(bundle)  # nothing to install: nothing is cleared
    assert alive.exists()


def test_a_full_disk_leaves_nothing(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskFull, match="0 MiB free"):
        BundleStore(tmp_path / "store").install(bundle)
    assert list((tmp_path / "store").iterdir()) == []


def test_a_crash_while_installing_leaves_no_bundle(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = BundleStore(tmp_path / "store")
    renamed: list[str] = []

    def crash(*_: object) -> None:
        renamed.append("asked")
        raise KeyboardInterrupt

    monkeypatch.setattr("edgeinspect.bundle.model_store._rename", crash)
    with pytest.raises(KeyboardInterrupt):
        store.install(bundle)
    assert renamed == ["asked"]
    assert store.installed() == []


def test_a_bundle_is_found_by_name_version_and_digest(bundle: Path, tmp_path: Path) -> None:
    store = BundleStore(tmp_path / "store")
    digest = store.install(bundle).digest
    for name in ("spots", "spots-1", digest[:8], digest):
        assert store.find(name).digest == digest
    with pytest.raises(UsageError, match=r"The bundle 'dots' is not installed; installed: spots-1"):
        store.find("dots")


def test_two_bundles_of_one_name_must_be_distinguished(tmp_path: Path) -> None:
    store = BundleStore(tmp_path / "store")
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        store.install(spot_bundle(tmp_path / version, version=version).directory)
    with pytest.raises(UsageError, match="2 installed bundles match 'spots'"):
        store.find("spots")
    assert store.find("spots-2").version == "2"


@pytest.mark.parametrize("content", [b"", b"hello\nworld\n", b"untrusted comment: x\n!!!\n"])
def test_a_key_that_is_none_is_an_error_and_not_left_out(made: Path, content: bytes) -> None:
    folder = made / "mixed"
    folder.mkdir(exist_ok=True)
    shutil.copy(made / "shop.pub", folder)
    (folder / "broken.pub").write_bytes(content)
    with pytest.raises(ConfigError, match=r"broken\.pub.*minisign public key"):
        load_trusted_keys(folder)


def test_no_key_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no \*\.pub file"):
        load_trusted_keys(tmp_path)
    with pytest.raises(ConfigError, match="a folder that exists"):
        load_trusted_keys(tmp_path / "missing")


@pytest.mark.skipif(shutil.which("minisign") is None, reason="the minisign program is missing")
def test_the_minisign_program_agrees_both_ways(made: Path, bundle: Path, keys: TrustedKeys) -> None:
    card = str(bundle / CARD_FILE)
    ours = ["minisign", "-V", "-p", str(made / "shop.pub"), "-m", card]
    assert subprocess.run(ours, check=False, capture_output=True).returncode == 0
    (bundle / SIGNATURE_FILE).unlink()
    theirs = ["minisign", "-S", "-s", str(made / "shop.key"), "-m", card]
    subprocess.run(theirs, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    from edgeinspect.bundle.directory import load_bundle

    assert signer_of(load_bundle(bundle), keys) == "shop"


def test_an_encrypted_key_needs_its_password(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EDGEINSPECT_KEY_PASSWORD", "correct horse")
    assert tools("key", str(tmp_path / "mine")) == 0
    assert (tmp_path / "mine.key").stat().st_mode & 0o777 == 0o600
    sign = ("sign", str(bundle), "--key", str(tmp_path / "mine.key"))
    monkeypatch.setenv("EDGEINSPECT_KEY_PASSWORD", "wrong")
    before = (bundle / SIGNATURE_FILE).read_bytes()
    assert tools(*sign) == 2
    assert "wrong password" in capsys.readouterr().err
    assert (bundle / SIGNATURE_FILE).read_bytes() == before
    monkeypatch.setenv("EDGEINSPECT_KEY_PASSWORD", "correct horse")
    assert tools(*sign) == 0
    assert (bundle / SIGNATURE_FILE).read_bytes() != before


def test_no_key_pair_is_overwritten(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (made / "shop.key").read_bytes()
    assert tools("key", str(made / "shop"), "--no-password") == 2
    assert "already exists" in capsys.readouterr().err
    assert (made / "shop.key").read_bytes() == before


def test_a_file_that_is_no_secret_key_is_refused(bundle: Path, made: Path) -> None:
    assert tools("sign", str(bundle), "--key", str(made / "shop.pub")) == 2
    assert tools("sign", str(bundle), "--key", str(made / "missing.key")) == 2


def test_the_station_asks_for_the_signature_when_it_looks_for_a_bundle(
    bundle: Path, made: Path, tmp_path: Path
) -> None:
    from edgeinspect.runtime.plan import bundle_store, find_bundle
    from edgeinspect.settings.recipe import BundleReference
    from edgeinspect.settings.station_file import example_station

    station = example_station("normally-rejecting", data_dir=tmp_path / "data")
    digest = bundle_store(station).install(bundle).digest
    reference = BundleReference(name="spots", digest=digest)
    assert find_bundle(station, reference).digest == digest
    with pytest.raises(EdgeInspectError, match=r"names the bundle spheres, but .* is spots"):
        find_bundle(station, BundleReference(name="spheres", digest=digest))
    trusting = station.model_copy(update={"trusted_keys": made / "trusted"})
    assert find_bundle(trusting, reference).digest == digest
    shutil.rmtree(made / "others", ignore_errors=True)
    (made / "others").mkdir()
    shutil.copy(made / "stranger.pub", made / "others")
    strange = station.model_copy(update={"trusted_keys": made / "others"})
    with pytest.raises(EdgeInspectError, match="not made with a trusted key"):
        find_bundle(strange, reference)


def station_beside_keys(made: Path, folder: Path) -> Path:
    """A station file with the shop's key in ``keys`` beside it."""
    from tests.helpers.setup_card import STATION

    (folder / "station").mkdir()
    shutil.copytree(made / "trusted", folder / "station" / "keys")
    (folder / "station" / "station.yaml").write_text(STATION)
    return folder / "station" / "station.yaml"


def test_keys_beside_the_station_file_bind_whatever_it_says(made: Path, tmp_path: Path) -> None:
    from edgeinspect.settings.station_file import load_station

    file = station_beside_keys(made, tmp_path)
    text = file.read_text()
    for line in ("", "trusted_keys: keys\n", "trusted_keys: ./keys\n", "trusted_keys: null\n"):
        file.write_text(text + line)
        assert load_station(file).trusted_keys == file.parent / "keys"
    (tmp_path / "mine").mkdir()
    for other in ("../mine", str(tmp_path / "mine"), "keys/../../mine", "data"):
        file.write_text(f"{text}trusted_keys: {other}\n")
        with pytest.raises(
            ConfigError, match="expected keys, or no value, because this station has its keys in"
        ):
            load_station(file)


def test_a_copy_of_the_station_file_is_bound_by_the_keys_beside_its_data(
    made: Path, tmp_path: Path
) -> None:
    from edgeinspect.settings.station_file import load_station

    file = station_beside_keys(made, tmp_path)
    (tmp_path / "home").mkdir()
    copy = tmp_path / "home" / "station.yaml"
    copy.write_text(file.read_text().replace("data_dir: data", f"data_dir: {file.parent}/data"))
    assert load_station(copy).trusted_keys == file.parent / "keys"
    shutil.copytree(made / "trusted", copy.parent / "keys")
    with pytest.raises(ConfigError, match="one folder of trusted keys"):
        load_station(copy)
    # nor does it help to move the data to keys of one's own
    (file.parent / "data" / "keys").mkdir(parents=True)
    file.write_text(file.read_text().replace("data_dir: data", "data_dir: data/data"))
    with pytest.raises(ConfigError, match="one folder of trusted keys"):
        load_station(file)


def test_an_empty_folder_of_keys_or_a_broken_link_takes_no_bundle(tmp_path: Path) -> None:
    from edgeinspect.runtime.plan import bundle_store
    from edgeinspect.settings.station_file import load_station
    from tests.helpers.setup_card import STATION

    (tmp_path / "station.yaml").write_text(STATION)
    (tmp_path / "keys").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="a folder that exists"):
        bundle_store(load_station(tmp_path / "station.yaml"))
    (tmp_path / "keys").unlink()
    (tmp_path / "keys").mkdir()
    with pytest.raises(ConfigError, match=r"no \*\.pub file"):
        bundle_store(load_station(tmp_path / "station.yaml"))
