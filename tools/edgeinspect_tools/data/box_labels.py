"""Box labels: COCO JSON and Pascal VOC XML."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from edgeinspect.errors import ConfigError
from edgeinspect.files.json_text import parse_json
from edgeinspect_tools.data.dataset import GOOD, Box, Picture, Source
from edgeinspect_tools.data.picture_files import file_below, pictures_below

MAX_BYTES = 256 * 1024 * 1024


def main_label(boxes: tuple[Box, ...]) -> str:
    """The class that covers most of the picture's marked area; ``GOOD`` without a box."""
    areas: dict[str, float] = defaultdict(float)
    for box in boxes:
        areas[box.label] += box.area
    return max(sorted(areas), key=areas.__getitem__) if areas else GOOD


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
        raise _wrong(path, "the folder", "no COCO file", "one JSON file with images")
    data = _load_json(file)
    try:
        names = {entry["id"]: str(entry["name"]) for entry in data["categories"]}
        marked: dict[Any, list[Box]] = defaultdict(list)
        for number, mark in enumerate(data["annotations"]):
            marked[mark["image_id"]].append(_coco_box(file, number, mark, names))
        pictures = [
            _boxed(_find(file, str(image["file_name"])), marked.pop(image["id"], []))
            for image in data["images"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise _wrong(file, "a COCO entry", str(error), "images, annotations, categories") from error
    if marked:
        raise _wrong(file, "annotations.image_id", next(iter(marked)), "the id of an image")
    root = _common_root([picture.path for picture in pictures], file.parent)
    return Source(kind="coco", root=root, pictures=_sorted(pictures))


def read_voc(path: Path, good: str) -> Source:
    """Pascal VOC: one XML beside each picture, or in ``Annotations/`` with ``JPEGImages/``.

    Pictures without an XML file or without an object are good. ``good`` is not used.
    """
    del good
    pictures = {}
    for picture in pictures_below(path):
        file = _voc_file(picture)
        pictures[picture.stem, file] = _boxed(picture, _voc_boxes(file) if file else [])
    used = {file for _, file in pictures}
    for file in sorted({*path.glob("*.xml"), *path.glob("Annotations/*.xml")} - used):
        raise _wrong(file, "the picture", "missing", f"a picture {file.stem}.* for these boxes")
    return Source(kind="voc", root=path, pictures=_sorted(list(pictures.values())))


def _looks_like_coco(path: Path) -> bool:
    try:
        data = _load_json(path)
    except ConfigError:
        return False
    return all(isinstance(data.get(key), list) for key in ("images", "annotations", "categories"))


def _load_json(file: Path) -> Mapping[str, Any]:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise _wrong(file, "the file", "too large", f"at most {MAX_BYTES} bytes")
        data = parse_json(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise _wrong(file, "the file", str(error), "a readable JSON file") from error
    if not isinstance(data, dict):
        raise _wrong(file, "the file", type(data).__name__, "a JSON object in COCO's layout")
    return data


def _coco_box(file: Path, number: int, mark: Mapping[str, Any], names: Mapping[Any, str]) -> Box:
    category = mark["category_id"]
    if category not in names:
        key = f"annotations[{number}].category_id"
        raise _wrong(file, key, category, "the id of a category")
    left, top, width, height = (float(value) for value in mark["bbox"])
    if not (width > 0 and height > 0):
        raise _wrong(file, f"annotations[{number}].bbox", mark["bbox"], "a width and height > 0")
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
    raise _wrong(file, "images.file_name", name, f"a file below {file.parent} or its images/")


def _voc_file(picture: Path) -> Path | None:
    beside = picture.with_suffix(".xml")
    apart = picture.parent.parent / "Annotations" / f"{picture.stem}.xml"
    return next((file for file in (beside, apart) if file.is_file()), None)


def _voc_boxes(file: Path) -> list[Box]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise _wrong(file, "the file", "a document type", "plain Pascal VOC XML")
        tree = ElementTree.fromstring(text)  # noqa: S314  no entities, see above
        return [_voc_box(file, entry) for entry in tree.iter("object")]
    except (OSError, ValueError, ElementTree.ParseError) as error:
        if isinstance(error, ConfigError):
            raise
        raise _wrong(file, "the file", str(error), "a readable Pascal VOC XML file") from error


def _voc_box(file: Path, entry: ElementTree.Element) -> Box:
    name = (entry.findtext("name") or "").strip()
    if not name:
        raise _wrong(file, "object.name", name, "the name of a defect class")
    edges = []
    for key in ("xmin", "ymin", "xmax", "ymax"):
        text = entry.findtext(f"bndbox/{key}")
        try:
            edges.append(float(text or ""))
        except ValueError as error:
            raise _wrong(file, f"bndbox.{key}", text, "a number of pixels") from error
    left, top, right, bottom = edges
    if not (right > left and bottom > top):
        raise _wrong(file, "bndbox", edges, "xmin < xmax and ymin < ymax")
    return Box(name, left, top, right, bottom)


def _boxed(path: Path, found: list[Box]) -> Picture:
    boxes = tuple(found)
    return Picture(path=path, label=main_label(boxes), boxes=boxes)


def _sorted(pictures: list[Picture]) -> tuple[Picture, ...]:
    return tuple(sorted(pictures, key=lambda picture: picture.path))


def _common_root(paths: list[Path], fallback: Path) -> Path:
    import os

    return Path(os.path.commonpath([path.parent for path in paths])) if paths else fallback


def _wrong(file: Path, key: str, value: object, expected: str) -> ConfigError:
    return ConfigError(file=file, key=key, value=value, expected=expected)
