"""Folders of classes, with or without masks; pictures with masks in one folder; MVTec's layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeinspect.errors import UsageError
from edgeinspect_tools.data.dataset import GOOD, Picture, Source
from edgeinspect_tools.data.picture_files import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    pictures_below,
    with_masks,
)

REFERENCE = "reference"
GOOD_NAMES = frozenset({"good", "ok"})


def class_label(name: str, good: str) -> str:
    """The label of a class that the source calls ``name``; ``good`` is its good class."""
    lower = name.strip().lower()
    is_good = lower == good if good else lower in GOOD_NAMES
    return GOOD if is_good else name.strip()


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


def read_mvtec(root: Path, good: str) -> Source:
    """``train/good``, ``test/CLASS`` and ``ground_truth/CLASS/NAME_mask.png``.

    Its split is not kept: it trains on good pictures only.
    """
    pictures: list[Picture] = []
    for part in ("train", "test"):
        for path in pictures_below(root / part) if (root / part).is_dir() else []:
            folder = path.relative_to(root / part).parts[0]
            pictures.append(Picture(path=path, label=class_label(folder, good)))
    masks = {
        (path.parent.name, path.stem.removesuffix("_mask")): path
        for path in pictures_below(root / "ground_truth")
    }
    return Source(
        kind="mvtec",
        root=root,
        pictures=tuple(
            picture
            if picture.label == GOOD
            else replace(picture, mask=masks.get((picture.path.parent.name, picture.path.stem)))
            for picture in sorted(pictures, key=lambda picture: picture.path)
        ),
        notes=(
            "The published split trains on good pictures only, so the pictures are split anew.",
        ),
    )


def _class_folder(path: Path, root: Path) -> str:
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else ""


def _are_classes(folders: set[str]) -> bool:
    """``images/`` and ``masks/`` are no classes, whatever they hold."""
    return bool({name.lower() for name in folders} - MASK_FOLDERS - IMAGE_FOLDERS)


def _unlabelled(path: Path, root: Path) -> UsageError:
    return UsageError(
        f"{path.relative_to(root)} lies in no class folder and has no mask, so nothing says "
        "whether it is good.",
        next_action="Put the pictures into folders good/ and one per defect.",
    )
