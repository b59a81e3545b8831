"""Pascal VOC: one XML file with the boxes of each picture."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from edgeinspect.errors import ConfigError
from edgeinspect_tools.data.dataset import Box, Source
from edgeinspect_tools.data.formats.dataset_format import DatasetFormat
from edgeinspect_tools.data.formats.labels import boxed, by_path, wrong
from edgeinspect_tools.data.picture_files import pictures_below


def read_voc(path: Path, good: str) -> Source:
    """Pascal VOC: one XML beside each picture, or in ``Annotations/`` with ``JPEGImages/``.

    Pictures without an XML file or without an object are good. ``good`` is not used.
    """
    del good
    pictures = {}
    for picture in pictures_below(path):
        file = _voc_file(picture)
        pictures[picture.stem, file] = boxed(picture, _voc_boxes(file) if file else [])
    used = {file for _, file in pictures}
    for file in sorted({*path.glob("*.xml"), *path.glob("Annotations/*.xml")} - used):
        raise wrong(file, "the picture", "missing", f"a picture {file.stem}.* for these boxes")
    return Source(kind="voc", root=path, pictures=by_path(list(pictures.values())))


def _voc_file(picture: Path) -> Path | None:
    beside = picture.with_suffix(".xml")
    apart = picture.parent.parent / "Annotations" / f"{picture.stem}.xml"
    return next((file for file in (beside, apart) if file.is_file()), None)


def _voc_boxes(file: Path) -> list[Box]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise wrong(file, "the file", "a document type", "plain Pascal VOC XML")
        tree = ElementTree.fromstring(text)  # noqa: S314  no entities, see above
        return [_voc_box(file, entry) for entry in tree.iter("object")]
    except (OSError, ValueError, ElementTree.ParseError) as error:
        if isinstance(error, ConfigError):
            raise
        raise wrong(file, "the file", str(error), "a readable Pascal VOC XML file") from error


def _voc_box(file: Path, entry: ElementTree.Element) -> Box:
    name = (entry.findtext("name") or "").strip()
    if not name:
        raise wrong(file, "object.name", name, "the name of a defect class")
    edges = []
    for key in ("xmin", "ymin", "xmax", "ymax"):
        text = entry.findtext(f"bndbox/{key}")
        try:
            edges.append(float(text or ""))
        except ValueError as error:
            raise wrong(file, f"bndbox.{key}", text, "a number of pixels") from error
    left, top, right, bottom = edges
    if not (right > left and bottom > top):
        raise wrong(file, "bndbox", edges, "xmin < xmax and ymin < ymax")
    return Box(name, left, top, right, bottom)


VOC = DatasetFormat(
    name="voc",
    description="Pascal VOC XML",
    recognises=lambda path: any(path.glob("*.xml")) or any(path.glob("Annotations/*.xml")),
    read=read_voc,
    lists_defects_only=True,
)
