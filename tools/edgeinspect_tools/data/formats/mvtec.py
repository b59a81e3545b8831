"""MVTec's layout: good pictures to train on, every class to test on, masks apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeinspect_tools.data.dataset import GOOD, Picture, Source
from edgeinspect_tools.data.formats.dataset_format import DatasetFormat
from edgeinspect_tools.data.formats.labels import class_label
from edgeinspect_tools.data.picture_files import pictures_below


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


MVTEC = DatasetFormat(
    name="mvtec",
    description="MVTec's train, test and ground_truth",
    recognises=lambda path: (path / "test").is_dir() and (path / "ground_truth").is_dir(),
    read=read_mvtec,
)
