"""A folder for each class, with or without masks; or pictures with masks in one folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeinspect.errors import UsageError
from edgeinspect_tools.data.dataset import GOOD, Picture, Source
from edgeinspect_tools.data.formats.dataset_format import DatasetFormat
from edgeinspect_tools.data.formats.labels import class_label
from edgeinspect_tools.data.picture_files import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    pictures_below,
    with_masks,
)

REFERENCE = "reference"


def read_folders(root: Path, good: str) -> Source:
    """``root/CLASS/**/picture``, masks beside them; or pictures with masks right in ``root``.

    ``root/reference.*`` is a picture of the same product without a defect, for all of them.
    """
    every = pictures_below(root)
    reference = next((p for p in every if p.parent == root and p.stem.lower() == REFERENCE), None)
    found = with_masks([path for path in every if path != reference])
    classes = {_class_folder(path, root) for path, _ in found} - {""}
    pictures: list[Picture] = []
    for path, mask in found:
        folder = _class_folder(path, root) if _are_classes(classes) else ""
        if folder:
            pictures.append(Picture(path=path, label=class_label(folder, good), mask=mask))
        elif mask is not None or (any(m for _, m in found) and not _are_classes(classes)):
            # Without a class folder the mask decides; no mask means nothing was marked.
            pictures.append(Picture(path=path, label=None if mask else GOOD, mask=mask))
        else:
            raise _unlabelled(path, root)
    if reference is not None:
        pictures = [replace(picture, reference=reference) for picture in pictures]
    return Source(kind="folders", root=root, pictures=tuple(pictures))


def _class_folder(path: Path, root: Path) -> str:
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else ""


def _are_classes(folders: set[str]) -> bool:
    """``images/`` and ``masks/`` are not classes, whatever they hold."""
    return bool({name.lower() for name in folders} - MASK_FOLDERS - IMAGE_FOLDERS)


def _unlabelled(path: Path, root: Path) -> UsageError:
    return UsageError(
        f"{path.relative_to(root)} has no label: it is not in a class folder and has no mask.",
        next_action="Put good pictures into good/ and defective ones into one folder per defect.",
    )


FOLDERS = DatasetFormat(
    name="folders",
    description="a folder per class with good/ or ok/ among them (masks beside the pictures as "
    "NAME.png or NAME_mask.png, or in masks/)",
    recognises=Path.is_dir,
    read=read_folders,
)
