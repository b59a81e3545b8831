"""Where an imported station file may let the station write: below its own folder, by no detour."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edgeinspect.errors import ConfigError
from edgeinspect.files.yaml_file import YamlFile
from edgeinspect.settings.station_file import KEYS_FOLDER, StationFile

_TAKEN = (KEYS_FOLDER, "station.yaml")
"""Entries of the station's folder that must not hold its data."""


def refuse_other_places(
    yaml_file: YamlFile, station: StationFile, folder: Path, *, uid: int | None
) -> None:
    """Refuse folders for data and bundles outside the data partition's station folder.

    Args:
        yaml_file: the station file as read.
        station: the station file, validated.
        folder: the station's folder on the data partition.
        uid: the user who must own existing folders; None skips this check.

    Raises:
        ConfigError: a path is wrong; the error names the key and the reason.
    """
    for key in ("data_dir", "bundles_dir"):
        path = getattr(station, key)
        if path is None:
            continue
        wrong = _what_is_wrong(path, folder, uid)
        if wrong:
            raise ConfigError(
                file=yaml_file.path,
                line=yaml_file.line_of((key,)),
                key=key,
                value=str(path),
                expected=f"a folder below {folder}, e.g. data: {wrong}",
            )


def _what_is_wrong(path: Path, folder: Path, uid: int | None) -> str:
    """Half a sentence; "" if the station may write there."""
    if ".." in path.parts:
        return "a path with .. can leave it"
    if not path.is_relative_to(folder) or path == folder:
        return "other folders belong to the system and may be deleted"
    steps = path.relative_to(folder).parts
    if steps[0] in _TAKEN:
        return f"{steps[0]} is not a folder for the station's data"
    place = folder
    for step in steps:
        place /= step
        if not os.path.lexists(place):
            break
        wrong = _what_is_wrong_with_step(place, folder, uid)
        if wrong:
            return f"{place} {wrong}"
    return ""


def _what_is_wrong_with_step(place: Path, folder: Path, uid: int | None) -> str:
    try:
        status = place.lstat()
    except OSError as error:
        return f"cannot be checked ({error.strerror})"
    if stat.S_ISLNK(status.st_mode):
        return "is a link"
    if not stat.S_ISDIR(status.st_mode):
        return "is not a folder"
    if status.st_dev != folder.stat().st_dev:
        return "is on another file system"
    return "belongs to another user" if uid not in (None, status.st_uid) else ""
