"""Which files of a folder are pictures, and which mask belongs to which."""

from __future__ import annotations

import os
from pathlib import Path

from edgeinspect.errors import UsageError

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm"})
MASK_FOLDERS = frozenset({"mask", "masks", "ground_truth", "gt"})
IMAGE_FOLDERS = frozenset({"image", "images", "imgs"})
_MASK_ENDINGS = ("_mask", "-mask", "_gt")


def is_picture(path: Path) -> bool:
    """Whether the file's name says that it is a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def pictures_below(folder: Path) -> list[Path]:
    """Every picture below a folder, masks included, in the order of their paths.

    Raises:
        UsageError: the folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise UsageError(f"{error.filename} cannot be listed: {error.strerror}.") from error

    found: list[Path] = []
    for directory, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(directory, name) for name in names if is_picture(Path(name))]
    return sorted(found)


def file_below(folder: Path, name: str) -> Path | None:
    """The file of that name below a folder, as a list of pictures names it.

    None if there is no such file, or if it lies elsewhere: ``..``, absolute paths and links lead
    nowhere outside, for whoever wrote the list need not be whoever reads the pictures. In a folder
    that is read without a list, links are followed.
    """
    try:
        where = folder / name
        inside = where.resolve().is_relative_to(folder.resolve())
        return where if inside and where.is_file() else None
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, links in a circle
        return None


def with_masks(paths: list[Path]) -> list[tuple[Path, Path | None]]:
    """Take the masks out of a list of pictures and put each beside its picture.

    A mask is ``NAME_mask.*``, ``masks/NAME.*`` below the picture's folder or beside ``images/``, or
    ``NAME.png`` beside ``NAME.jpg``.
    """
    masks = {path for path in paths if _is_mask_by_name(path)}
    jpegs = {path.with_suffix("") for path in paths if path.suffix.lower() in (".jpg", ".jpeg")}
    masks |= {p for p in paths if p.suffix.lower() == ".png" and p.with_suffix("") in jpegs}
    by_stem: dict[tuple[Path, str], Path] = {}
    for mask in sorted(masks):
        by_stem.setdefault((_home(mask), _stem(mask)), mask)
    return [(path, _mask_of(path, by_stem)) for path in paths if path not in masks]


def _mask_of(path: Path, by_stem: dict[tuple[Path, str], Path]) -> Path | None:
    beside = by_stem.get((path.parent, path.stem))
    if beside is None and path.parent.name.lower() in IMAGE_FOLDERS:
        return by_stem.get((path.parent.parent, path.stem))
    return beside


def _is_mask_by_name(path: Path) -> bool:
    return path.parent.name.lower() in MASK_FOLDERS or path.stem.lower().endswith(_MASK_ENDINGS)


def _home(mask: Path) -> Path:
    """The folder in which the mask's picture lies."""
    in_mask_folder = mask.parent.name.lower() in MASK_FOLDERS
    return mask.parent.parent if in_mask_folder else mask.parent


def _stem(mask: Path) -> str:
    for ending in _MASK_ENDINGS:
        if mask.stem.lower().endswith(ending):
            return mask.stem[: -len(ending)]
    return mask.stem
