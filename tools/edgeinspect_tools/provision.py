"""``edgeinspect-tools provision``: the FAT contents of many cards from one list.

Every card gets the same files; only ``station.conf`` differs.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import click
from pydantic import Field

from edgeinspect.cli.options import FILE, FOLDER
from edgeinspect.errors import ConfigError, EdgeInspectError, NotGood, UsageError
from edgeinspect.files.atomic_file import replace_file
from edgeinspect.files.yaml_file import dump_yaml, read_yaml, validate
from edgeinspect.settings.base import FormatOne, Section
from edgeinspect.setup.found import Places
from edgeinspect.setup.importing import check_setup
from edgeinspect.setup.station_conf import CONF_FILE
from edgeinspect.terminal.output import examples, json_option, print_json, print_text, table
from edgeinspect_tools.csv_table import read_table

MAX_CSV_BYTES = 4 << 20
_FILES = ("station_file", "recipe", "bundle")
_ETHERNET = ("address", "gateway", "dns")
_WIFI = ("ssid", "passphrase", "country")
_LISTS = ("ssh_keys", "trusted_keys", "time_servers", "dns")
_PLAIN = ("hostname", "time_zone", "time_servers", "ssh_keys", "trusted_keys")
COLUMNS = (*_PLAIN, *_ETHERNET, *_WIFI, *_FILES)


class StationList(Section):
    """A YAML list of stations.

    Attributes:
        defaults: keys of ``station.conf`` that hold for every station.
        stations: keys of ``station.conf`` that hold for one, ``hostname`` among them.
    """

    format: FormatOne = 1
    defaults: dict[str, Any] = Field(default_factory=dict)
    stations: Annotated[tuple[dict[str, Any], ...], Field(min_length=1, max_length=1000)]


@click.command(
    epilog=examples(
        """
        edgeinspect-tools provision presses.csv --out cards/
        edgeinspect-tools provision presses.yaml --out cards/ --replace
        """
    )
)
@click.argument("stations", type=FILE)
@click.option("--out", type=FOLDER, required=True, help="Write a folder for each station here.")
@click.option("--replace", is_flag=True, help="Replace folders of the same name.")
@json_option
def command(stations: Path, *, out: Path, replace: bool, as_json: bool) -> None:
    """Make the files for the FAT partition of each SD card, from a list of STATIONS.

    STATIONS is a CSV file with a header (hostname, ssh_keys, address, gateway, dns, ssid,
    passphrase, country, time_zone, time_servers, station_file, recipe, bundle, trusted_keys; lists
    are separated by spaces, keys by semicolons), or YAML with `defaults` and `stations` that hold
    the keys of station.conf. Files are named relative to the list; ssh_keys may name .pub files.
    Every card is checked as the station will check it. Nothing is written if one has a mistake.
    """
    cards = provision(stations, out, replace=replace)
    if as_json:
        print_json({"cards": {card.name: str(card) for card in cards}})
        return
    print_text(table(("card", "folder"), [(card.name, card) for card in cards]))
    print_text("Copy each folder's content onto the FAT partition of its card.")


def provision(stations: Path, out: Path, *, replace: bool = False) -> list[Path]:
    """Write one folder for each station below ``out``: all of them or none.

    Raises:
        ConfigError: the list cannot be understood.
        NotGood: a station would refuse its card; says which and why.
        UsageError: a folder already exists.
        StorageFault: something cannot be written.
    """
    wanted = _read_csv(stations) if stations.suffix.lower() == ".csv" else _read_yaml(stations)
    _check_names(stations, wanted)
    for conf in wanted:
        if (out / str(conf["hostname"])).exists() and not replace:
            raise UsageError(
                f"{out / str(conf['hostname'])} already exists.",
                next_action="Add --replace to replace it.",
            )
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".cards.") as folder:
        made = [_make_card(stations.parent, conf, Path(folder)) for conf in wanted]
        _check_cards(made)
        cards = []
        for card in made:
            target = out / card.name
            shutil.rmtree(target, ignore_errors=True)
            card.rename(target)
            cards.append(target)
    return cards


def _read_yaml(path: Path) -> list[dict[str, Any]]:
    listed = validate(read_yaml(path), StationList)
    return [{"format": 1, **listed.defaults, **station} for station in listed.stations]


def _read_csv(path: Path) -> list[dict[str, Any]]:
    names, rows = read_table(path, ("hostname",), known=COLUMNS, max_bytes=MAX_CSV_BYTES)
    for line, row in rows:
        if None in row or None in row.values():
            expected = f"{len(names)} values, one for each column"
            raise ConfigError(
                file=path, line=line, key="the row", value=len(row), expected=expected
            )
    if not rows:
        expected = "a header and one row for each station"
        raise ConfigError(file=path, key="the file", value="no station", expected=expected)
    return [_conf_of_row(row) for _, row in rows]


def _conf_of_row(row: Mapping[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {name: text.strip() for name, text in row.items() if text.strip()}
    for name in _LISTS:
        if name in given:
            separator = ";" if name == "ssh_keys" else None
            given[name] = [item.strip() for item in given[name].split(separator) if item.strip()]
    network = {}
    for part, names in (("ethernet", _ETHERNET), ("wifi", _WIFI)):
        values = {name: given.pop(name) for name in names if name in given}
        if values:
            network[part] = values
    return {"format": 1, **given} | ({"network": network} if network else {})


def _check_names(path: Path, wanted: Sequence[Mapping[str, Any]]) -> None:
    seen: set[str] = set()
    for index, conf in enumerate(wanted, 1):
        name = conf.get("hostname")
        if not isinstance(name, str) or not name or "/" in name or name[0] == ".":
            expected = "a host name, the name of the card's folder"
            raise ConfigError(file=path, key=f"hostname {index}", value=name, expected=expected)
        if name in seen:
            raise ConfigError(file=path, key="hostname", value=name, expected="each name once")
        seen.add(name)


def _make_card(root: Path, conf: dict[str, Any], folder: Path) -> Path:
    """The card's folder, with the files that it names copied beside its station.conf."""
    card = folder / str(conf["hostname"])
    card.mkdir()
    written = dict(conf)
    for key in _FILES:
        if isinstance(conf.get(key), str):
            written[key] = _copy(root, conf[key], card)
    if isinstance(conf.get("trusted_keys"), list):
        written["trusted_keys"] = [_copy(root, str(name), card) for name in conf["trusted_keys"]]
    if isinstance(conf.get("ssh_keys"), list):
        written["ssh_keys"] = [_key(root, str(key)) for key in conf["ssh_keys"]]
    replace_file(card / CONF_FILE, dump_yaml(written).encode(), mode=0o600)
    return card


def _copy(root: Path, name: str, card: Path) -> str:
    """Copy a file or folder to the card and return its name there. Raises UsageError."""
    source = root / name
    target = card / source.name
    try:
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.is_file():
            shutil.copyfile(source, target)
        else:
            raise UsageError(f"{source} does not exist.", next_action="Correct the list.")
    except OSError as error:
        if isinstance(error, EdgeInspectError):
            raise
        raise UsageError(f"{source} cannot be copied: {error.strerror or error}.") from error
    return source.name


def _key(root: Path, text: str) -> str:
    """An SSH key as it is, or out of the ``.pub`` file that is named."""
    if not text.endswith(".pub") or " " in text:
        return text
    try:
        return (root / text).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The SSH key {root / text} cannot be read: {error}.") from error


def _check_cards(cards: Sequence[Path]) -> None:
    problems = []
    for card in cards:
        outcome = check_setup(Places(boot=card, data=Path("/data")))
        for problem in outcome.problems:
            problems.append(str(problem).replace(f"{card.parent}/", ""))
    if problems:
        raise NotGood(
            f"{len(problems)} mistakes, nothing was written. {' '.join(problems)}"
            if len(problems) > 1
            else f"Nothing was written. {problems[0]}",
        )
