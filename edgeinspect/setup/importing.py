"""Imports ``station.conf`` and the files it names from the FAT partition to the data partition.

Everything is checked before anything changes. The system's files are imported if ``station.conf``
itself is good, so that a technician can log in and fix the rest. Station file, recipe, bundle and
keys are imported together or not at all. An import that a power cut interrupts is repeated at the
next start, because its mark is written last.

When root runs this, root itself writes only to its own folders (``own_folders``): the system's
files, the keys, the station file. A child process with the station's rights (``owner``) reads and
writes the station's folder, because technicians write there, too.
"""

from __future__ import annotations

import datetime
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from edgeinspect.bundle.model_store import BundleStore
from edgeinspect.bundle.signature import load_minisign
from edgeinspect.clocks import utc_now
from edgeinspect.errors import ConfigError, EdgeInspectError, StorageFault
from edgeinspect.files.atomic_file import fsync_folder, make_folder, replace_file, storage_faults
from edgeinspect.files.file_lock import exclusive
from edgeinspect.files.yaml_file import YamlFile, read_yaml
from edgeinspect.runtime.bundle_age import audit_note
from edgeinspect.settings.recipe import Recipe
from edgeinspect.settings.recipe_store import RecipeStore
from edgeinspect.setup import own_folders
from edgeinspect.setup.found import (
    Found,
    Places,
    digest_of_files,
    find_files,
    newer_than,
    station_of,
    trusted_keys_of,
    without_secret,
)
from edgeinspect.setup.import_history import (
    History,
    Taken,
    bundle_key_id,
    read_history,
    ssh_key_id,
    utc_text,
)
from edgeinspect.setup.log import write_log
from edgeinspect.setup.owner import Owner, as_report, heard, run_as, station_owner
from edgeinspect.setup.station_conf import IMPORTED, StationConf, Wifi, parse_station_conf
from edgeinspect.setup.system_files import (
    KEYS_FILE,
    WIFI_FILE,
    SystemFile,
    supplicant_ssid,
    system_files,
)

AUTHOR = "station.conf"
AGAIN = (
    "To import it again, change station.conf, for example by adding a comment with today's date."
)
LET_IN = "To allow it again, write allow_older: true in station.conf."


class State(StrEnum):
    """How an import ended."""

    NO_FILE = "no station.conf"
    UNCHANGED = "nothing new"
    SUPERSEDED = "taken before"
    IMPORTED = "imported"
    PARTLY = "partly imported"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of an import.

    Attributes:
        state: how the import ended.
        done: one sentence for each file that was imported.
        left_out: one sentence for each file that was deliberately not imported.
        problems: the errors; each names file and line.
    """

    state: State
    done: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    problems: tuple[EdgeInspectError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    """One set of files that is being imported."""

    places: Places
    conf: StationConf
    conf_file: YamlFile
    digest: str
    source: str
    now: str
    owner: Owner | None
    allow_older: bool

    @property
    def reason(self) -> str:
        """For the audit trail."""
        return f"imported from the {self.source}"


def import_setup(
    places: Places,
    *,
    source: str = "card",
    allow_older: bool = False,
    now_wall: Callable[[], datetime.datetime] = utc_now,
    owner_of: Callable[[], Owner | None] = station_owner,
) -> Outcome:
    """Import everything new and write ``station.log``, which shows people the result.

    A set of files that was imported once, from any source, is not imported again.

    Args:
        places: the partitions.
        source: ``card`` or ``stick``, for people.
        allow_older: import even files that were imported before, keys that were revoked since, and
            a bundle older than the one in force. ``station.conf`` can allow the last two.
        now_wall: the wall clock.
        owner_of: returns the owner of the station's files.

    Raises:
        StorageFault: the data partition or the FAT partition cannot be written.
    """
    now = now_wall()
    owner = owner_of()
    if owner is not None:
        own_folders.secure_station_folder(places.station_dir, places.keys_dir, owner)
    if not places.conf.is_file():
        outcome = Outcome(state=State.NO_FILE)
    else:
        outcome = _import(places, source, utc_text(now), owner, allow_older=allow_older)
        if outcome.state is State.UNCHANGED:
            return outcome
    write_log(
        places.boot,
        outcome.state.value,
        done=outcome.done,
        left_out=outcome.left_out,
        problems=outcome.problems,
        now=now,
    )
    return outcome


def check_setup(places: Places) -> Outcome:
    """Return the result that ``import_setup`` would have, without any change, even to the log."""
    if not places.conf.is_file():
        return Outcome(state=State.NO_FILE)
    try:
        conf_file = read_yaml(places.conf)
        conf = parse_station_conf(conf_file)
    except EdgeInspectError as error:
        return Outcome(state=State.REFUSED, problems=(error,))
    history = read_history(places.system_dir)
    problems = find_files(places, conf, conf_file, history=history).problems
    state = State.PARTLY if problems else State.IMPORTED
    return Outcome(state=state, problems=tuple(problems))


def _import(
    places: Places, source: str, now: str, owner: Owner | None, *, allow_older: bool
) -> Outcome:
    try:
        conf_file = read_yaml(places.conf)
        conf = parse_station_conf(conf_file)
        digest = digest_of_files(places, conf, conf_file)
    except EdgeInspectError as error:
        return Outcome(state=State.REFUSED, problems=(error,))
    history = read_history(places.system_dir)
    before = history.find(digest)
    if before is not None and before is history.newest and before.whole:
        return Outcome(state=State.UNCHANGED)
    if before is not None and before is not history.newest and not allow_older:
        return Outcome(state=State.SUPERSEDED, left_out=(_superseded(before, history),))
    if allow_older:
        conf = conf.model_copy(update={"allow_older": True})
    card = _Card(
        places=places,
        conf=conf,
        conf_file=conf_file,
        digest=digest,
        source=source,
        now=now,
        owner=owner,
        allow_older=conf.allow_older,
    )
    make_folder(places.data)
    own_folders.make_own_folder(places.system_dir, mode=0o755)
    with exclusive(places.system_dir / ".lock"):
        return _take_all(card, history)


def _superseded(before: Taken, history: History) -> str:
    newest = history.newest
    since = "" if newest is None else f", and a newer import was made from a {newest.source}"
    when = f" on {before.time}" if before.time else ""
    return f"The same files were already imported{when}{since}. {AGAIN}"


def _take_all(card: _Card, history: History) -> Outcome:
    places, conf = card.places, card.conf
    left_out: list[str] = []
    try:
        keys = _ssh_keys(card, history, left_out)
        conf = conf.model_copy(update={"ssh_keys": tuple(keys)})
        files = _system_files(places, conf, card.conf_file)
    except EdgeInspectError as error:
        return Outcome(state=State.REFUSED, problems=(error,))
    # Before anything else changes: keys that this revokes stay revoked whatever happens now.
    revoked = [key for key in _ssh_keys_in_force(places) if key not in set(map(ssh_key_id, keys))]
    history.revoke(revoked, card.now)
    history.add(Taken(digest=card.digest, source=card.source, time=card.now, whole=False))
    history.write(places.system_dir)
    _write_tree(places.system_dir, files)
    done = [f"Host name {conf.hostname}, {_count(len(keys), 'SSH key')}, network, clock."]
    taken, problems = _take_station(card, history, left_out)
    done += taken
    _remove_secret(card)
    if problems:
        # unfinished: as long as nothing newer comes, it is tried again at every start
        return Outcome(
            state=State.PARTLY,
            done=tuple(done),
            left_out=tuple(left_out),
            problems=tuple(problems),
        )
    history.finish()
    history.write(places.system_dir)
    return Outcome(state=State.IMPORTED, done=tuple(done), left_out=tuple(left_out))


def _ssh_keys(card: _Card, history: History, left_out: list[str]) -> list[str]:
    """The keys to let in: those of ``station.conf`` but for revoked ones; never none."""
    listed = list(card.conf.ssh_keys)
    if card.allow_older:
        history.restore(map(ssh_key_id, listed))
        return listed
    kept = []
    for index, line in enumerate(listed):
        when = history.revoked.get(ssh_key_id(line))
        if when is None:
            kept.append(line)
        else:
            name = line.split(None, 2)[2:] or [line.split()[1][-12:]]
            left_out.append(
                f"ssh_keys[{index}] ({name[0]}): a newer station.conf removed this key on {when}, "
                f"so it is not allowed. {LET_IN}"
            )
    if kept:
        return kept
    in_force = _authorized(card.places)
    if not in_force:
        return listed  # nobody could log in any more
    left_out.append("None of its SSH keys is allowed, so the keys in force are kept.")
    return in_force


def _authorized(places: Places) -> list[str]:
    path = places.system_dir / "etc" / KEYS_FILE
    return path.read_text().splitlines() if path.is_file() else []


def _ssh_keys_in_force(places: Places) -> list[str]:
    return [ssh_key_id(line) for line in _authorized(places) if line.strip()]


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
            expected=f"a passphrase, because none was imported before for {wifi.ssid!r}",
        )
    return text


def _write_tree(folder: Path, files: Sequence[SystemFile]) -> None:
    """Let the folder's ``etc`` be these files: a link that changes from one tree to the next."""
    with storage_faults(folder):
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


def _take_station(
    card: _Card, history: History, left_out: list[str]
) -> tuple[list[str], list[EdgeInspectError]]:
    """Put bundle, recipe, keys and station file in place, the station file last."""
    load_minisign()  # the child may not be able to read root's libraries any more

    def ask(work: Callable[[_Card, History], Mapping[str, Any]]) -> Mapping[str, Any]:
        return run_as(card.owner, lambda: work(card, history))

    try:
        checked = ask(_check_as_station)
        problems = [heard(problem) for problem in checked.get("problems", ())]
        if problems:
            return [], problems
        _make_folders(card, [str(name) for name in checked.get("folders", ())])
        taken = ask(_take_as_station)
        problems = [heard(problem) for problem in taken.get("problems", ())]
        if problems:
            return [], problems
        done = _take_keys(card, history, left_out)
        done += [str(sentence) for sentence in taken.get("done", ())]
        station_text = checked.get("station_text")
        if station_text is not None:
            _write_station_file(card, str(station_text))
            done.append(f"Station file of {checked.get('station_id')}.")
    except EdgeInspectError as error:
        return [], [error]
    return done, []


def _check_as_station(card: _Card, history: History) -> dict[str, Any]:
    """Return the problems, and the files to create in the station's folder; changes nothing."""
    found = _find(card, history)
    report: dict[str, Any] = {"problems": [as_report(problem) for problem in found.problems]}
    if found.station is not None and found.station_text is not None:
        report["station_text"] = found.station_text.decode()
        report["station_id"] = found.station.id
    needed = [_bundles(card, found)] if found.bundle is not None else []
    if found.station is not None:
        needed.append(found.station.data_dir)
    if not found.problems:
        report["folders"] = own_folders.first_names(card.places.station_dir, needed)
    return report


def _take_as_station(card: _Card, history: History) -> dict[str, Any]:
    """Install the bundle and put the recipe into force."""
    found = _find(card, history)
    if found.problems:  # somebody changed something since the check
        return {"problems": [as_report(problem) for problem in found.problems]}
    done = []
    note = audit_note(newer_than(card.places, found))
    if found.bundle is not None:
        if note and found.recipe is None:
            _announce_older(card, found, note)
        installed = BundleStore(_bundles(card, found)).install(found.bundle.directory)
        done.append(f"Bundle {installed.card.title}.")
    if found.recipe is not None and found.station is not None:
        store = RecipeStore(found.station.recipes_dir)
        done.append(_take_recipe(store, found.recipe, reason=card.reason, note=note))
    return {"done": done}


def _announce_older(card: _Card, found: Found, note: Mapping[str, object]) -> None:
    """Say in the audit trail that an older bundle is installed on purpose."""
    station, bundle = station_of(card.places, found), found.bundle
    if station is None or bundle is None:
        return
    RecipeStore(station.recipes_dir).audit.append(
        "model.install",
        author=AUTHOR,
        reason=card.reason,
        details={"bundle": bundle.identity, **note},
    )


def _find(card: _Card, history: History) -> Found:
    uid = None if card.owner is None else card.owner.uid
    return find_files(card.places, card.conf, card.conf_file, history=history, uid=uid)


def _bundles(card: _Card, found: Found) -> Path:
    if found.station is not None:
        return found.station.bundles_path
    return card.places.station_dir / "data" / "bundles"


def _make_folders(card: _Card, names: Sequence[str]) -> None:
    """The station's folder, where root alone writes, and in it those that are the station's."""
    folder = card.places.station_dir
    if card.owner is None:
        make_folder(folder)
        return
    own_folders.make_own_folder(folder, mode=0o2750, gid=card.owner.gid)
    for name in names:
        if Path(name).name != name:
            raise StorageFault(f"{name!r} was not found in {folder}.")
        own_folders.hand_over_folder(folder / name, card.owner)


def _take_keys(card: _Card, history: History, left_out: list[str]) -> list[str]:
    """Let the station's keys be those of ``station.conf``; whatever it leaves out is revoked."""
    places = card.places
    listed = card.conf.trusted_keys
    if not listed:
        return []
    keys = trusted_keys_of(places, card.conf, history)
    left_out += [
        f"trusted_keys: {name} was removed by a newer station.conf, so it is not allowed. {LET_IN}"
        for name in listed
        if name not in keys
    ]
    if not keys:
        left_out.append("None of its trusted keys is allowed, so the keys in force are kept.")
        return []
    ids = {bundle_key_id(content) for content in keys.values()}
    in_force = own_folders.read_keys(places.keys_dir)
    history.restore(ids)
    history.revoke({bundle_key_id(content) for content in in_force.values()} - ids, card.now)
    history.write(places.system_dir)
    own_folders.write_keys(places.keys_dir, keys)
    return [f"{_count(len(keys), 'trusted key')}: {', '.join(keys)}."]


def _write_station_file(card: _Card, text: str) -> None:
    owner = card.owner
    replace_file(
        card.places.station_file,
        text.encode(),
        mode=0o644 if owner is None else 0o660,
        owner=None if owner is None else (owner.uid, owner.gid),
    )


def _take_recipe(
    store: RecipeStore, recipe: Recipe, *, reason: str, note: Mapping[str, object]
) -> str:
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
        store.activate(recipe.product, made, author=AUTHOR, reason=reason, note=note)
    return f"Recipe of {recipe.product}, active as revision {made}."


def _same(one: Recipe, other: Recipe) -> bool:
    history = {"revision", "parent", "author", "reason", "created"}
    return one.model_dump(exclude=history) == other.model_dump(exclude=history)


def _remove_secret(card: _Card) -> None:
    """Put ``imported`` where the passphrase stands, and leave every other byte as it is."""
    without = without_secret(card.conf, card.conf_file)
    if without != card.conf_file.content:
        replace_file(card.places.conf, without, mode=None)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
