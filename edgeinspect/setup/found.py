"""What lies beside ``station.conf``, checked against each other before anything changes."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgeinspect.bundle.directory import Bundle
from edgeinspect.bundle.signature import KEY_SUFFIX, TrustedKeys, load_trusted_keys
from edgeinspect.bundle.store import BundleStore
from edgeinspect.errors import ConfigError, EdgeInspectError
from edgeinspect.runtime.plan import find_bundle, make_plan, refuse_half_simulated
from edgeinspect.settings.recipe import Recipe, load_recipe
from edgeinspect.settings.station import StationFile, parse_station
from edgeinspect.setup.edit import replace_value
from edgeinspect.setup.station_conf import CONF_FILE, StationConf
from edgeinspect.yaml_expected import MISSING
from edgeinspect.yaml_file import YamlFile, read_yaml

STATION_FILE = "station.yaml"
KEYS_FOLDER = "keys"
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
        return self.boot / CONF_FILE

    @property
    def station_dir(self) -> Path:
        """Station file, records, recipes, bundles and keys."""
        return self.data / "edgeinspect"

    @property
    def station_file(self) -> Path:
        return self.station_dir / STATION_FILE

    @property
    def system_dir(self) -> Path:
        """What is copied over ``/etc`` at every boot."""
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


def find_files(places: Places, conf: StationConf, conf_file: YamlFile) -> Found:
    """Read and check everything; raises nothing that ``problems`` can tell."""
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
    attempt(lambda: _find_keys(places, conf, found))
    if conf.bundle is not None:
        attempt(lambda: _find_bundle(places, conf, found))
    if conf.station_file is not None:
        attempt(lambda: _find_station(places, conf, found))
    if conf.recipe is not None:
        attempt(lambda: _find_recipe(places, conf, found))
    if not found.problems:
        attempt(lambda: _check_together(places, found))
    return found


def digest_of_files(places: Places, conf: StationConf) -> str:
    """Changes when ``station.conf`` or a file that it names does."""
    digest = hashlib.sha256(places.conf.read_bytes())
    for _, name in _named(conf):
        path = places.boot / name
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in files:
            if file.is_file():
                content = hashlib.sha256(file.read_bytes()).digest()
                digest.update(file.name.encode() + b"\0" + content)
    return digest.hexdigest()


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


def _find_keys(places: Places, conf: StationConf, found: Found) -> None:
    if not conf.trusted_keys:
        return
    for name in conf.trusted_keys:
        if not name.endswith(KEY_SUFFIX):
            raise ConfigError(
                file=places.conf, key="trusted_keys", value=name, expected=f"NAME{KEY_SUFFIX}"
            )
        found.keys[name] = (places.boot / name).read_bytes()
    _trusted(found.keys)


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
    folder = places.station_dir / KEYS_FOLDER
    return load_trusted_keys(folder) if folder.is_dir() else None


def _find_station(places: Places, conf: StationConf, found: Found) -> None:
    source = places.boot / str(conf.station_file)
    yaml_file = read_yaml(source)
    station = parse_station(yaml_file, at=places.station_dir)
    text = yaml_file.content.decode("utf-8-sig")
    if station.id == FROM_HOSTNAME:
        station = station.model_copy(update={"id": conf.hostname})
        text = replace_value(text, ("id",), conf.hostname)
    found.station_text = text.encode()
    if not station.data_dir.is_relative_to(places.data):
        raise ConfigError(
            file=source,
            key="data_dir",
            value=str(station.data_dir),
            expected=f"a folder below {places.data}, for all else is forgotten; e.g. data",
        )
    has_keys = bool(found.keys) or (places.station_dir / KEYS_FOLDER).is_dir()
    if has_keys and station.trusted_keys != places.station_dir / KEYS_FOLDER:
        value = str(station.trusted_keys) if station.trusted_keys is not None else MISSING
        expected = f"{KEYS_FOLDER}, for this station was given trusted keys"
        raise ConfigError(file=source, key="trusted_keys", value=value, expected=expected)
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


def _check_together(places: Places, found: Found) -> None:
    if found.station is None or found.recipe is None:
        return
    bundle = found.bundle
    if bundle is None or bundle.digest != found.recipe.bundle.digest:
        bundle = find_bundle(found.station, found.recipe.bundle)
    make_plan(found.station, found.recipe, bundle)
