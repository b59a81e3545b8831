"""Renames files that block a new one, so that nothing unknown is ever deleted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edgeinspect.files.atomic_file import fsync_folder


def set_aside(path: Path, *, with_suffixes: Sequence[str] = ("",)) -> Path | None:
    """Rename a file, folder or link to ``NAME-set-aside-NNN.EXT`` in the same folder.

    Args:
        path: what to rename.
        with_suffixes: suffixes of the files that belong to it and are renamed with it, in this
            order; "" is ``path`` itself.

    Returns:
        The new path, or None if there was nothing to rename.

    Raises:
        OSError: it cannot be renamed.
    """
    there = [suffix for suffix in with_suffixes if _is_there(_beside(path, suffix))]
    if not there:
        return None
    target = _free_name(path, with_suffixes)
    for suffix in there:
        _beside(path, suffix).rename(_beside(target, suffix))
    fsync_folder(path.parent)
    return target


def _free_name(path: Path, suffixes: Sequence[str]) -> Path:
    number = 1
    while True:
        target = path.with_name(f"{path.stem}-set-aside-{number:03d}{path.suffix}")
        if not any(_is_there(_beside(target, suffix)) for suffix in suffixes):
            return target
        number += 1


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)
