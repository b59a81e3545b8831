"""COCO: one JSON file with the boxes of all pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeinspect.errors import ConfigError
from edgeinspect.files.json_text import parse_json
from edgeinspect_tools.data.dataset import Box, Source
from edgeinspect_tools.data.formats.dataset_format import DatasetFormat
from edgeinspect_tools.data.formats.labels import boxed, by_path, wrong
from edgeinspect_tools.data.picture_files import file_below

MAX_BYTES = 256 * 1024 * 1024


def coco_file(folder: Path) -> Path | None:
    """The COCO file of a folder, if there is exactly one candidate that looks like it."""
    candidates = sorted(folder.glob("*.json")) + sorted(folder.glob("annotations/*.json"))
    found = [path for path in candidates if _looks_like_coco(path)]
    return found[0] if len(found) == 1 else None


def read_coco(path: Path, good: str) -> Source:
    """COCO: ``images``, ``annotations`` with ``bbox`` [left, top, width, height], ``categories``.

    Pictures are looked for beside the file, in ``images/``, and one folder up. Those without an
    annotation are good. ``good`` is not used.
    """
    del good
    file = path if path.is_file() else coco_file(path)
    if file is None:
        raise wrong(path, "the folder", "no COCO file", "one JSON file with images")
    data = _load_json(file)
    try:
        names = {entry["id"]: str(entry["name"]) for entry in data["categories"]}
        marked: dict[Any, list[Box]] = defaultdict(list)
        for number, mark in enumerate(data["annotations"]):
            marked[mark["image_id"]].append(_coco_box(file, number, mark, names))
        pictures = [
            boxed(_find(file, str(image["file_name"])), marked.pop(image["id"], []))
            for image in data["images"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise wrong(file, "a COCO entry", str(error), "images, annotations, categories") from error
    if marked:
        raise wrong(file, "annotations.image_id", next(iter(marked)), "the id of an image")
    root = _common_root([picture.path for picture in pictures], file.parent)
    return Source(kind="coco", root=root, pictures=by_path(pictures))


def _looks_like_coco(path: Path) -> bool:
    try:
        data = _load_json(path)
    except ConfigError:
        return False
    return all(isinstance(data.get(key), list) for key in ("images", "annotations", "categories"))


def _load_json(file: Path) -> Mapping[str, Any]:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise wrong(file, "the file", "too large", f"at most {MAX_BYTES} bytes")
        data = parse_json(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise wrong(file, "the file", str(error), "a readable JSON file") from error
    if not isinstance(data, dict):
        raise wrong(file, "the file", type(data).__name__, "a JSON object in COCO's layout")
    return data


def _coco_box(file: Path, number: int, mark: Mapping[str, Any], names: Mapping[Any, str]) -> Box:
    category = mark["category_id"]
    if category not in names:
        key = f"annotations[{number}].category_id"
        raise wrong(file, key, category, "the id of a category")
    left, top, width, height = (float(value) for value in mark["bbox"])
    if not (width > 0 and height > 0):
        raise wrong(file, f"annotations[{number}].bbox", mark["bbox"], "a width and height > 0")
    return Box(names[category], left, top, left + width, top + height)


def _find(file: Path, name: str) -> Path:
    for folder in (
        file.parent,
        file.parent / "images",
        file.parent.parent / "images",
        file.parent.parent,
    ):
        found = file_below(folder, name)
        if found is not None:
            return found.resolve()
    raise wrong(file, "images.file_name", name, f"a file below {file.parent} or its images/")


def _common_root(paths: list[Path], fallback: Path) -> Path:
    import os

    return Path(os.path.commonpath([path.parent for path in paths])) if paths else fallback


COCO = DatasetFormat(
    name="coco",
    description="COCO JSON",
    recognises=lambda path: (
        path.suffix.lower() == ".json" if path.is_file() else coco_file(path) is not None
    ),
    read=read_coco,
    lists_defects_only=True,
)
