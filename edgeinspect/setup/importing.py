"""Takes ``station.conf`` and what it names from the FAT partition to the data partition.

Nothing changes before everything that is to change has been checked. The system's files are taken
if ``station.conf`` itself is good, so that a technician can log in and see to the rest; station
file, recipe, bundle and keys are taken together or not at all. An import that a power cut
interrupts is done again at the next start: its mark is written last.
"""

from __future__ import annotations

import datetime
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from edgeinspect.atomic_file import fsync_folder, make_folder, replace_file, storage_faults
from edgeinspect.bundle.store import BundleStore
from edgeinspect.errors import ConfigError, EdgeInspectError
from edgeinspect.settings.recipe import Recipe
from edgeinspect.settings.recipe_store import RecipeStore
from edgeinspect.setup.edit import replace_value
from edgeinspect.setup.found import KEYS_FOLDER, Found, Places, digest_of_files, find_files
from edgeinspect.setup.log import write_log
from edgeinspect.setup.station_conf import IMPORTED, StationConf, Wifi, parse_station_conf
from edgeinspect.setup.system_files import WIFI_FILE, SystemFile, supplicant_ssid, system_files
from edgeinspect.yaml_file import YamlFile, read_yaml

MARK_FILE = "imported.json"
AUTHOR = "station.conf"
REASON = "imported from the card"


class State(StrEnum):
    NO_FILE = "no station.conf"
    UNCHANGED = "nothing new"
    IMPORTED = "imported"
    PARTLY = "partly imported"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an import did.

    Attributes:
        done: one sentence for each thing that was taken.
        problems: what is wrong; each names file and line.
    """

    state: State
    done: tuple[str, ...] = ()
    problems: tuple[EdgeInspectError, ...] = ()


def _utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def import_setup(
    places: Places, *, now_wall: Callable[[], datetime.datetime] = _utc_now
) -> Outcome:
    """Import what is new and write ``station.log``, where people read how it went.

    Raises:
        StorageFault: the data partition or the FAT partition cannot be written.
    """
    if not places.conf.is_file():
        outcome = Outcome(state=State.NO_FILE)
    elif _is_known(places):
        return Outcome(state=State.UNCHANGED)
    else:
        outcome = _import(places)
    write_log(places.boot, outcome.state.value, outcome.done, outcome.problems, now_wall())
    return outcome


def check_setup(places: Places) -> Outcome:
    """What ``import_setup`` would say; nothing is changed, not even the log."""
    if not places.conf.is_file():
        return Outcome(state=State.NO_FILE)
    try:
        conf_file = read_yaml(places.conf)
        conf = parse_station_conf(conf_file)
    except EdgeInspectError as error:
        return Outcome(state=State.REFUSED, problems=(error,))
    problems = find_files(places, conf, conf_file).problems
    state = State.PARTLY if problems else State.IMPORTED
    return Outcome(state=state, problems=tuple(problems))


def _import(places: Places) -> Outcome:
    try:
        conf_file = read_yaml(places.conf)
        conf = parse_station_conf(conf_file)
        files = _system_files(places, conf, conf_file)
    except EdgeInspectError as error:
        return Outcome(state=State.REFUSED, problems=(error,))
    found = find_files(places, conf, conf_file)
    make_folder(places.data)
    _write_tree(places.system_dir, files)
    done = [f"Host name {conf.hostname}, {_count(len(conf.ssh_keys), 'SSH key')}, network, clock."]
    if not found.problems:
        done += _take(places, found)
    _remove_secret(places, conf, conf_file)
    if found.problems:
        # without a mark: it is tried again at every start until it is good
        return Outcome(state=State.PARTLY, done=tuple(done), problems=tuple(found.problems))
    _write_mark(places, conf)
    return Outcome(state=State.IMPORTED, done=tuple(done))


def _system_files(places: Places, conf: StationConf, conf_file: YamlFile) -> list[SystemFile]:
    wifi = conf.network.wifi
    kept = None
    if wifi is not None and wifi.passphrase == IMPORTED:
        kept = _kept_wifi(places, wifi, conf_file)
    return system_files(conf, kept_wifi=kept)


def _kept_wifi(places: Places, wifi: Wifi, conf_file: YamlFile) -> str:
    """The Wi-Fi file of the import that took the passphrase. Raises ConfigError."""
    path = places.system_dir / "etc" / WIFI_FILE
    text = path.read_text() if path.is_file() else ""
    if supplicant_ssid(text) != wifi.ssid:
        raise ConfigError(
            file=conf_file.path,
            line=conf_file.line_of(("network", "wifi", "passphrase")),
            key="network.wifi.passphrase",
            value=IMPORTED,
            expected=f"the passphrase itself: none was imported yet for {wifi.ssid!r}",
        )
    return text


def _write_tree(folder: Path, files: Sequence[SystemFile]) -> None:
    """Let the folder's ``etc`` be these files: a link that changes from one tree to the next."""
    with storage_faults(folder):
        make_folder(folder)
        tree = Path(tempfile.mkdtemp(dir=folder, prefix="etc-"))
        for file in files:
            path = tree / file.path
            make_folder(path.parent)
            replace_file(path, file.text.encode(), mode=file.mode)
        tree.chmod(0o755)
        fsync_folder(tree)
        link = tree.with_suffix(".link")
        link.symlink_to(tree.name)
        link.rename(folder / "etc")
        fsync_folder(folder)
        for old in folder.glob("etc-*"):
            if old != tree:
                shutil.rmtree(old, ignore_errors=True)


def _take(places: Places, found: Found) -> list[str]:
    """Put keys, bundle, recipe and station file in place, the station file last."""
    done = []
    if found.keys:
        make_folder(places.station_dir / KEYS_FOLDER)
        for name, content in found.keys.items():
            replace_file(places.station_dir / KEYS_FOLDER / name, content)
        done.append(f"{_count(len(found.keys), 'trusted key')}: {', '.join(found.keys)}.")
    if found.bundle is not None:
        bundles = places.station_dir / "data" / "bundles"
        if found.station is not None:
            bundles = found.station.bundles_path
        installed = BundleStore(bundles).install(found.bundle.directory)
        done.append(f"Bundle {installed.card.name} {installed.card.version}.")
    if found.recipe is not None and found.station is not None:
        done.append(_take_recipe(RecipeStore(found.station.recipes_dir), found.recipe))
    if found.station_text is not None and found.station is not None:
        make_folder(places.station_dir)
        replace_file(places.station_file, found.station_text)
        done.append(f"Station file of {found.station.id}.")
    return done


def _take_recipe(store: RecipeStore, recipe: Recipe) -> str:
    existing = store.revisions(recipe.product)
    for number in existing:
        if _same(store.load(recipe.product, number), recipe):
            made = number
            break
    else:
        draft = recipe.model_copy(update={"parent": existing[-1] if existing else None})
        made = store.create(draft).revision
    pointer = store.active_pointer(recipe.product)
    if pointer is None or pointer.revision != made:
        store.activate(recipe.product, made, author=AUTHOR, reason=REASON)
    return f"Recipe of {recipe.product}, active as revision {made}."


def _same(one: Recipe, other: Recipe) -> bool:
    history = {"revision", "parent", "author", "reason", "created"}
    return one.model_dump(exclude=history) == other.model_dump(exclude=history)


def _remove_secret(places: Places, conf: StationConf, conf_file: YamlFile) -> None:
    """Put ``imported`` where the passphrase stands, and leave every other byte as it is."""
    wifi = conf.network.wifi
    if wifi is None or wifi.passphrase == IMPORTED:
        return
    text = conf_file.content.decode("utf-8-sig")
    without = replace_value(text, ("network", "wifi", "passphrase"), IMPORTED)
    replace_file(places.conf, without.encode(), mode=None)


def _mark(places: Places) -> Path:
    return places.system_dir / MARK_FILE


def _write_mark(places: Places, conf: StationConf) -> None:
    mark = {"format": 1, "digest": digest_of_files(places, conf)}
    replace_file(_mark(places), json.dumps(mark).encode() + b"\n")


def _is_known(places: Places) -> bool:
    """Whether exactly these files were imported already."""
    try:
        mark = json.loads(_mark(places).read_bytes())
        conf = parse_station_conf(read_yaml(places.conf))
        return bool(mark["digest"] == digest_of_files(places, conf))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
