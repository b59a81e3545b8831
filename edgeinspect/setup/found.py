"""The files next to ``station.conf``, checked against each other before anything changes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgeinspect.bundle.directory import MAX_MODEL_BYTES, Bundle, read_bounded
from edgeinspect.bundle.model_store import BundleStore
from edgeinspect.bundle.order import Build
from edgeinspect.bundle.signature import KEY_SUFFIX, TrustedKeys, load_trusted_keys
from edgeinspect.errors import ConfigError, EdgeInspectError
from edgeinspect.files.atomic_file import open_regular
from edgeinspect.files.yaml_file import YamlFile, read_yaml
from edgeinspect.runtime.bundle_age import newer_in_force, refuse_older
from edgeinspect.runtime.plan import find_bundle, make_plan, refuse_half_simulated
from edgeinspect.settings.recipe import Recipe, load_recipe
from edgeinspect.settings.recipe_store import RecipeStore
from edgeinspect.settings.station_file import KEYS_FOLDER, StationFile, load_station, parse_station
from edgeinspect.setup.edit import replace_value
from edgeinspect.setup.import_history import History, bundle_key_id
from edgeinspect.setup.station_conf import CONF_FILE, IMPORTED, StationConf
from edgeinspect.setup.station_paths import refuse_other_places

STATION_FILE = "station.yaml"
_MAX_KEY_BYTES = 16 << 10
HOW_TO_GO_BACK = "To go back to an older one, write allow_older: true in station.conf."
FROM_HOSTNAME = "from-hostname"
"""As the station file's ``id``: the host name of ``station.conf``, so that cards share a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where things are on a station.

    Attributes:
        boot: the FAT partition, or a USB stick, with ``station.conf``.
        data: the data partition.
    """

    boot: Path
    data: Path

    @property
    def conf(self) -> Path:
        """The path of ``station.conf``."""
        return self.boot / CONF_FILE

    @property
    def station_dir(self) -> Path:
        """Station file, records, recipes, bundles and keys."""
        return self.data / "edgeinspect"

    @property
    def station_file(self) -> Path:
        """The path of the station file in the data partition."""
        return self.station_dir / STATION_FILE

    @property
    def keys_dir(self) -> Path:
        """Whose bundles the station takes; only root writes there."""
        return self.station_dir / KEYS_FOLDER

    @property
    def system_dir(self) -> Path:
        """The folder that is copied over ``/etc`` at every boot."""
        return self.data / "system"


@dataclass(slots=True, kw_only=True)
class Found:
    """The files that ``station.conf`` names, as far as they are good.

    Attributes:
        problems: every error; with one, nothing of these is taken.
    """

    station_text: bytes | None = None
    station: StationFile | None = None
    recipe: Recipe | None = None
    bundle: Bundle | None = None
    keys: dict[str, bytes] = field(default_factory=dict)
    problems: list[EdgeInspectError] = field(default_factory=list)


def find_files(
    places: Places,
    conf: StationConf,
    conf_file: YamlFile,
    *,
    history: History | None = None,
    uid: int | None = None,
) -> Found:
    """Read and check everything; problems are returned in ``problems``, not raised.

    Args:
        places: the folders of the import.
        conf: the checked station.conf.
        conf_file: the same file with its line numbers.
        history: which keys were revoked; they are left out.
        uid: the station's user, who must own its folders; None skips this check.
    """
    found = Found()

    def attempt(step: Callable[[], None]) -> None:
        try:
            step()
        except EdgeInspectError as error:
            found.problems.append(error)

    for key, name in _named(conf):
        if not (places.boot / name).exists():
            found.problems.append(_not_there(conf_file, key, name))
    if found.problems:
        return found
    attempt(lambda: found.keys.update(trusted_keys_of(places, conf, history)))
    if conf.bundle is not None:
        attempt(lambda: _find_bundle(places, conf, found))
    if conf.station_file is not None:
        attempt(lambda: _find_station(places, conf, found, uid))
    if conf.recipe is not None:
        attempt(lambda: _find_recipe(places, conf, found))
    if not found.problems:
        attempt(lambda: _check_together(found))
    if not found.problems and not conf.allow_older:
        attempt(
            lambda: refuse_older(
                newer_than(places, found), bundle_of(found), next_action=HOW_TO_GO_BACK
            )
        )
    return found


def newer_than(places: Places, found: Found) -> Build | None:
    """Return the build in force if it is newer than the offered bundle, else None.

    Raises:
        ConfigError: the station file that is in force cannot be read.
    """
    bundle, station = bundle_of(found), station_of(places, found)
    if bundle is None or station is None:
        return None
    keys = _trusted(found.keys) if found.keys else None
    products = RecipeStore(station.recipes_dir).products()
    return newer_in_force(station, bundle, products, keys=keys)


def station_of(places: Places, found: Found) -> StationFile | None:
    """The station file that comes with the files, else the one in force. Raises ConfigError."""
    if found.station is not None or not places.station_file.is_file():
        return found.station
    return load_station(places.station_file)


def bundle_of(found: Found) -> Bundle | None:
    """The bundle that comes with the files, else the one that their recipe names."""
    if found.bundle is not None or found.recipe is None or found.station is None:
        return found.bundle
    return find_bundle(found.station, found.recipe.bundle)


def digest_of_files(places: Places, conf: StationConf, conf_file: YamlFile) -> str:
    """Changes when ``station.conf`` or a file that it names does.

    Not when the passphrase is taken out of it: the same file with it is nothing new.

    Raises:
        ConfigError: a file cannot be read, or is longer than any that a station takes.
    """
    digest = hashlib.sha256(without_secret(conf, conf_file))
    for _, name in _named(conf):
        path = places.boot / name
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in files:
            if file.is_file():
                digest.update(file.name.encode() + b"\0" + _digest(file))
    return digest.hexdigest()


def without_secret(conf: StationConf, conf_file: YamlFile) -> bytes:
    """``station.conf`` with ``imported`` where the passphrase stands, and no other change."""
    wifi = conf.network.wifi
    if wifi is None or wifi.passphrase == IMPORTED:
        return conf_file.content
    text = conf_file.content.decode("utf-8-sig")
    return replace_value(text, ("network", "wifi", "passphrase"), IMPORTED).encode()


def _digest(file: Path) -> bytes:
    try:
        with os.fdopen(open_regular(file), "rb") as stream:
            if os.fstat(stream.fileno()).st_size <= MAX_MODEL_BYTES:
                return hashlib.file_digest(stream, "sha256").digest()
            found = f"longer than {MAX_MODEL_BYTES >> 20} MiB"
    except OSError as error:
        found = f"unreadable ({error.strerror})"
    raise ConfigError(
        file=file, key="the file", value=found, expected="a file that a station can import"
    )


def _named(conf: StationConf) -> Iterator[tuple[str, str]]:
    for key in ("station_file", "recipe", "bundle"):
        name = getattr(conf, key)
        if name is not None:
            yield key, name
    for index, name in enumerate(conf.trusted_keys):
        yield f"trusted_keys[{index}]", name


def _not_there(conf_file: YamlFile, key: str, name: str) -> ConfigError:
    return ConfigError(
        file=conf_file.path,
        line=conf_file.line_of((key.partition("[")[0],)),
        key=key,
        value=name,
        expected="a file or folder beside station.conf",
        next_action=f"Copy {name} to the same partition, or correct the name.",
    )


def trusted_keys_of(places: Places, conf: StationConf, history: History | None) -> dict[str, bytes]:
    """The keys that ``station.conf`` names, but for revoked ones, by file name.

    Raises:
        ConfigError, ModelRefused: one of them is not a public key of minisign.
    """
    keys: dict[str, bytes] = {}
    for name in conf.trusted_keys:
        if not name.endswith(KEY_SUFFIX):
            raise ConfigError(
                file=places.conf, key="trusted_keys", value=name, expected=f"NAME{KEY_SUFFIX}"
            )
        keys[name] = read_bounded(places.boot / name, _MAX_KEY_BYTES)
    if keys:
        _trusted(keys)
    if history is not None and not conf.allow_older:
        keys = {n: key for n, key in keys.items() if bundle_key_id(key) not in history.revoked}
    return keys


def _trusted(keys: dict[str, bytes]) -> TrustedKeys:
    """The keys as the station would read them. Raises ConfigError."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in keys.items():
            (Path(folder) / name).write_bytes(content)
        return load_trusted_keys(Path(folder))


def _find_bundle(places: Places, conf: StationConf, found: Found) -> None:
    keys = _trusted(found.keys) if found.keys else _kept_keys(places)
    store = BundleStore(places.boot, keys=keys)
    found.bundle = store.load(places.boot / str(conf.bundle))


def _kept_keys(places: Places) -> TrustedKeys | None:
    return load_trusted_keys(places.keys_dir) if places.keys_dir.is_dir() else None


def _find_station(places: Places, conf: StationConf, found: Found, uid: int | None) -> None:
    source = places.boot / str(conf.station_file)
    yaml_file = read_yaml(source)
    station = parse_station(yaml_file, at=places.station_dir)
    text = yaml_file.content.decode("utf-8-sig")
    if station.id == FROM_HOSTNAME:
        station = station.model_copy(update={"id": conf.hostname})
        text = replace_value(text, ("id",), conf.hostname)
    found.station_text = text.encode()
    refuse_other_places(yaml_file, station, places.station_dir, uid=uid)
    if station.trusted_keys not in (None, places.keys_dir):
        raise ConfigError(
            file=source,
            line=yaml_file.line_of(("trusted_keys",)),
            key="trusted_keys",
            value=str(station.trusted_keys),
            expected=f"{KEYS_FOLDER}, or no value, because station.conf sets the keys",
        )
    refuse_half_simulated(station)
    found.station = station


def _find_recipe(places: Places, conf: StationConf, found: Found) -> None:
    source = places.boot / str(conf.recipe)
    recipe = load_recipe(source)
    if found.station is not None and recipe.product != found.station.product:
        raise ConfigError(
            file=source,
            key="product",
            value=recipe.product,
            expected=f"{found.station.product}, the product of {conf.station_file}",
        )
    found.recipe = recipe


def _check_together(found: Found) -> None:
    if found.station is None or found.recipe is None:
        return
    bundle = found.bundle
    if bundle is None or bundle.digest != found.recipe.bundle.digest:
        bundle = find_bundle(found.station, found.recipe.bundle)
    make_plan(found.station, found.recipe, bundle)
